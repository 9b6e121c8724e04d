package controller

import (
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/ovnkctl/ovnkctl/internal/runtime/controller/alloc"
	"github.com/ovnkctl/ovnkctl/internal/runtime/kube"
	"github.com/ovnkctl/ovnkctl/internal/world"
	"github.com/ovnkctl/ovnkctl/internal/world/live"
)

// Reasons of events beside those of package alloc.
const (
	// reasonMalformed: an annotation of ours could not be understood and was replaced.
	reasonMalformed = "AnnotationInvalid"
	// reasonRestored: an annotation of ours was changed by somebody else and put back.
	reasonRestored = "AnnotationRestored"
	// reasonAllocated: the condition's reason once all is well.
	reasonAllocated = "Allocated"
	actionAllocate  = "Allocating"
)

// writer has Nodes written beside the work, see kube.Patcher.
type writer interface {
	Annotate(world.ObjectRef, map[string]string)
	SetNodeCondition(world.ObjectRef, corev1.NodeCondition)
	Forget(world.ObjectRef)
}

// reporter has events written beside the work, see kube.Recorder.
type reporter interface{ Record(kube.Event) }

// zones wants to know what nodes cannot put in force, see package policystatus.
type zones interface {
	SetNode(node, problems string)
	RemoveNode(node string)
}

type nodesConfig struct {
	network  world.Network
	writer   writer
	reporter reporter
	log      *slog.Logger
	now      func() time.Time
	problems zones // nil for nobody
}

// nodes keeps every Node's annotations as the allocator decides. It is the sink of the
// watch of Nodes. Nothing in it waits: it computes, and hands over what is to be written.
type nodes struct {
	c       nodesConfig
	transit []netip.Prefix
	metrics *metrics

	mu     sync.Mutex
	alloc  *alloc.Allocator
	loaded bool // all nodes of the start are known; from then on it allocates
	states map[string]*state
}

// state is a node as last seen and decided.
type state struct {
	view    *view
	result  alloc.Result
	decided bool
}

func newNodes(c nodesConfig) *nodes {
	n := &nodes{c: c, transit: c.network.TransitSubnets, alloc: alloc.New(c.network), states: map[string]*state{}}
	n.metrics = newMetrics(n)
	return n
}

// Set implements live.Sink.
func (n *nodes) Set(v *view) {
	n.mu.Lock()
	defer n.mu.Unlock()
	s := n.states[v.name]
	if s != nil && s.view.uid != v.uid {
		n.gone(s) // its deletion was missed
		s = nil
	}
	if n.c.problems != nil && (s == nil || s.view.problems != v.problems) {
		n.c.problems.SetNode(v.name, v.problems)
	}
	if s == nil {
		n.states[v.name] = &state{view: v}
		n.decide(n.states[v.name], nil)
		return
	}
	if *s.view == *v {
		return
	}
	old := s.view
	s.view = v
	n.decide(s, old)
}

// Delete implements live.Sink.
func (n *nodes) Delete(name live.Name) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if s := n.states[name.Name]; s != nil {
		n.gone(s)
	}
}

// Names implements live.Sink.
func (n *nodes) Names() []live.Name {
	n.mu.Lock()
	defer n.mu.Unlock()
	var names []live.Name
	for name := range n.states {
		names = append(names, live.Name{Name: name})
	}
	return names
}

// load decides on all nodes that were there at the start, together.
func (n *nodes) load() {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.loaded = true
	claims := make([]alloc.Claim, 0, len(n.states))
	for _, s := range n.states {
		claims = append(claims, s.view.claim())
	}
	for _, r := range n.alloc.Load(claims) {
		n.apply(n.states[r.Node], nil, r)
	}
	n.c.log.Info("all nodes read", "nodes", len(n.states))
}

// decide brings one node up to date. The lock is held.
func (n *nodes) decide(s *state, old *view) {
	if n.loaded {
		n.apply(s, old, n.alloc.Allocate(s.view.claim()))
	}
}

