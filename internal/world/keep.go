package world

import "github.com/ovnkctl/ovnkctl/internal/annotation"

// lastGood says how to take over what one annotation of a Node said before.
var lastGood = map[string]func(n, old *Node){
	annotation.NodeID.Key():            func(n, old *Node) { n.ID = old.ID },
	annotation.NodeSubnets.Key():       func(n, old *Node) { n.Subnets = old.Subnets },
	annotation.NodeTransit.Key():       func(n, old *Node) { n.Transit = old.Transit },
	annotation.NodeChassisID.Key():     func(n, old *Node) { n.ChassisID = old.ChassisID },
	annotation.L3Gateway.Key():         func(n, old *Node) { n.Gateway = old.Gateway },
	annotation.NodePrimaryAddrs.Key():  func(n, old *Node) { n.PrimaryAddrs = old.PrimaryAddrs },
	annotation.NodeEncapIPs.Key():      func(n, old *Node) { n.EncapIPs = old.EncapIPs },
	annotation.NodeHostAddrs.Key():     func(n, old *Node) { n.HostAddrs = old.HostAddrs },
	annotation.GatewayMTUSupport.Key(): func(n, old *Node) { n.NoGatewayMTU = old.NoGatewayMTU },
}

// keeping is the node with the last good value of every annotation that does not parse
// any more: a slip of the pen in an annotation is a Problem to report, and no reason to cut
// off the pods of a node that works.
func (n *Node) keeping(old *Node) *Node {
	if old == nil || old.UID != n.UID || len(n.Problems) == 0 {
		return n
	}
	kept := *n
	for _, p := range n.Problems {
		if take, ok := lastGood[p.Field]; ok {
			take(&kept, old)
		}
	}
	return &kept
}
