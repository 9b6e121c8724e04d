//go:build ovn && linux

package ovn

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/net/dns/dnsmessage"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"

	egressfirewallv1 "github.com/ovnkctl/ovnkctl/api/egressfirewall/v1"
	"github.com/ovnkctl/ovnkctl/internal/ovn"
	"github.com/ovnkctl/ovnkctl/internal/ovn/barrier"
	"github.com/ovnkctl/ovnkctl/internal/ovn/vswitch"
	dnsfeature "github.com/ovnkctl/ovnkctl/internal/runtime/feature/dns"
	policies "github.com/ovnkctl/ovnkctl/internal/runtime/feature/policy"
	"github.com/ovnkctl/ovnkctl/internal/runtime/host"
	"github.com/ovnkctl/ovnkctl/internal/runtime/node/dns"
	"github.com/ovnkctl/ovnkctl/internal/world"
	"github.com/ovnkctl/ovnkctl/internal/world/plan"
	"github.com/ovnkctl/ovnkctl/internal/world/proxy"
	"github.com/ovnkctl/ovnkctl/test/ovn/box"
	"github.com/ovnkctl/ovnkctl/test/sandbox/netspace"
)

const (
	// dnsTarget is the port of the DNS pods, other than that of their service.
	dnsTarget = 5353
	proxyPort = 9412
	// firstSYN is less than the second after which TCP repeats a lost SYN: the first one
	// must come through.
	firstSYN = 900 * time.Millisecond
	// lookups is how many names are asked for, each with an address of its own.
	lookups = 100
)

// dnsLab is a pod that an EgressFirewall with domain names is for, DNS pods on both nodes,
// and a host outside with many addresses.
type dnsLab struct {
	*serviceLab
	dnsPods []*box.Pod
	service []netip.Addr // of the DNS service
	next    atomic.Int32 // number of the next answer
	proxy   *dns.Proxy
	stop    func()
}

// TestDomainNames sends queries and packets through everything that they go through in a
// cluster: load balancer, ACLs, router, the host's tables, the proxy, and back.
func TestDomainNames(t *testing.T) {
	t.Parallel()
	for _, mode := range []world.GatewayMode{world.GatewayShared, world.GatewayLocal} {
		t.Run(string(mode), func(t *testing.T) {
			l := newDNSLab(t, mode)
			t.Run("without the proxy", l.direct)
			l.start(t)
			t.Run("first connection", l.firstConnection)
			t.Run("alias", l.alias)
			t.Run("other names", l.otherNames)
			t.Run("isolated pod", l.isolated)
			t.Run("not for strangers", l.strangers)
			t.Run("restart", l.restart)
			quietLogs(t, l.box)
		})
	}
}

func newDNSLab(t *testing.T, mode world.GatewayMode) *dnsLab {
	t.Helper()
	b := box.New(t, box.Options{Zones: 2, Family: box.Dual, Mode: mode})
	b.Program(append(slices.Clone(features), policies.Feature{}, dnsfeature.Feature{Service: clusterDNS})...)
	l := &dnsLab{serviceLab: &serviceLab{box: b, n1: b.Zones[0], n2: b.Zones[1]}}
	l.client = l.n1.AddPod("client")
	l.near, l.far = l.n1.AddPodIn("dns", "near"), l.n2.AddPodIn("dns", "far")
	l.dnsPods = []*box.Pod{l.near, l.far}
	l.n2.World.Read(func(v world.View) {
		far, _ := v.Pod(l.far.Key)
		l.n1.World.SetPod(far)
	})
	for _, p := range l.dnsPods {
		l.answer(t, p)
	}
	for i := range lookups + 2 { // two more for later
		for _, a := range l.outside(i) {
			run(t, "ip", "-n", b.OutsideNS(), "addr", "add", netip.PrefixFrom(a, a.BitLen()).String(), "dev", "lo", "nodad")
		}
	}
	box.Serve(t, b.OutsideNS(), port)
	l.serviceDNS()
	l.firewallNames()
	return l
}

var clusterDNS = world.ServiceKey{Namespace: "kube-system", Name: "kube-dns"}

func run(t *testing.T, argv ...string) {
	t.Helper()
	if out, err := exec.CommandContext(t.Context(), argv[0], argv[1:]...).CombinedOutput(); err != nil {
		t.Fatalf("%s: %v: %s", strings.Join(argv, " "), err, out)
	}
}

