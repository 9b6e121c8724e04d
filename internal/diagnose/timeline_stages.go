package diagnose

import (
	"fmt"
	"slices"
	"strconv"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/ovnkctl/ovnkctl/internal/annotation"
	"github.com/ovnkctl/ovnkctl/internal/cni/history"
	"github.com/ovnkctl/ovnkctl/internal/ovn/names"
	"github.com/ovnkctl/ovnkctl/internal/world"
)

// partsOfAdd are the stages of an ADD, in the order in which they are looked at, with the
// container whose log tells more.
var partsOfAdd = []struct{ name, what, container string }{
	{"turn", "another call for the sandbox ends", "ovnkube-controller"},
	{"address", "the node knows the pod and its addresses", "ovnkube-controller"},
	{"veth", "the veth pair is made", ""},
	{"interface", "addresses and routes are set in the pod", ""},
	{"nb", "the port is in the Northbound database", "ovnkube-controller"},
	{"port", "the port is in the Open_vSwitch database", ""},
	{"flows", "ovn-controller has installed the flows", "ovn-controller"},
}

// stages are all stages in their usual order. Those that are not over have no state yet.
func (f *podFacts) stages() []TimelineStage {
	out := []TimelineStage{f.scheduled(), f.heard(), f.address(), f.northPort(), f.added()}
	out = append(out, f.parts()...)
	bound, installed := f.bound(), f.installed()
	if !installed.Time.IsZero() && bound.Time.After(installed.Time) {
		bound.Time = installed.Time // the log tells of it some milliseconds late
	}
	out = append(out, bound, installed, f.upInSouth(), f.answered(), f.sandbox(), f.ready())
	gone := f.seen.Finished || f.pod.DeletionTimestamp != nil
	for i := range out {
		s := &out[i]
		if s.State == "" && gone {
			s.State, s.Detail = StageUnknown, "" // its rows are being taken away
		}
		s.Time = s.Time.UTC()
	}
	return out
}

// last is the last ADD.
func (f *podFacts) last() *history.Add {
	if len(f.adds) == 0 {
		return nil
	}
	return &f.adds[len(f.adds)-1]
}

func (f *podFacts) describe() string {
	return fmt.Sprintf("kubectl -n %s describe pod %s", f.pod.Namespace, f.pod.Name)
}

// logs is how to read the log of a container of the pod's node.
func (f *podFacts) logs(container string) string {
	if f.agent == "" {
		return fmt.Sprintf("there is no pod ovnkube-node on the node: kubectl -n %s get pods -o wide --field-selector spec.nodeName=%s", f.system, f.pod.Spec.NodeName)
	}
	return fmt.Sprintf("kubectl -n %s logs %s -c %s; ovnkctl diagnose", f.system, f.agent, container)
}

// event is the last event of a pod with one of the reasons.
func (f *podFacts) event(reasons ...string) *corev1.Event {
	for _, e := range slices.Backward(f.events) {
		if slices.Contains(reasons, e.Reason) {
			return e
		}
	}
	return nil
}

func (f *podFacts) scheduled() TimelineStage {
	s := TimelineStage{Name: StageScheduled, What: "the scheduler has found a node"}
	c, _ := lastCondition(f.pod, corev1.PodScheduled)
	if f.pod.Spec.NodeName == "" {
		s.Detail, s.Error, s.ErrorTime = "no node is found", c.Message, c.LastTransitionTime.UTC()
		s.next = f.describe() + ": it is the scheduler that waits, not the network"
		return s
	}
	s.State, s.Time, s.ToTheSecond = StageDone, c.LastTransitionTime.Time, true
	if e := f.event("Scheduled"); e != nil && !e.EventTime.IsZero() {
		s.Time, s.ToTheSecond = e.EventTime.Time, false
	}
	s.Detail = "on " + f.pod.Spec.NodeName
	return s
}

// hasAddress tells whether the pod has addresses, and so whether its node has heard of it.
func (f *podFacts) hasAddress() bool {
	_, ok := f.seen.Networks[world.DefaultNetwork]
	return ok
}

func (f *podFacts) heard() TimelineStage {
	s := TimelineStage{Name: StageHeard, What: "the node's program has heard of the pod", Node: f.pod.Spec.NodeName}
	switch {
	case f.noted != nil:
		s.State, s.Time = StageDone, f.noted.Heard
	case f.hasAddress():
		s.State = StageDone
	case f.pod.Spec.NodeName != "" && (f.history == nil || f.history.Since.After(f.pod.CreationTimestamp.Time)):
		s.State = StageUnknown
	default:
		s.Detail = "the node's program has not heard of the pod from the API server"
		s.next = f.logs("ovnkube-controller")
	}
	return s
}

