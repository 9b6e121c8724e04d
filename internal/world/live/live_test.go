package live

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"

	"github.com/ovnkctl/ovnkctl/internal/runtime/kube/kubetest"
	"github.com/ovnkctl/ovnkctl/internal/world"
)

// longerThanBackOff is more than a reflector waits before it connects again; time is
// synthetic in these tests.
const longerThanBackOff = 2 * time.Minute

var unavailable = metav1.Status{Status: metav1.StatusFailure, Code: http.StatusServiceUnavailable, Reason: metav1.StatusReasonServiceUnavailable}

// rig runs a source against an API server and notes what the store publishes.
type rig struct {
	server *kubetest.Server
	store  *world.Store
	seen   []string
}

func start(t *testing.T, node string, prepare func(*kubetest.Server)) *rig {
	return startWith(t, Config{Node: node}, prepare)
}

// startWith runs a source with what the configuration has besides client, store and log.
func startWith(t *testing.T, c Config, prepare func(*kubetest.Server)) *rig {
	r := &rig{server: kubetest.New(), store: world.New(world.Config{LocalNode: c.Node})}
	prepare(r.server)
	r.store.Subscribe(func(_ world.View, c world.Change) { r.seen = append(r.seen, describe(c)) })
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		c.Client, c.Store = r.server.Client(t), r.store
		if c.Logger == nil {
			c.Logger = slog.New(slog.DiscardHandler)
		}
		if c.Policies != nil { // any says that there should be one
			c.Policies = policyClient(t, r.server)
		}
		Run(ctx, c)
	}()
	t.Cleanup(func() {
		cancel()
		<-done
	})
	synctest.Wait()
	return r
}

func policyClient(t *testing.T, s *kubetest.Server) *PolicyClient {
	access := s.Config()
	h, err := rest.HTTPClientFor(access)
	if err != nil {
		t.Error(err)
	}
	p, err := NewPolicyClient(access, h)
	if err != nil {
		t.Error(err)
	}
	return p
}

func describe(c world.Change) string {
	what := "changed"
	switch {
	case c.OldNode == nil && c.OldPod == nil && c.OldService == nil && c.OldSlice == nil && c.OldCIDR == nil && c.OldNamespace == nil:
		what = "new"
	case c.NewNode == nil && c.NewPod == nil && c.NewService == nil && c.NewSlice == nil && c.NewCIDR == nil && c.NewNamespace == nil:
		what = "gone"
	}
	s := fmt.Sprintf("%s %s %s", c.Ref.Kind, world.PodKey{Namespace: c.Ref.Namespace, Name: c.Ref.Name}, what)
	if c.Initial {
		s += " initial"
	}
	return s
}

// expect compares the changes since the last call, in any order.
func (r *rig) expect(t *testing.T, what string, want ...string) {
	t.Helper()
	synctest.Wait()
	slices.Sort(r.seen)
	slices.Sort(want)
	if diff := cmp.Diff(want, r.seen); diff != "" {
		t.Errorf("%s: changes (-want +got):\n%s", what, diff)
	}
	r.seen = nil
}

func node(name, id string) *corev1.Node {
	n := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name}}
	if id != "" {
		n.Annotations = map[string]string{"k8s.ovn.org/node-id": id}
	}
	return n
}

func pod(name, node string) *corev1.Pod {
	return &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: name}, Spec: corev1.PodSpec{NodeName: node}}
}

func TestFollows(t *testing.T) {
	t.Parallel()
	servers := map[string]func(*kubetest.Server){
		"streaming lists": func(*kubetest.Server) {},
		"plain lists":     (*kubetest.Server).NoStreamingLists,
	}
	for name, prepare := range servers {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				r := start(t, "a", func(s *kubetest.Server) {
					prepare(s)
					s.Put(node("a", "2"), node("b", "3"), pod("p", "a"), pod("elsewhere", "b"))
				})
				r.expect(t, "start", "Node /a new initial", "Node /b new initial", "Pod ns/p new initial")
				if !r.store.Synced() {
					t.Error("not synced after the first lists")
				}

				r.server.Put(node("b", "4"), pod("q", "a"), pod("r", "b"))
				r.expect(t, "live changes", "Node /b changed", "Pod ns/q new")

				heartbeat := node("b", "4")
				heartbeat.Status.Conditions = []corev1.NodeCondition{{Type: corev1.NodeReady, LastHeartbeatTime: metav1.Now()}}
				r.server.Put(heartbeat)
				r.expect(t, "heartbeat")

				r.server.Delete(node("b", ""))
				r.server.Delete(pod("p", ""))
				r.expect(t, "deletions", "Node /b gone", "Pod ns/p gone")

				r.server.Intercept(func(*http.Request) *metav1.Status { return &unavailable })
				r.server.Disconnect(true)
				r.server.Delete(pod("q", ""))
				r.server.Put(node("c", "5"))
				time.Sleep(time.Second)
				r.expect(t, "while disconnected")
				r.server.Intercept(nil)
				time.Sleep(longerThanBackOff)
				r.expect(t, "after listing again", "Node /c new", "Pod ns/q gone")

				r.server.Put(pod("p", "a"))
				r.expect(t, "live again", "Pod ns/p new")
			})
		})
	}
}

func TestSyncedNeedsAllLists(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		refusals := 0
		r := start(t, "", func(s *kubetest.Server) {
			s.Put(node("a", "2"), pod("p", "a"), pod("q", "b"))
			s.Intercept(func(r *http.Request) *metav1.Status {
				if r.URL.Path != "/api/v1/pods" || refusals == 3 {
					return nil
				}
				refusals++
				return &unavailable
			})
		})
		r.expect(t, "nodes only", "Node /a new initial")
		if r.store.Synced() {
			t.Error("synced without pods")
		}
		time.Sleep(longerThanBackOff)
		r.expect(t, "pods of all nodes", "Pod ns/p new initial", "Pod ns/q new initial")
		if !r.store.Synced() {
			t.Error("not synced in the end")
		}
	})
}

func TestMostRecent(t *testing.T) {
	t.Parallel()
	for _, mostRecent := range []bool{true, false} {
		synctest.Test(t, func(t *testing.T) {
			server := kubetest.New()
			server.NoStreamingLists()
			versions := make(chan string, 10)
			server.Intercept(func(r *http.Request) *metav1.Status {
				if r.URL.Query().Get("watch") == "" {
					versions <- r.URL.Query().Get("resourceVersion")
				}
				return nil
			})
			ctx, cancel := context.WithCancel(context.Background())
			done := make(chan struct{})
			go func() {
				defer close(done)
				Reflect(ctx, server.Client(t).CoreV1().Nodes(), Reflection[*corev1.Node, *world.Node]{
					Kind: "Node", Example: &corev1.Node{}, Convert: world.FromNode, Sink: nodes{world.New(world.Config{})},
					Logger: slog.New(slog.DiscardHandler), MostRecent: mostRecent, Synced: func() {},
				})
			}()
			want := map[bool]string{true: "", false: "0"}[mostRecent] // "0": whatever the cache has
			if got := <-versions; got != want {
				t.Errorf("MostRecent %v lists version %q, want %q", mostRecent, got, want)
			}
			cancel()
			<-done
		})
	}
}
