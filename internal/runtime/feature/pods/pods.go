// Package pods makes the logical switch ports of the pods on the local node.
//
// The key is a pod. It owns one row:
//
//	Logical_Switch <node> ── Logical_Switch_Port <namespace>_<pod>
//	                             addresses, port_security: MAC and addresses
//	                             options: iface-id-ver=<UID>, requested-chassis=<chassis>
//
// ovn-controller binds the port when the CNI plugin has added an interface to br-int with
// the same iface-id (the port's name) and iface-id-ver: a new pod under an old name never
// gets the old one's interface.
//
// A pod has a port when it is on the local node, not on the host's network, not finished,
// and has addresses that are its own: of two pods with one address the older has it.
package pods

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/ovnkctl/ovnkctl/internal/annotation"
	"github.com/ovnkctl/ovnkctl/internal/ovn/names"
	"github.com/ovnkctl/ovnkctl/internal/ovn/nb"
	"github.com/ovnkctl/ovnkctl/internal/ovn/rows"
	"github.com/ovnkctl/ovnkctl/internal/runtime/feature"
	"github.com/ovnkctl/ovnkctl/internal/world"
	"github.com/ovnkctl/ovnkctl/internal/world/plan"
)

// Name is the feature's name.
const Name = "pods"

// Feature is the ports of pods. The zero value is ready.
type Feature struct{}

var _ feature.Feature = Feature{}

// Name implements feature.Feature.
func (Feature) Name() string { return Name }

// Codes of the reasons.
const (
	// InvalidPodAnnotation: an annotation of the pod does not parse.
	InvalidPodAnnotation = "InvalidPodAnnotation"
	// InvalidPodAddress: the pod's allocation is not one that its node can have.
	InvalidPodAddress = "InvalidPodAddress"
	// PodAddressConflict: an older pod of the node has the same address.
	PodAddressConflict = "PodAddressConflict"
	// PodNodeNotReady: the pod's node has no switch or no chassis yet.
	PodNodeNotReady = "PodNodeNotReady"
	// PodPortNameTaken: the pod's port would be called like the node's external port.
	PodPortNameTaken = "PodPortNameTaken"
)

// Codes lists the codes of all reasons that the feature gives.
var Codes = []string{InvalidPodAnnotation, InvalidPodAddress, PodAddressConflict, PodNodeNotReady, PodPortNameTaken}

// Keys implements feature.Feature: a changed pod and those that share an address with it;
// for a node only what the ports of its pods say about it.
func (Feature) Keys(v world.View, c world.Change) []feature.Key {
	switch c.Ref.Kind {
	case world.KindPod:
		return podKeys(v, c)
	case world.KindNode:
		if !concernsPods(v, c) {
			return nil
		}
		var keys []feature.Key
		for p := range v.Pods {
			if p.Node == v.LocalNode() && p.Networked() {
				keys = append(keys, keyOf(p))
			}
		}
		return keys
	}
	return nil
}

func keyOf(p *world.Pod) feature.Key { return feature.Key{Namespace: p.Namespace, Name: p.Name} }

func podKeys(v world.View, c world.Change) []feature.Key {
	var keys []feature.Key
	add := func(p *world.Pod) {
		if k := keyOf(p); p.Node == v.LocalNode() && !slices.Contains(keys, k) {
			keys = append(keys, k)
		}
	}
	for _, p := range []*world.Pod{c.OldPod, c.NewPod} {
		if p == nil {
			continue
		}
		add(p)
		for network, n := range p.Networks {
			for _, a := range n.Addresses {
				for _, rival := range v.PodsWithAddress(network, a.Addr()) {
					add(rival)
				}
			}
		}
	}
	return keys
}

// concernsPods tells whether a change of a node changes ports: one of the local node's
// chassis, subnets or external port, or one of a node that claims the local node's subnet.
func concernsPods(v world.View, c world.Change) bool {
	if c.Ref.Name == v.LocalNode() {
		return c.OldNode == nil || c.NewNode == nil || !sameForPods(c.OldNode, c.NewNode)
	}
	local, ok := v.Node(v.LocalNode())
	if !ok {
		return false
	}
	return overlap(local, c.OldNode) || overlap(local, c.NewNode)
}

func sameForPods(a, b *world.Node) bool {
	if a.ChassisID != b.ChassisID || a.Created != b.Created || externalPort(a) != externalPort(b) || len(a.Subnets) != len(b.Subnets) {
		return false
	}
	for network, subnets := range a.Subnets {
		if !slices.Equal(subnets, b.Subnets[network]) {
			return false
		}
	}
	return true
}

func overlap(a, b *world.Node) bool {
	if b == nil {
		return false
	}
	for network, subnets := range a.Subnets {
		for _, s := range subnets {
			if slices.ContainsFunc(b.Subnets[network], s.Overlaps) {
				return true
			}
		}
	}
	return false
}

// externalPort is the name of the node's localnet port.
func externalPort(n *world.Node) string {
	if n.Gateway == nil {
		return ""
	}
	return n.Gateway.InterfaceID
}

// Desired implements feature.Feature.
func (Feature) Desired(v world.View, k feature.Key) (feature.Output, []feature.Reason) {
	network, ok := v.Network(k.Network)
	if !ok {
		return feature.Output{}, nil
	}
	pod, ok := v.Pod(world.PodKey{Namespace: k.Namespace, Name: k.Name})
	if !ok || !pod.Networked() || pod.Node != v.LocalNode() {
		return feature.Output{}, nil
	}
	allocation, allocated := pod.Networks[network.Name]
	p := port{network: network, pod: pod, allocation: allocation}
	p.annotationProblems(allocated)
	if allocated {
		p.compute(v)
	}
	return p.out, p.reasons
}

