package world

import "github.com/ovnkctl/ovnkctl/internal/world/selector"

// MulticastAnnotation of a Namespace says "true" where its pods may use multicast among each
// other, as in OVN-Kubernetes.
const MulticastAnnotation = ovnDomain + "multicast-enabled"

// kindMulticast is the kind of what stands for multicast among the policies of the index; no
// object is of it.
const kindMulticast Kind = "Multicast"

// multicastPolicy is what multicast in a namespace needs, in the words of policies: the
// group of its pods on the local node, and the addresses of all. So it shares these with
// policies that select the same, and exists where a pod of the local node needs it.
func multicastPolicy(namespace string) *Policy {
	pods := PodsIn(namespace, selector.Labels{})
	return &Policy{
		Kind: kindMulticast, Namespace: namespace, Name: namespace, Tier: TierNetworkPolicy, Subject: pods,
		Rules: []PolicyRule{{Direction: Ingress, Peers: []Peer{{Pods: pods}}}},
	}
}

// replaceMulticast follows the annotation of a namespace. One that is not understood is
// followed, too: it is reported where the namespace has pods.
func (x *policyIndex) replaceMulticast(name string, n *Namespace, fx *effects) {
	old, wants := x.multicasts[name], false
	if x.multicast && n != nil {
		switch n.Annotations[MulticastAnnotation] {
		case "", "false":
		default:
			wants = true
		}
	}
	switch {
	case wants && old == nil:
		x.multicasts[name] = multicastPolicy(name)
		x.watch(x.multicasts[name], fx)
	case !wants && old != nil:
		delete(x.multicasts, name)
		x.unwatch(old, fx)
	}
	if wants || old != nil {
		fx.policy(PolicyKey{Kind: kindMulticast, Namespace: name})
	}
}

// Multicast returns the namespace's pods and what its annotation says about multicast, if
// it says something and a pod of the local node is among them.
func (v View) Multicast(namespace string) (pods *PodSelector, says string, ok bool) {
	p := v.s.selections.multicasts[namespace]
	n, there := v.Namespace(namespace)
	if p == nil || !there || !v.InUse(p) {
		return nil, "", false
	}
	return p.Subject, n.Annotations[MulticastAnnotation], true
}
