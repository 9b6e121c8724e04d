package diagnose

import (
	"fmt"

	"github.com/ovnkctl/ovnkctl/internal/ovn/sb"
	"github.com/ovnkctl/ovnkctl/internal/ovn/vswitch"
)

var chassisIdentity = &Check{
	Code: "OVNK-NODE-003", Severity: Error,
	Title: "a node's chassis is not the one that the cluster knows",
	Meaning: "A node's chassis is called like Open vSwitch's system-id. Other nodes know it from the annotation k8s.ovn.org/node-chassis-id, " +
		"and ovn-controller registers it in the node's Southbound database. While the three differ, other nodes send traffic to a chassis that is not there, " +
		"and the node's gateway is nowhere.",
	Remedy: "If /etc/openvswitch of the node was lost, the system-id is new; or somebody changed the annotation. No node may change the chassis of a Node, " +
		"so remove the annotation (kubectl annotate node NODE k8s.ovn.org/node-chassis-id-): the node's program writes it anew. " +
		"If ovn-controller has not registered, read its log (" + logsOf("ovn-controller") + ").",
	causes: nodeDown(cause{nodeIncomplete.Code, sameNode}),
	find: func(c *Cluster, found func(Finding)) {
		for _, n := range c.Nodes {
			o, known := c.node(n.Name)
			id, ok := n.systemID()
			switch {
			case !ok || !known || o.ChassisID == "":
				continue
			case id != o.ChassisID:
				found(Finding{
					Node: n.Name, Object: nodeObject(n.Name),
					Message:  fmt.Sprintf("Open vSwitch's system-id of node %s is %q, its annotation says %q", n.Name, id, o.ChassisID),
					Evidence: []string{"Open_vSwitch external_ids:system-id=" + id, "k8s.ovn.org/node-chassis-id=" + o.ChassisID},
					Next:     "kubectl annotate node " + n.Name + " k8s.ovn.org/node-chassis-id-",
				})
			case n.SB != nil && one(n.SB, func(ch *sb.Chassis) bool { return ch.Name == id }) == nil:
				found(Finding{
					Node: n.Name, Object: nodeObject(n.Name),
					Message: fmt.Sprintf("ovn-controller of node %s has not registered chassis %s in the Southbound database", n.Name, id),
				})
			}
		}
	},
}

// root is the one row of Open_vSwitch.
func (n *Node) root() *vswitch.OpenvSwitch {
	return one(n.OVS, func(*vswitch.OpenvSwitch) bool { return true })
}

// systemID is Open vSwitch's; ok is false if it could not be read.
func (n *Node) systemID() (id string, ok bool) {
	root := n.root()
	if root == nil {
		return "", false
	}
	return root.ExternalIDs["system-id"], true
}

// chassis is the node's own row in its Southbound database; nil for none.
func (n *Node) chassis() *sb.Chassis {
	id, _ := n.systemID()
	return one(n.SB, func(ch *sb.Chassis) bool { return ch.Name == id })
}
