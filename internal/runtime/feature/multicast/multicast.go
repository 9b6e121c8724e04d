// Package multicast lets pods of a namespace that asks for it send to each other by
// multicast, and nobody else.
//
//	node       on its switch: multicast passes to and from the router, and is denied to all
//	           other ports; who listens to what (IGMP) may be asked and said everywhere
//	namespace  in the group of its pods on this node: what they send, and what they get from
//	           pods of the same namespace, is allowed
//
// That all is denied is a matter of the switch, not of a group that pods join: no pod is ever
// without it. What a namespace's ACLs are about - the group of its pods on this node, the
// address sets of all - the feature policy makes and keeps, and shares with policies that
// select the same; see world.View.Multicast. Topology has switches learn who listens to what
// and routers forward it.
//
// Priorities and the tier are OVN-Kubernetes': behind the policies of administrators, before
// NetworkPolicies, which so do not keep a pod from its namespace's multicast.
//
//	1013  to and from the router port, and IGMP
//	1012  namespaces that ask for it
//	1011  denied
//
// Neighbour discovery and MLD meet no ACL: northd lets them pass in all switches. IGMP passes,
// too: so the switch knows the listeners of a namespace before it is allowed multicast, and
// need not ask again, which it does every 150 s. Such messages go to ovn-controller and to no
// other pod.
package multicast

import (
	"fmt"
	"strings"

	"github.com/ovnkctl/ovnkctl/internal/ovn/names"
	"github.com/ovnkctl/ovnkctl/internal/ovn/nb"
	"github.com/ovnkctl/ovnkctl/internal/ovn/rows"
	"github.com/ovnkctl/ovnkctl/internal/runtime/feature"
	"github.com/ovnkctl/ovnkctl/internal/world"
)

// Name is the feature's name.
const Name = "multicast"

// Feature is multicast. The zero value is ready; the network says whether it is on.
type Feature struct{}

var _ feature.Feature = Feature{}

// Name implements feature.Feature.
func (Feature) Name() string { return Name }

// InvalidMulticast is the code of the reason that a namespace's annotation is neither "true"
// nor "false".
const InvalidMulticast = "InvalidMulticast"

// Codes lists the codes of all reasons that the feature gives.
var Codes = []string{InvalidMulticast}

const (
	passPriority  = 1013
	allowPriority = 1012
	denyPriority  = 1011
	tier          = 2 // that of NetworkPolicy

	// all is every packet to a group.
	all = "(ip4.mcast || ip6.mcast)"

	kind      = "Multicast" // of external_ids
	nodeKey   = "node:"     // no name of a namespace has a colon
	egressOpt = "apply-after-lb"
)

// NamespaceKey is the key of a namespace.
func NamespaceKey(name string) feature.Key { return feature.Key{Name: name} }

// Keys implements feature.Feature.
func (Feature) Keys(v world.View, c world.Change) []feature.Key {
	if n, ok := v.Network(""); !ok || !n.Multicast {
		return nil
	}
	var keys []feature.Key
	if c.Ref.Kind == world.KindNode { // another node may have the older claim to a subnet
		keys = append(keys, feature.Key{Name: nodeKey + v.LocalNode()})
	}
	for _, n := range c.Policy.Multicast {
		keys = append(keys, NamespaceKey(n))
	}
	return keys
}

// Desired implements feature.Feature.
func (Feature) Desired(v world.View, k feature.Key) (feature.Output, []feature.Reason) {
	network, ok := v.Network(k.Network)
	if !ok || !network.Multicast {
		return feature.Output{}, nil
	}
	c := compiler{view: v, network: network, names: names.Of(network.Name)}
	if node, ok := strings.CutPrefix(k.Name, nodeKey); ok {
		c.node(node)
	} else {
		c.namespace(k.Name)
	}
	return feature.Output{NB: c.out}, c.reasons
}

