package diagnose

import (
	"fmt"

	"github.com/ovnkctl/ovnkctl/internal/ovn/names"
	"github.com/ovnkctl/ovnkctl/internal/ovn/sb"
)

var gatewayClaim = &Check{
	Code: "OVNK-BR-003", Severity: Error,
	Title: "a node's gateway router is nowhere",
	Meaning: "The gateway router of a node is bound to the node's chassis: ovn-controller claims its ports. While they are not claimed, " +
		"pods of the node reach nothing outside, and nothing outside reaches services there.",
	Remedy: "See whether the chassis in options:chassis of Logical_Router GR_<node> is the node's system-id, and read the log of ovn-controller.",
	causes: nodeDown(
		cause{nodeIncomplete.Code, sameNode}, cause{nodeConflict.Code, sameNode}, cause{chassisIdentity.Code, sameNode},
		cause{northdBehind.Code, sameNode}, cause{controllerBehind.Code, sameNode}, cause{drift.Code, sameObject},
	),
	find: func(c *Cluster, found func(Finding)) {
		for _, n := range c.Nodes {
			o, ok := c.node(n.Name)
			if !ok || o.Gateway == nil || o.Gateway.Mode == "" || n.SB == nil || n.OVS == nil {
				continue
			}
			port := names.RouterToExternal(names.Of("").GatewayRouter(n.Name))
			own := n.chassis()
			b := one(n.SB, func(b *sb.PortBinding) bool { return b.LogicalPort == port })
			f := Finding{Node: n.Name, Object: nodeObject(n.Name)}
			switch {
			case b == nil:
				f.Message = fmt.Sprintf("the Southbound database of node %s has no port %s", n.Name, port)
			case b.Chassis == nil:
				f.Message = fmt.Sprintf("no chassis has claimed port %s of node %s", port, n.Name)
			case own != nil && *b.Chassis != own.UUID:
				f.Message = fmt.Sprintf("another chassis than node %s's has claimed port %s", n.Name, port)
			default:
				continue
			}
			found(f)
		}
	},
}