// outside are the addresses of answer i.
func (l *dnsLab) outside(i int) []netip.Addr {
	return []netip.Addr{netip.AddrFrom4([4]byte{198, 51, 100, byte(1 + i)}), netip.MustParseAddr(fmt.Sprintf("2001:db8:51::%x", 1+i))}
}

// answer serves DNS in a pod: each question for a name gets another address, that of the
// host outside with the next number.
func (l *dnsLab) answer(t *testing.T, p *box.Pod) {
	t.Helper()
	for _, a := range p.Addrs {
		at := netip.AddrPortFrom(a, dnsTarget).String()
		var packets net.PacketConn
		var streams net.Listener
		if err := netspace.Do(p.NS, func() (err error) {
			if packets, err = net.ListenPacket("udp", at); err != nil {
				return err
			}
			streams, err = net.Listen("tcp", at)
			return err
		}); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _, _ = packets.Close(), streams.Close() })
		go func() {
			buffer := make([]byte, 4096)
			for {
				n, from, err := packets.ReadFrom(buffer)
				if err != nil {
					return
				}
				if m := l.reply(buffer[:n]); m != nil {
					_, _ = packets.WriteTo(m, from)
				}
			}
		}()
		go func() {
			for {
				c, err := streams.Accept()
				if err != nil {
					return
				}
				go l.stream(c)
			}
		}()
	}
}

func (l *dnsLab) stream(c net.Conn) {
	defer c.Close()
	buffer := make([]byte, 4096)
	n, err := c.Read(buffer) // queries of these tests come in one piece
	if err != nil || n < 2 {
		return
	}
	if m := l.reply(buffer[2:n]); m != nil {
		_, _ = c.Write(append([]byte{byte(len(m) >> 8), byte(len(m))}, m...))
	}
}

func (l *dnsLab) reply(query []byte) []byte {
	var m dnsmessage.Message
	if err := m.Unpack(query); err != nil || len(m.Questions) != 1 {
		return nil
	}
	q := m.Questions[0]
	m.Response, m.Additionals = true, nil
	header := dnsmessage.ResourceHeader{Name: q.Name, Class: q.Class, TTL: 1}
	if strings.EqualFold(q.Name.String(), "alias.example.net.") {
		target := dnsmessage.MustNewName("elsewhere.test.")
		m.Answers = append(m.Answers, dnsmessage.Resource{Header: header, Body: &dnsmessage.CNAMEResource{CNAME: target}})
		header.Name = target
	}
	// The program asks by itself, too: its answers are addresses that no pod gets.
	at := l.outside(int(l.next.Load()))
	switch q.Type {
	case dnsmessage.TypeA:
		m.Answers = append(m.Answers, dnsmessage.Resource{Header: header, Body: &dnsmessage.AResource{A: at[0].As4()}})
	case dnsmessage.TypeAAAA:
		m.Answers = append(m.Answers, dnsmessage.Resource{Header: header, Body: &dnsmessage.AAAAResource{AAAA: at[1].As16()}})
	}
	out, err := m.Pack()
	if err != nil {
		return nil
	}
	return out
}

func (l *dnsLab) serviceDNS() {
	s := &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Namespace: clusterDNS.Namespace, Name: clusterDNS.Name, UID: types.UID("uid-dns")},
		Spec: corev1.ServiceSpec{Type: corev1.ServiceTypeClusterIP, Ports: []corev1.ServicePort{
			{Name: "dns", Protocol: corev1.ProtocolUDP, Port: 53}, {Name: "dns-tcp", Protocol: corev1.ProtocolTCP, Port: 53},
		}},
	}
	for _, p := range l.box.Network.ServiceSubnets {
		a, _ := plan.Nth(p, 10)
		l.service = append(l.service, a)
		s.Spec.ClusterIPs = append(s.Spec.ClusterIPs, a.String())
	}
	l.box.SetService(s)
	for i, family := range []discoveryv1.AddressType{discoveryv1.AddressTypeIPv4, discoveryv1.AddressTypeIPv6} {
		e := &discoveryv1.EndpointSlice{
			ObjectMeta: metav1.ObjectMeta{
				Namespace: clusterDNS.Namespace, Name: "dns-" + strings.ToLower(string(family)), Labels: map[string]string{discoveryv1.LabelServiceName: clusterDNS.Name},
			},
			AddressType: family,
		}
		for name, protocol := range map[string]corev1.Protocol{"dns": corev1.ProtocolUDP, "dns-tcp": corev1.ProtocolTCP} {
			number := int32(dnsTarget)
			e.Ports = append(e.Ports, discoveryv1.EndpointPort{Name: &name, Protocol: &protocol, Port: &number})
		}
		for _, p := range l.dnsPods {
			e.Endpoints = append(e.Endpoints, discoveryv1.Endpoint{Addresses: []string{p.Addrs[i].String()}, NodeName: &p.Zone.Name})
		}
		l.box.SetSlice(e)
	}
}

