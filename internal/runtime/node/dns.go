//go:build linux

package node

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"path/filepath"
	"slices"
	"time"

	policies "github.com/ovnkctl/ovnkctl/internal/runtime/feature/policy"
	"github.com/ovnkctl/ovnkctl/internal/runtime/host"
	"github.com/ovnkctl/ovnkctl/internal/runtime/host/kernel"
	"github.com/ovnkctl/ovnkctl/internal/runtime/kube"
	"github.com/ovnkctl/ovnkctl/internal/runtime/node/dns"
	"github.com/ovnkctl/ovnkctl/internal/world"
	"github.com/ovnkctl/ovnkctl/internal/world/plan"
	"github.com/ovnkctl/ovnkctl/internal/world/proxy"
)

const (
	// journalName is the file that keeps the addresses of domain names, in the run directory:
	// after a reboot no pod remembers an answer either.
	journalName = "ovnkctl-domain-names"
	// listenPause is how long to wait for a port that somebody else has.
	listenPause = 10 * time.Second
)

// Codes of the events about DNS.
const (
	reasonDNSUnreachable = "DNSServersUnreachable"
	reasonDNSPortTaken   = "DNSProxyPortTaken"
)

// nftProgram is the program nft, in the image's path.
const nftProgram = "nft"

// domains learns the addresses of domain names in policies from the DNS answers of pods.
type domains struct {
	a       *agent
	service world.ServiceKey
	port    uint16
	proxy   *dns.Proxy
	wake    chan struct{}
}

// startDNS makes the proxy; the world has the addresses that were known before a restart
// when it returns. Queries are led here once sockets are open and the databases in order.
func (a *agent) startDNS(ctx context.Context) error {
	d := &domains{a: a, service: dnsService(a.o.Config), port: uint16(a.o.Config.Policy.DNSProxyPort), wake: make(chan struct{}, 1)}
	var err error
	d.proxy, err = dns.New(dns.Config{
		Store: a.store, Servers: d.servers, Learnable: d.learnable,
		Installed: func(ctx context.Context, names []world.DomainName) error {
			for _, n := range names {
				if err := a.engine.Wait(ctx, policies.Name, policies.DomainKey(n)); err != nil {
					return err
				}
			}
			return a.inForce().Wait(ctx)
		},
		Journal: filepath.Join(a.o.Config.OVN.RunDir, journalName),
		Trouble: d.trouble, Logger: a.Log, Metrics: a.Registry,
	})
	if err != nil {
		return err
	}
	a.store.Subscribe(d.onChange)
	a.Go(ctx, d.proxy.Run)
	a.Go(ctx, d.run)
	return nil
}

// learnable tells addresses outside of the cluster. Rules with domain names are about what
// leaves it, and nobody must get past the rules for a pod by giving a name its address.
func (d *domains) learnable(addr netip.Addr) bool {
	network := &d.a.network
	return network.HasFamily(addr) && !addr.IsUnspecified() && !addr.IsLoopback() && !addr.IsMulticast() && !addr.IsLinkLocalUnicast() &&
		!network.HasSubnet(netip.PrefixFrom(addr, addr.BitLen()))
}

func (d *domains) servers() (out []proxy.DNSServer) {
	d.a.store.Read(func(v world.View) { out = proxy.DNSServers(v, &d.a.network, d.service) })
	return out
}

// onChange is called under the world's lock.
func (d *domains) onChange(v world.View, c world.Change) {
	if len(c.Policy.Policies)+len(c.Policy.Domains) > 0 || c.Ref.Kind == world.KindNode && c.Ref.Name == v.LocalNode() ||
		slices.Contains(proxy.Touched(v, c), d.service) {
		select {
		case d.wake <- struct{}{}:
		default:
		}
	}
}

