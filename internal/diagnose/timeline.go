package diagnose

import (
	"context"
	"fmt"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/ovnkctl/ovnkctl/internal/inspect"
	"github.com/ovnkctl/ovnkctl/internal/output"
	"github.com/ovnkctl/ovnkctl/internal/world"
)

const timelineKind = "PodTimeline"

// Timeline is how one pod gets, or got, its network, as a document.
type Timeline struct {
	output.Meta
	Source    inspect.Origin `json:"source"`
	Time      time.Time      `json:"time"` // of the state that was looked at
	Namespace string         `json:"namespace"`
	Name      string         `json:"name"`
	UID       string         `json:"uid"`
	Node      string         `json:"node,omitempty"`
	Addresses []string       `json:"addresses,omitempty"`
	State     PodState       `json:"state"`
	// WaitsFor is the stage that is next, if it is not over; Message says what is missing,
	// and Next what to do.
	WaitsFor StageName `json:"waitsFor,omitempty"`
	Message  string    `json:"message"`
	Next     string    `json:"next,omitempty"`
	// NetworkMilliseconds is from the node that was found to the answer of the last CNI ADD.
	NetworkMilliseconds *float64        `json:"networkMilliseconds,omitempty"`
	Stages              []TimelineStage `json:"stages"`
	// Adds is how many CNI ADDs the node remembers of the pod, Failed how many of them failed.
	Adds   int `json:"adds"`
	Failed int `json:"failedAdds"`
	// Notes say what is not known, and why.
	Notes []string `json:"notes,omitempty"`
	// Problems are what could not be read.
	Problems []*inspect.Problem `json:"problems,omitempty"`

	severity Severity // of what keeps the pod; empty if nothing
	failOn   Severity
}

// PodState is where a pod stands.
type PodState string

// The states of pods.
const (
	PodReady     PodState = "ready"     // network in place, pod ready
	PodNetworked PodState = "networked" // network in place, the rest is the containers' business
	PodWaiting   PodState = "waiting"   // something is missing, nothing failed
	PodFailing   PodState = "failing"   // something is missing because something fails
	PodUnknown   PodState = "unknown"   // its node could not be asked
	PodDeleting  PodState = "deleting"
	PodFinished  PodState = "finished"
)

// StageName is a stage of a pod's start.
type StageName string

// The stages, in the order in which they usually come. ADD has stages of its own: those of
// docs/pod-start.md, with "add/" before their names.
const (
	StageScheduled StageName = "scheduled"
	StageHeard     StageName = "heard"
	StageAddress   StageName = "address"
	StagePort      StageName = "port"
	StageAdd       StageName = "add"
	StageBound     StageName = "bound"
	StageInstalled StageName = "installed"
	StageUp        StageName = "up"
	StageAnswered  StageName = "answered"
	StageSandbox   StageName = "sandbox"
	StageReady     StageName = "ready"
)

// partOfAdd is what the names of an ADD's own stages begin with.
const partOfAdd = "add/"

// StageState is where a stage stands.
type StageState string

// The states of stages.
const (
	StageDone    StageState = "done"
	StageWaiting StageState = "waiting" // this is what the pod waits for
	StageFailed  StageState = "failed"  // this is what the pod waits for, and it fails
	StagePending StageState = "pending" // its turn has not come
	StageUnknown StageState = "unknown"
)

// TimelineStage is one stage.
type TimelineStage struct {
	Name  StageName  `json:"stage"`
	What  string     `json:"what"`
	State StageState `json:"state"`
	Node  string     `json:"node,omitempty"` // where it happens; empty for the control plane
	// Time is when it was done, or began if it is a stage of an ADD; ToTheSecond says that
	// Kubernetes tells no more.
	Time        time.Time `json:"time,omitzero"`
	ToTheSecond bool      `json:"toTheSecond,omitempty"`
	// AfterMilliseconds is how long after the stage before, TookMilliseconds how long it took.
	AfterMilliseconds *float64 `json:"afterMilliseconds,omitempty"`
	TookMilliseconds  *float64 `json:"tookMilliseconds,omitempty"`
	Detail            string   `json:"detail,omitempty"`
	// Error is the last error of the stage, ErrorTime when; it may be of an earlier ADD.
	Error     string    `json:"error,omitempty"`
	ErrorTime time.Time `json:"errorTime,omitzero"`

	next string
}

// TimelineOptions say which pod.
type TimelineOptions struct {
	Namespace, Name string
	FailOn          Severity
	Now             func() time.Time
}

// TimelineDocument is an empty time line, for its schema.
func TimelineDocument() any { return Timeline{Meta: output.Kind(timelineKind)} }

// PodTimeline tells how a pod gets its network.
func PodTimeline(ctx context.Context, s *inspect.Snapshot, o TimelineOptions) (*Timeline, error) {
	f, err := readPod(ctx, s, o.Namespace, o.Name)
	if err != nil {
		return nil, err
	}
	now := o.Now()
	if t := s.Origin().Time; s.Origin().Kind != inspect.Live && !t.IsZero() {
		now = t // a record is judged as of when it was taken
	}
	t := f.timeline(now)
	t.Source, t.Problems, t.failOn = s.Origin(), s.Problems(), o.FailOn
	return t, nil
}