func (f *podFacts) address() TimelineStage {
	s := TimelineStage{Name: StageAddress, What: "the pod has addresses (" + annotation.PodNetworks.Key() + ")", Node: f.pod.Spec.NodeName}
	if f.noted != nil {
		s.Time = f.noted.Address
	}
	if f.hasAddress() {
		s.State = StageDone
		for i, a := range f.seen.Networks[world.DefaultNetwork].Addresses {
			if i > 0 {
				s.Detail += ", "
			}
			s.Detail += a.Addr().String()
		}
		return s
	}
	s.Detail = "the node's program has given the pod no address"
	s.next = f.logs("ovnkube-controller")
	if e := f.event("AddressesExhausted", "AddressUnusable"); e != nil {
		s.Error, s.ErrorTime, s.next = e.Message, eventTime(e).UTC(), f.describe()
	} else {
		f.lastError(&s, "address")
	}
	return s
}

func (f *podFacts) northPort() TimelineStage {
	name := names.Pod(f.pod.Namespace, f.pod.Name)
	s := TimelineStage{Name: StagePort, What: "the port is in the Northbound database", Node: f.pod.Spec.NodeName, Detail: name}
	if f.noted != nil {
		s.Time = f.noted.Port
	}
	switch {
	case f.port != nil && f.port.Options["iface-id-ver"] == string(f.pod.UID):
		s.State = StageDone
	case f.port != nil:
		s.Detail = fmt.Sprintf("port %s is that of an earlier pod, with UID %s", name, f.port.Options["iface-id-ver"])
	case f.pod.Spec.NodeName != "" && !bool(f.north):
		s.State = StageUnknown
	default:
		s.Detail = "the Northbound database has no port " + name
	}
	if s.State == "" {
		s.next = f.logs("ovnkube-controller")
		f.lastError(&s, "nb")
	}
	return s
}

func (f *podFacts) added() TimelineStage {
	s := TimelineStage{Name: StageAdd, What: "the container runtime has sent CNI ADD", Node: f.pod.Spec.NodeName}
	_, sandboxed := lastCondition(f.pod, corev1.PodReadyToStartContainers)
	switch a := f.last(); {
	case a != nil:
		s.State, s.Time, s.Detail = StageDone, a.Began, fmt.Sprintf("sandbox %.12s", a.Sandbox)
		if len(f.adds) > 1 {
			s.Detail += fmt.Sprintf(", ADD %d that is remembered", len(f.adds))
		}
		if !a.Ended.IsZero() {
			s.TookMilliseconds = milliseconds(a.Ended.Sub(a.Began))
		}
	case f.iface != nil || f.seen.Started || sandboxed:
		s.State = StageDone
	case f.pod.Spec.NodeName != "" && (f.history == nil || f.history.Since.After(f.pod.CreationTimestamp.Time)) && !bool(f.switched):
		s.State = StageUnknown
	default:
		s.Detail = "the container runtime has not asked for the pod's network: the kubelet waits for something else first, such as volumes, or has no CNI configuration"
		s.next = f.describe() + "; then the log of the kubelet on " + f.pod.Spec.NodeName
		if e := f.event("FailedCreatePodSandBox", "FailedMount", "FailedAttachVolume", "NetworkNotReady"); e != nil {
			s.Error, s.ErrorTime = e.Message, eventTime(e).UTC()
		}
	}
	return s
}

// lastError adds the newest error of a stage of any ADD of the pod.
func (f *podFacts) lastError(s *TimelineStage, part string) {
	for _, a := range slices.Backward(f.adds) {
		for i := range a.Stages {
			if e := &a.Stages[i]; e.Name == part && e.Error != "" {
				s.Error, s.ErrorTime = e.Error, a.Began.Add(time.Duration(e.At+e.Took)*time.Microsecond).UTC()
				return
			}
		}
	}
}

// parts are the stages of the last ADD, if it is remembered, with the last error of each.
func (f *podFacts) parts() []TimelineStage {
	a := f.last()
	if a == nil {
		return nil
	}
	var out []TimelineStage
	for _, part := range partsOfAdd {
		s := TimelineStage{Name: StageName(partOfAdd + part.name), What: part.what, Node: f.pod.Spec.NodeName}
		f.lastError(&s, part.name)
		s.next = f.describe()
		if part.container != "" {
			s.next = f.logs(part.container)
		}
		for i := range a.Stages {
			e := &a.Stages[i]
			if e.Name != part.name {
				continue
			}
			s.Time = a.Began.Add(time.Duration(e.At) * time.Microsecond)
			switch {
			case e.Running:
				s.Detail = "not over: " + part.what
			case e.Error == "" && !e.GivenUp:
				s.State = StageDone
				s.TookMilliseconds = milliseconds(time.Duration(e.Took) * time.Microsecond)
			default:
				s.TookMilliseconds = milliseconds(time.Duration(e.Took) * time.Microsecond)
			}
			if e.GivenUp {
				s.State, s.Detail = StagePending, "given up, as another stage failed"
			}
		}
		if s.Time.IsZero() {
			s.State = StagePending
		}
		out = append(out, s)
	}
	return out
}

