//go:build linux

package node

import (
	"context"
	"fmt"
	"log/slog"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/ovnkctl/ovnkctl/internal/annotation"
	"github.com/ovnkctl/ovnkctl/internal/ovn"
	"github.com/ovnkctl/ovnkctl/internal/ovn/ovntest"
	"github.com/ovnkctl/ovnkctl/internal/runtime/engine"
	"github.com/ovnkctl/ovnkctl/internal/runtime/feature"
	"github.com/ovnkctl/ovnkctl/internal/runtime/feature/pods"
	"github.com/ovnkctl/ovnkctl/internal/runtime/feature/policy"
	"github.com/ovnkctl/ovnkctl/internal/runtime/feature/services"
	"github.com/ovnkctl/ovnkctl/internal/runtime/feature/topology"
	"github.com/ovnkctl/ovnkctl/internal/world"
)

// theNode is the API server's Node, and what was written to it.
type theNode struct {
	uid, says string
	writes    int
}

func (n *theNode) Get(context.Context, string, metav1.GetOptions) (*corev1.Node, error) {
	return &corev1.Node{ObjectMeta: metav1.ObjectMeta{
		Name: "n1", UID: types.UID(n.uid), Annotations: map[string]string{annotation.ZoneProblems.Key(): n.says},
	}}, nil
}

func (n *theNode) write(o world.ObjectRef, annotations map[string]string) {
	if o.UID == n.uid {
		n.says, n.writes = annotations[annotation.ZoneProblems.Key()], n.writes+1
	}
}

type problemRig struct {
	*problems
	node  *theNode
	clock time.Time
}

func newProblemRig(n *theNode) *problemRig {
	r := &problemRig{problems: newProblems("n1", n.write, slog.New(slog.DiscardHandler)), node: n, clock: time.Unix(1000, 0)}
	r.now = func() time.Time { return r.clock }
	return r
}

// pass lets time pass, and has the Node looked at.
func (r *problemRig) pass(d time.Duration) {
	r.clock = r.clock.Add(d)
	r.reconcile(context.Background(), r.node, world.ObjectRef{Kind: world.KindNode, Name: "n1", UID: r.node.uid})
}

func keyFor(name string) feature.Key {
	return policy.KeyOf(world.PolicyKey{Kind: world.KindEgressFirewall, Namespace: name, Name: "default"})
}

func unknown(name string) feature.Reason {
	return feature.Reason{Code: policy.UnknownDomain, Message: "no address of " + name, Remedy: "look"}
}

func TestTake(t *testing.T) {
	t.Parallel()
	r := newProblemRig(&theNode{})
	other := feature.Reason{Code: "Other", Message: "m"}
	everywhere := feature.Reason{Code: policy.InvalidPolicy, Message: "m"}
	for _, c := range []struct {
		name          string
		feature       string
		key           feature.Key
		reasons, want []feature.Reason
	}{
		{"another feature", "pods", keyFor("a"), []feature.Reason{other, everywhere}, []feature.Reason{other, everywhere}},
		{"a namespace", policy.Name, feature.Key{Name: "namespace:ns"}, []feature.Reason{{Code: policy.InvalidLogging}, other}, []feature.Reason{other}},
		{"a policy", policy.Name, keyFor("a"), []feature.Reason{everywhere, other}, nil},
	} {
		got := r.take(c.feature, c.key, c.reasons)
		if len(got) != len(c.want) || len(got) > 0 && cmp.Diff(c.want, got) != "" {
			t.Errorf("%s: %v, want %v", c.name, got, c.want)
		}
	}
	if len(r.open) != 1 {
		t.Errorf("open: %v", r.open)
	}
	r.take(policy.Name, keyFor("a"), []feature.Reason{everywhere, {Code: policy.DomainNotAskedFor}})
	if len(r.open) != 0 {
		t.Errorf("still open: %v", r.open)
	}
}

// TestLasting: what is over soon is never said, what lasts is said once, and taken back.
func TestLasting(t *testing.T) {
	t.Parallel()
	n := &theNode{uid: "u"}
	r := newProblemRig(n)
	r.pass(0)
	r.take(policy.Name, keyFor("short"), []feature.Reason{unknown("x")})
	r.pass(problemsEvery / 2)
	r.take(policy.Name, keyFor("short"), nil)
	r.take(policy.Name, keyFor("long"), []feature.Reason{unknown("x"), unknown("y")})
	r.pass(problemsEvery / 2)
	if n.writes != 0 {
		t.Fatalf("said too early: %s", n.says)
	}
	r.pass(problemsEvery)
	r.pass(problemsEvery)
	want := `[{"object":"EgressFirewall/long/default","reason":"UnknownDomain","message":"2 problems: no address of x; look"}]`
	if n.says != want || n.writes != 1 {
		t.Errorf("after %d writes it says\n %s, want\n %s", n.writes, n.says, want)
	}
	// A new incarnation of the Node is told, too; a restart says nothing again.
	n.uid, n.says = "v", ""
	r.pass(problemsEvery)
	if n.says != want {
		t.Errorf("the new Node says %s", n.says)
	}
	writes := n.writes
	r = newProblemRig(n)
	r.take(policy.Name, keyFor("long"), []feature.Reason{unknown("x"), unknown("y")})
	r.pass(time.Second)
	r.pass(problemsEvery)
	if n.writes != writes {
		t.Errorf("%d writes by a restart", n.writes-writes)
	}
	r.take(policy.Name, keyFor("long"), nil)
	r.pass(problemsEvery)
	if n.says != "" {
		t.Errorf("it still says %s", n.says)
	}
}

