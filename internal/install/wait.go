package install

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"
	"k8s.io/utils/ptr"
)

// lookAgain is how often the state is judged when nothing is reported: logs of containers
// that run but do not get ready are no events.
const lookAgain = 5 * time.Second

// logTimeout bounds the look at a log; the kubelet of a node without a network may be
// out of reach.
const logTimeout = 2 * time.Second

// awaitReady waits until the workloads and the nodes are ready. The state of each
// component is said when it changes. The error names what is missing.
func (i *Installer) awaitReady(ctx context.Context, kube kubernetes.Interface, objects []*unstructured.Unstructured, timeout time.Duration) error {
	start := i.Now()
	parent := ctx
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	w := newWatcher(ctx, kube, i.Namespace)
	defer w.stop()
	tick := time.NewTicker(lookAgain)
	defer tick.Stop()
	said := map[string]string{}
	var missing []string
	for w.sync(ctx) {
		missing = nil
		for _, c := range w.look(ctx, i.Now()).judge(objects) {
			if !c.ready {
				missing = append(missing, c.name+": "+c.state)
			}
			if said[c.name] != c.state {
				said[c.name] = c.state
				i.say("%5s  %s: %s", i.since(start), c.name, c.state)
			}
		}
		if len(missing) == 0 {
			i.say("Ready after %s", i.since(start))
			return nil
		}
		select {
		case <-w.changed:
		case <-tick.C:
		case <-ctx.Done():
		}
	}
	if parent.Err() != nil {
		return fmt.Errorf("waiting for the network: %w", parent.Err())
	}
	return notReady(missing, timeout, i.Namespace)
}

func (i *Installer) since(start time.Time) time.Duration {
	return i.Now().Sub(start).Round(time.Second)
}

func notReady(missing []string, timeout time.Duration, namespace string) error {
	why := errors.New("the API server does not answer")
	if len(missing) > 0 {
		why = errors.New(strings.Join(missing, "\n  "))
	}
	return &Problem{What: fmt.Sprintf("not ready after %s", timeout), Why: why, Code: exitTimeout,
		Next: "everything is applied and goes on starting; look with: kubectl -n " + namespace + " get pods -o wide"}
}

// watcher keeps what the cluster says about the installation.
type watcher struct {
	kube      kubernetes.Interface
	stop      func()
	changed   chan struct{} // one element: something changed since the last look
	hasSynced []cache.InformerSynced

	daemonSets, deployments, pods, nodes cache.Store
}

// newWatcher watches with informers of its own: a factory of client-go would link those
// of every kind there is.
func newWatcher(ctx context.Context, kube kubernetes.Interface, namespace string) *watcher {
	ctx, cancel := context.WithCancel(ctx)
	w := &watcher{kube: kube, changed: make(chan struct{}, 1)}
	var running sync.WaitGroup
	w.stop = func() {
		cancel()
		running.Wait()
	}
	notify := func(any) {
		select {
		case w.changed <- struct{}{}:
		default:
		}
	}
	handler := cache.ResourceEventHandlerFuncs{AddFunc: notify, DeleteFunc: notify, UpdateFunc: func(_, o any) { notify(o) }}
	follow := func(client cache.Getter, resource, in string, kind runtime.Object) cache.Store {
		lists := cache.NewListWatchFromClient(client, resource, in, fields.Everything())
		informer := cache.NewSharedIndexInformer(lists, kind, 0, cache.Indexers{})
		registration, err := informer.AddEventHandler(handler)
		if err == nil { // it fails only for a stopped informer
			w.hasSynced = append(w.hasSynced, registration.HasSynced)
		}
		running.Go(func() { informer.RunWithContext(ctx) })
		return informer.GetStore()
	}
	apps, core := kube.AppsV1().RESTClient(), kube.CoreV1().RESTClient()
	w.daemonSets = follow(apps, "daemonsets", namespace, &appsv1.DaemonSet{})
	w.deployments = follow(apps, "deployments", namespace, &appsv1.Deployment{})
	w.pods = follow(core, "pods", namespace, &corev1.Pod{})
	w.nodes = follow(core, "nodes", metav1.NamespaceAll, &corev1.Node{})
	return w
}

// sync waits for the first lists; it is false when the time is over.
func (w *watcher) sync(ctx context.Context) bool {
	return cache.WaitForCacheSync(ctx.Done(), w.hasSynced...) && ctx.Err() == nil
}

// look is the state at this moment.
func (w *watcher) look(ctx context.Context, now time.Time) *observed {
	o := &observed{
		daemonSets: map[string]*appsv1.DaemonSet{}, deployments: map[string]*appsv1.Deployment{},
		pods: held[corev1.Pod](w.pods), nodes: held[corev1.Node](w.nodes), now: now,
		lastLog: func(pod *corev1.Pod, container string) string { return w.lastLog(ctx, pod, container) },
	}
	for _, ds := range held[appsv1.DaemonSet](w.daemonSets) {
		o.daemonSets[ds.Name] = ds
	}
	for _, d := range held[appsv1.Deployment](w.deployments) {
		o.deployments[d.Name] = d
	}
	return o
}

func held[T any](store cache.Store) []*T {
	var all []*T
	for _, o := range store.List() {
		if typed, ok := o.(*T); ok {
			all = append(all, typed)
		}
	}
	return all
}

// lastLog is the last line that a container wrote, empty if it cannot be had.
func (w *watcher) lastLog(ctx context.Context, pod *corev1.Pod, container string) string {
	ctx, cancel := context.WithTimeout(ctx, logTimeout)
	defer cancel()
	stream, err := w.kube.CoreV1().Pods(pod.Namespace).GetLogs(pod.Name, &corev1.PodLogOptions{
		Container: container, TailLines: ptr.To[int64](1), LimitBytes: ptr.To[int64](4096),
	}).Stream(ctx)
	if err != nil {
		return ""
	}
	defer stream.Close()
	data, err := io.ReadAll(stream)
	if err != nil {
		return ""
	}
	return lastLine(string(data))
}