func (f *podFacts) bound() TimelineStage {
	name := names.Pod(f.pod.Namespace, f.pod.Name)
	s := TimelineStage{Name: StageBound, What: "ovn-controller has claimed the port (Port_Binding.chassis)", Node: f.pod.Spec.NodeName, Time: f.claimed}
	switch {
	case f.pod.Spec.NodeName != "" && !bool(f.south):
		s.State = StageUnknown
	case f.binding == nil:
		s.Detail, s.next = "the Southbound database has no Port_Binding "+name, f.logs("ovn-northd")
	case f.binding.Chassis == nil:
		s.Detail, s.next = "no chassis has claimed port "+name, f.logs("ovn-controller")
	case f.chassis != "" && *f.binding.Chassis != f.chassis:
		s.Detail, s.next = "another chassis than the node's has claimed port "+name, f.logs("ovn-controller")
	default:
		s.State, s.Detail = StageDone, "tunnel key "+strconv.Itoa(f.binding.TunnelKey)
	}
	if s.State != StageDone {
		s.Time = time.Time{}
	}
	return s
}

func (f *podFacts) installed() TimelineStage {
	s := TimelineStage{Name: StageInstalled, What: "the flows are in br-int (ovn-installed)", Node: f.pod.Spec.NodeName}
	switch {
	case f.pod.Spec.NodeName != "" && !bool(f.switched):
		s.State = StageUnknown
	case f.iface == nil:
		s.Detail, s.next = "Open vSwitch has no interface of the pod", f.logs("ovnkube-controller")
	case f.iface.ExternalIDs["ovn-installed"] != "true":
		s.Detail = "ovn-controller has not installed the flows of interface " + f.iface.Name
		if why := fault(f.iface); why != "" {
			s.Error = "interface " + f.iface.Name + ": " + why
		}
		s.next = f.logs("ovn-controller")
	default:
		s.State, s.Detail = StageDone, "interface "+f.iface.Name
		if ms, err := strconv.ParseInt(f.iface.ExternalIDs["ovn-installed-ts"], 10, 64); err == nil {
			s.Time = time.UnixMilli(ms)
		}
	}
	return s
}

func (f *podFacts) upInSouth() TimelineStage {
	s := TimelineStage{Name: StageUp, What: "the zone knows that the port is up (Port_Binding.up)", Node: f.pod.Spec.NodeName}
	switch {
	case f.pod.Spec.NodeName != "" && !bool(f.south):
		s.State = StageUnknown
	case f.binding != nil && (f.binding.Up == nil || *f.binding.Up):
		s.State, s.Time = StageDone, f.up
	default:
		s.Detail, s.next = "Port_Binding.up is false", f.logs("ovn-controller")
	}
	return s
}

func (f *podFacts) answered() TimelineStage {
	s := TimelineStage{Name: StageAnswered, What: "CNI ADD was answered", Node: f.pod.Spec.NodeName}
	a := f.last()
	switch {
	case a != nil && a.Ended.IsZero():
		s.Detail, s.next = "an ADD is under way", f.logs("ovnkube-controller")
	case a != nil && a.Failed:
		s.Error, s.ErrorTime, s.next = a.Error, a.Ended.UTC(), f.describe()
		s.Detail = "the last ADD failed; the kubelet will try again"
	case a != nil:
		s.State, s.Time = StageDone, a.Ended
	case f.seen.Started:
		s.State = StageDone
	case f.pod.Spec.NodeName != "" && (f.history == nil || f.history.Since.After(f.pod.CreationTimestamp.Time)):
		s.State = StageUnknown
	default:
		s.Detail, s.next = "no ADD was answered", f.describe()
	}
	return s
}

func (f *podFacts) sandbox() TimelineStage {
	s := TimelineStage{Name: StageSandbox, What: "the kubelet has the pod's sandbox", Node: f.pod.Spec.NodeName}
	c, holds := lastCondition(f.pod, corev1.PodReadyToStartContainers)
	switch {
	case holds:
		s.State, s.Time, s.ToTheSecond = StageDone, c.LastTransitionTime.Time, true
	case f.seen.Started:
		s.State = StageDone
	default:
		s.Detail, s.next = "the kubelet has not told of a sandbox", f.describe()
	}
	if e := f.event("FailedCreatePodSandBox"); e != nil {
		s.Error, s.ErrorTime = e.Message, eventTime(e).UTC()
	}
	return s
}

func (f *podFacts) ready() TimelineStage {
	s := TimelineStage{Name: StageReady, What: "the pod is ready", Node: f.pod.Spec.NodeName}
	c, holds := lastCondition(f.pod, corev1.PodReady)
	if holds {
		s.State, s.Time, s.ToTheSecond = StageDone, c.LastTransitionTime.Time, true
		return s
	}
	s.Detail = "the network is in place; the containers are not ready"
	if c.Message != "" {
		s.Detail += ": " + c.Message
	}
	s.next = f.describe()
	return s
}
