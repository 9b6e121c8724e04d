package proxy

import (
	"net/netip"
	"slices"

	"github.com/ovnkctl/ovnkctl/internal/world"
)

// dnsPort is the port that resolvers ask a DNS service at (RFC 1035, 4.2).
const dnsPort = 53

// DNSServer is a backend of the cluster's DNS service.
type DNSServer struct {
	Protocol world.Protocol
	At       netip.AddrPort
}

// DNSServers are the backends of the cluster's DNS service: all that a load balancer of the
// local node may lead a pod's query to, UDP first, then in order of address and port.
func DNSServers(v world.View, network *world.Network, k world.ServiceKey) []DNSServer {
	s, ok := v.Service(k)
	if !ok {
		return nil
	}
	resolved, _ := Resolve(v, network, s)
	var out []DNSServer
	for _, protocol := range []world.Protocol{world.UDP, world.TCP} {
		for i := range resolved.Ports {
			p := &resolved.Ports[i]
			if p.Protocol != protocol || p.Port != dnsPort {
				continue
			}
			for _, at := range p.Cluster {
				if o := (DNSServer{protocol, at}); network.HasFamily(at.Addr()) && !slices.Contains(out, o) {
					out = append(out, o)
				}
			}
		}
	}
	return out
}
