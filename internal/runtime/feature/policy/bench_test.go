package policy

import (
	"fmt"
	"net/netip"
	"runtime"
	"testing"

	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/ovnkctl/ovnkctl/internal/runtime/feature"
	"github.com/ovnkctl/ovnkctl/internal/world"
)

const (
	benchPodsPerNamespace     = 10
	benchPoliciesPerNamespace = 20
	benchBigNamespace         = 1000 // pods of the namespace whose labels change
	benchNodes                = 25
)

// bench is a cluster with many policies: 20 in each namespace of 10 pods, with selectors,
// ranges and ports mixed, and a namespace of 1,000 pods that all policies of one label name
// as a peer.
type bench struct {
	store *world.Store
	keys  []feature.Key
}

func newBench(policies int) *bench {
	b := &bench{store: world.New(world.Config{LocalNode: "n0", Networks: []world.Network{{
		Name: world.DefaultNetwork, ClusterSubnets: []world.ClusterSubnet{{Prefix: netip.MustParsePrefix("10.128.0.0/9"), HostLength: 24}},
	}}})}
	b.store.Subscribe(func(v world.View, c world.Change) { b.keys = append(b.keys, Feature{}.Keys(v, c)...) })
	for i := range benchBigNamespace {
		b.store.SetPod(benchPod("big", i, 1<<16+i))
	}
	b.flip(0)
	for n := range max(policies/benchPoliciesPerNamespace, 1) {
		name := fmt.Sprint("ns", n)
		b.store.SetNamespace(&world.Namespace{Name: name, Labels: map[string]string{"kubernetes.io/metadata.name": name, "team": fmt.Sprint(n % 10)}})
		for i := range benchPodsPerNamespace {
			b.store.SetPod(benchPod(name, i, n*benchPodsPerNamespace+i))
		}
		for i := range min(policies, benchPoliciesPerNamespace) {
			b.store.SetPolicy(world.FromNetworkPolicy(benchPolicy(name, i)))
		}
	}
	return b
}

func benchPod(namespace string, i, n int) *world.Pod {
	a := netip.AddrFrom4([4]byte{10, byte(128 + n>>16), byte(n >> 8), byte(n)})
	return &world.Pod{
		Namespace: namespace, Name: fmt.Sprint("pod-", i), UID: fmt.Sprint(n), Node: fmt.Sprint("n", n%benchNodes),
		Labels: map[string]string{"app": fmt.Sprint("app", i%5), "role": "server"},
		IPs:    []netip.Addr{a}, Ports: []world.PodPort{{Name: "http", Protocol: world.TCP, Port: 8080}},
	}
}

func benchPolicy(namespace string, i int) *networkingv1.NetworkPolicy {
	app := &metav1.LabelSelector{MatchLabels: map[string]string{"app": fmt.Sprint("app", i%5)}}
	other := &metav1.LabelSelector{MatchLabels: map[string]string{"app": fmt.Sprint("app", (i+1)%5)}}
	port, end := intstr.FromInt32(int32(8000+i)), int32(8100+i)
	name := intstr.FromString("http")
	np := &networkingv1.NetworkPolicy{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: fmt.Sprint("policy-", i)}}
	np.Spec.PodSelector = *app
	rule := networkingv1.NetworkPolicyIngressRule{From: []networkingv1.NetworkPolicyPeer{{PodSelector: other}}}
	switch i % 4 {
	case 0:
		rule.Ports = []networkingv1.NetworkPolicyPort{{Port: &port}}
		rule.From = append(rule.From, networkingv1.NetworkPolicyPeer{NamespaceSelector: &metav1.LabelSelector{MatchLabels: map[string]string{"team": fmt.Sprint(i % 10)}}})
	case 1:
		rule.Ports = []networkingv1.NetworkPolicyPort{{Port: &port, EndPort: &end}}
	case 2:
		rule.Ports = []networkingv1.NetworkPolicyPort{{Port: &name}}
	case 3:
		rule.From = append(rule.From, networkingv1.NetworkPolicyPeer{IPBlock: &networkingv1.IPBlock{CIDR: "10.0.0.0/8", Except: []string{"10.1.0.0/16"}}})
	}
	np.Spec.Ingress = []networkingv1.NetworkPolicyIngressRule{rule}
	return np
}

