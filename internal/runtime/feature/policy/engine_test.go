package policy

import (
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/ovnkctl/ovnkctl/internal/ovn"
	"github.com/ovnkctl/ovnkctl/internal/ovn/nb"
	"github.com/ovnkctl/ovnkctl/internal/ovn/ovntest"
	"github.com/ovnkctl/ovnkctl/internal/runtime/engine"
	"github.com/ovnkctl/ovnkctl/internal/runtime/feature"
	"github.com/ovnkctl/ovnkctl/internal/runtime/feature/pods"
	"github.com/ovnkctl/ovnkctl/internal/runtime/feature/topology"
	"github.com/ovnkctl/ovnkctl/internal/world"
	"github.com/ovnkctl/ovnkctl/internal/world/plan"
)

// zone is an engine with a node's zone on a database in memory.
type zone struct {
	store  *world.Store
	engine *engine.Engine
	db     *ovn.DB

	log transactions
}

// transactions gathers the comments of transactions: the keys that each is for.
type transactions struct {
	mu   sync.Mutex
	list []string
}

// Enabled implements slog.Handler.
func (*transactions) Enabled(context.Context, slog.Level) bool { return true }

// Handle implements slog.Handler.
func (l *transactions) Handle(_ context.Context, r slog.Record) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	r.Attrs(func(a slog.Attr) bool {
		if r.Message == "transaction" && a.Key == "for" {
			l.list = append(l.list, a.Value.String())
		}
		return true
	})
	return nil
}

// WithAttrs implements slog.Handler.
func (l *transactions) WithAttrs([]slog.Attr) slog.Handler { return l }

// WithGroup implements slog.Handler.
func (l *transactions) WithGroup(string) slog.Handler { return l }

const (
	watched = "ingress_deny_ns"
	// patience is how long the engine may need for a pod on a busy machine.
	patience = 20 * time.Second
)

// newZone also prepares what is there before the engine begins.
func newZone(t *testing.T, maxBatch int, prepare func(*zone)) *zone {
	t.Helper()
	z := &zone{db: ovntest.NB(t).Connect(t)}
	if _, err := z.db.Transact(t.Context(), "as northd's start does", ovn.Insert(&nb.NBGlobal{}, "global")); err != nil {
		t.Fatal(err)
	}
	z.store = world.New(world.Config{LocalNode: "n1", Networks: []world.Network{{
		Name: world.DefaultNetwork, ClusterSubnets: []world.ClusterSubnet{{Prefix: netip.MustParsePrefix("10.244.0.0/16"), HostLength: 24}},
	}}})
	z.engine = engine.New(engine.Config{World: z.store, NB: z.db, Logger: slog.New(&z.log), MaxBatch: maxBatch,
		Features: []feature.Feature{topology.Feature{}, Feature{}, pods.Feature{}}})
	z.store.SetNode(&world.Node{Name: "n1", ID: 2, ChassisID: "c1", Subnets: map[string][]netip.Prefix{world.DefaultNetwork: {netip.MustParsePrefix("10.244.0.0/24")}}})
	prepare(z)
	z.store.MarkSynced()
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = z.engine.Run(ctx)
	}()
	t.Cleanup(func() {
		cancel()
		<-ended
	})
	<-z.engine.Synced()
	return z
}

func (z *zone) addPod(t *testing.T, i int) world.PodKey {
	t.Helper()
	k := z.setPod(i)
	z.wait(t, k)
	return k
}

func (z *zone) setPod(i int) world.PodKey {
	k := world.PodKey{Namespace: "ns", Name: fmt.Sprint("p", i)}
	z.store.SetPod(&world.Pod{Namespace: k.Namespace, Name: k.Name, UID: k.Name, Node: "n1"})
	a := netip.AddrFrom4([4]byte{10, 244, 0, byte(3 + i)})
	z.store.Allocate(k, k.Name, world.DefaultNetwork, world.PodNetwork{Addresses: []netip.Prefix{netip.PrefixFrom(a, 24)}, MAC: plan.MAC(a)})
	return k
}

