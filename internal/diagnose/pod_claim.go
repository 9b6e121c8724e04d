package diagnose

import (
	"fmt"

	"github.com/ovnkctl/ovnkctl/internal/ovn/names"
	"github.com/ovnkctl/ovnkctl/internal/ovn/sb"
)

var podClaim = &Check{
	Code: "OVNK-POD-005", Severity: Error,
	Title: "a running pod's port is not bound to its node",
	Meaning: "northd makes a Port_Binding of the pod's port, and ovn-controller claims it for the node's chassis when Open vSwitch has an interface " +
		"of that name. While it is not claimed, the node has no flows for the pod.",
	Remedy: "If there is no Port_Binding, read the log of ovn-northd; if it is not claimed, that of ovn-controller, " +
		"and see whether options:requested-chassis of the port is the node's system-id.",
	causes: append(podCauses(podAllocation, podPort, podInterface), cause{chassisIdentity.Code, sameNode}, cause{drift.Code, sameObject}),
	find: func(c *Cluster, found func(Finding)) {
		for _, n := range c.Nodes {
			own := n.chassis()
			if n.SB == nil || n.OVS == nil || own == nil {
				continue // other checks tell of these
			}
			bindings := byName(n.SB, func(b *sb.PortBinding) string { return b.LogicalPort })
			for _, p := range c.networked(n.Name) {
				if !c.running(p) {
					continue
				}
				name := names.Pod(p.Namespace, p.Name)
				b := bindings[name]
				f := Finding{Node: n.Name, Object: object(p.Ref())}
				switch {
				case b == nil:
					f.Message = fmt.Sprintf("the Southbound database of node %s has no Port_Binding %s", n.Name, name)
				case b.Chassis == nil:
					f.Message = fmt.Sprintf("no chassis has claimed port %s on node %s", name, n.Name)
				case *b.Chassis != own.UUID:
					f.Message = fmt.Sprintf("another chassis than node %s's has claimed port %s", n.Name, name)
				case b.Up != nil && !*b.Up:
					f.Message = fmt.Sprintf("the flows of port %s are not in place on node %s (Port_Binding.up is false)", name, n.Name)
				default:
					continue
				}
				found(f)
			}
		}
	},
}
