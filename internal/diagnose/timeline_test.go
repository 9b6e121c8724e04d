package diagnose

import (
	"bytes"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/ovnkctl/ovnkctl/internal/cni/history"
	"github.com/ovnkctl/ovnkctl/internal/inspect"
	"github.com/ovnkctl/ovnkctl/internal/inspect/inspecttest"
	"github.com/ovnkctl/ovnkctl/internal/output"
	"github.com/ovnkctl/ovnkctl/internal/ovn"
	"github.com/ovnkctl/ovnkctl/internal/ovn/nb"
	"github.com/ovnkctl/ovnkctl/internal/ovn/sb"
	"github.com/ovnkctl/ovnkctl/internal/ovn/vswitch"
	"github.com/ovnkctl/ovnkctl/internal/world"
)

// born is when the pod of these tests was created; at is some milliseconds later.
var born = time.Date(2026, 1, 2, 3, 0, 0, 0, time.UTC)

func at(ms int) time.Time { return born.Add(time.Duration(ms) * time.Millisecond) }

func condition(kind corev1.PodConditionType, ms int) corev1.PodCondition {
	return corev1.PodCondition{Type: kind, Status: corev1.ConditionTrue, LastTransitionTime: metav1.NewTime(at(ms).Truncate(time.Second))}
}

// startedPod is a pod that is ready 1.9 s after it was created, and all that is known of it.
func startedPod() *podFacts {
	up, chassis := true, "chassis-1"
	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: "shop", Name: "cart", UID: "uid-1", CreationTimestamp: metav1.NewTime(born),
			Annotations: map[string]string{"k8s.ovn.org/pod-networks": `{"default":{"ip_addresses":["10.244.1.5/24"],"mac_address":"0a:58:0a:f4:01:05"}}`},
		},
		Spec: corev1.PodSpec{NodeName: "n1"},
		Status: corev1.PodStatus{
			Phase: corev1.PodRunning, PodIP: "10.244.1.5", PodIPs: []corev1.PodIP{{IP: "10.244.1.5"}},
			Conditions: []corev1.PodCondition{condition(corev1.PodScheduled, 0), condition(corev1.PodReadyToStartContainers, 400), condition(corev1.PodReady, 1900)},
		},
	}
	f := &podFacts{
		pod: pod, seen: world.FromPod(pod), system: system, agent: "ovnkube-node-x", north: true, south: true, switched: true, chassis: chassis,
		events:  []*corev1.Event{{Reason: "Scheduled", EventTime: metav1.NewMicroTime(at(12))}},
		port:    &nb.LogicalSwitchPort{Name: "shop_cart", Options: map[string]string{"iface-id-ver": "uid-1"}},
		binding: &sb.PortBinding{LogicalPort: "shop_cart", Chassis: &chassis, Up: &up, TunnelKey: 5},
		iface: &vswitch.Interface{Name: "veth1", ExternalIDs: map[string]string{
			"iface-id": "shop_cart", "ovn-installed": "true", "ovn-installed-ts": "1767322800350",
		}},
		claimed: at(352), up: at(355),
	}
	f.remember(&history.Document{
		Since: born.Add(-time.Hour),
		Pods:  []history.Pod{{UID: "uid-1", Heard: at(20), Address: at(21), Port: at(25)}},
		Adds: []history.Add{{UID: "uid-1", Sandbox: "0123456789abcdef", Began: at(300), Ended: at(360), Stages: []history.Stage{
			{Name: "turn"}, {Name: "address", At: 100, Took: 100}, {Name: "veth", At: 100, Took: 2000}, {Name: "interface", At: 2200, Took: 1000},
			{Name: "nb", At: 2200}, {Name: "port", At: 2200, Took: 3000}, {Name: "flows", At: 5200, Took: 45000},
		}}},
	})
	return f
}

