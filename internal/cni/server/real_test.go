//go:build ovn && linux

package server_test

import (
	"context"
	"fmt"
	"maps"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ovnkctl/ovnkctl/internal/cni/plumb"
	"github.com/ovnkctl/ovnkctl/internal/cni/port"
	"github.com/ovnkctl/ovnkctl/internal/cni/server"
	"github.com/ovnkctl/ovnkctl/internal/cni/wire"
	"github.com/ovnkctl/ovnkctl/internal/ovn"
	"github.com/ovnkctl/ovnkctl/internal/ovn/names"
	"github.com/ovnkctl/ovnkctl/internal/ovn/nb"
	"github.com/ovnkctl/ovnkctl/internal/ovn/vswitch"
	"github.com/ovnkctl/ovnkctl/internal/runtime/feature/pods"
	"github.com/ovnkctl/ovnkctl/internal/runtime/feature/topology"
	"github.com/ovnkctl/ovnkctl/internal/world"
	"github.com/ovnkctl/ovnkctl/internal/world/plan"
	"github.com/ovnkctl/ovnkctl/test/ovn/box"
	"github.com/ovnkctl/ovnkctl/test/sandbox/netspace"
)

func TestMain(m *testing.M) { box.Main(m) }

// zone is a node with real OVN, whose CNI server works on real interfaces.
type zone struct {
	*box.Zone
	t      testing.TB
	ovs    *ovn.DB
	host   *plumb.Host
	ports  *port.Ports
	socket string

	mu     sync.Mutex
	events []string
	next   uint64
}

func realZone(t testing.TB) *zone {
	t.Helper()
	b := box.New(t, box.Options{Zones: 1, Family: box.Dual, Mode: world.GatewayShared})
	b.Program(topology.Feature{}, pods.Feature{})
	z := &zone{Zone: b.Zones[0], t: t, socket: filepath.Join(t.TempDir(), "cni", "s"), next: 10}
	var err error
	z.ovs, err = ovn.Open(t.Context(), ovn.Config{
		Endpoint: z.Endpoint("db"), Database: ovn.OpenVSwitch(), Columns: port.Columns(), Tables: slices.Collect(maps.Keys(port.Columns())),
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(z.ovs.Close)
	if z.host, err = plumb.HostAt("/run/netns/" + z.NS); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(z.host.Close)
	z.ports = port.New(z.ovs, ovn.NewCommitter(z.ovs), names.IntegrationBridge)
	t.Cleanup(z.ports.Close)
	networks := server.NewWorld(server.WorldConfig{
		Store: z.World, Allocator: &holder{}, Needs: portOnly, Programmer: z.Engine,
		HasPort: func(p world.PodKey) bool {
			_, ok := ovn.Find[nb.LogicalSwitchPort](z.NB, names.Pod(p.Namespace, p.Name))
			return ok
		},
	})
	s := server.New(server.Config{
		Socket: z.socket, MTU: mtu, Networks: networks, Ports: z.ports, Links: server.Netlink{Host: z.host},
		Policed: z.host.Policed,
		Event: func(pod world.ObjectRef, reason, note string) {
			z.mu.Lock()
			defer z.mu.Unlock()
			z.events = append(z.events, pod.Name+" "+reason+": "+note)
		},
	})
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error)
	go func() { done <- s.Serve(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Serve: %v", err)
		}
	})
	(&node{t: t, socket: z.socket}).waitForSocket()
	return z
}

// pod makes a pod known, with addresses.
func (z *zone) pod(name string, change func(*world.Pod)) *world.Pod {
	p := z.draft(name)
	if change != nil {
		change(p)
	}
	z.World.SetPod(p)
	return p
}

// draft is a pod with addresses that nobody knows yet.
func (z *zone) draft(name string) *world.Pod {
	z.mu.Lock()
	z.next++
	number := z.next
	z.mu.Unlock()
	p := &world.Pod{Namespace: "default", Name: name, UID: "uid-" + name, Node: z.Name, Networks: map[string]world.PodNetwork{}}
	var n world.PodNetwork
	for _, s := range z.Subnets {
		a, _ := plan.Nth(s, number)
		n.Addresses = append(n.Addresses, plan.With(a, s))
		n.Gateways = append(n.Gateways, plan.Gateway(s))
	}
	n.MAC = plan.MACOf(plan.Addrs(n.Addresses)...)
	p.Networks[world.DefaultNetwork] = n
	return p
}

// namespace makes a network namespace; the box removes those whose name begins as its own.
func (z *zone) namespace(name string) string {
	z.t.Helper()
	name = z.NS + "-" + name
	if err := netspace.Ensure(name); err != nil {
		z.t.Fatal(err)
	}
	return name
}

