package live

import "github.com/ovnkctl/ovnkctl/internal/world"

// nodes is the store as a sink of nodes.
type nodes struct{ *world.Store }

func (s nodes) Set(n *world.Node) { s.SetNode(n) }
func (s nodes) Delete(n Name)     { s.DeleteNode(n.Name) }
func (s nodes) Names() (names []Name) {
	s.Read(func(v world.View) {
		for _, n := range v.Nodes() {
			names = append(names, Name{Name: n.Name})
		}
	})
	return names
}

// pods is the store as a sink of pods.
type pods struct{ *world.Store }

func (s pods) Set(p *world.Pod) { s.SetPod(p) }
func (s pods) Delete(n Name)    { s.DeletePod(world.PodKey(n)) }
func (s pods) Names() (names []Name) {
	s.Read(func(v world.View) {
		v.Pods(func(p *world.Pod) bool {
			names = append(names, Name{p.Namespace, p.Name})
			return true
		})
	})
	return names
}

// endpoints is the store as a sink of EndpointSlices.
type endpoints struct{ *world.Store }

func (s endpoints) Set(n *world.EndpointSlice) { s.SetSlice(n) }
func (s endpoints) Delete(n Name)              { s.DeleteSlice(n.Namespace, n.Name) }
func (s endpoints) Names() (names []Name) {
	s.Read(func(v world.View) {
		for n := range v.EndpointSlices {
			names = append(names, Name{n.Namespace, n.Name})
		}
	})
	return names
}

// ranges is the store as a sink of ServiceCIDRs.
type ranges struct{ *world.Store }

func (s ranges) Set(n *world.ServiceCIDR) { s.SetServiceCIDR(n) }
func (s ranges) Delete(n Name)            { s.DeleteServiceCIDR(n.Name) }
func (s ranges) Names() (names []Name) {
	s.Read(func(v world.View) {
		for _, c := range v.ServiceCIDRs() {
			names = append(names, Name{Name: c.Name})
		}
	})
	return names
}

// namespaces is the store as a sink of namespaces.
type namespaces struct{ *world.Store }

func (s namespaces) Set(n *world.Namespace) { s.SetNamespace(n) }
func (s namespaces) Delete(n Name)          { s.DeleteNamespace(n.Name) }
func (s namespaces) Names() (names []Name) {
	s.Read(func(v world.View) {
		for n := range v.Namespaces {
			names = append(names, Name{Name: n.Name})
		}
	})
	return names
}

// policies is the store as a sink of policies of one kind.
type policies struct {
	*world.Store
	kind world.Kind
}

func (s policies) Set(p *world.Policy) { s.SetPolicy(p) }
func (s policies) Delete(n Name) {
	s.DeletePolicy(world.PolicyKey{Kind: s.kind, Namespace: n.Namespace, Name: n.Name})
}
func (s policies) Names() (names []Name) {
	s.Read(func(v world.View) {
		for p := range v.Policies {
			if p.Kind == s.kind {
				names = append(names, Name{p.Namespace, p.Name})
			}
		}
	})
	return names
}
