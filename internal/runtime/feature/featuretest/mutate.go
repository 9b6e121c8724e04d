package featuretest

import (
	"slices"

	"pgregory.net/rapid"

	"github.com/ovnkctl/ovnkctl/internal/world"
)

// mutate is a copy of an object with something changed that features depend on.
func mutate(rt *rapid.T, o Object) Object {
	switch {
	case o.Node != nil:
		n := *o.Node
		mutateNode(rt, &n)
		return Object{Node: &n}
	case o.Pod != nil:
		p := *o.Pod
		mutatePod(rt, &p)
		return Object{Pod: &p}
	case o.Service != nil:
		s := *o.Service
		mutateService(rt, &s)
		return Object{Service: &s}
	case o.Slice != nil:
		s := *o.Slice
		mutateSlice(rt, &s)
		return Object{Slice: &s}
	case o.Namespace != nil:
		n := *o.Namespace
		mutateNamespace(rt, &n)
		return Object{Namespace: &n}
	case o.Policy != nil:
		p := *o.Policy
		mutatePolicy(rt, &p)
		return Object{Policy: &p}
	}
	c := *o.CIDR
	c.Prefixes = nil
	return Object{CIDR: &c}
}

// some draws one or two of n things to change.
func some(rt *rapid.T, n int) []int {
	return rapid.SliceOfN(rapid.IntRange(0, n-1), 1, 2).Draw(rt, "clear")
}

func mutateNode(rt *rapid.T, n *world.Node) {
	for _, clear := range some(rt, 9) {
		switch clear {
		case 0:
			n.ID = 0
		case 1:
			n.ChassisID = ""
		case 2:
			n.Subnets = nil
		case 3:
			n.Transit = nil
		case 4:
			n.EncapIPs = nil
		case 5:
			n.Gateway = nil
		case 6:
			n.Created++
		case 7:
			n.HostAddrs = nil
		case 8:
			n.Labels = nil
		}
	}
}

func mutatePod(rt *rapid.T, p *world.Pod) {
	switch rapid.IntRange(0, 7).Draw(rt, "clear") {
	case 0:
		p.Networks, p.IPs = nil, nil
	case 1:
		p.Finished = true
	case 2:
		p.Node = ""
	case 3:
		p.Created++
	case 4:
		p.HostPorts = nil
	case 5:
		p.Labels = nil
	case 6:
		p.Ports = nil
	case 7:
		p.Ports = slices.Clone(p.Ports)
		for i := range p.Ports {
			p.Ports[i].Port++
		}
	}
}

func mutateNamespace(rt *rapid.T, n *world.Namespace) {
	for _, clear := range some(rt, 2) {
		switch clear {
		case 0:
			n.Labels = nil
		case 1:
			n.Annotations = nil
		}
	}
}

func mutatePolicy(rt *rapid.T, p *world.Policy) {
	for _, clear := range some(rt, 7) {
		switch clear {
		case 0:
			p.Subject = nil
		case 1:
			p.Subject = world.AllPods()
		case 2:
			p.Isolates[world.Ingress] = !p.Isolates[world.Ingress] && p.Tier == world.TierNetworkPolicy
		case 3:
			p.Isolates[world.Egress] = !p.Isolates[world.Egress] && p.Tier == world.TierNetworkPolicy
		case 4:
			p.Rules = nil
		case 5:
			p.Priority++
		case 6:
			p.Created++
		}
	}
}

func mutateService(rt *rapid.T, s *world.Service) {
	for _, clear := range some(rt, 10) {
		switch clear {
		case 0:
			s.ClusterIPs = nil
		case 1:
			s.ExternalIPs = nil
		case 2:
			s.Ingress = nil
		case 3:
			s.SourceRanges = nil
		case 4:
			s.Ports = nil
		case 5:
			s.InternalLocal = !s.InternalLocal
		case 6:
			s.ExternalLocal = !s.ExternalLocal
		case 7:
			s.Created++
		case 8:
			s.Idled = !s.Idled
		case 9:
			s.Waking = !s.Waking
		}
	}
}

func mutateSlice(rt *rapid.T, s *world.EndpointSlice) {
	switch rapid.IntRange(0, 3).Draw(rt, "clear") {
	case 0:
		s.Endpoints = nil
	case 1:
		s.Ports = nil
	case 2:
		s.Service = ""
	case 3:
		s.Endpoints = append([]world.Endpoint(nil), s.Endpoints...)
		for i := range s.Endpoints {
			s.Endpoints[i].Ready = !s.Endpoints[i].Ready
			s.Endpoints[i].Terminating = !s.Endpoints[i].Terminating
		}
	}
}
