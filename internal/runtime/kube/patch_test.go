package kube

import (
	"context"
	"log/slog"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/ovnkctl/ovnkctl/internal/runtime/kube/kubetest"
	"github.com/ovnkctl/ovnkctl/internal/world"
)

// patching runs a Patcher against a server until the test ends. Time is synthetic.
func patching(t *testing.T) (*Patcher, *kubetest.Server) {
	server := kubetest.New()
	p, err := NewPatcher(PatcherConfig{Client: server.Client(t), Logger: slog.New(slog.DiscardHandler), Registerer: prometheus.NewRegistry()})
	if err != nil {
		t.Fatal(err)
	}
	run(t, p.Run)
	return p, server
}

func run(t *testing.T, f func(context.Context)) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		f(ctx)
	}()
	t.Cleanup(func() {
		cancel()
		<-done
	})
}

func newNode(name string, annotations map[string]string) *corev1.Node {
	return &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name, UID: "u-1", Annotations: annotations}}
}

var n1 = world.ObjectRef{Kind: world.KindNode, Name: "n1", UID: "u-1"}

func failure(code int32, reason metav1.StatusReason) *metav1.Status {
	return &metav1.Status{Status: metav1.StatusFailure, Code: code, Reason: reason, Message: "as the test wants it"}
}

func TestPatcherWrites(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p, server := patching(t)
		server.Put(newNode("n1", map[string]string{"foreign": "kept", "a": "old", "b": "old"}),
			&corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "p", UID: "u-2"}})

		p.Annotate(n1, map[string]string{"a": "new", "b": "", "c": "new"})
		p.SetNodeCondition(n1, corev1.NodeCondition{Type: "k8s.ovn.org/Test", Status: corev1.ConditionFalse, Reason: "Testing"})
		p.Annotate(world.ObjectRef{Kind: world.KindPod, Namespace: "ns", Name: "p", UID: "u-2"}, map[string]string{"d": "new"})
		synctest.Wait()

		n := server.Node("n1")
		if diff := cmp.Diff(map[string]string{"foreign": "kept", "a": "new", "c": "new"}, n.Annotations); diff != "" {
			t.Errorf("node's annotations (-want +got):\n%s", diff)
		}
		if len(n.Status.Conditions) != 1 || n.Status.Conditions[0].Reason != "Testing" {
			t.Errorf("conditions %v", n.Status.Conditions)
		}
		if got := server.Pod("ns", "p").Annotations["d"]; got != "new" {
			t.Errorf("pod's annotation is %q", got)
		}
		if p.Pending() != 0 {
			t.Errorf("%d still pending", p.Pending())
		}

		p.SetNodeCondition(n1, corev1.NodeCondition{Type: "k8s.ovn.org/Test", Status: corev1.ConditionTrue, Reason: "Tested"})
		synctest.Wait()
		if c := server.Node("n1").Status.Conditions; len(c) != 1 || c[0].Status != corev1.ConditionTrue {
			t.Errorf("conditions %v", c)
		}
	})
}

// While a patch cannot be sent, later ones for the same object join it.
func TestPatcherCoalesces(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p, server := patching(t)
		server.Put(newNode("n1", nil))
		release := make(chan struct{})
		server.Intercept(func(r *http.Request) *metav1.Status {
			if r.Method == http.MethodPatch {
				<-release
			}
			return nil
		})
		p.Annotate(n1, map[string]string{"a": "1"})
		synctest.Wait() // it is on its way
		p.Annotate(n1, map[string]string{"a": "1"})
		p.Annotate(n1, map[string]string{"a": "2"})
		p.Annotate(n1, map[string]string{"a": "3", "b": "1"})
		if p.Pending() != 1 {
			t.Errorf("%d objects pending, want 1", p.Pending())
		}
		close(release)
		synctest.Wait()
		if diff := cmp.Diff(map[string]string{"a": "3", "b": "1"}, server.Node("n1").Annotations); diff != "" {
			t.Errorf("annotations (-want +got):\n%s", diff)
		}
		if n := server.Requests("PATCH"); n != 2 {
			t.Errorf("%d patches, want the one under way and one for the rest", n)
		}
	})
}

func TestPatcherNeverGivesUp(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p, server := patching(t)
		server.Put(newNode("n1", nil))
		statuses := []*metav1.Status{
			failure(http.StatusServiceUnavailable, metav1.StatusReasonServiceUnavailable),
			failure(http.StatusForbidden, metav1.StatusReasonForbidden),
			failure(http.StatusConflict, metav1.StatusReasonConflict),
			failure(http.StatusUnprocessableEntity, metav1.StatusReasonInvalid),
		}
		patches := 0
		server.Intercept(func(r *http.Request) *metav1.Status {
			if r.Method != http.MethodPatch {
				return nil
			}
			patches++
			return statuses[patches%len(statuses)]
		})
		p.Annotate(n1, map[string]string{"a": "1"})
		time.Sleep(24 * time.Hour)
		synctest.Wait()
		if patches < 24*60 || patches > 24*60+30 {
			t.Errorf("%d patches in a day, want one a minute in the end", patches)
		}
		p.Annotate(n1, map[string]string{"b": "2"})
		server.Intercept(nil)
		time.Sleep(lastRetry)
		synctest.Wait()
		if diff := cmp.Diff(map[string]string{"a": "1", "b": "2"}, server.Node("n1").Annotations); diff != "" {
			t.Errorf("annotations (-want +got):\n%s", diff)
		}
	})
}

func TestPatcherDropsWhatIsGone(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p, server := patching(t)
		other := newNode("n1", nil)
		other.UID = "u-another"
		server.Put(other)
		p.Annotate(n1, map[string]string{"a": "1"})
		p.Annotate(world.ObjectRef{Kind: world.KindNode, Name: "nowhere", UID: "u"}, map[string]string{"a": "1"})
		synctest.Wait()
		if p.Pending() != 0 {
			t.Errorf("%d still pending", p.Pending())
		}
		if a := server.Node("n1").Annotations; len(a) != 0 {
			t.Errorf("another incarnation got %v", a)
		}

		server.Intercept(func(*http.Request) *metav1.Status {
			return failure(http.StatusServiceUnavailable, metav1.StatusReasonServiceUnavailable)
		})
		p.Annotate(n1, map[string]string{"a": "1"})
		synctest.Wait()
		p.Forget(n1)
		before := server.Requests("PATCH")
		time.Sleep(time.Hour)
		synctest.Wait()
		if after := server.Requests("PATCH"); after != before || p.Pending() != 0 {
			t.Errorf("%d more patches after Forget, %d pending", after-before, p.Pending())
		}
	})
}