// TestBounded: whatever goes wrong, the annotation is one that the controller understands.
func TestBounded(t *testing.T) {
	t.Parallel()
	n := &theNode{uid: "u"}
	r := newProblemRig(n)
	for i := range 3 * annotation.MaxZoneProblems {
		r.take(policy.Name, keyFor(fmt.Sprintf("ns%02d", i)), []feature.Reason{unknown(strings.Repeat("ä", annotation.MaxZoneMessage))})
	}
	r.pass(0)
	list, err := annotation.ZoneProblems.Decode(n.says)
	if err != nil || len(list) != annotation.MaxZoneProblems || list[0].Namespace != "ns00" {
		t.Errorf("%v, %v", list, err)
	}
}

// TestDatabaseAway: a policy that changes while the database is away is said, but not the
// others; and no longer when it is back.
func TestDatabaseAway(t *testing.T) {
	t.Parallel()
	s := ovntest.NB(t)
	store := world.New(world.Config{LocalNode: "n1"})
	db := s.ConnectWith(t, ovn.Config{})
	e := engine.New(engine.Config{World: store, NB: db, Features: []feature.Feature{policy.Feature{}}, Metrics: prometheus.NewRegistry()})
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	var running sync.WaitGroup
	running.Go(func() { _ = e.Run(ctx) })
	defer running.Wait()
	defer cancel()
	set := func(name string, generation int32) {
		store.SetPolicy(&world.Policy{Kind: world.KindEgressFirewall, Namespace: name, Name: "default", UID: name, Tier: world.TierNetworkPolicy, Priority: generation})
	}
	set("old", 1)
	set("changed", 1)
	set("gone", 1)
	store.MarkSynced()
	select {
	case <-e.Synced():
	case <-ctx.Done():
		t.Fatalf("not in sync: %+v", e.Status())
	}
	z := ownZone{store, e}
	if policies, databases := z.waiting(); policies != nil || databases != nil {
		t.Errorf("%v wait for %v", policies, databases)
	}
	s.Shut()
	for db.Online() && ctx.Err() == nil {
		runtime.Gosched()
	}
	set("changed", 2)
	store.DeletePolicy(world.PolicyKey{Kind: world.KindEgressFirewall, Namespace: "gone", Name: "default"})

	n := &theNode{uid: "u"}
	r := newProblemRig(n)
	r.pass(0)
	r.wait(z.waiting())
	r.pass(problemsEvery / 2)
	if n.says != "" {
		t.Errorf("said too early: %s", n.says)
	}
	r.wait(z.waiting())
	r.pass(problemsEvery / 2)
	if list, err := annotation.ZoneProblems.Decode(n.says); err != nil || len(list) != 1 || list[0].Namespace != "changed" || list[0].Reason != databaseAway {
		t.Errorf("it says %s (%v)", n.says, err)
	}
	s.Open(t)
	if err := e.Wait(ctx, policy.Name, keyFor("changed")); err != nil {
		t.Fatal(err)
	}
	r.wait(z.waiting())
	r.pass(problemsEvery)
	if n.says != "" {
		t.Errorf("it still says %s", n.says)
	}
}

// TestEventOnce: of what all nodes see there is one event; what happens to a node or a pod is
// told each time.
func TestEventOnce(t *testing.T) {
	t.Parallel()
	for kind, once := range map[world.Kind]bool{world.KindService: true, world.KindNamespace: true, world.KindNode: false, world.KindPod: false} {
		e := eventOf(feature.Reason{Code: "C", Object: world.ObjectRef{Kind: kind, Name: "x"}, Message: "m", Remedy: "r"})
		if got := e.Once != ""; got != once {
			t.Errorf("%s: once is %t, want %t", kind, got, once)
		}
		if e.Note != "m; r" || e.Reason != "C" || !e.Warning {
			t.Errorf("%s: %+v", kind, e)
		}
	}
}

// TestObjectOf: what the engine says of a key is told on the key's object, if it has one.
func TestObjectOf(t *testing.T) {
	t.Parallel()
	a := &agent{store: world.New(world.Config{})}
	a.store.SetPod(&world.Pod{Namespace: "ns", Name: "p", UID: "u"})
	a.store.SetService(&world.Service{Namespace: "ns", Name: "s"})
	a.store.SetNode(&world.Node{Name: "n"})
	for _, c := range []struct {
		feature string
		key     feature.Key
		want    world.ObjectRef
	}{
		{pods.Name, feature.Key{Namespace: "ns", Name: "p"}, world.ObjectRef{Kind: world.KindPod, Namespace: "ns", Name: "p", UID: "u"}},
		{services.Name, feature.Key{Namespace: "ns", Name: "s"}, world.ObjectRef{Kind: world.KindService, Namespace: "ns", Name: "s"}},
		{topology.Name, feature.Key{Name: "n"}, world.ObjectRef{Kind: world.KindNode, Name: "n"}},
		{pods.Name, feature.Key{Namespace: "ns", Name: "gone"}, world.ObjectRef{}},
		{policy.Name, feature.Key{Namespace: "ns", Name: "pod:p"}, world.ObjectRef{}},
	} {
		if got := a.objectOf(c.feature, c.key); got != c.want {
			t.Errorf("%s %v: %+v, want %+v", c.feature, c.key, got, c.want)
		}
	}
}