// wait waits as the CNI server does.
func (z *zone) wait(t *testing.T, k world.PodKey) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if err := z.engine.Wait(ctx, pods.Name, feature.Key{Namespace: k.Namespace, Name: k.Name}); err != nil {
		t.Fatal(err)
	}
	if err := z.engine.Wait(ctx, Name, PodKey(k.Namespace, k.Name)); err != nil {
		t.Fatal(err)
	}
}

// TestPortsAreBornIsolated: in a namespace with default deny, each pod's port is in the group
// of isolated pods in the transaction that creates it, the first pod's too, for which the
// policy comes into use.
func TestPortsAreBornIsolated(t *testing.T) {
	t.Parallel()
	z := newZone(t, 0, func(*zone) {})
	z.store.SetPolicy(world.FromNetworkPolicy(&networkingv1.NetworkPolicy{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "deny"}}))
	var keys []world.PodKey
	for i := range 50 {
		keys = append(keys, z.addPod(t, i))
	}
	z.bornIsolated(t, keys)
	for _, k := range keys {
		z.store.DeletePod(k)
		z.wait(t, k)
	}
	if n := z.groupSize(); n != -1 {
		t.Errorf("the group of isolated ports is still there without pods, with %d ports", n)
	}
}

// bornIsolated checks that the transaction that made the port of each pod is also for its
// memberships, and that all are isolated.
func (z *zone) bornIsolated(t *testing.T, keys []world.PodKey) {
	t.Helper()
	for _, k := range keys {
		port, member := fmt.Sprintf("%s/%s/%s (", pods.Name, k.Namespace, k.Name), fmt.Sprintf("%s/%s (", Name, PodKey(k.Namespace, k.Name))
		var first string
		z.log.mu.Lock()
		if i := slices.IndexFunc(z.log.list, func(s string) bool { return strings.Contains(s, port) }); i >= 0 {
			first = z.log.list[i]
		}
		z.log.mu.Unlock()
		if !strings.Contains(first, member) {
			t.Errorf("the transaction that made the port of %s is for %q, not for its memberships", k, first)
		}
	}
	if n := z.groupSize(); n != len(keys) {
		t.Errorf("%d ports are isolated, want %d", n, len(keys))
	}
}

// TestPortsAreBornIsolatedAmongMany: so it is when the first pod brings policies into use whose
// keys do not fit into one transaction, and when they are in the queue in any order.
func TestPortsAreBornIsolatedAmongMany(t *testing.T) {
	t.Parallel()
	const batch, peers, local = 3, 60, 20
	everybody := []networkingv1.NetworkPolicyIngressRule{{From: []networkingv1.NetworkPolicyPeer{{PodSelector: &metav1.LabelSelector{}}}}}
	var keys []world.PodKey
	z := newZone(t, batch, func(z *zone) {
		for i := range peers {
			z.store.SetPod(&world.Pod{Namespace: "ns", Name: fmt.Sprint("remote", i), UID: "u", Node: "n2", IPs: []netip.Addr{netip.AddrFrom4([4]byte{10, 244, 1, byte(3 + i)})}})
		}
		policy := func(name string, rules []networkingv1.NetworkPolicyIngressRule) {
			z.store.SetPolicy(world.FromNetworkPolicy(&networkingv1.NetworkPolicy{
				ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: name}, Spec: networkingv1.NetworkPolicySpec{Ingress: rules},
			}))
		}
		policy("deny", nil)
		policy("allow", everybody)
		for i := range local {
			keys = append(keys, z.setPod(i))
			if i == local/2 {
				policy("allow", nil)
			}
		}
	})
	for _, k := range keys {
		z.wait(t, k)
	}
	z.bornIsolated(t, keys)
}

// groupSize is how many ports are in the group, -1 when it is not there.
func (z *zone) groupSize() int {
	n := -1
	t, _ := ovn.Northbound().Table(nb.PortGroupTable)
	z.db.Read(func(v ovn.View) {
		for _, r := range v.Named(t, watched) {
			c, _ := t.Column("ports")
			n = len(*r.Value(c).(*[]string))
		}
	})
	return n
}