// gone forgets a node, and lets those go on that waited for what it had. The lock is held.
func (n *nodes) gone(s *state) {
	delete(n.states, s.view.name)
	n.c.writer.Forget(s.view.ref())
	if n.c.problems != nil {
		n.c.problems.RemoveNode(s.view.name)
	}
	if !n.alloc.Release(s.view.name) {
		return
	}
	n.c.log.Info("node gone, allocation freed", "node", s.view.name, "id", s.result.ID, "subnets", s.result.Subnets)
	var waiting []alloc.Claim
	for _, s := range n.states {
		if s.waits() {
			waiting = append(waiting, s.view.claim())
		}
	}
	slices.SortFunc(waiting, alloc.Older)
	for _, c := range waiting {
		n.decide(n.states[c.Node], n.states[c.Node].view)
	}
}

// waits tells whether something must become free before the node has all it needs.
func (s *state) waits() bool {
	return s.result.Problem != nil && s.result.Problem.Code != alloc.SubnetOutsideCluster
}

// apply writes and reports what was decided on a node; old is what it looked like before,
// nil if it is new. The lock is held.
func (n *nodes) apply(s *state, old *view, r alloc.Result) {
	before, first := s.result, !s.decided
	s.result, s.decided = r, true
	v := s.view

	wanted, err := v.wanted(r.Allocation, n.transit)
	if err != nil {
		// Cannot happen: the allocator gives out only ids that have addresses.
		n.c.log.Error("node not annotated", "node", v.name, "error", err)
		return
	}
	patch := map[string]string{}
	for i, want := range wanted {
		if v.values[i] == want {
			continue
		}
		patch[keys[i]] = want
		n.reportChange(v, old, i, want)
	}
	for _, f := range r.Findings {
		n.report(v, f)
	}
	if len(patch) > 0 {
		n.c.writer.Annotate(v.ref(), patch)
		if r.ID != 0 && (first || !slices.Equal(before.Subnets, r.Subnets) || before.ID != r.ID) {
			n.c.log.Info("node allocated", "node", v.name, "id", r.ID, "subnets", r.Subnets)
		}
	}
	if r.Problem != nil && (before.Problem == nil || *before.Problem != *r.Problem) {
		n.report(v, *r.Problem)
	}
	n.setCondition(v, r)
}

// reportChange tells of an annotation that is replaced because it makes no sense, or
// because somebody changed it after it was right. An update that overtook our own patch is
// neither.
func (n *nodes) reportChange(v, old *view, i int, want string) {
	if old != nil && old.values[i] == v.values[i] {
		return
	}
	if err := v.malformed(i); err != nil {
		n.report(v, alloc.Finding{Code: reasonMalformed, Message: fmt.Sprintf("%v", err), Remedy: "nothing: it was replaced"})
		return
	}
	if old != nil && old.values[i] == want {
		n.report(v, alloc.Finding{
			Code:    reasonRestored,
			Message: fmt.Sprintf("annotation %s was changed from %q to %q; it was put back", keys[i], want, v.values[i]),
			Remedy:  "leave it alone: to give a node a new allocation, delete the Node and restart its kubelet",
		})
	}
}

func (n *nodes) report(v *view, f alloc.Finding) {
	n.metrics.findings.WithLabelValues(f.Code).Inc()
	n.c.log.Warn("node: "+f.Code, "node", v.name, "message", f.Message, "remedy", f.Remedy)
	n.c.reporter.Record(kube.Event{Object: v.ref(), Warning: true, Reason: f.Code, Action: actionAllocate, Note: f.Message + "; " + f.Remedy})
}

// setCondition says on the Node what is wrong, and that it is right again.
func (n *nodes) setCondition(v *view, r alloc.Result) {
	want := condition{corev1.ConditionTrue, reasonAllocated, fmt.Sprintf("node id %d, subnets %v", r.ID, r.Subnets)}
	if r.Problem != nil {
		want = condition{corev1.ConditionFalse, r.Problem.Code, r.Problem.Message + "; " + r.Problem.Remedy}
	} else if v.condition == (condition{}) {
		return
	}
	if v.condition == want {
		return
	}
	now := metav1.NewTime(n.c.now())
	n.c.writer.SetNodeCondition(v.ref(), corev1.NodeCondition{
		Type: ConditionType, Status: want.status, Reason: want.reason, Message: want.message,
		LastHeartbeatTime: now, LastTransitionTime: now,
	})
}
