package install

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/utils/ptr"
)

var testNow = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

func workload(kind, name string) *unstructured.Unstructured {
	return &unstructured.Unstructured{Object: map[string]any{"kind": kind, "metadata": map[string]any{"name": name}}}
}

func set(status appsv1.DaemonSetStatus, generation int64) *appsv1.DaemonSet {
	return &appsv1.DaemonSet{
		ObjectMeta: metav1.ObjectMeta{Name: "ds", Generation: generation},
		Spec:       appsv1.DaemonSetSpec{Selector: &metav1.LabelSelector{MatchLabels: map[string]string{"app": "ds"}}},
		Status:     status,
	}
}

func pod(node string, change func(*corev1.Pod)) *corev1.Pod {
	p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "ds-" + node, Labels: map[string]string{"app": "ds"}}, Spec: corev1.PodSpec{NodeName: node}}
	change(p)
	return p
}

func container(s corev1.ContainerStatus) func(*corev1.Pod) {
	return func(p *corev1.Pod) { p.Status.ContainerStatuses = []corev1.ContainerStatus{s} }
}

func waiting(reason, message string) corev1.ContainerStatus {
	return corev1.ContainerStatus{Name: "c", State: corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: reason, Message: message}}}
}

func running(since time.Duration) corev1.ContainerStatus {
	return corev1.ContainerStatus{Name: "c", State: corev1.ContainerState{Running: &corev1.ContainerStateRunning{StartedAt: metav1.NewTime(testNow.Add(-since))}}}
}