func stagesOf(t *Timeline) []string {
	var out []string
	for _, s := range t.Stages {
		out = append(out, string(s.Name)+"="+string(s.State))
	}
	return out
}

func TestTimelineOfReadyPod(t *testing.T) {
	t.Parallel()
	tl := startedPod().timeline(now)
	var b strings.Builder
	if err := tl.Text(&b, output.Style{}, false); err != nil {
		t.Fatal(err)
	}
	want := `pod shop/cart on node n1, 10.244.1.5: ready; network in place 348ms after a node was found
STAGE         STATE   TIME (UTC)                AFTER    TOOK    WHAT
scheduled     done    2026-01-02 03:00:00.012   -        -       the scheduler has found a node
heard         done    03:00:00.020              +8ms     -       the node's program has heard of the pod
address       done    03:00:00.021              +1ms     -       the pod has addresses (k8s.ovn.org/pod-networks)
port          done    03:00:00.025              +4ms     -       the port is in the Northbound database
add           done    03:00:00.300              +275ms   60ms    the container runtime has sent CNI ADD
  turn        done    03:00:00.300              -        0s      another call for the sandbox ends
  address     done    03:00:00.300              -        100µs   the node knows the pod and its addresses
  veth        done    03:00:00.300              -        2ms     the veth pair is made
  interface   done    03:00:00.302              -        1ms     addresses and routes are set in the pod
  nb          done    03:00:00.302              -        0s      the port is in the Northbound database
  port        done    03:00:00.302              -        3ms     the port is in the Open_vSwitch database
  flows       done    03:00:00.305              -        45ms    ovn-controller has installed the flows
bound         done    03:00:00.350              +50ms    -       ovn-controller has claimed the port (Port_Binding.chassis)
installed     done    03:00:00.350              +0s      -       the flows are in br-int (ovn-installed)
up            done    03:00:00.355              +5ms     -       the zone knows that the port is up (Port_Binding.up)
answered      done    03:00:00.360              +5ms     -       CNI ADD was answered
sandbox       done    03:00:00                  ~+0s     -       the kubelet has the pod's sandbox
ready         done    03:00:01                  ~+640ms  -       the pod is ready
`
	if got := strings.Join(trimmed(b.String()), "\n"); got != strings.Join(trimmed(want), "\n") {
		t.Errorf("(-want +got):\n%s", cmp.Diff(trimmed(want), trimmed(b.String())))
	}
	if tl.ExitCode() != output.OK || tl.Next != "" {
		t.Errorf("exit code %d, next %q", tl.ExitCode(), tl.Next)
	}
}

// trimmed are the lines without the number of blanks between columns.
func trimmed(text string) []string {
	var out []string
	for line := range strings.Lines(text) {
		out = append(out, strings.Join(strings.Fields(line), " "))
	}
	return out
}