func (l *dnsLab) firewallNames() {
	o := &egressfirewallv1.EgressFirewall{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: egressfirewallv1.Name}}
	for _, name := range []string{"*.example.com", "alias.example.net"} {
		o.Spec.Egress = append(o.Spec.Egress, egressfirewallv1.EgressFirewallRule{
			Type: egressfirewallv1.EgressFirewallRuleAllow, To: egressfirewallv1.EgressFirewallDestination{DNSName: name},
		})
	}
	for _, all := range []string{"0.0.0.0/0", "::/0"} {
		o.Spec.Egress = append(o.Spec.Egress, egressfirewallv1.EgressFirewallRule{
			Type: egressfirewallv1.EgressFirewallRuleDeny, To: egressfirewallv1.EgressFirewallDestination{CIDRSelector: all},
		})
	}
	l.n1.World.SetPolicy(world.FromEgressFirewall(o))
	l.n1.Wait(policies.Name, policies.KeyOf(world.PolicyKey{Kind: world.KindEgressFirewall, Namespace: "default", Name: egressfirewallv1.Name}))
	l.box.Sync()
}

// start starts the proxy in the client's node, as the node's program does.
func (l *dnsLab) start(t *testing.T) {
	t.Helper()
	ovs, err := ovn.Open(t.Context(), ovn.Config{
		Endpoint: l.n1.Endpoint("db"), Database: ovn.OpenVSwitch(), Tables: []string{vswitch.BridgeTable},
		Columns: map[string][]string{vswitch.BridgeTable: {"name", "external_ids"}},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(ovs.Close)
	servers := func() (out []proxy.DNSServer) {
		l.n1.World.Read(func(v world.View) { out = proxy.DNSServers(v, &l.box.Network, clusterDNS) })
		return out
	}
	flows := barrier.Barrier{NB: l.n1.NB, OVS: ovs, Bridge: "br-int"}
	l.proxy, err = dns.New(dns.Config{
		Store: l.n1.World, Servers: servers, Learnable: l.box.Network.HasFamily, Dial: netspace.Dialer(l.n1.NS),
		Installed: func(ctx context.Context, names []world.DomainName) error {
			for _, n := range names {
				if err := l.n1.Engine.Wait(ctx, policies.Name, policies.DomainKey(n)); err != nil {
					return err
				}
			}
			return flows.Wait(ctx)
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	var at []netip.Addr
	for _, s := range l.n1.Subnets {
		at = append(at, plan.Management(s))
	}
	var sockets *dns.Sockets
	if err := netspace.Do(l.n1.NS, func() (err error) {
		sockets, err = dns.Listen(ctx, at, proxyPort)
		return err
	}); err != nil {
		t.Fatal(err)
	}
	nft := filepath.Join(t.TempDir(), "nft")
	if err := os.WriteFile(nft, []byte("#!/bin/sh\nexec ip netns exec "+l.n1.NS+" nft \"$@\"\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	lead := dns.Lead{Device: host.ManagementPort, Proxy: sockets.Addrs(), Subnets: l.n1.Subnets, Servers: servers()}
	var parts sync.WaitGroup
	ready := make(chan struct{})
	redirect := dns.Redirect{Nft: nft, Log: slog.New(slog.DiscardHandler), Forget: func(context.Context, map[netip.AddrPort][]netip.AddrPort) error {
		select {
		case <-ready:
		default:
			close(ready) // the table is there
		}
		return nil
	}}
	check := func(err error) {
		if err != nil && !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
	}
	parts.Go(func() { check(l.proxy.Run(ctx)) })
	parts.Go(func() { check(l.proxy.Serve(ctx, sockets)) })
	parts.Go(func() { check(redirect.Run(ctx, func() (dns.Lead, bool) { return lead, true }, nil)) })
	l.stop = sync.OnceFunc(func() {
		cancel()
		parts.Wait()
	})
	t.Cleanup(l.stop)
	select {
	case <-ready:
	case <-time.After(patience):
		t.Fatal("the host's table is not there")
	}
}

// lookup asks the DNS service from a pod.
func (l *dnsLab) lookup(t *testing.T, from *box.Pod, network string, family int, name string) (netip.Addr, error) {
	t.Helper()
	kind := []dnsmessage.Type{dnsmessage.TypeA, dnsmessage.TypeAAAA}[family]
	m := dnsmessage.Message{
		Header:    dnsmessage.Header{ID: uint16(l.next.Load()), RecursionDesired: true},
		Questions: []dnsmessage.Question{{Name: dnsmessage.MustNewName(name), Type: kind, Class: dnsmessage.ClassINET}},
	}
	query, err := m.Pack()
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	c, err := netspace.Dialer(from.NS)(ctx, network, netip.AddrPortFrom(l.service[family], 53).String())
	if err != nil {
		return netip.Addr{}, err
	}
	defer c.Close()
	limit, _ := ctx.Deadline()
	_ = c.SetDeadline(limit)
	if network == "tcp" {
		query = append([]byte{byte(len(query) >> 8), byte(len(query))}, query...)
	}
	if _, err := c.Write(query); err != nil {
		return netip.Addr{}, err
	}
	buffer := make([]byte, 4096)
	n, err := c.Read(buffer)
	if err != nil {
		return netip.Addr{}, err
	}
	if network == "tcp" {
		buffer, n = buffer[2:], n-2
	}
	if err := m.Unpack(buffer[:n]); err != nil {
		return netip.Addr{}, err
	}
	if len(m.Answers) == 0 {
		return netip.Addr{}, fmt.Errorf("no answer: %v", m.RCode)
	}
	switch r := m.Answers[len(m.Answers)-1].Body.(type) {
	case *dnsmessage.AResource:
		return netip.AddrFrom4(r.A), nil
	case *dnsmessage.AAAAResource:
		return netip.AddrFrom16(r.AAAA), nil
	}
	return netip.Addr{}, fmt.Errorf("answer %v", m.Answers)
}

// connect tells whether the very first packet comes through.
func (l *dnsLab) connect(t *testing.T, from *box.Pod, to netip.Addr) error {
	ctx, cancel := context.WithTimeout(t.Context(), firstSYN)
	defer cancel()
	c, err := netspace.Dialer(from.NS)(ctx, "tcp", netip.AddrPortFrom(to, port).String())
	if err == nil {
		_ = c.Close()
	}
	return err
}

func (l *dnsLab) wantLookup(t *testing.T, network string, family int, name string) netip.Addr {
	t.Helper()
	a, err := l.lookup(t, l.client, network, family, name)
	if err != nil {
		t.Fatalf("%s by %s: %v", name, network, err)
	}
	return a
}

// direct: while nobody serves, the host passes queries on, and the firewall knows no names.
func (l *dnsLab) direct(t *testing.T) {
	for family := range l.service {
		for _, network := range []string{"udp", "tcp"} {
			a := l.wantLookup(t, network, family, "x.example.com.")
			if err := l.connect(t, l.client, a); err == nil {
				t.Errorf("%s is open before anybody learnt it", a)
			}
		}
	}
}

// firstConnection: after each lookup, of a name that is new or of one whose address has
// changed, the first packet to the address comes through.
func (l *dnsLab) firstConnection(t *testing.T) {
	var held []time.Duration
	for i := range lookups {
		l.next.Store(int32(i))
		name := []string{"changing.example.com.", fmt.Sprintf("N%d.Example.com.", i)}[i%2]
		network, family := []string{"udp", "tcp"}[i/2%2], i/4%2
		start := time.Now()
		a := l.wantLookup(t, network, family, name)
		held = append(held, time.Since(start))
		if err := l.connect(t, l.client, a); err != nil {
			t.Errorf("lookup %d of %s by %s gave %s, and the first packet is lost: %v", i, name, network, a, err)
		}
	}
	slices.Sort(held)
	t.Logf("%d lookups with new addresses: median %v, slowest %v", len(held), held[len(held)/2], held[len(held)-1])
}

func (l *dnsLab) alias(t *testing.T) {
	l.next.Store(lookups)
	for family := range l.service {
		a := l.wantLookup(t, "udp", family, "alias.example.net.")
		if err := l.connect(t, l.client, a); err != nil {
			t.Errorf("%s: %v", a, err)
		}
	}
}

// otherNames: what no rule speaks of is answered and stays shut.
func (l *dnsLab) otherNames(t *testing.T) {
	for family := range l.service {
		for _, name := range []string{"elsewhere.test.", "a.b.example.com.", "example.com."} {
			a := l.outsideOnly(family)
			if got := l.wantLookup(t, "udp", family, name); got != a {
				t.Errorf("%s is %s, want %s", name, got, a)
			}
			if err := l.connect(t, l.client, a); err == nil {
				t.Errorf("%s opens %s", name, a)
			}
		}
	}
}

// outsideOnly has the servers answer with an address that nobody learnt: there are more of
// them than the tests look up.
func (l *dnsLab) outsideOnly(family int) netip.Addr {
	l.next.Store(lookups + 100)
	return l.outside(lookups + 100)[family]
}

// isolated: what a pod may ask is decided for the DNS pods, though the packets go elsewhere.
func (l *dnsLab) isolated(t *testing.T) {
	udp, number := corev1.ProtocolUDP, intstr.FromInt32(dnsTarget)
	p := &networkingv1.NetworkPolicy{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "dns-only"},
		Spec:       networkingv1.NetworkPolicySpec{PolicyTypes: []networkingv1.PolicyType{"Egress"}},
	}
	set := func() {
		n := world.FromNetworkPolicy(p)
		l.n1.World.SetPolicy(n)
		l.n1.Wait(policies.Name, policies.KeyOf(n.Key()))
		l.n1.Wait(policies.Name, policies.PodKey("default", "client"))
		l.box.Sync()
	}
	set()
	defer func() {
		l.n1.World.DeletePolicy(world.FromNetworkPolicy(p).Key())
		l.box.Sync()
	}()
	for family := range l.service {
		if a, err := l.lookup(t, l.client, "udp", family, "x.example.com."); err == nil {
			t.Errorf("a pod that may send nothing was told %s", a)
		}
	}
	p.Spec.Egress = []networkingv1.NetworkPolicyEgressRule{{
		To:    []networkingv1.NetworkPolicyPeer{{NamespaceSelector: &metav1.LabelSelector{MatchLabels: map[string]string{"kubernetes.io/metadata.name": "dns"}}}},
		Ports: []networkingv1.NetworkPolicyPort{{Protocol: &udp, Port: &number}},
	}}
	set()
	for family := range l.service {
		for range 8 { // both DNS pods
			l.wantLookup(t, "udp", family, "x.example.com.")
		}
		if a, err := l.lookup(t, l.client, "tcp", family, "x.example.com."); err == nil {
			t.Errorf("a pod that may ask by UDP only was told %s by TCP", a)
		}
	}
}

// strangers: the proxy's own address answers nobody.
func (l *dnsLab) strangers(t *testing.T) {
	for _, s := range l.n1.Subnets {
		at := netip.AddrPortFrom(plan.Management(s), proxyPort)
		for _, from := range []string{l.client.NS, l.far.NS, l.n1.NS} {
			expectNothing(t, from, at)
		}
	}
}

// restart: a program that ends leaves pods their DNS; the next one learns again.
func (l *dnsLab) restart(t *testing.T) {
	l.stop()
	for family := range l.service {
		for _, network := range []string{"udp", "tcp"} {
			l.wantLookup(t, network, family, "x.example.com.")
		}
	}
	l.start(t)
	l.next.Store(lookups + 1)
	a := l.wantLookup(t, "udp", 0, "again.example.com.")
	if err := l.connect(t, l.client, a); err != nil {
		t.Errorf("%s: %v", a, err)
	}
}
