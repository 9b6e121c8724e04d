package inspect

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/remotecommand"
)

// LiveConfig is what Connect needs.
type LiveConfig struct {
	REST *rest.Config
	// Namespace of the network.
	Namespace string
	// Timeout bounds each single wait; 0 for DefaultTimeout.
	Timeout time.Duration
	// Exec runs a program in a container until it ends or ctx does; nil for pods/exec.
	Exec func(ctx context.Context, at Container, argv []string, streams remotecommand.StreamOptions) error
}

// The pods of the chart, by their label "app".
const (
	appLabel   = "app"
	nodeApp    = "ovnkube-node"
	ovsApp     = "ovs-node"
	controlApp = "ovnkube-control-plane"
)

var networkApps = []string{nodeApp, ovsApp, controlApp}

// ofNetworkPods selects the pods of the network.
var ofNetworkPods = appLabel + " in (" + strings.Join(networkApps, ",") + ")"

// Connect looks at a live cluster. It does not talk to it yet.
func Connect(c LiveConfig) (*Snapshot, error) {
	access := rest.CopyConfig(c.REST)
	access.QPS = -1 // the API server is fair by itself (API Priority and Fairness); a limit here would eat up waits
	// The kinds that are CustomResourceDefinitions have no protobuf, and bundles are JSON.
	access.ContentType, access.AcceptContentTypes = runtime.ContentTypeJSON, runtime.ContentTypeJSON
	client, err := kubernetes.NewForConfig(access)
	if err != nil {
		return nil, &Problem{What: "connection to the cluster", Why: err.Error(), Next: "look at the kubeconfig and --context", err: err}
	}
	ctx, cancel := context.WithCancel(context.Background())
	l := &live{
		config: c, access: access, client: client, began: time.Now(),
		ctx: ctx, cancel: cancel, agents: map[Container]*agent{}, silent: map[string]silence{},
	}
	if c.Exec == nil {
		l.config.Exec = l.podsExec
	}
	return newSnapshot(l, c.Timeout), nil
}

// live is a cluster.
type live struct {
	config LiveConfig
	access *rest.Config
	client kubernetes.Interface
	began  time.Time
	// ctx ends with the source: streams to nodes last longer than what opened them.
	ctx    context.Context
	cancel context.CancelFunc

	running once[[]corev1.Pod]
	mu      sync.Mutex
	agents  map[Container]*agent
	silent  map[string]silence // nodes that did not answer
	streams sync.WaitGroup
}

func (l *live) origin() Origin { return Origin{Kind: Live, Name: l.access.Host, Time: l.began} }

func (l *live) close() error {
	l.mu.Lock()
	agents := slices.Collect(maps.Values(l.agents))
	l.mu.Unlock()
	for _, a := range agents {
		a.close()
	}
	l.cancel()
	ended := make(chan struct{})
	go func() {
		l.streams.Wait()
		close(ended)
	}()
	select {
	case <-ended:
	case <-time.After(closeTimeout):
	}
	return nil
}

// closeTimeout bounds the wait for streams that are being ended: an API server that is
// connecting to a node that is off may not hear of it.
const closeTimeout = time.Second

// kindsAtOnce bounds how many kinds are listed at the same time.
const kindsAtOnce = 8

func (l *live) read(ctx context.Context, to *everything, kinds []*resource) ([]*Problem, error) {
	var mu sync.Mutex
	var problems []*Problem
	refused := &refusals{}
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(kindsAtOnce)
	for _, r := range kinds {
		g.Go(func() error {
			result := l.client.CoreV1().RESTClient().Get().RequestURI(r.path(l.config.Namespace)).Do(ctx)
			err := result.Error() // the server's own words, which Raw does not read
			if err == nil {
				var data []byte
				if data, err = result.Raw(); err != nil {
					return err
				}
				mu.Lock()
				defer mu.Unlock()
				err = r.read(to, data)
			}
			switch {
			case err == nil || l.lacks(ctx, r, err):
				return nil
			case apierrors.IsForbidden(err):
				mu.Lock()
				defer mu.Unlock()
				refused.add(err, r.right(l.config.Namespace))
				return nil
			}
			p := refusal(err, r.plural, r.right(l.config.Namespace))
			if ctx.Err() != nil || unreachable(err) {
				return p
			}
			mu.Lock()
			defer mu.Unlock()
			problems = append(problems, p)
			return nil
		})
	}
	err := g.Wait()
	return append(problems, refused.problems()...), err
}

