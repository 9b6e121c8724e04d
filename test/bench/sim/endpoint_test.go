//go:build linux

package sim

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/ovnkctl/ovnkctl/internal/ovn"
	"github.com/ovnkctl/ovnkctl/internal/ovn/nb"
	"github.com/ovnkctl/ovnkctl/internal/ovn/ovntest"
	"github.com/ovnkctl/ovnkctl/internal/runtime/engine"
	"github.com/ovnkctl/ovnkctl/internal/runtime/feature"
	"github.com/ovnkctl/ovnkctl/internal/runtime/feature/services"
	"github.com/ovnkctl/ovnkctl/internal/runtime/host"
	"github.com/ovnkctl/ovnkctl/internal/runtime/node"
	"github.com/ovnkctl/ovnkctl/internal/world"
)

// serviceNamespace is the namespace of all services.
const serviceNamespace = "shop"

var serviceRange = netip.MustParsePrefix("10.96.0.0/16")

func serviceName(i int) string { return fmt.Sprintf("frontend-%05d", i) }

// clusterService is a Service as ordinary clusters have them; every tenth has a node port.
func clusterService(i int) *corev1.Service {
	s := &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: serviceNamespace, Name: serviceName(i), UID: types.UID(fmt.Sprintf("3c6b8f0e-0000-4000-8000-%012d", i)),
			Labels: map[string]string{"app.kubernetes.io/name": "frontend", "app.kubernetes.io/instance": "shop"},
		},
		Spec: corev1.ServiceSpec{
			Type: corev1.ServiceTypeClusterIP, Selector: map[string]string{"app.kubernetes.io/name": "frontend"},
			ClusterIP: address(serviceRange, 1+i), ClusterIPs: []string{address(serviceRange, 1+i)}, IPFamilies: []corev1.IPFamily{corev1.IPv4Protocol},
			Ports: []corev1.ServicePort{{Name: "http", Protocol: corev1.ProtocolTCP, Port: 80}},
		},
	}
	if i%10 == 0 {
		s.Spec.Type, s.Spec.Ports[0].NodePort = corev1.ServiceTypeNodePort, int32(30000+i/10)
	}
	return s
}

// clusterSlice has three end points on the first node's pods; version moves the first.
func clusterSlice(i, version int) *discoveryv1.EndpointSlice {
	name, protocol, port, yes, on := "http", corev1.ProtocolTCP, int32(8080), true, nodeName(0)
	s := &discoveryv1.EndpointSlice{
		ObjectMeta:  metav1.ObjectMeta{Namespace: serviceNamespace, Name: serviceName(i) + "-x7k2p", Labels: map[string]string{discoveryv1.LabelServiceName: serviceName(i)}},
		AddressType: discoveryv1.AddressTypeIPv4, Ports: []discoveryv1.EndpointPort{{Name: &name, Protocol: &protocol, Port: &port}},
	}
	for j := range 3 {
		host := 3 + (i+j)%100
		if j == 0 && version > 0 {
			host = 110 + version%100
		}
		s.Endpoints = append(s.Endpoints, discoveryv1.Endpoint{
			Addresses: []string{address(subnets(0)[0], host)}, NodeName: &on,
			Conditions: discoveryv1.EndpointConditions{Ready: &yes, Serving: &yes},
			TargetRef:  &corev1.ObjectReference{Kind: "Pod", Namespace: serviceNamespace, Name: fmt.Sprintf("frontend-7d9f8c6b5-%05d", host)},
		})
	}
	return s
}

func address(p netip.Prefix, n int) string {
	a := p.Addr().As4()
	a[2], a[3] = a[2]+byte(n/250), byte(n%250)+1
	return netip.AddrFrom4(a).String()
}

// BenchmarkEndpointChange moves one end point of one service among many: from the object,
// as the watch has it, to the committed row and to what the host does for services. Neither
// time nor memory nor the transaction's size may grow with the number of services.
func BenchmarkEndpointChange(b *testing.B) {
	for _, count := range []int{100, 1000, 5000} {
		for _, kind := range []struct {
			name    string
			service int
		}{{"ClusterIP", 7}, {"NodePort", 10}} {
			b.Run(fmt.Sprintf("services=%d/%s", count, kind.name), func(b *testing.B) {
				bytes := bytesPerChange(b, count, kind.service)
				r := newRunning(b, count, (*ovntest.Server).Backend)
				r.change(b, kind.service, 1)
				before, used, n := r.committed(b), cpuTime(b), 1
				b.ReportAllocs()
				for b.Loop() {
					n++
					r.change(b, kind.service, n)
				}
				changes := float64(n - 1)
				b.ReportMetric(float64((cpuTime(b)-used).Microseconds())/changes, "cpu-us/op")
				b.ReportMetric(bytes, "nb-bytes/op")
				b.ReportMetric((r.committed(b)-before)/changes, "txns/op")
			})
		}
	}
}

