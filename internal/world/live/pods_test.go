package live

import (
	"fmt"
	"reflect"
	"testing"
	"testing/synctest"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/ovnkctl/ovnkctl/internal/runtime/kube/kubetest"
	"github.com/ovnkctl/ovnkctl/internal/world"
)

// TestAllPods: pods of the node are whole, those of others are small, and one that gets its
// node changes from the one to the other.
func TestAllPods(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		created := func(p *corev1.Pod) *corev1.Pod {
			p.CreationTimestamp = metav1.Unix(7, 0)
			return p
		}
		r := startWith(t, Config{Node: "a", AllPods: true, Namespaces: true}, func(s *kubetest.Server) {
			s.Put(created(pod("mine", "a")), created(pod("theirs", "b")), created(pod("nobodys", "")), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "ns"}})
		})
		r.expect(t, "start", "Pod ns/mine new initial", "Pod ns/theirs new initial", "Pod ns/nobodys new initial", "Namespace /ns new initial")
		if !r.store.Synced() {
			t.Error("not synced after the first lists")
		}
		whole := func(name string, want bool) {
			t.Helper()
			r.store.Read(func(v world.View) {
				if p, ok := v.Pod(world.PodKey{Namespace: "ns", Name: name}); !ok || (p.Created == 7) != want {
					t.Errorf("pod %s is %+v, whole: want %v", name, p, want)
				}
			})
		}
		whole("mine", true)
		whole("theirs", false)
		whole("nobodys", false)

		r.server.Put(created(pod("nobodys", "a")))
		r.expect(t, "it gets its node", "Pod ns/nobodys changed")
		whole("nobodys", true)

		busy := created(pod("theirs", "b"))
		busy.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodReady}}
		busy.DeletionTimestamp, busy.Finalizers = &metav1.Time{}, []string{"f"}
		r.server.Put(busy)
		r.expect(t, "what others need not know is no change")

		r.server.Put(&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "ns", Labels: map[string]string{"a": "1"}}})
		r.server.Delete(pod("theirs", ""))
		r.expect(t, "live changes", "Namespace /ns changed", "Pod ns/theirs gone")
		r.server.Delete(&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "ns"}})
		r.expect(t, "deletion", "Namespace /ns gone")
	})
}

// TestSiblingsShare: the pods of one owner hold their labels and ports once, and what is remembered
// for that is bounded.
func TestSiblingsShare(t *testing.T) {
	t.Parallel()
	c := &converter{node: "a"}
	ports := map[*world.PodPort]bool{}
	labels := func(owner string, text string) uintptr {
		p := pod("p", "b")
		p.Labels = map[string]string{"app": text}
		if owner != "" {
			p.OwnerReferences = []metav1.OwnerReference{{UID: types.UID(owner), Controller: ptr(true)}}
		}
		p.Spec.Containers = []corev1.Container{{Ports: []corev1.ContainerPort{{Name: "http", ContainerPort: 8080}}}}
		got := c.pod(p)
		if got.Labels["app"] != text || len(got.Labels) != 1 || len(got.Ports) != 1 || got.Ports[0].Port != 8080 {
			t.Errorf("pod %+v, want label app=%s and a port", got, text)
		}
		ports[&got.Ports[0]] = true
		return reflect.ValueOf(got.Labels).Pointer()
	}
	first := labels("x", "web")
	if labels("x", "web") != first {
		t.Error("equal labels of one owner are held twice")
	}
	if labels("y", "web") == first || labels("", "web") == first {
		t.Error("labels of different owners are shared")
	}
	if len(ports) != 3 { // of x, of y, of the one without an owner
		t.Errorf("%d lists of ports, want 3", len(ports))
	}
	other := labels("x", "db")
	if other == first || labels("x", "db") != other {
		t.Error("labels that changed are not shared")
	}
	for i := range 5 * keepSiblings {
		labels(fmt.Sprint(i), "web")
		if len(c.recent)+len(c.older) > 2*keepSiblings {
			t.Fatalf("%d pods are remembered", len(c.recent)+len(c.older))
		}
	}
}