// compiler makes the rows of one key.
type compiler struct {
	view    world.View
	network *world.Network
	names   names.Network
	out     rows.Set
	reasons []feature.Reason
}

// acl adds an ACL. What pods send is looked at after load balancing, as for policies: an ACL
// before it could not speak for a packet that a policy then denies.
func (c *compiler) acl(parent rows.Target, id string, d world.Direction, a nb.ACL) {
	a.Tier, a.Direction = tier, nb.ACLDirectionToLport
	if d == world.Egress {
		a.Direction, a.Options = nb.ACLDirectionFromLport, map[string]string{egressOpt: "true"}
	}
	c.out.AddTo(parent, "acls", strings.ToLower(d.String())+"/"+id, &a)
}

// port is the field for the port whose pod is meant.
func port(d world.Direction) string {
	if d == world.Ingress {
		return "outport"
	}
	return "inport"
}

// node denies multicast on the node's switch.
func (c *compiler) node(name string) {
	n, ok := c.view.Node(name)
	if !ok || names.Reserved(name) || len(c.view.NodeSubnets(c.network, n)) == 0 {
		return // there is no switch
	}
	sw := rows.Target{Table: nb.LogicalSwitchTable, Name: c.names.NodeSwitch(name)}
	ids := map[string]string{names.KeyKind: kind}
	for _, d := range world.Directions {
		aclName := names.MulticastACL("", d)
		c.acl(sw, "pass", d, nb.ACL{
			Name: &aclName, Action: nb.ACLActionAllow, Priority: passPriority, ExternalIDs: ids,
			Match: fmt.Sprintf("igmp || (%s == %q && %s)", port(d), c.names.SwitchToRouter(name), all),
		})
		c.acl(sw, "deny", d, nb.ACL{Name: &aclName, Action: nb.ACLActionDrop, Priority: denyPriority, ExternalIDs: ids, Match: all})
	}
}

// namespace allows a namespace's pods what they ask for.
func (c *compiler) namespace(name string) {
	pods, says, ok := c.view.Multicast(name)
	if !ok {
		return
	}
	if says != "true" {
		n, _ := c.view.Namespace(name)
		c.reasons = append(c.reasons, feature.Reason{
			Code: InvalidMulticast, Object: n.Ref(),
			Message: fmt.Sprintf(`annotation %s is %q, neither "true" nor "false": its pods have no multicast`, world.MulticastAnnotation, says),
			Remedy:  `write "true", or take the annotation away`,
		})
		return
	}
	group := c.names.Pods(pods.ID)
	ids := map[string]string{names.KeyKind: kind, names.KeyOwner: name}
	match := map[world.Direction]string{world.Egress: all, world.Ingress: c.fromPods(group)}
	for _, d := range world.Directions {
		aclName := names.MulticastACL(name, d)
		c.acl(rows.Target{Table: nb.PortGroupTable, Name: group}, "allow", d, nb.ACL{
			Name: &aclName, Action: nb.ACLActionAllow, Priority: allowPriority, ExternalIDs: ids,
			Match: fmt.Sprintf("%s == @%s && %s", port(d), group, match[d]),
		})
	}
}

// fromPods is multicast from the namespace's pods, on any node.
func (c *compiler) fromPods(group string) string {
	var terms []string
	for _, is4 := range []bool{true, false} {
		if !c.hasFamily(is4) {
			continue
		}
		ip := "ip6"
		if is4 {
			ip = "ip4"
		}
		terms = append(terms, fmt.Sprintf("(%s.mcast && %s.src == $%s)", ip, ip, names.AddressSet(group, is4)))
	}
	if len(terms) == 1 {
		return terms[0]
	}
	return "(" + strings.Join(terms, " || ") + ")"
}

func (c *compiler) hasFamily(is4 bool) bool {
	for _, s := range c.network.ClusterSubnets {
		if s.Prefix.Addr().Is4() == is4 {
			return true
		}
	}
	return false
}