// TestTimelineStuck takes away what has not come yet, and says what the pod waits for.
func TestTimelineStuck(t *testing.T) {
	t.Parallel()
	pending := func(f *podFacts) { // no sandbox yet
		f.pod.Status.PodIP, f.pod.Status.PodIPs, f.pod.Status.Phase = "", nil, corev1.PodPending
		f.pod.Status.Conditions = f.pod.Status.Conditions[:1]
		f.seen = world.FromPod(f.pod)
	}
	noAdd := func(f *podFacts) { f.adds, f.iface, f.binding.Chassis, f.binding.Up = nil, nil, nil, new(bool) }
	for name, c := range map[string]struct {
		breaks        func(*podFacts)
		state         PodState
		waits         StageName
		message, next string
		code          int
	}{
		"no node": {func(f *podFacts) {
			pending(f)
			noAdd(f)
			f.pod.Spec.NodeName, f.pod.Annotations, f.noted, f.history = "", nil, nil, nil
			f.pod.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodScheduled, Status: corev1.ConditionFalse, Message: "0/3 nodes are available"}}
			f.seen = world.FromPod(f.pod)
		}, PodFailing, StageScheduled, "0/3 nodes are available", "the scheduler that waits", output.Findings},
		"not heard of": {func(f *podFacts) {
			pending(f)
			noAdd(f)
			f.noted, f.pod.Annotations = nil, nil
			f.seen = world.FromPod(f.pod)
		}, PodWaiting, StageHeard, "has not heard of the pod", "logs ovnkube-node-x -c ovnkube-controller", output.Findings},
		"no address, and the program is silent": {func(f *podFacts) {
			pending(f)
			noAdd(f)
			f.history, f.noted, f.pod.Annotations, f.port = nil, nil, nil, nil
			f.seen = world.FromPod(f.pod)
		}, PodWaiting, StageAddress, "has given the pod no address", "-c ovnkube-controller", output.Findings},
		"no address": {func(f *podFacts) {
			pending(f)
			noAdd(f)
			f.noted.Address, f.pod.Annotations = time.Time{}, nil
			f.seen = world.FromPod(f.pod)
			f.events = append(f.events, &corev1.Event{Reason: "AddressesExhausted", Message: "subnet 10.244.1.0/24 is full"})
		}, PodFailing, StageAddress, "subnet 10.244.1.0/24 is full", "kubectl -n shop describe pod cart", output.Findings},
		"no port": {func(f *podFacts) {
			pending(f)
			noAdd(f)
			f.port = nil
		}, PodWaiting, StagePort, "has no port shop_cart", "ovnkube-controller", output.Findings},
		"no ADD": {func(f *podFacts) {
			pending(f)
			noAdd(f)
		}, PodWaiting, StageAdd, "has not asked", "kubelet on n1", output.Findings},
		"ADD fails": {func(f *podFacts) {
			pending(f)
			f.iface, f.binding.Chassis, f.binding.Up = nil, nil, new(bool)
			a := &f.adds[0]
			a.Failed, a.Stages[5].GivenUp = true, true
			a.Stages[6].Error = "not done within 1m0s: ovn-controller has not bound port shop_cart"
		}, PodFailing, partOfAdd + "flows", "ovn-controller has not bound", "-c ovn-controller", output.Findings},
		"ADD under way": {func(f *podFacts) {
			pending(f)
			f.iface, f.binding.Chassis, f.binding.Up = nil, nil, new(bool)
			a := &f.adds[0]
			a.Ended, a.Stages[6].Running = time.Time{}, true
		}, PodWaiting, partOfAdd + "flows", "not over", "-c ovn-controller", output.Findings},
		"not bound":  {func(f *podFacts) { f.binding.Chassis = nil }, PodWaiting, StageBound, "no chassis has claimed", "-c ovn-controller", output.Findings},
		"no binding": {func(f *podFacts) { f.binding = nil }, PodWaiting, StageBound, "has no Port_Binding", "-c ovn-northd", output.Findings},
		"no flows":   {func(f *podFacts) { delete(f.iface.ExternalIDs, "ovn-installed") }, PodWaiting, StageInstalled, "has not installed", "-c ovn-controller", output.Findings},
		"not ready":  {func(f *podFacts) { f.pod.Status.Conditions = f.pod.Status.Conditions[:2] }, PodNetworked, StageReady, "the containers are not ready", "describe pod", output.OK},
		"node away": {func(f *podFacts) {
			f.north, f.south, f.switched, f.port, f.binding, f.iface, f.history, f.noted, f.adds = false, false, false, nil, nil, nil, nil, nil, nil
		}, PodUnknown, "", "Kubernetes says that the pod is ready", "ovnkctl status", output.OK},
		"finished": {func(f *podFacts) {
			noAdd(f)
			f.pod.Status.Phase, f.port, f.binding = corev1.PodSucceeded, nil, nil
			f.seen = world.FromPod(f.pod)
		}, PodFinished, "", "has finished", "", output.OK},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := startedPod()
			c.breaks(f)
			tl := f.timeline(now)
			tl.failOn = Warning
			if tl.State != c.state || tl.WaitsFor != c.waits || !strings.Contains(tl.Message, c.message) || !strings.Contains(tl.Next, c.next) || tl.ExitCode() != c.code {
				t.Errorf("state %s, waits for %q, %q, next %q, exit code %d\n%s", tl.State, tl.WaitsFor, tl.Message, tl.Next, tl.ExitCode(), strings.Join(stagesOf(tl), "\n"))
			}
			if n := len(slices.DeleteFunc(stagesOf(tl), func(s string) bool { return !strings.HasSuffix(s, "=waiting") && !strings.HasSuffix(s, "=failed") })); n > 1 || (n == 0) != (c.waits == "") {
				t.Errorf("%d stages are waited for: %v", n, stagesOf(tl))
			}
			if at := slices.IndexFunc(tl.Stages, func(s TimelineStage) bool { return s.State == StageWaiting || s.State == StageFailed }); at >= 0 {
				for _, s := range tl.Stages[:at] {
					late := slices.Contains([]StageName{StageBound, StageInstalled, StageUp, StageAnswered, StageSandbox, StageReady}, s.Name)
					if s.State == StagePending && !isPart(s.Name) || late && s.State == StageUnknown && s.Time.IsZero() {
						t.Errorf("stage %s is told before the one that the pod waits for", s.Name)
					}
				}
				for _, s := range tl.Stages[at+1:] {
					if s.State == StageDone && s.Time.IsZero() {
						t.Errorf("stage %s, which is over, is told behind the one that the pod waits for", s.Name)
					}
				}
			}
			if slices.Contains(stagesOf(tl), "=") {
				t.Errorf("a stage without state: %v", stagesOf(tl))
			}
		})
	}
}