func TestJudgeDaemonSet(t *testing.T) {
	t.Parallel()
	three := appsv1.DaemonSetStatus{ObservedGeneration: 1, DesiredNumberScheduled: 3, UpdatedNumberScheduled: 3, NumberReady: 3}
	one := three
	one.NumberReady = 1
	crash := waiting("CrashLoopBackOff", "back-off 10s")
	crash.LastTerminationState.Terminated = &corev1.ContainerStateTerminated{ExitCode: 1, Message: "line 1\novsdb: no such file\n"}
	killed := waiting("CrashLoopBackOff", "")
	killed.LastTerminationState.Terminated = &corev1.ContainerStateTerminated{ExitCode: 137, Reason: "OOMKilled"}
	for _, test := range []struct {
		name  string
		set   *appsv1.DaemonSet
		pods  []*corev1.Pod
		ready bool
		want  string
	}{
		{name: "all ready", set: set(three, 1), ready: true, want: "3 of 3 ready"},
		{name: "absent", want: "does not exist"},
		{name: "not seen", set: set(three, 2), want: "not yet seen by kube-controller-manager"},
		{name: "no pods", set: set(one, 1), want: "1 of 3 ready; no pod was created yet"},
		{name: "being replaced", set: set(appsv1.DaemonSetStatus{ObservedGeneration: 1, DesiredNumberScheduled: 3, UpdatedNumberScheduled: 2, NumberReady: 3}, 1),
			pods: []*corev1.Pod{pod("n1", func(p *corev1.Pod) { p.DeletionTimestamp = &metav1.Time{} })}, want: "3 of 3 ready, 2 replaced; n1: the old pod is ending"},
		{name: "replaced on delete only", ready: true, want: "3 of 3 ready", set: func() *appsv1.DaemonSet {
			ds := set(three, 1)
			ds.Status.UpdatedNumberScheduled, ds.Spec.UpdateStrategy.Type = 0, appsv1.OnDeleteDaemonSetStrategyType
			return ds
		}()},
		{name: "equal reasons are one", set: set(one, 1), pods: []*corev1.Pod{
			pod("n2", container(waiting("ErrImagePull", "not found"))), pod("n1", container(waiting("ErrImagePull", "not found"))),
			pod("n3", func(p *corev1.Pod) {
				p.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue}}
			}),
		}, want: "1 of 3 ready; n1 and 1 more: container c waits: ErrImagePull: not found"},
		{name: "the last words", set: set(one, 1), pods: []*corev1.Pod{pod("n1", container(crash)), pod("n2", container(killed))},
			want: "1 of 3 ready; n1: container c waits: CrashLoopBackOff, it ended with code 1: ovsdb: no such file; n2: container c waits: CrashLoopBackOff, it ended with code 137 (out of memory)"},
		{name: "running, and asked when it settled", set: set(one, 1), pods: []*corev1.Pod{pod("n1", container(running(time.Second))), pod("n2", container(running(time.Minute)))},
			want: "1 of 3 ready; n1: container c runs, but is not ready; n2: container c runs, but is not ready, it says: hello from ds-n2"},
		{name: "not scheduled", set: set(one, 1), pods: []*corev1.Pod{pod("", func(p *corev1.Pod) {
			p.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodScheduled, Status: corev1.ConditionFalse, Message: "0/1 nodes have free ports"}}
		})}, want: "1 of 3 ready; ds-: not scheduled: 0/1 nodes have free ports"},
		{name: "refused by the kubelet", set: set(one, 1), pods: []*corev1.Pod{pod("n1", func(p *corev1.Pod) {
			p.Status = corev1.PodStatus{Phase: corev1.PodFailed, Reason: "OutOfmemory", Message: "node is full"}
		})}, want: "1 of 3 ready; n1: failed: OutOfmemory: node is full"},
		{name: "many reasons", set: set(one, 1), pods: []*corev1.Pod{
			pod("n1", container(waiting("A", ""))), pod("n2", container(waiting("B", ""))), pod("n3", container(waiting("C", ""))),
			pod("n4", container(waiting("D", ""))), pod("n5", func(*corev1.Pod) {}),
		}, want: "1 of 3 ready; n1: container c waits: A; n2: container c waits: B; n3: container c waits: C; and 2 other reasons"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			o := &observed{pods: test.pods, now: testNow, daemonSets: map[string]*appsv1.DaemonSet{},
				lastLog: func(p *corev1.Pod, _ string) string { return "hello from " + p.Name }}
			if test.set != nil {
				o.daemonSets["ds"] = test.set
			}
			got := o.judge([]*unstructured.Unstructured{workload("ConfigMap", "x"), workload("DaemonSet", "ds")})
			if got[0].ready != test.ready {
				t.Errorf("ready: %v", got[0].ready)
			}
			if diff := cmp.Diff(test.want, got[0].state); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestJudgeDeployment(t *testing.T) {
	t.Parallel()
	d := &appsv1.Deployment{
		ObjectMeta: metav1.ObjectMeta{Name: "d", Generation: 2},
		Spec:       appsv1.DeploymentSpec{Replicas: ptr.To[int32](2), Selector: &metav1.LabelSelector{MatchLabels: map[string]string{"app": "d"}}},
	}
	o := &observed{deployments: map[string]*appsv1.Deployment{"d": d}, now: testNow}
	for _, step := range []struct {
		status appsv1.DeploymentStatus
		ready  bool
		want   string
	}{
		{appsv1.DeploymentStatus{ObservedGeneration: 1}, false, "not yet seen by kube-controller-manager"},
		{appsv1.DeploymentStatus{ObservedGeneration: 2, Replicas: 2, UpdatedReplicas: 1, ReadyReplicas: 1}, false, "1 of 2 ready, 1 replaced; no pod was created yet"},
		{appsv1.DeploymentStatus{ObservedGeneration: 2, Conditions: []appsv1.DeploymentCondition{
			{Type: appsv1.DeploymentReplicaFailure, Status: corev1.ConditionTrue, Message: "violates PodSecurity"}}}, false, "0 of 2 ready; violates PodSecurity; no pod was created yet"},
		{appsv1.DeploymentStatus{ObservedGeneration: 2, Replicas: 3, UpdatedReplicas: 2, ReadyReplicas: 2}, false, "2 of 2 ready; no pod was created yet"},
		{appsv1.DeploymentStatus{ObservedGeneration: 2, Replicas: 2, UpdatedReplicas: 2, ReadyReplicas: 2}, true, "2 of 2 ready"},
	} {
		d.Status = step.status
		got := o.judge([]*unstructured.Unstructured{workload("Deployment", "d")})[0]
		if got.ready != step.ready || got.state != step.want {
			t.Errorf("got %v %q, want %v %q", got.ready, got.state, step.ready, step.want)
		}
	}
}

func TestJudgeNodes(t *testing.T) {
	t.Parallel()
	withReady := func(name string, status corev1.ConditionStatus, message string) *corev1.Node {
		n := node(name, "192.0.2.1")
		n.Status.Conditions = []corev1.NodeCondition{{Type: corev1.NodeReady, Status: status, Message: message}}
		return n
	}
	windows := node("w", "192.0.2.9")
	windows.Labels["kubernetes.io/os"] = "windows"
	o := &observed{nodes: []*corev1.Node{withReady("n1", corev1.ConditionTrue, "kubelet is posting ready status"), withReady("n2", corev1.ConditionFalse, "cni plugin not initialized"), node("n3", "192.0.2.3"), windows}}
	got := o.judge(nil)[0]
	if want := "1 of 3 ready; n2: cni plugin not initialized; n3: its kubelet has not reported yet"; got.ready || got.state != want {
		t.Errorf("got %v %q, want %q", got.ready, got.state, want)
	}
	o.nodes = o.nodes[:1]
	if got := o.judge(nil)[0]; !got.ready {
		t.Error(got.state)
	}
}

func TestLastLineIsBounded(t *testing.T) {
	t.Parallel()
	if got := lastLine("a\n" + strings.Repeat("ü", 400) + "\n"); len(got) > maxLine+4 || strings.ContainsRune(got, '\ufffd') {
		t.Errorf("%d bytes: %q", len(got), got)
	}
}
