package kubetest

import (
	"maps"
	"testing"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/kubernetes"
)

func TestObjects(t *testing.T) {
	t.Parallel()
	for _, format := range []string{runtime.ContentTypeJSON, runtime.ContentTypeProtobuf} {
		t.Run(format, func(t *testing.T) {
			t.Parallel()
			s := New()
			c := s.Config()
			c.ContentType, c.AcceptContentTypes = format, format
			client, err := kubernetes.NewForConfig(c)
			if err != nil {
				t.Fatal(err)
			}
			checkObjects(t, s, client)
		})
	}
}

func checkObjects(t *testing.T, s *Server, client kubernetes.Interface) {
	ctx := t.Context()
	s.Put(&corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n1"}, Spec: corev1.NodeSpec{PodCIDR: "10.0.0.0/24"}})
	nodes := client.CoreV1().Nodes()

	w, err := nodes.Watch(ctx, metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer w.Stop()
	if e := <-w.ResultChan(); e.Type != watch.Added || e.Object.(*corev1.Node).Name != "n1" {
		t.Errorf("first event %v", e)
	}

	patch := []byte(`{"metadata":{"annotations":{"a":"1"}},"spec":{"podCIDR":"10.9.9.0/24"}}`)
	n, err := nodes.Patch(ctx, "n1", types.MergePatchType, patch, metav1.PatchOptions{}, "status")
	if err != nil {
		t.Fatal(err)
	}
	if n.Annotations["a"] != "1" || n.Spec.PodCIDR != "10.0.0.0/24" {
		t.Errorf("patch of the status changed the spec, or nothing: %+v", n)
	}
	if e := <-w.ResultChan(); e.Type != watch.Modified || e.Object.(*corev1.Node).Annotations["a"] != "1" {
		t.Errorf("second event %v", e)
	}

	version := n.ResourceVersion
	if n, err = nodes.Patch(ctx, "n1", types.MergePatchType, []byte(`{"metadata":{"annotations":{"a":"1"}}}`), metav1.PatchOptions{}); err != nil || n.ResourceVersion != version {
		t.Errorf("a patch without effect wrote: %v, %v", n.ResourceVersion, err)
	}
	if _, err := nodes.Patch(ctx, "n1", types.MergePatchType, []byte(`{"metadata":{"uid":"another"}}`), metav1.PatchOptions{}); !apierrors.IsConflict(err) {
		t.Errorf("patch of another incarnation: %v", err)
	}
	if _, err := nodes.Get(ctx, "n2", metav1.GetOptions{}); !apierrors.IsNotFound(err) {
		t.Errorf("missing node: %v", err)
	}

	leases := client.CoordinationV1().Leases("ns")
	lease, err := leases.Create(ctx, &coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{Name: "l"}}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := leases.Update(ctx, lease, metav1.UpdateOptions{}); err != nil {
		t.Error(err)
	}
	if _, err := leases.Update(ctx, lease, metav1.UpdateOptions{}); !apierrors.IsConflict(err) {
		t.Errorf("update of an old version: %v", err)
	}

	s.Put(
		&corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "a", Name: "p"}, Spec: corev1.PodSpec{NodeName: "n1"}},
		&corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "b", Name: "p"}, Spec: corev1.PodSpec{NodeName: "n2"}},
	)
	pods, err := client.CoreV1().Pods("").List(ctx, metav1.ListOptions{FieldSelector: "spec.nodeName=n2"})
	if err != nil || len(pods.Items) != 1 || pods.Items[0].Namespace != "b" {
		t.Errorf("pods of n2: %v, %v", pods, err)
	}

	if err := nodes.Delete(ctx, "n1", metav1.DeleteOptions{}); err != nil {
		t.Error(err)
	}
	if e := <-w.ResultChan(); e.Type != watch.Deleted {
		t.Errorf("last event %v", e)
	}
}

// TestSelectorWatch: to a watch with a selector, an object that begins to match is new, and
// one that no longer does is gone, as it was before.
func TestSelectorWatch(t *testing.T) {
	t.Parallel()
	s := New()
	node := func(name string, labels map[string]string) *corev1.Node {
		return &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: labels}}
	}
	s.Put(node("n1", nil), node("n2", map[string]string{"hidden": ""}))
	nodes := s.Client(t).CoreV1().Nodes()
	list, err := nodes.List(t.Context(), metav1.ListOptions{LabelSelector: "!hidden"})
	if err != nil || len(list.Items) != 1 || list.Items[0].Name != "n1" {
		t.Fatalf("list: %v, %v", list, err)
	}
	w, err := nodes.Watch(t.Context(), metav1.ListOptions{LabelSelector: "!hidden", ResourceVersion: list.ResourceVersion})
	if err != nil {
		t.Fatal(err)
	}
	defer w.Stop()
	expect := func(kind watch.EventType, name string, labels map[string]string) {
		t.Helper()
		e := <-w.ResultChan()
		n, ok := e.Object.(*corev1.Node)
		if !ok || e.Type != kind || n.Name != name || !maps.Equal(n.Labels, labels) {
			t.Errorf("got %s %v, want %s %s %v", e.Type, e.Object, kind, name, labels)
		}
	}
	s.Put(node("n1", map[string]string{"a": "1"}))
	expect(watch.Modified, "n1", map[string]string{"a": "1"})
	s.Put(node("n1", map[string]string{"hidden": "1"}))
	expect(watch.Deleted, "n1", map[string]string{"a": "1"})
	s.Put(node("n1", map[string]string{"hidden": "2"}))
	s.Delete(node("n1", nil))
	s.Put(node("n2", nil))
	expect(watch.Added, "n2", nil)
	s.Delete(node("n2", nil))
	expect(watch.Deleted, "n2", nil)
	if _, err := nodes.List(t.Context(), metav1.ListOptions{LabelSelector: "(("}); !apierrors.IsBadRequest(err) {
		t.Errorf("a selector that does not parse: %v", err)
	}
}