// timeline is the document of what was read.
func (f *podFacts) timeline(now time.Time) *Timeline {
	p := f.pod
	t := &Timeline{
		Meta: output.Kind(timelineKind), Time: now.UTC(), Namespace: p.Namespace, Name: p.Name, UID: string(p.UID), Node: p.Spec.NodeName,
		Stages: f.stages(), Notes: f.notes(), Adds: len(f.adds),
	}
	for _, a := range f.seen.Networks[world.DefaultNetwork].Addresses {
		t.Addresses = append(t.Addresses, a.Addr().String())
	}
	for i := range f.adds {
		if f.adds[i].Failed {
			t.Failed++
		}
	}
	stuck := settle(t.Stages)
	t.judge(f, stuck, now)
	t.Stages = chronological(t.Stages)
	if first, last := t.stage(StageScheduled), t.stage(StageAnswered); !first.Time.IsZero() && last.Time.After(first.Time) {
		t.NetworkMilliseconds = milliseconds(last.Time.Sub(first.Time))
	}
	return t
}

// judge says where the pod stands.
func (t *Timeline) judge(f *podFacts, stuck *TimelineStage, now time.Time) {
	p := f.pod
	unknown := slices.ContainsFunc(t.Stages, func(s TimelineStage) bool { return s.State == StageUnknown })
	switch {
	case f.seen.Finished:
		t.State, t.Message = PodFinished, "the pod has finished, and its network is taken away"
		return
	case p.DeletionTimestamp != nil:
		t.State, t.Message = PodDeleting, "the pod is being deleted, and its network is taken away"
		return
	case unknown && (stuck == nil || stuck.Name == StageSandbox || stuck.Name == StageReady):
		t.State, t.Message, t.Next = PodUnknown, "its node could not be asked for all stages", "ovnkctl status"
		if t.stage(StageReady).State == StageDone {
			t.Message += "; Kubernetes says that the pod is ready"
		}
		return
	case stuck == nil:
		t.State, t.Message = PodReady, "the pod is ready"
		return
	}
	t.WaitsFor, t.Message, t.Next = stuck.Name, stuck.Detail, stuck.next
	if stuck.Error != "" {
		t.Message = stuck.Error
	}
	if stuck.Name == StageReady || stuck.Name == StageSandbox && stuck.Error == "" {
		t.State = PodNetworked
		return
	}
	t.State, t.severity = PodWaiting, Info
	began := p.CreationTimestamp.Time
	if p.Status.StartTime != nil {
		began = p.Status.StartTime.Time
	}
	if stuck.State == StageFailed {
		t.State, t.severity = PodFailing, Error
	} else if now.Sub(began) >= longStart {
		t.severity = Error
	}
}

// stage is the one of that name.
func (t *Timeline) stage(name StageName) TimelineStage {
	for i := range t.Stages {
		if t.Stages[i].Name == name {
			return t.Stages[i]
		}
	}
	return TimelineStage{}
}

// settle says of stages that have no state whether the pod waits for them, and returns the one
// that it does wait for.
func settle(stages []TimelineStage) *TimelineStage {
	var stuck *TimelineStage
	for i := range stages {
		s := &stages[i]
		switch {
		case s.State != "": // over, unknown, or given up for another one
		case stuck != nil:
			s.State = StagePending
		default:
			if stuck = s; s.Error != "" {
				s.State = StageFailed
			} else {
				s.State = StageWaiting
			}
		}
	}
	return stuck
}

// chronological orders stages by time, those of an ADD behind it. Those whose time is not
// known stay behind the one that usually comes before, and what is not over comes last.
func chronological(stages []TimelineStage) []TimelineStage {
	type placed struct {
		key   time.Time
		over  bool
		stage []TimelineStage // with its parts
	}
	var all []placed
	var last time.Time
	waits := false
	for i := range stages {
		s := stages[i]
		if n := len(all); n > 0 && isPart(s.Name) {
			all[n-1].stage = append(all[n-1].stage, s)
			continue
		}
		key := s.Time
		if s.ToTheSecond && key.Before(last) && last.Sub(key) < time.Second {
			key = last // it was at some time of that second
		}
		if key.IsZero() {
			key = last
		}
		last = key
		waits = waits || s.State == StageWaiting || s.State == StageFailed
		over := s.State == StageDone || s.State == StageUnknown && !waits || !s.Time.IsZero()
		all = append(all, placed{key, over, []TimelineStage{s}})
	}
	slices.SortStableFunc(all, func(a, b placed) int {
		switch {
		case a.over != b.over:
			if a.over {
				return -1
			}
			return 1
		case !a.over:
			return 0
		}
		return a.key.Compare(b.key)
	})
	out := make([]TimelineStage, 0, len(stages))
	var before time.Time
	for _, p := range all {
		if s := &p.stage[0]; !s.Time.IsZero() {
			if !before.IsZero() {
				s.AfterMilliseconds = milliseconds(max(0, p.key.Sub(before)))
			}
			before = p.key
		}
		out = append(out, p.stage...)
	}
	return out
}

func isPart(name StageName) bool {
	return len(name) > len(partOfAdd) && name[:len(partOfAdd)] == partOfAdd
}

func milliseconds(d time.Duration) *float64 {
	ms := float64(d.Microseconds()) / 1000
	return &ms
}

// lastCondition is a condition of a pod; the time is zero if there is none.
func lastCondition(p *corev1.Pod, kind corev1.PodConditionType) (c corev1.PodCondition, holds bool) {
	for _, c := range p.Status.Conditions {
		if c.Type == kind {
			return c, c.Status == corev1.ConditionTrue
		}
	}
	return c, false
}

// noSuchPod is a pod that there is not, or that has no network of its own.
type noSuchPod struct{ namespace, name, why, next string }

func (n noSuchPod) Error() string { return fmt.Sprintf("pod %s/%s: %s", n.namespace, n.name, n.why) }

// Hint says what to look at instead.
func (n noSuchPod) Hint() string { return n.next }