// bytesPerChange is what one change sends to the Northbound database, without its answers.
// It is counted aside: who counts computes, too.
func bytesPerChange(b *testing.B, count, service int) float64 {
	b.Helper()
	var sent *atomic.Int64
	r := newRunning(b, count, func(s *ovntest.Server) (endpoint string) {
		endpoint, sent = counting(b, strings.TrimPrefix(s.Backend(), "unix:"))
		return endpoint
	})
	r.change(b, service, 1)
	const changes = 10
	before := sent.Load()
	for i := range changes {
		r.change(b, service, 2+i)
	}
	return float64(sent.Load()-before) / changes
}

// counting is an endpoint before a socket that counts what is sent there.
func counting(b *testing.B, socket string) (endpoint string, sent *atomic.Int64) {
	b.Helper()
	sent = new(atomic.Int64)
	door, err := net.Listen("unix", socket+".counted")
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = door.Close() })
	go func() {
		for {
			client, err := door.Accept()
			if err != nil {
				return
			}
			server, err := net.Dial("unix", socket)
			if err != nil {
				_ = client.Close()
				return
			}
			go func() {
				_, _ = io.Copy(client, server)
				_ = client.Close()
			}()
			go func() {
				_, _ = io.Copy(server, io.TeeReader(client, counter{sent}))
				_ = server.Close()
			}()
		}
	}()
	return "unix:" + socket + ".counted", sent
}

type counter struct{ n *atomic.Int64 }

func (c counter) Write(p []byte) (int, error) {
	c.n.Add(int64(len(p)))
	return len(p), nil
}

// running is what of the node's program has to do with services, in this process.
type running struct {
	store    *world.Store
	engine   *engine.Engine
	registry *prometheus.Registry
	host     func()
}

// change moves an end point and returns when it is committed.
func (r *running) change(b *testing.B, service, version int) {
	b.Helper()
	r.store.SetSlice(world.FromEndpointSlice(clusterSlice(service, version)))
	r.host()
	if err := r.engine.Wait(b.Context(), services.Name, feature.Key{Namespace: serviceNamespace, Name: serviceName(service)}); err != nil {
		b.Fatal(err)
	}
}

// newRunning starts it with so many services and returns when all are committed.
func newRunning(b *testing.B, count int, endpoint func(*ovntest.Server) string) *running {
	b.Helper()
	r := &running{registry: prometheus.NewRegistry()}
	server := database(b, ovn.Northbound(), "ovn-nb", &nb.NBGlobal{Name: "zone"})
	north, err := ovn.Open(b.Context(), ovn.Config{
		Endpoint: endpoint(server), Database: ovn.Northbound(), Tables: feature.NorthTables(), Metrics: ovn.NewMetrics(r.registry),
	})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(north.Close)
	c := simConfig(clusterSubnets)
	network, err := c.DefaultNetwork()
	if err != nil {
		b.Fatal(err)
	}
	r.store = world.New(world.Config{LocalNode: nodeName(0), Networks: []world.Network{network}})
	set := host.NewServiceSet(&network)
	var touched atomic.Bool
	r.store.Subscribe(func(v world.View, c world.Change) {
		if set.Touch(v, c) {
			touched.Store(true)
		}
	})
	reconciler := host.New(host.Config{Node: nodeName(0), Config: c, Network: network})
	r.host = func() {
		if touched.Swap(false) {
			var s host.Services
			r.store.Read(func(v world.View) { s = set.Update(v) })
			reconciler.SetServices(s)
		}
	}
	r.engine = engine.New(engine.Config{World: r.store, NB: north, Features: node.Features(simConfig(clusterSubnets))})
	r.store.SetNode(world.FromNode(clusterNode(0)))
	for i := range count {
		r.store.SetService(world.FromService(clusterService(i)))
		r.store.SetSlice(world.FromEndpointSlice(clusterSlice(i, 0)))
	}
	r.store.MarkSynced()
	r.host()
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = r.engine.Run(ctx)
	}()
	b.Cleanup(func() { cancel(); <-ended })
	<-r.engine.Synced()
	return r
}

func (r *running) committed(b *testing.B) float64 {
	b.Helper()
	n, err := transactions(r.registry)
	if err != nil {
		b.Fatal(err)
	}
	return n["nb"]
}

// cpuTime is what this process has computed, which other load does not lengthen. The
// database is another process.
func cpuTime(b *testing.B) time.Duration {
	b.Helper()
	var r syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &r); err != nil {
		b.Fatal(err)
	}
	return time.Duration(r.Utime.Nano() + r.Stime.Nano())
}
