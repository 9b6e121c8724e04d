package proxy

import (
	"net/netip"

	"github.com/ovnkctl/ovnkctl/internal/world"
)

// apiService is the service of the API servers themselves.
var apiService = world.ServiceKey{Namespace: "default", Name: "kubernetes"}

// APIServers is where the API servers are, in the order of their slices.
func APIServers(v world.View) []netip.AddrPort {
	var out []netip.AddrPort
	for _, s := range v.Slices(apiService) {
		for _, p := range s.Ports {
			for _, e := range s.Endpoints {
				for _, a := range e.Addrs {
					if p.Protocol == world.TCP {
						out = append(out, netip.AddrPortFrom(a, p.Port))
					}
				}
			}
		}
	}
	return out
}

// OfAPIServers tells whether a change may move the API servers.
func OfAPIServers(c world.Change) bool {
	of := func(s *world.EndpointSlice) bool { return s != nil && s.ServiceKey() == apiService }
	return of(c.OldSlice) || of(c.NewSlice)
}