// run serves queries, at the addresses that the node's subnets give the management port.
func (d *domains) run(ctx context.Context) error {
	redirect := dns.Redirect{Nft: nftProgram, Forget: forgetUDP, Log: d.a.Log}
	// A program that was killed may have left queries led here, where nobody listens yet.
	if err := redirect.Remove(ctx); err != nil && ctx.Err() == nil {
		d.a.Log.Warn("what an earlier run led here is led here for some seconds more", "error", err)
	}
	select {
	case <-d.a.engine.Synced():
	case <-ctx.Done():
		return nil
	}
	for ctx.Err() == nil {
		addrs := d.addrs()
		sockets, err := dns.Listen(ctx, addrs, d.port)
		if err != nil {
			d.report(reasonDNSPortTaken, fmt.Sprintf("%v: policies with domain names learn addresses by the node's own queries only", err),
				fmt.Sprintf("free port %d of interface %s, or choose another (policy.dnsProxyPort)", d.port, host.ManagementPort))
			select {
			case <-time.After(listenPause):
			case <-ctx.Done():
			}
			continue
		}
		if err := d.serve(ctx, redirect, sockets, addrs); err != nil {
			return err
		}
	}
	return nil
}

// serve serves until ctx ends or the node has other addresses.
func (d *domains) serve(ctx context.Context, redirect dns.Redirect, sockets *dns.Sockets, addrs []netip.Addr) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	led := make(chan error, 1)
	go func() {
		led <- redirect.Run(ctx, func() (dns.Lead, bool) {
			if !slices.Equal(addrs, d.addrs()) {
				cancel()
				return dns.Lead{}, false
			}
			return d.lead(sockets.Addrs())
		}, d.wake)
		cancel()
	}()
	err := d.proxy.Serve(ctx, sockets)
	cancel()
	return errors.Join(err, <-led)
}

// addrs are the management port's.
func (d *domains) addrs() []netip.Addr {
	var out []netip.Addr
	for _, s := range d.subnets() {
		out = append(out, plan.Management(s))
	}
	return out
}

func (d *domains) subnets() (out []netip.Prefix) {
	d.a.store.Read(func(v world.View) {
		if n, ok := v.Node(v.LocalNode()); ok {
			out = v.NodeSubnets(&d.a.network, n)
		}
	})
	return out
}

// lead is what the host hands to the proxy: nothing while no policy needs it.
func (d *domains) lead(at []netip.AddrPort) (l dns.Lead, ok bool) {
	d.a.store.Read(func(v world.View) { ok = len(v.DomainSubjects()) > 0 })
	if !ok {
		return l, false
	}
	l = dns.Lead{Device: host.ManagementPort, Proxy: at, Subnets: d.subnets(), Servers: d.servers()}
	return l, len(l.Servers) > 0 && len(l.Proxy) > 0
}

// forgetUDP ends UDP connections that are led elsewhere than to backends.
func forgetUDP(ctx context.Context, backends map[netip.AddrPort][]netip.AddrPort) error {
	k, err := kernel.NewNetlink()
	if err != nil {
		return fmt.Errorf("netlink: %w", err)
	}
	_, err = k.ForgetUDP(ctx, backends)
	return err
}

func (d *domains) trouble(err error) {
	if err == nil {
		d.a.Log.Info("a server of the cluster's DNS service answers again")
		return
	}
	d.report(reasonDNSUnreachable, fmt.Sprintf("no server of service %s answers the node: %v", d.service, err),
		"see to the service's pods, and if a NetworkPolicy isolates them have it allow ingress from the pod network by ipBlock: queries of pods that policies with domain names are for come from the nodes")
}

func (d *domains) report(code, message, remedy string) {
	d.a.Log.Warn("domain names in policies", "code", code, "reason", message, "remedy", remedy)
	node := world.ObjectRef{Kind: world.KindNode, Name: d.a.o.Node}
	d.a.store.Read(func(v world.View) {
		if n, ok := v.Node(node.Name); ok {
			node = n.Ref()
		}
	})
	d.a.recorder.Record(kube.Event{Object: node, Warning: true, Reason: code, Action: "ServingDNS", Note: message + "; " + remedy})
}
