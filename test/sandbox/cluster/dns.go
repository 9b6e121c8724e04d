package cluster

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"time"

	"github.com/ovnkctl/ovnkctl/test/sandbox/fabric"
	"github.com/ovnkctl/ovnkctl/test/sandbox/netspace"
	"github.com/ovnkctl/ovnkctl/test/sandbox/plan"
)

const (
	// kubernetesName is in every cluster's DNS.
	kubernetesName = "kubernetes.default.svc.cluster.local."
	dnsPort        = 53
	// dnsPatience is one answer's; a lost packet is repeated by the demo's next round.
	dnsPatience = 5 * time.Second
)

// checkDNS asks cluster DNS from every node at every address of its Service: that answers
// only when Services work, for the node and for the pod of cluster DNS.
func (s *Sandbox) checkDNS(ctx context.Context) error {
	want := s.plan().KubernetesService()[0]
	for _, m := range s.state.Nodes {
		dial := netspace.Dialer(fabric.NodeNS(m.Name))
		for _, server := range s.plan().DNSService() {
			got, err := lookup(ctx, dial, netip.AddrPortFrom(server, dnsPort))
			if err != nil {
				return fmt.Errorf("cluster DNS does not answer %s at %s: %w", m.Name, server, err)
			}
			if !slices.Contains(got, want) {
				return fmt.Errorf("cluster DNS answers %s at %s that %s is %s, not %s", m.Name, server, kubernetesName, plan.Join(got), want)
			}
		}
	}
	return nil
}

func lookup(ctx context.Context, dial func(context.Context, string, string) (net.Conn, error), server netip.AddrPort) ([]netip.Addr, error) {
	ctx, cancel := context.WithTimeout(ctx, dnsPatience)
	defer cancel()
	r := net.Resolver{PreferGo: true, Dial: func(ctx context.Context, network, _ string) (net.Conn, error) {
		return dial(ctx, network, server.String())
	}}
	got, err := r.LookupNetIP(ctx, "ip", kubernetesName)
	for i := range got {
		got[i] = got[i].Unmap()
	}
	return got, err
}
