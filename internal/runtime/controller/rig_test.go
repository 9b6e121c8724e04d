package controller

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"

	"github.com/ovnkctl/ovnkctl/internal/config"
	"github.com/ovnkctl/ovnkctl/internal/runtime/kube/kubetest"
	"github.com/ovnkctl/ovnkctl/internal/world/live"
)

// cluster is an API server and the plan of addresses of its controllers. Tests run in a
// synctest bubble.
type cluster struct {
	*kubetest.Server
	config *config.Config
}

func newCluster(clusterSubnets string) *cluster {
	c := config.Default()
	c.Network.ClusterSubnets = clusterSubnets
	c.Network.ServiceSubnets = "10.96.0.0/16"
	return &cluster{Server: kubetest.New(), config: c}
}

// process is a controller that runs.
type process struct {
	*Controller
	metrics *prometheus.Registry
	stop    func() error // ends it and returns what Run returned
}

func (c *cluster) start(t *testing.T, identity string) *process {
	t.Helper()
	p := &process{metrics: prometheus.NewRegistry()}
	h, err := rest.HTTPClientFor(c.Config())
	if err != nil {
		t.Fatal(err)
	}
	policies, err := live.NewPolicyClient(c.Config(), h)
	if err != nil {
		t.Fatal(err)
	}
	p.Controller, err = New(Options{
		Config: c.config, Client: c.Client(t), Policies: policies, Logger: slog.New(slog.DiscardHandler), Registerer: p.metrics, Identity: identity,
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- p.Run(ctx) }()
	var result error
	stopped := false
	p.stop = func() error {
		if !stopped {
			cancel()
			result = <-done
			stopped = true
		}
		return result
	}
	t.Cleanup(func() { _ = p.stop() })
	synctest.Wait()
	return p
}

// node is a Node created so many seconds after the epoch, with annotations as pairs of a
// key below k8s.ovn.org and a value.
func node(name string, created int64, annotations ...string) *corev1.Node {
	n := &corev1.Node{ObjectMeta: metav1.ObjectMeta{
		Name: name, CreationTimestamp: metav1.NewTime(time.Unix(created, 0)), Annotations: map[string]string{"foreign": "kept"},
	}}
	for i := 0; i < len(annotations); i += 2 {
		n.Annotations["k8s.ovn.org/"+annotations[i]] = annotations[i+1]
	}
	return n
}

// annotated is the same node as it should be in the end.
func (c *cluster) expect(t *testing.T, name string, annotations ...string) {
	t.Helper()
	synctest.Wait()
	n := c.Node(name)
	if n == nil {
		t.Errorf("no node %s", name)
		return
	}
	if diff := cmp.Diff(node(name, 0, annotations...).Annotations, n.Annotations); diff != "" {
		t.Errorf("annotations of node %s (-want +got):\n%s", name, diff)
	}
}

// writes counts patches of nodes.
func (c *cluster) writes() int { return c.Requests("PATCH /api/v1/nodes") }

// events are the events so far as "node reason", in order of names.
func (c *cluster) events() []string {
	seen := map[string]bool{}
	for _, o := range c.List("events") {
		e := o.(*eventsv1.Event)
		seen[e.Regarding.Name+" "+e.Reason] = true
	}
	return slices.Sorted(maps.Keys(seen))
}

func (c *cluster) expectEvents(t *testing.T, want ...string) {
	t.Helper()
	synctest.Wait()
	if diff := cmp.Diff(want, c.events()); diff != "" {
		t.Errorf("events (-want +got):\n%s", diff)
	}
}

// expectCondition compares "status reason", empty for no condition.
func (c *cluster) expectCondition(t *testing.T, name, want string) {
	t.Helper()
	synctest.Wait()
	got := ""
	for _, cond := range c.Node(name).Status.Conditions {
		if cond.Type == ConditionType {
			got = fmt.Sprintf("%s %s", cond.Status, cond.Reason)
			if cond.LastTransitionTime.IsZero() || cond.Message == "" {
				t.Errorf("incomplete condition %+v", cond)
			}
		}
	}
	if got != want {
		t.Errorf("condition of node %s is %q, want %q", name, got, want)
	}
}

// update changes a node as somebody else would.
func (c *cluster) update(name string, change func(*corev1.Node)) {
	n := c.Node(name)
	change(n)
	c.Put(n)
}