// flip takes the big namespace into team 0, and out of it.
func (b *bench) flip(i int) {
	b.store.SetNamespace(&world.Namespace{Name: "big", Labels: map[string]string{"team": []string{"none", "0"}[i%2]}})
}

// settle computes what the touched keys want, and returns how many there were.
func (b *bench) settle() int {
	n := len(b.keys)
	b.store.Read(func(v world.View) {
		for _, k := range b.keys {
			Feature{}.Desired(v, k)
		}
	})
	b.keys = b.keys[:0]
	return n
}

var benchSizes = []int{10, 1000, 5000}

// BenchmarkLoad is the start: everything arrives and is computed.
func BenchmarkLoad(b *testing.B) {
	for _, size := range benchSizes {
		b.Run(fmt.Sprintf("policies=%d", size), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				w := newBench(size)
				b.ReportMetric(float64(w.settle()), "keys")
			}
		})
	}
}

// BenchmarkMemory is what the world keeps.
func BenchmarkMemory(b *testing.B) {
	for _, size := range benchSizes {
		b.Run(fmt.Sprintf("policies=%d", size), func(b *testing.B) {
			var before, after runtime.MemStats
			for b.Loop() {
				runtime.GC()
				runtime.ReadMemStats(&before)
				w := newBench(size)
				w.settle()
				w.keys = nil
				runtime.GC()
				runtime.ReadMemStats(&after)
				b.ReportMetric(float64(after.HeapAlloc-before.HeapAlloc)/1e6, "MB")
				runtime.KeepAlive(w)
			}
		})
	}
}

func benchmarkChange(b *testing.B, change func(w *bench, i int)) {
	for _, size := range benchSizes {
		b.Run(fmt.Sprintf("policies=%d", size), func(b *testing.B) {
			w := newBench(size)
			w.settle()
			b.ReportAllocs()
			keys, i := 0, 0
			for b.Loop() {
				i++
				change(w, i)
				keys += w.settle()
			}
			b.ReportMetric(float64(keys)/float64(i), "keys/op")
		})
	}
}

// BenchmarkLabelFlip makes a namespace of 1,000 pods a peer of some policies, and no peer.
func BenchmarkLabelFlip(b *testing.B) {
	benchmarkChange(b, func(w *bench, i int) { w.flip(i) })
}

// BenchmarkPod has a pod of the local node appear and go.
func BenchmarkPod(b *testing.B) {
	benchmarkChange(b, func(w *bench, i int) {
		p := benchPod("ns0", 5, 7*benchNodes*1000)
		p.Name, p.Node = "new", "n0"
		if i%2 == 1 {
			w.store.SetPod(p)
		} else {
			w.store.DeletePod(world.PodKey{Namespace: p.Namespace, Name: p.Name})
		}
	})
}

// BenchmarkPodElsewhere changes the address of a pod of another node.
func BenchmarkPodElsewhere(b *testing.B) {
	benchmarkChange(b, func(w *bench, i int) {
		p := benchPod("ns0", 1, 1)
		p.IPs = []netip.Addr{netip.AddrFrom4([4]byte{10, 200, byte(i >> 8), byte(i)})}
		w.store.SetPod(p)
	})
}

// BenchmarkPolicy changes a rule of a policy.
func BenchmarkPolicy(b *testing.B) {
	benchmarkChange(b, func(w *bench, i int) {
		np := benchPolicy("ns0", 0)
		port := intstr.FromInt32(int32(1 + i%60000))
		np.Spec.Ingress[0].Ports[0].Port = &port
		w.store.SetPolicy(world.FromNetworkPolicy(np))
	})
}
