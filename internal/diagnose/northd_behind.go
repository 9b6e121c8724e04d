package diagnose

import (
	"fmt"
	"time"

	"github.com/ovnkctl/ovnkctl/internal/ovn/nb"
	"github.com/ovnkctl/ovnkctl/internal/ovn/sb"
)

// late is how long northd or ovn-controller may need for a change. The slowest recomputations
// of a zone take some seconds.
const late = 10 * time.Second

var northdBehind = &Check{
	Code: "OVNK-DB-002", Severity: Error,
	Title: "northd does not follow",
	Meaning: "ovn-northd makes logical flows (Southbound) of what the network should be (Northbound), and says how far it is in nb_cfg. " +
		"While it stands still, nothing that changes takes effect on this node.",
	Remedy: "Read the log of the container ovn-northd of the node, and see whether it uses a whole CPU. " +
		"Restarting it is safe: delete the pod ovnkube-node, the flows in place stay.",
	causes: nodeDown(),
	find: func(c *Cluster, found func(Finding)) {
		for _, n := range c.Nodes {
			g, s := n.globals()
			if g == nil || s == nil || s.NbCfg >= g.NbCfg || c.Now.Sub(millis(g.NbCfgTimestamp)) < late {
				continue
			}
			found(Finding{
				Node: n.Name, Object: nodeObject(n.Name),
				Message:  fmt.Sprintf("northd of node %s is %d changes behind", n.Name, g.NbCfg-s.NbCfg),
				Evidence: []string{fmt.Sprintf("NB_Global.nb_cfg=%d, SB_Global.nb_cfg=%d", g.NbCfg, s.NbCfg)},
				Next:     c.replacePod("ovnkube-node", n.Name),
			})
		}
	},
}

func (n *Node) globals() (*nb.NBGlobal, *sb.SBGlobal) {
	return one(n.NB, func(*nb.NBGlobal) bool { return true }), one(n.SB, func(*sb.SBGlobal) bool { return true })
}

// millis is a time that databases have in milliseconds since 1970.
func millis(ms int) time.Time { return time.UnixMilli(int64(ms)) }
