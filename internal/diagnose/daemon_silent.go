package diagnose

import (
	"fmt"
	"strings"

	"github.com/ovnkctl/ovnkctl/internal/inspect"
	"github.com/ovnkctl/ovnkctl/internal/nodecheck"
)

// containers are where the daemons of a node run, by their names for `ovnkctl run`.
var containers = map[string]struct{ app, container string }{
	"ovsdb": {"ovs-node", "ovsdb-server"}, "ovs": {"ovs-node", "ovs-daemons"},
	"nb": {"ovnkube-node", "nb-ovsdb"}, "sb": {"ovnkube-node", "sb-ovsdb"},
	"northd": {"ovnkube-node", "ovn-northd"}, "ovn-controller": {"ovnkube-node", "ovn-controller"},
}

// kills end the daemons of Open vSwitch on their machine: on the userspace datapath the
// kubelet of a node where one hangs hears of no pod that is deleted. It starts the
// container again by itself.
var kills = map[string]string{"ovsdb": `pkill -9 -f '^[^ ]*ovsdb-server .*conf\.db'`, "ovs": "pkill -9 -x ovs-vswitchd"}

var daemonSilent = &Check{
	Code: "OVNK-NODE-005", Severity: Error,
	Title: "a daemon of a node runs, and does not answer",
	Meaning: "A daemon of Open vSwitch or OVN was asked on its node whether it lives, and did not answer: it hangs, or is stopped. " +
		"While it does, nothing that it has to do happens. The kubelet asks, too, and restarts it after some minutes.",
	Remedy: "Read the log of the container that is named. If one of ovnkube-node hangs, delete its pod, which starts all containers of the pod anew: " +
		"the flows in place stay. Of ovs-node, kill the process on its machine (kill -9), and the kubelet starts it again within seconds: " +
		"on the userspace datapath a hanging ovsdb-server or ovs-vswitchd cuts the kubelet off, which then hears of no pod that is deleted, " +
		"and traffic of the node stops until the process runs again.",
	causes: []cause{{nodeSilent.Code, sameNode}, {nodeComponent.Code, sameNode}},
	find: func(c *Cluster, found func(Finding)) {
		for _, n := range c.Nodes {
			r, ok := n.check()
			if !ok {
				continue
			}
			f := Finding{Node: n.Name, Object: nodeObject(n.Name)}
			var silent []string
			for _, d := range r.Daemons {
				if d.Error == "" {
					continue
				}
				at := containers[d.Name]
				silent = append(silent, at.container)
				f.Evidence = append(f.Evidence, fmt.Sprintf("%s: %s", at.container, d.Error))
				if f.Next == "" {
					f.Next = c.replacePod(at.app, n.Name)
					if kill, ok := kills[d.Name]; ok {
						f.Next = "on machine " + n.Name + ", as root: " + kill
					}
				}
			}
			if len(silent) > 0 {
				f.Message = fmt.Sprintf("on node %s there is no answer of %s", n.Name, strings.Join(silent, ", "))
				found(f)
			}
		}
	},
}

// replacePod is the command that deletes a node's pod of a DaemonSet, whose next one starts
// all of its containers anew.
func (c *Cluster) replacePod(app, node string) string {
	return fmt.Sprintf("kubectl -n %s delete pod -l app=%s --field-selector spec.nodeName=%s", c.namespace(), app, node)
}

// check is what the node found when it tried itself out.
func (n *Node) check() (*nodecheck.Report, bool) {
	text, ok := n.Texts[inspect.TextNodeCheck]
	if !ok {
		return nil, false
	}
	return nodecheck.Parse(text)
}

// namespace is where the network is installed.
func (c *Cluster) namespace() string {
	for i := range c.Installation.DaemonSets {
		if d := &c.Installation.DaemonSets[i]; d.Name == daemonSets[0] {
			return d.Namespace
		}
	}
	return "ovn-kubernetes"
}
