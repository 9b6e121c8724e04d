//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/ovnkctl/ovnkctl/test/sandbox/netspace"
)

const (
	// namespace holds the pods of the benchmark.
	namespace = "ovnkctl-bench"
	// netnsPrefix begins the names of their network namespaces.
	netnsPrefix = "ovnkbench-"
	podNetworks = "k8s.ovn.org/pod-networks"
)

// rig makes pods that only the API server and the network know: the kubelet is stopped,
// and the benchmark plays the container runtime.
type rig struct {
	api   kubernetes.Interface
	node  string
	spare chan string // network namespaces without a pod

	mu      sync.Mutex
	serial  int
	renewed func()
}

// pod is one of them.
type pod struct {
	name, uid, sandbox, netns string
	addrs                     []netip.Addr // once it is attached
}

func newRig(ctx context.Context, kubeconfig, node string) (*rig, error) {
	config, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
	if err != nil {
		return nil, fmt.Errorf("%w: start the sandbox first: make sandbox", err)
	}
	config.QPS, config.Burst = 1000, 1000
	r := &rig{node: node, spare: make(chan string, 1000)}
	if r.api, err = kubernetes.NewForConfig(config); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(ctx)
	r.renewed = cancel
	go r.keepLease(ctx)
	return r, r.makeNamespace(ctx)
}

// keepLease renews the node's lease in the place of the stopped kubelet, so that the node
// stays ready and nobody's pods are evicted.
func (r *rig) keepLease(ctx context.Context) {
	for {
		patch := fmt.Sprintf(`{"spec":{"renewTime":%q}}`, time.Now().UTC().Format(metav1.RFC3339Micro))
		_, _ = r.api.CoordinationV1().Leases(corev1.NamespaceNodeLease).Patch(ctx, r.node, types.MergePatchType, []byte(patch), metav1.PatchOptions{})
		select {
		case <-time.After(5 * time.Second):
		case <-ctx.Done():
			return
		}
	}
}

func (r *rig) makeNamespace(ctx context.Context) error {
	// One that a run has left with an error takes a while to go.
	err := until(ctx, "end of the last run's namespace "+namespace, func() (bool, error) {
		old, err := r.api.CoreV1().Namespaces().Get(ctx, namespace, metav1.GetOptions{})
		if apierrors.IsNotFound(err) {
			return true, nil
		}
		return err == nil && old.DeletionTimestamp == nil, err
	})
	if err != nil {
		return err
	}
	ns := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: namespace}}
	if _, err := r.api.CoreV1().Namespaces().Create(ctx, ns, metav1.CreateOptions{}); err != nil && !apierrors.IsAlreadyExists(err) {
		return err
	}
	return until(ctx, "the namespace's service account", func() (bool, error) {
		_, err := r.api.CoreV1().ServiceAccounts(namespace).Get(ctx, "default", metav1.GetOptions{})
		return err == nil, err
	})
}

// until polls; it is for preparations, never for what is measured.
func until(ctx context.Context, what string, done func() (bool, error)) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	for {
		ok, err := done()
		if ok {
			return nil
		}
		select {
		case <-time.After(50 * time.Millisecond):
		case <-ctx.Done():
			return fmt.Errorf("%s: not within a minute: %w", what, errors.Join(err, ctx.Err()))
		}
	}
}

// prepare makes network namespaces in advance, as the runtime does before it calls CNI.
func (r *rig) prepare(n int) error {
	for i := range n {
		name := fmt.Sprint(netnsPrefix, i)
		if err := netspace.Ensure(name); err != nil {
			return err
		}
		r.spare <- name
	}
	return nil
}

// create makes one pod that is bound to the node.
func (r *rig) create(ctx context.Context) (*pod, error) {
	r.mu.Lock()
	r.serial++
	serial := r.serial
	r.mu.Unlock()
	no, zero := false, int64(0)
	created, err := r.api.CoreV1().Pods(namespace).Create(ctx, &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprintf("bench-%d", serial)},
		Spec: corev1.PodSpec{
			NodeName: r.node, AutomountServiceAccountToken: &no, TerminationGracePeriodSeconds: &zero,
			Containers:  []corev1.Container{{Name: "none", Image: "registry.k8s.io/pause:3.10.2"}},
			Tolerations: []corev1.Toleration{{Operator: corev1.TolerationOpExists}},
		},
	}, metav1.CreateOptions{})
	if err != nil {
		return nil, err
	}
	return &pod{
		name: created.Name, uid: string(created.UID), netns: <-r.spare,
		sandbox: fmt.Sprintf("%s%010d", ourVeth, serial) + strings.Repeat("0", 49),
	}, nil
}

// createMany makes pods and waits until the network has given all of them addresses.
func (r *rig) createMany(ctx context.Context, n int) ([]*pod, error) {
	pods := make([]*pod, n)
	err := parallel(n, func(i int) (err error) {
		pods[i], err = r.create(ctx)
		return err
	})
	if err != nil {
		return nil, err
	}
	return pods, r.awaitKnown(ctx, pods...)
}

// awaitKnown waits until the node has annotated the pods: by then the rows are committed.
func (r *rig) awaitKnown(ctx context.Context, pods ...*pod) error {
	return until(ctx, "addresses of the pods", func() (bool, error) {
		list, err := r.api.CoreV1().Pods(namespace).List(ctx, metav1.ListOptions{})
		if err != nil {
			return false, err
		}
		known := map[string]bool{}
		for _, p := range list.Items {
			known[p.Name] = p.Annotations[podNetworks] != ""
		}
		for _, p := range pods {
			if !known[p.name] {
				return false, fmt.Errorf("pod %s has no annotation %s", p.name, podNetworks)
			}
		}
		return true, nil
	})
}

// remove deletes pods; their interfaces must be gone already.
func (r *rig) remove(ctx context.Context, pods ...*pod) error {
	zero := int64(0)
	return parallel(len(pods), func(i int) error {
		err := r.api.CoreV1().Pods(namespace).Delete(ctx, pods[i].name, metav1.DeleteOptions{GracePeriodSeconds: &zero})
		r.spare <- pods[i].netns
		return err
	})
}

// clean leaves nothing behind.
func (r *rig) clean(ctx context.Context) error {
	r.renewed()
	zero := int64(0)
	err := r.api.CoreV1().Pods(namespace).DeleteCollection(ctx, metav1.DeleteOptions{GracePeriodSeconds: &zero}, metav1.ListOptions{})
	if nsErr := r.api.CoreV1().Namespaces().Delete(ctx, namespace, metav1.DeleteOptions{}); !apierrors.IsNotFound(nsErr) {
		err = errors.Join(err, nsErr)
	}
	names, listErr := netspace.List(netnsPrefix)
	err = errors.Join(err, listErr)
	for _, name := range names {
		err = errors.Join(err, netspace.Delete(name))
	}
	return err
}

// cniResult is the part of a CNI result that is used.
type cniResult struct {
	IPs []struct {
		Address netip.Prefix `json:"address"`
	} `json:"ips"`
}