// port computes the port of one pod.
type port struct {
	network    *world.Network
	pod        *world.Pod
	allocation world.PodNetwork
	out        feature.Output
	reasons    []feature.Reason
}

func (p *port) reason(code, message, remedy string) {
	p.reasons = append(p.reasons, feature.Reason{Code: code, Object: p.pod.Ref(), Message: message, Remedy: remedy})
}

// annotationProblems reports what does not parse. A malformed allocation does not matter
// any more when the node's allocator has made a new one.
func (p *port) annotationProblems(allocated bool) {
	for _, problem := range p.pod.Problems {
		if allocated && problem.Field == annotation.PodNetworks.Key() || problem.Field == world.HostPortField {
			continue // host ports have a feature of their own
		}
		p.reason(InvalidPodAnnotation, problem.Field+": "+problem.Message, problem.Remedy)
	}
}

func (p *port) compute(v world.View) {
	node, ok := v.Node(p.pod.Node)
	if !ok {
		p.reason(PodNodeNotReady, "its node "+p.pod.Node+" is not there", "see whether the Node object was deleted")
		return
	}
	subnets := v.NodeSubnets(p.network, node)
	if !p.checkNode(node, subnets) || !p.checkAddresses(node, subnets) || !p.checkRivals(v) {
		return
	}
	ips := make([]string, 0, len(p.allocation.Addresses))
	for _, a := range p.allocation.Addresses {
		ips = append(ips, a.Addr().String())
	}
	addresses := []string{p.allocation.MAC + " " + strings.Join(ips, " ")}
	enabled := true
	p.out.NB.AddTo(rows.Target{Table: nb.LogicalSwitchTable, Name: names.Of(p.network.Name).NodeSwitch(node.Name)}, "ports", "port",
		&nb.LogicalSwitchPort{
			Name:         names.Pod(p.pod.Namespace, p.pod.Name),
			Addresses:    addresses,
			PortSecurity: addresses,
			Enabled:      &enabled,
			Options:      map[string]string{"iface-id-ver": p.pod.UID, "requested-chassis": node.ChassisID},
			ExternalIDs:  map[string]string{names.KeyNamespace: p.pod.Namespace, names.KeyPod: "true"},
		})
}

// checkNode tells whether the node has what the port refers to; topology gives the reasons.
func (p *port) checkNode(node *world.Node, subnets []netip.Prefix) bool {
	switch {
	case names.Reserved(node.Name), len(subnets) == 0:
		p.reason(PodNodeNotReady, "its node "+node.Name+" has no switch for pods", "see the conditions and events of node "+node.Name)
	case node.ChassisID == "":
		p.reason(PodNodeNotReady, "its node "+node.Name+" has no chassis id", "`ovnkctl node` on that node writes it: if this lasts, see whether it runs and what it logs")
	case externalPort(node) == names.Pod(p.pod.Namespace, p.pod.Name):
		p.reason(PodPortNameTaken, fmt.Sprintf("its port would be called %s, as the port of %s to the outside is", externalPort(node), node.Name),
			"create the pod under another name")
	default:
		return true
	}
	return false
}

// checkAddresses tells whether the addresses are pods' addresses of the node's subnets.
func (p *port) checkAddresses(node *world.Node, subnets []netip.Prefix) bool {
	const remedy = "delete the pod, so that its replacement gets a new allocation"
	if len(p.allocation.Addresses) == 0 || p.allocation.MAC == "" {
		p.reason(InvalidPodAddress, "its allocation has no address or no MAC address", remedy)
		return false
	}
	for i, a := range p.allocation.Addresses {
		j := slices.IndexFunc(subnets, func(s netip.Prefix) bool { return s.Contains(a.Addr()) })
		switch {
		case j < 0:
			p.reason(InvalidPodAddress, fmt.Sprintf("its address %s is in none of the subnets %v of node %s", a.Addr(), subnets, node.Name), remedy)
			return false
		case slices.Contains(plan.Reserved(subnets[j]), a.Addr()):
			p.reason(InvalidPodAddress, fmt.Sprintf("its address %s is one that subnet %s keeps for itself", a.Addr(), subnets[j]), remedy)
			return false
		case slices.ContainsFunc(p.allocation.Addresses[:i], func(b netip.Prefix) bool { return subnets[j].Contains(b.Addr()) }):
			p.reason(InvalidPodAddress, fmt.Sprintf("it has two addresses of subnet %s", subnets[j]), remedy)
			return false
		}
	}
	return true
}

// checkRivals tells whether no older pod of the node has one of the addresses.
func (p *port) checkRivals(v world.View) bool {
	for _, a := range p.allocation.Addresses {
		rivals := slices.DeleteFunc(v.PodsWithAddress(p.network.Name, a.Addr()), func(r *world.Pod) bool { return r.Node != p.pod.Node })
		if older := world.OldestPod(rivals); older != p.pod {
			p.reason(PodAddressConflict, fmt.Sprintf("its address %s belongs to the older pod %s/%s", a.Addr(), older.Namespace, older.Name),
				"delete this pod, so that its replacement gets a new allocation")
			return false
		}
	}
	return true
}
