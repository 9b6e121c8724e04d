package diagnose

import (
	"fmt"

	"github.com/ovnkctl/ovnkctl/internal/ovn/sb"
)

var controllerBehind = &Check{
	Code: "OVNK-DB-003", Severity: Error,
	Title: "ovn-controller does not follow",
	Meaning: "ovn-controller makes OpenFlow of the Southbound database's logical flows, and says how far it is in Chassis_Private.nb_cfg. " +
		"While it stands still, new pods have no flows and their start fails, and policies do not change.",
	Remedy: "Read the log of the container ovn-controller of the node, and `ovn-appctl -t ovn-controller connection-status` there. " +
		"Restarting it is safe: delete the pod ovnkube-node, the flows in place stay.",
	causes: nodeDown(cause{chassisIdentity.Code, sameNode}, cause{integrationBridge.Code, sameNode}),
	find: func(c *Cluster, found func(Finding)) {
		for _, n := range c.Nodes {
			_, s := n.globals()
			id, ok := n.systemID()
			if s == nil || !ok {
				continue
			}
			p := one(n.SB, func(p *sb.ChassisPrivate) bool { return p.Name == id })
			if p == nil || p.NbCfg >= s.NbCfg || c.Now.Sub(millis(p.NbCfgTimestamp)) < late {
				continue
			}
			found(Finding{
				Node: n.Name, Object: nodeObject(n.Name),
				Message:  fmt.Sprintf("ovn-controller of node %s is %d changes behind", n.Name, s.NbCfg-p.NbCfg),
				Evidence: []string{fmt.Sprintf("SB_Global.nb_cfg=%d, Chassis_Private.nb_cfg=%d", s.NbCfg, p.NbCfg)},
				Next:     c.replacePod("ovnkube-node", n.Name),
			})
		}
	},
}