// lacks tells whether the cluster has no such kind. Of one that somebody may not list the
// server does not say so: it refuses before it looks.
func (l *live) lacks(ctx context.Context, r *resource, err error) bool {
	if r.group == "" {
		return false
	}
	if apierrors.IsForbidden(err) {
		var kinds metav1.APIResourceList
		// Everyone who has logged in may ask which kinds there are.
		err = l.client.CoreV1().RESTClient().Get().RequestURI("/apis/" + r.apiVersion()).Do(ctx).Into(&kinds)
		if err == nil {
			return !slices.ContainsFunc(kinds.APIResources, func(k metav1.APIResource) bool { return k.Name == r.plural })
		}
	}
	return apierrors.IsNotFound(err)
}

// pods are the network's pods.
func (l *live) pods(ctx context.Context) ([]corev1.Pod, error) {
	return l.running.get(func() ([]corev1.Pod, error) {
		list, err := l.client.CoreV1().Pods(l.config.Namespace).List(ctx, metav1.ListOptions{LabelSelector: ofNetworkPods})
		if err != nil {
			return nil, refusal(err, "pods of namespace "+l.config.Namespace, right{verbs: "list", resource: "pods", namespace: l.config.Namespace})
		}
		if len(list.Items) == 0 {
			return nil, &Problem{
				What: "pods of the network", Why: "there are none in namespace " + l.config.Namespace, err: ErrAbsent,
				Next: "name the namespace with --namespace, or install the network with 'ovnkctl install'",
			}
		}
		return list.Items, nil
	})
}

func (l *live) networkPods(ctx context.Context) ([]corev1.Pod, error) { return l.pods(ctx) }
func (l *live) namespace() string                                     { return l.config.Namespace }

func (l *live) nodes(ctx context.Context) ([]string, error) {
	pods, err := l.pods(ctx)
	if err != nil {
		return nil, err
	}
	var names []string
	for i := range pods {
		if app := pods[i].Labels[appLabel]; (app == nodeApp || app == ovsApp) && pods[i].Spec.NodeName != "" {
			names = append(names, pods[i].Spec.NodeName)
		}
	}
	slices.Sort(names)
	return slices.Compact(names), nil
}

func (l *live) node(name string) nodeSource { return &liveNode{live: l, name: name} }

// Container is a container of a pod of the network.
type Container struct{ Pod, Name string }

// need is what a question needs of the container that it is put in.
type need int

const (
	needOVN  need = iota // the sockets of OVN
	needOVS              // the socket of Open vSwitch
	needHost             // the right to look at the host's network
)

// places are the containers for each need, the best first: when one is down, another may
// still tell why.
var places = map[need][]struct{ app, container string }{
	needOVN: {{nodeApp, "ovnkube-controller"}, {nodeApp, "ovn-controller"}, {nodeApp, "ovn-northd"}, {nodeApp, "sb-ovsdb"}, {nodeApp, "nb-ovsdb"}},
	needOVS: {{nodeApp, "ovnkube-controller"}, {nodeApp, "ovn-controller"}, {ovsApp, "ovs-daemons"}, {ovsApp, "ovsdb-server"}},
	needHost: {
		{nodeApp, "ovnkube-controller"}, {ovsApp, "ovs-daemons"}, {nodeApp, "ovn-controller"}, {nodeApp, "ovn-northd"}, {nodeApp, "sb-ovsdb"},
		{nodeApp, "nb-ovsdb"}, {ovsApp, "ovsdb-server"},
	},
}

// place finds a running container.
func (l *live) place(ctx context.Context, node string, n need) (Container, error) {
	pods, err := l.pods(ctx)
	if err != nil {
		return Container{}, err
	}
	for _, at := range places[n] {
		if pod := runningIn(pods, node, at.app, at.container); pod != nil {
			return Container{pod.Name, at.container}, nil
		}
	}
	return Container{}, &Problem{
		Node: node, What: "pods of the network", Why: "no container that could be asked is running", err: ErrAbsent,
		Next: fmt.Sprintf("kubectl -n %s get pods -o wide --field-selector spec.nodeName=%s", l.config.Namespace, node),
	}
}

// runningIn finds the pod with a running container; one that is being deleted is the last
// choice.
func runningIn(pods []corev1.Pod, node, app, container string) *corev1.Pod {
	var found *corev1.Pod
	for i := range pods {
		p := &pods[i]
		if p.Spec.NodeName != node || app != "" && p.Labels[appLabel] != app {
			continue
		}
		for _, s := range p.Status.ContainerStatuses {
			if s.Name == container && s.State.Running != nil && (found == nil || found.DeletionTimestamp != nil) {
				found = p
			}
		}
	}
	return found
}
