package inspect_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/ovnkctl/ovnkctl/internal/inspect"
	"github.com/ovnkctl/ovnkctl/internal/inspect/inspecttest"
	"github.com/ovnkctl/ovnkctl/internal/world"
)

// Nobody reads what he does not use, and what several use is read once.
func TestKindsThatAreAskedFor(t *testing.T) {
	t.Parallel()
	c := inspecttest.New(t, "a")
	c.API.Put(&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "shop"}})
	s := c.Snapshot(patience)
	o, err := s.Objects(t.Context(), inspect.Nodes, inspect.Pods)
	if err != nil || len(o.Nodes) != 1 || len(o.Pods) != 2 || len(o.Namespaces) != 0 {
		t.Fatalf("%d nodes, %d pods, %d namespaces, %v", len(o.Nodes), len(o.Pods), len(o.Namespaces), err)
	}
	lists := func(path string) int { return c.API.Requests("GET " + path) }
	if n := lists("/"); n != 2 {
		t.Errorf("%d requests", n)
	}
	w, err := s.World(t.Context(), inspect.Nodes, inspect.Namespaces)
	if err != nil {
		t.Fatal(err)
	}
	w.Read(func(v world.View) {
		if _, ok := v.Namespace("shop"); !ok || len(v.Nodes()) != 1 {
			t.Error("the world lacks what it was asked for")
		}
	})
	if same, err := s.World(t.Context(), inspect.Pods); err != nil || same != w {
		t.Errorf("a world is made again for what it has: %v", err)
	}
	if all, err := s.World(t.Context()); err != nil || all == w {
		t.Errorf("a world of some kinds was taken for all: %v", err)
	}
	for _, path := range []string{"/api/v1/nodes", "/api/v1/pods", "/api/v1/namespaces?", "/apis/networking.k8s.io/v1/networkpolicies"} {
		if n := lists(path); n > 1 {
			t.Errorf("%s: %d requests", path, n)
		}
	}
	if lists("/apis/apps/") != 0 {
		t.Error("the installation was read though nobody asked")
	}
	if len(o.Namespaces) != 0 {
		t.Error("what was given out has changed")
	}
}

// One who gives up does not take with him what others wait for.
func TestOneReaderGivesUp(t *testing.T) {
	t.Parallel()
	c := inspecttest.New(t, "a")
	var once sync.Once
	asked, goOn := make(chan struct{}), make(chan struct{})
	c.API.Intercept(func(r *http.Request) *metav1.Status {
		first := false
		once.Do(func() { first = true })
		if first {
			close(asked)
			select {
			case <-r.Context().Done():
			case <-goOn:
			}
		}
		return nil
	})
	s := c.Snapshot(patience)
	ctx, cancel := context.WithCancel(t.Context())
	gone := make(chan error, 1)
	go func() {
		_, err := s.Objects(ctx, inspect.Nodes)
		gone <- err
	}()
	<-asked
	var others sync.WaitGroup
	for range 4 {
		others.Go(func() {
			o, err := s.Objects(t.Context(), inspect.Nodes, inspect.Pods)
			if err != nil || len(o.Nodes) != 1 || len(o.Pods) != 2 {
				t.Errorf("%+v, %v", o, err)
			}
		})
	}
	cancel()
	if err := <-gone; !errors.Is(err, context.Canceled) {
		t.Errorf("the one who gave up: %v", err)
	}
	close(goOn)
	others.Wait()
}

// rights is an API server before which somebody may list some kinds alone.
type rights struct {
	next http.RoundTripper
	may  []string
	has  func(group string) bool // which groups the cluster has
}

func (r rights) RoundTrip(q *http.Request) (*http.Response, error) {
	path := strings.Split(strings.Trim(q.URL.Path, "/"), "/")
	reply := func(code int, body string) *http.Response {
		return &http.Response{StatusCode: code, Header: http.Header{"Content-Type": {"application/json"}}, Body: io.NopCloser(bytes.NewReader([]byte(body))), Request: q}
	}
	if path[0] == "apis" && len(path) == 3 {
		if !r.has(path[1]) {
			return reply(http.StatusNotFound, `{"kind":"Status","apiVersion":"v1","status":"Failure","reason":"NotFound","code":404}`), nil
		}
		return reply(http.StatusOK, `{"kind":"APIResourceList","apiVersion":"v1","groupVersion":"`+path[1]+`/`+path[2]+`","resources":[{"name":"networkpolicies"},{"name":"endpointslices"}]}`), nil
	}
	if plural := path[len(path)-1]; !slices.Contains(r.may, plural) {
		return reply(http.StatusForbidden, `{"kind":"Status","apiVersion":"v1","status":"Failure","reason":"Forbidden","code":403,`+
			`"message":"`+plural+` is forbidden: User \"system:serviceaccount:ops:eve\" cannot list resource \"`+plural+`\" at the cluster scope"}`), nil
	}
	return r.next.RoundTrip(q)
}

// Who has few rights sees what there is, and is told which ones are missing and how they are
// given. Kinds that the cluster does not have are no right that is missing.
func TestFewRights(t *testing.T) {
	t.Parallel()
	c := inspecttest.New(t, "a")
	access := c.API.Config()
	access.Transport = rights{access.Transport, []string{"pods", "namespaces", "configmaps"}, func(group string) bool { return group != "policy.networking.k8s.io" }}
	s, err := inspect.Connect(inspect.LiveConfig{REST: access, Namespace: inspecttest.Namespace, Timeout: patience})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	o, err := s.Objects(t.Context(), inspect.Nodes, inspect.Pods, inspect.EndpointSlices, inspect.NetworkPolicies, inspect.AdminNetworkPolicies, inspect.ServiceCIDRs)
	if err != nil || len(o.Pods) != 2 {
		t.Fatalf("%d pods, %v", len(o.Pods), err)
	}
	if _, err := s.Installation(t.Context()); err != nil {
		t.Fatal(err)
	}
	var said []string
	for _, p := range s.Problems() {
		said = append(said, p.Error()+"\n\t"+p.Hint())
	}
	want := []string{
		`objects of 3 kinds: you ("system:serviceaccount:ops:eve") may not list endpointslices.discovery.k8s.io, networkpolicies.networking.k8s.io, nodes in all namespaces
	have the right given to you: kubectl create clusterrole ovnkctl-list --verb=list --resource=endpointslices.discovery.k8s.io,networkpolicies.networking.k8s.io,nodes --dry-run=client -o yaml | kubectl auth reconcile -f -` +
			` && kubectl create clusterrolebinding ovnkctl-list --clusterrole=ovnkctl-list --serviceaccount=ops:eve --dry-run=client -o yaml | kubectl auth reconcile -f -`,
		`events: you ("system:serviceaccount:ops:eve") may not list events in all namespaces
	have the right given to you: kubectl create clusterrole ovnkctl-list --verb=list --resource=events --dry-run=client -o yaml | kubectl auth reconcile -f -` +
			` && kubectl create clusterrolebinding ovnkctl-list --clusterrole=ovnkctl-list --serviceaccount=ops:eve --dry-run=client -o yaml | kubectl auth reconcile -f -`,
	}
	slices.Sort(said)
	slices.Sort(want)
	if !slices.Equal(said, want) {
		t.Errorf("problems:\n%s\nwant:\n%s", strings.Join(said, "\n"), strings.Join(want, "\n"))
	}
}
