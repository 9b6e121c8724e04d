//go:build kube

package install

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/tools/cache"
	"k8s.io/utils/ptr"
)

// kubelets do for all nodes what the control plane sees of kubelets: they start pods that
// are bound, end pods that are deleted, and report nodes ready that have a network.
type kubelets struct {
	c *testCluster

	mu sync.Mutex
	// broken says why a container fails, empty for not at all.
	broken func(pod *corev1.Pod, container string) string
	// history are the events of interest in their order: "start POD-APP NODE", "end …".
	history []string
	seen    map[string]bool
}

func startKubelets(c *testCluster) *kubelets {
	c.t.Helper()
	k := &kubelets{c: c, seen: map[string]bool{}, broken: func(*corev1.Pod, string) string { return "" }}
	ctx, cancel := context.WithCancel(context.Background())
	factory := informers.NewSharedInformerFactory(c.kube, time.Second)
	handle := func(o any) {
		if pod, ok := o.(*corev1.Pod); ok && pod.Spec.NodeName != "" && pod.Namespace == DefaultNamespace {
			k.handle(ctx, pod)
		}
	}
	_, err := factory.Core().V1().Pods().Informer().AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc: handle, UpdateFunc: func(_, o any) { handle(o) },
	})
	if err != nil {
		c.t.Fatal(err)
	}
	factory.Start(ctx.Done())
	c.t.Cleanup(func() { cancel(); factory.Shutdown() })
	return k
}

// setBroken changes what fails.
func (k *kubelets) setBroken(why func(pod *corev1.Pod, container string) string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.broken = why
}

func (k *kubelets) note(event string) {
	if !k.seen[event] {
		k.seen[event] = true
		k.history = append(k.history, event)
	}
}

func (k *kubelets) log() []string {
	k.mu.Lock()
	defer k.mu.Unlock()
	return append([]string(nil), k.history...)
}

func (k *kubelets) handle(ctx context.Context, pod *corev1.Pod) {
	k.mu.Lock()
	defer k.mu.Unlock()
	pods := k.c.kube.CoreV1().Pods(pod.Namespace)
	what := fmt.Sprintf("%s %s %s", pod.Labels["app"], pod.Spec.NodeName, pod.UID)
	if pod.DeletionTimestamp != nil {
		k.note("end " + what)
		_ = pods.Delete(ctx, pod.Name, metav1.DeleteOptions{GracePeriodSeconds: ptr.To[int64](0), Preconditions: &metav1.Preconditions{UID: &pod.UID}})
		return
	}
	k.note("start " + what)
	status := k.status(pod)
	if equalStatus(pod.Status, status) {
		return
	}
	pod = pod.DeepCopy()
	pod.Status = status
	if _, err := pods.UpdateStatus(ctx, pod, metav1.UpdateOptions{}); err != nil {
		return // somebody was faster; the next look tries again
	}
	if pod.Labels["app"] == nodeName && status.Conditions[1].Status == corev1.ConditionTrue {
		node, err := k.c.kube.CoreV1().Nodes().Get(ctx, pod.Spec.NodeName, metav1.GetOptions{})
		if err == nil {
			node.Status.Conditions = []corev1.NodeCondition{{Type: corev1.NodeReady, Status: corev1.ConditionTrue, Reason: "KubeletReady"}}
			_, _ = k.c.kube.CoreV1().Nodes().UpdateStatus(ctx, node, metav1.UpdateOptions{})
		}
	}
}

func (k *kubelets) status(pod *corev1.Pod) corev1.PodStatus {
	s := corev1.PodStatus{Phase: corev1.PodRunning}
	ready := corev1.ConditionTrue
	for _, c := range pod.Spec.Containers {
		state := corev1.ContainerStatus{Name: c.Name, Image: c.Image, Ready: true}
		state.State.Running = &corev1.ContainerStateRunning{StartedAt: pod.CreationTimestamp}
		if why := k.broken(pod, c.Name); why != "" {
			ready = corev1.ConditionFalse
			state.Ready = false
			state.State = corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: "CrashLoopBackOff", Message: "back-off"}}
			state.LastTerminationState.Terminated = &corev1.ContainerStateTerminated{ExitCode: 1, Message: "first line\n" + why}
		}
		s.ContainerStatuses = append(s.ContainerStatuses, state)
	}
	if pod.Labels["app"] == cleanupApp && ready == corev1.ConditionTrue {
		s.Phase = corev1.PodSucceeded
		s.ContainerStatuses[0].State = corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{ExitCode: 0}}
	}
	s.Conditions = []corev1.PodCondition{
		{Type: corev1.PodScheduled, Status: corev1.ConditionTrue},
		{Type: corev1.PodReady, Status: ready},
		{Type: corev1.ContainersReady, Status: ready},
	}
	return s
}

func equalStatus(a, b corev1.PodStatus) bool {
	if a.Phase != b.Phase || len(a.ContainerStatuses) != len(b.ContainerStatuses) {
		return false
	}
	for i := range a.ContainerStatuses {
		if a.ContainerStatuses[i].Ready != b.ContainerStatuses[i].Ready {
			return false
		}
	}
	return true
}

// watched is a progress writer that calls back for each line.
type watched struct {
	mu    sync.Mutex
	text  strings.Builder
	onMsg func(string)
}

func (w *watched) Write(p []byte) (int, error) {
	w.mu.Lock()
	w.text.Write(p)
	on := w.onMsg
	w.mu.Unlock()
	if on != nil {
		on(string(p))
	}
	return len(p), nil
}

func (w *watched) String() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.text.String()
}

// capacity lets the scheduler place pods on a node.
func capacity() corev1.ResourceList {
	return corev1.ResourceList{
		corev1.ResourceCPU: resource.MustParse("4"), corev1.ResourceMemory: resource.MustParse("8Gi"), corev1.ResourcePods: resource.MustParse("100"),
	}
}