// A pod that waits for some seconds is not yet worth an exit code.
func TestTimelineYoung(t *testing.T) {
	t.Parallel()
	f := startedPod()
	f.binding.Chassis = nil
	tl := f.timeline(at(5000))
	if tl.failOn = Warning; tl.ExitCode() != output.OK || tl.State != PodWaiting {
		t.Errorf("state %s, exit code %d", tl.State, tl.ExitCode())
	}
}

// Errors of earlier ADDs are told though the last one was fine.
func TestTimelineEarlierErrors(t *testing.T) {
	t.Parallel()
	f := startedPod()
	f.adds = slices.Insert(f.adds, 0, history.Add{UID: "uid-1", Began: at(100), Ended: at(200), Failed: true, Stages: []history.Stage{
		{Name: "interface", At: 2000, Took: 1000, Error: "no buffer space available"},
	}})
	tl := f.timeline(now)
	s := tl.stage(partOfAdd + "interface")
	if tl.State != PodReady || tl.Adds != 2 || tl.Failed != 1 || s.State != StageDone || s.Error != "no buffer space available" || !s.ErrorTime.Equal(at(103)) {
		t.Errorf("%s, %d of %d failed, %+v", tl.State, tl.Failed, tl.Adds, s)
	}
}

func TestLogOfController(t *testing.T) {
	t.Parallel()
	f := startedPod()
	f.claimed, f.up = time.Time{}, time.Time{}
	f.readLog(`2026-01-02T02:00:00.5Z 2026-01-02T02:00:00Z|00073|binding|INFO|Claiming lport shop_cart for this chassis.
2026-01-02T03:00:00.351Z 2026-01-02T03:00:00Z|00074|binding|INFO|Claiming lport shop_cart-2 for this chassis.
2026-01-02T03:00:00.352Z 2026-01-02T03:00:00Z|00075|binding|INFO|Claiming lport shop_cart for this chassis.
nonsense |Setting lport shop_cart up in Southbound
2026-01-02T03:00:00.355Z 2026-01-02T03:00:00Z|00079|binding|INFO|Setting lport shop_cart up in Southbound
`, "shop_cart")
	if !f.claimed.Equal(at(352)) || !f.up.Equal(at(355)) {
		t.Errorf("claimed %s, up %s", f.claimed, f.up)
	}
}