func (z *zone) call(command, sandbox string, p *world.Pod, ns string) wire.Response {
	r := request(command, sandbox, p.Name, p.UID)
	r.Netns = ""
	if ns != "" {
		r.Netns = "/run/netns/" + ns
	}
	return (&node{t: z.t, socket: z.socket}).call(r)
}

func (z *zone) must(command, sandbox string, p *world.Pod, ns string) {
	z.t.Helper()
	if r := z.call(command, sandbox, p, ns); r.Error != nil {
		z.t.Fatalf("%s %s: %v", command, p.Name, r.Error)
	}
}

// reach sends a request from one pod to the other, in each family.
func (z *zone) reach(from string, p, q *world.Pod) {
	z.t.Helper()
	for i, a := range q.Networks[world.DefaultNetwork].Addresses {
		box.Request{From: from, Network: "tcp", To: netip.AddrPortFrom(a.Addr(), 8080)}.
			Check(z.t, p.Networks[world.DefaultNetwork].Addresses[i].Addr())
	}
}

func TestRealOVN(t *testing.T) {
	z := realZone(t)
	web := z.pod("web", func(p *world.Pod) { p.IngressRate, p.EgressRate = 100_000_000, 100_000_000 })
	client := z.pod("client", nil)
	webNS, clientNS := z.namespace("web"), z.namespace("client")
	z.must(wire.Add, "1111111111111111", web, webNS)
	z.must(wire.Add, "2222222222222222", client, clientNS)
	z.must(wire.Check, "1111111111111111", web, webNS)
	box.Serve(t, webNS, 8080)
	z.reach(clientNS, client, web)

	// This kernel may or may not be able to limit what the pod sends; what counts is that
	// the event says what the kernel shows.
	policed, err := z.host.Policed(plumb.HostName("1111111111111111"))
	if err != nil {
		t.Error(err)
	}
	z.mu.Lock()
	reported := slices.ContainsFunc(z.events, func(e string) bool { return strings.HasPrefix(e, "web "+server.ReasonNotPoliced) })
	z.mu.Unlock()
	if reported == policed {
		t.Errorf("policed %t, reported %t", policed, reported)
	}
	if qos := ovn.List[vswitch.QoS](z.ovs); len(qos) != 1 {
		t.Errorf("%d QoS rows", len(qos))
	}

	// The sandbox dies and the kubelet starts another before it removes the old one.
	againNS := z.namespace("again")
	z.must(wire.Add, "3333333333333333", web, againNS)
	box.Serve(t, againNS, 8080)
	z.reach(clientNS, client, web)
	z.must(wire.Del, "1111111111111111", web, "")
	z.reach(clientNS, client, web)
	z.must(wire.Check, "3333333333333333", web, againNS)

	// A repeated ADD changes nothing for established pods.
	z.must(wire.Add, "3333333333333333", web, againNS)
	z.reach(clientNS, client, web)

	z.must(wire.Del, "3333333333333333", web, againNS)
	z.must(wire.Del, "2222222222222222", client, "")
	z.clean()
}

// clean checks that nothing of any pod is left.
func (z *zone) clean() {
	z.t.Helper()
	veths, err := z.host.Veths()
	if err != nil {
		z.t.Error(err)
	}
	delete(veths, "eth0") // the node's NIC
	if qos, queues := len(ovn.List[vswitch.QoS](z.ovs)), len(ovn.List[vswitch.Queue](z.ovs)); len(z.ports.List())+len(veths)+qos+queues != 0 {
		z.t.Errorf("left: %d ports, veths %v, %d QoS rows, %d queues", len(z.ports.List()), veths, qos, queues)
	}
}

func TestRealBurst(t *testing.T) {
	z := realZone(t)
	const count = 50
	var wg sync.WaitGroup
	start := time.Now()
	for k := range count {
		p, ns, sandbox := z.pod(fmt.Sprint("burst-", k), nil), z.namespace(fmt.Sprint("burst-", k)), burstSandbox(k)
		wg.Go(func() {
			if r := z.call(wire.Add, sandbox, p, ns); r.Error != nil {
				t.Errorf("ADD %s: %v", p.Name, r.Error)
			}
		})
	}
	wg.Wait()
	t.Logf("%d pods after %s", count, time.Since(start))
	for k := range count {
		p := &world.Pod{Namespace: "default", Name: fmt.Sprint("burst-", k)}
		wg.Go(func() {
			if r := z.call(wire.Del, burstSandbox(k), p, ""); r.Error != nil {
				t.Errorf("DEL %s: %v", p.Name, r.Error)
			}
		})
	}
	wg.Wait()
	z.clean()
}