// cluster has a node with one pod that has started.
func cluster(t *testing.T) *inspecttest.Cluster {
	t.Helper()
	c := inspecttest.New(t, "n1")
	f := startedPod()
	c.API.Put(f.pod, &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "agent"}, Spec: corev1.PodSpec{NodeName: "n1", HostNetwork: true}})
	if _, err := c.Nodes["n1"].DB["nb"].Transact(t.Context(), "", ovn.Insert(f.port, "p"),
		ovn.Insert(&nb.LogicalSwitch{Name: "n1", Ports: []string{"p"}}, "s")); err != nil {
		t.Fatal(err)
	}
	run := c.Run
	c.Run = func(node string, argv []string) (string, int) {
		if slices.Contains(argv, "starts") {
			var b bytes.Buffer
			_ = json.NewEncoder(&b).Encode(f.history)
			return b.String(), 0
		}
		return run(node, argv)
	}
	return c
}

func TestPodTimelineLive(t *testing.T) {
	t.Parallel()
	c := cluster(t)
	look := func(name string) (*Timeline, error) {
		return PodTimeline(t.Context(), c.Snapshot(10*time.Second), TimelineOptions{Namespace: "shop", Name: name, FailOn: Warning, Now: func() time.Time { return now }})
	}
	tl, err := look("cart")
	if err != nil {
		t.Fatal(err)
	}
	if tl.WaitsFor != StageBound || tl.stage(StagePort).State != StageDone || tl.stage(StageAnswered).Time != at(360) || tl.ExitCode() != output.Findings {
		t.Errorf("waits for %s, exit code %d: %v", tl.WaitsFor, tl.ExitCode(), stagesOf(tl))
	}
	for name, want := range map[string]string{"agent": "network of its host", "car": "there is no such pod"} {
		_, err := look(name)
		var hint interface{ Hint() string }
		if err == nil || !strings.Contains(err.Error(), want) || !errors.As(err, &hint) || hint.Hint() == "" {
			t.Errorf("%s: %v", name, err)
		}
	}
	c.Refuse = func(string) error { return errors.New("connection refused") }
	if tl, err = look("cart"); err != nil {
		t.Fatal(err)
	}
	if tl.State != PodUnknown || tl.ExitCode() != output.Partial || len(tl.Problems) == 0 || tl.Problems[0].Node != "n1" {
		t.Errorf("%s, exit code %d, %v: %v", tl.State, tl.ExitCode(), inspect.Errors(tl.Problems), stagesOf(tl))
	}
}

// FuzzTimeline has what a node may say of a pod, and a log, of any content.
func FuzzTimeline(f *testing.F) {
	remembered, err := json.Marshal(startedPod().history)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(string(remembered), "2026-01-02T03:00:00.352Z x|binding|INFO|Claiming lport shop_cart for this chassis.\n")
	f.Add(`{"adds":[{"namespace":"shop","name":"cart","began":"2026-01-02T03:00:00Z","stages":[{"stage":"flows","at":-9223372036854775808,"took":9223372036854775807}]}]}`, "")
	f.Fuzz(func(t *testing.T, starts, log string) {
		p := startedPod()
		p.history, p.noted, p.adds = nil, nil, nil
		if d := new(history.Document); json.Unmarshal([]byte(starts), d) == nil {
			p.remember(d)
		}
		p.readLog(log, "shop_cart")
		tl := p.timeline(now)
		if err := tl.Text(&strings.Builder{}, output.Style{}, true); err != nil {
			t.Error(err)
		}
		if _, err := json.Marshal(tl); err != nil {
			t.Errorf("it is no JSON: %v", err)
		}
	})
}
