package install

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	release "helm.sh/helm/v4/pkg/release/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// UninstallOptions are those of Uninstall.
type UninstallOptions struct {
	Mode    Mode // Apply, or Diff to say what would be removed
	Timeout time.Duration
	// SkipUnreachable leaves nodes that are not ready as they are. Without it they are
	// waited for.
	SkipUnreachable bool
	// KeepNamespace leaves the namespace, even one that an installation made.
	KeepNamespace bool
}

// Uninstall takes the network off the cluster and off its hosts. The order is what makes
// it work while the network disappears:
//
//  1. The agents and the controller stop, or they would heal what is removed. Open
//     vSwitch goes on forwarding, with the flows it has.
//  2. On each node a pod gives the NIC its addresses and routes back and removes bridges,
//     ports, rules and the CNI configuration. It needs Open vSwitch and nothing of the
//     cluster. Addresses stay the same, so that connections of the kubelet survive.
//  3. When all nodes are clean, what is left goes: Open vSwitch, the policies, the rights.
//  4. Last the traces on Nodes, the lease, and the namespace that we made.
//
// Each step finds out what is left to do, so that an interrupted one goes on.
func (i *Installer) Uninstall(ctx context.Context, o UninstallOptions) (*Result, error) {
	op, err := i.begin(ctx, Options{Timeout: o.Timeout})
	if err != nil {
		return nil, err
	}
	facts, err := op.cluster.look(ctx)
	if err != nil {
		return nil, err
	}
	i.describe(facts)
	if op.last, err = op.releases.last(); err != nil {
		return nil, reachable(err)
	}
	if op.previous, err = op.releases.standing(); err != nil {
		return nil, reachable(err)
	}
	if op.result.Changes, err = op.plan(ctx, nil, op.previous); err != nil {
		return nil, err
	}
	if op.last == nil {
		if err := op.notOurs(ctx); err != nil {
			return nil, err
		}
	}
	if o.Mode != Apply {
		return op.result, nil
	}
	u := &uninstallation{operation: op, options: o, nodes: facts.nodes}
	return u.run(ctx)
}

// notOurs protects the traces of a network that is in use, but is not this installation.
func (op *operation) notOurs(ctx context.Context) error {
	sets, err := op.cluster.daemonSets(ctx)
	if err != nil {
		return err
	}
	for i := range sets {
		ds := &sets[i]
		switch {
		case ds.Name != nodeName:
		case isOurs(&ds.ObjectMeta, ds.Namespace):
			return &Problem{What: "the network is installed in another namespace", Why: errors.New(ds.Namespace),
				Next: "run this again with --namespace " + ds.Namespace}
		default:
			return &Problem{What: "DaemonSet " + ds.Namespace + "/" + ds.Name + " is not of an installation by ovnkctl",
				Next: "remove it with what installed it"}
		}
	}
	return nil
}

// uninstallation is one under way.
type uninstallation struct {
	*operation
	options  UninstallOptions
	nodes    []corev1.Node
	template *corev1.PodTemplateSpec
	removed  bool // something was there to remove
}

func (u *uninstallation) run(parent context.Context) (*Result, error) {
	ctx, cancel := context.WithTimeout(parent, u.options.Timeout)
	defer cancel()
	if u.last != nil {
		u.removed = true
		u.warnAboutPods(ctx)
		for _, step := range []func(context.Context) error{u.stopAgents, u.cleanHosts, u.removeRelease} {
			if err := step(ctx); err != nil {
				return u.result, unfinished(parent, err)
			}
		}
	}
	for _, step := range []func(context.Context) error{u.cleanNodes, u.removeLease, u.removeNamespace} {
		if err := step(ctx); err != nil {
			return u.result, unfinished(parent, err)
		}
	}
	u.result.Outcome = Uninstalled
	if !u.removed {
		u.result.Outcome = Unchanged
		u.say("Nothing to do: the network is not installed in namespace %s", u.Namespace)
	}
	return u.result, nil
}

func unfinished(parent context.Context, err error) error {
	var p *Problem
	if errors.As(err, &p) || parent.Err() != nil {
		return err
	}
	return &Problem{What: "the uninstallation is not finished", Why: err, Next: "run this again: it goes on where it stopped"}
}

// warnAboutPods names what loses its network.
func (u *uninstallation) warnAboutPods(ctx context.Context) {
	pods, err := u.cluster.kube.CoreV1().Pods(metav1.NamespaceAll).List(ctx, metav1.ListOptions{})
	if err != nil {
		return // only a warning is lost
	}
	n := 0
	for i := range pods.Items {
		if !pods.Items[i].Spec.HostNetwork && pods.Items[i].Annotations[annotationPrefix+"pod-networks"] != "" {
			n++
		}
	}
	if n > 0 {
		u.say("%s on this network will have none; they need to be created again when there is another", count(n, "pod"))
	}
}

// stopAgents is step 1.
func (u *uninstallation) stopAgents(ctx context.Context) error {
	u.say("1/4 Stopping the agents of %s and the controller", count(len(u.nodes), "node"))
	background := metav1.DeleteOptions{PropagationPolicy: propagation(metav1.DeletePropagationBackground)}
	apps := u.cluster.kube.AppsV1()
	if err := u.persist(ctx, func() error { return apps.Deployments(u.Namespace).Delete(ctx, controllerName, background) }); err != nil {
		return err
	}
	if err := u.persist(ctx, func() error { return apps.DaemonSets(u.Namespace).Delete(ctx, nodeName, background) }); err != nil {
		return err
	}
	return u.awaitGone(ctx, nodeName, controllerName)
}

// cleanHosts is step 2.
func (u *uninstallation) cleanHosts(ctx context.Context) error {
	var err error
	if u.template, err = agentTemplate(u.previous); err != nil {
		return err
	}
	id := installationID(u.last)
	names := map[string]string{} // pod → node
	for i := range u.nodes {
		node := &u.nodes[i]
		if !belongs(u.template, node) || u.skipped(node.Name) {
			continue
		}
		pod, err := cleanupPod(u.template, node.Name, u.Namespace, id)
		if err != nil {
			return err
		}
		err = u.persist(ctx, func() error {
			_, err := u.cluster.kube.CoreV1().Pods(u.Namespace).Create(ctx, pod, metav1.CreateOptions{})
			if apierrors.IsAlreadyExists(err) {
				return nil // of a run that was interrupted
			}
			return err
		})
		if err != nil {
			return fmt.Errorf("clean-up of node %s: %w", node.Name, err)
		}
		names[pod.Name] = node.Name
	}
	u.say("2/4 Cleaning %s: addresses go back to the NIC, bridges, rules and the CNI configuration go", count(len(names), "host"))
	return u.awaitClean(ctx, names)
}

// skipped tells whether a node is left alone because it does not answer.
func (u *uninstallation) skipped(node string) bool {
	if !u.options.SkipUnreachable {
		return false
	}
	i := slices.IndexFunc(u.nodes, func(n corev1.Node) bool { return n.Name == node })
	return i >= 0 && unreachable(&u.nodes[i])
}

// unreachable tells whether the control plane hears nothing of a node. One that has no
// network yet is not ready, but heard of.
func unreachable(node *corev1.Node) bool {
	for _, c := range node.Status.Conditions {
		if c.Type == corev1.NodeReady {
			return c.Status == corev1.ConditionUnknown
		}
	}
	return false
}

// awaitClean waits until the pods have succeeded and says how far it is.
func (u *uninstallation) awaitClean(ctx context.Context, names map[string]string) error {
	return u.await(ctx, func(o *observed) (string, []string) {
		clean := 0
		seen := map[string]bool{}
		var missing []string
		for _, pod := range o.pods {
			node, ours := names[pod.Name]
			if !ours {
				continue
			}
			seen[pod.Name] = true
			if pod.Status.Phase == corev1.PodSucceeded {
				clean++
				continue
			}
			missing = append(missing, node+": "+strings.Join(o.podReasons(pod), "; "))
		}
		for name, node := range names {
			if !seen[name] {
				missing = append(missing, node+": the pod "+name+" is gone")
			}
		}
		return fmt.Sprintf("%d of %d clean", clean, len(names)), missing
	}, "the node that does not answer can be left out with --skip-unreachable; `ovnkctl node cleanup` on it does the same")
}

// removeRelease is step 3.
func (u *uninstallation) removeRelease(ctx context.Context) error {
	u.say("3/4 Removing %s", count(len(leftOut(nil, u.previous)), "object"))
	pods := u.cluster.kube.CoreV1().Pods(u.Namespace)
	err := u.persist(ctx, func() error {
		return pods.DeleteCollection(ctx, metav1.DeleteOptions{}, metav1.ListOptions{LabelSelector: "app=" + cleanupApp})
	})
	if err != nil {
		return err
	}
	if err := u.persist(ctx, func() error { return u.remove(ctx, leftOut(nil, u.previous)) }); err != nil {
		return err
	}
	if err := u.awaitGone(ctx, ovsName, cleanupApp); err != nil {
		return err
	}
	return u.persist(ctx, u.releases.forget)
}

// cleanNodes is the first part of step 4: the next network starts afresh.
func (u *uninstallation) cleanNodes(ctx context.Context) error {
	if u.last != nil {
		u.say("4/4 Removing annotations of Nodes, the lease and the namespace")
	}
	nodes := u.cluster.kube.CoreV1().Nodes()
	for i := range u.nodes {
		name := u.nodes[i].Name
		for subresource, patch := range map[string][]byte{"": removal(&u.nodes[i]), "status": conditionRemoval(&u.nodes[i])} {
			if patch == nil {
				continue
			}
			u.removed = true
			err := u.persist(ctx, func() error {
				_, err := nodes.Patch(ctx, name, types.StrategicMergePatchType, patch, metav1.PatchOptions{}, strings.Fields(subresource)...)
				return err
			})
			if err != nil {
				return fmt.Errorf("node %s: %w", name, err)
			}
		}
	}
	return nil
}

// conditionRemoval is the patch that takes our condition off a Node, nil if it has none.
func conditionRemoval(node *corev1.Node) []byte {
	for _, c := range node.Status.Conditions {
		if c.Type == conditionType {
			return fmt.Appendf(nil, `{"status":{"conditions":[{"type":%q,"$patch":"delete"}]}}`, conditionType)
		}
	}
	return nil
}

// removal is the patch that takes our annotations off a Node, nil if it has none.
func removal(node *corev1.Node) []byte {
	var keys []string
	for _, key := range nodeAnnotations {
		if _, ok := node.Annotations[key]; ok {
			keys = append(keys, strconv.Quote(key)+":null")
		}
	}
	if len(keys) == 0 {
		return nil
	}
	return []byte(`{"metadata":{"annotations":{` + strings.Join(keys, ",") + `}}}`)
}

func (u *uninstallation) removeLease(ctx context.Context) error {
	leases := u.cluster.kube.CoordinationV1().Leases(u.Namespace)
	return u.persist(ctx, func() error { return leases.Delete(ctx, leaseName, metav1.DeleteOptions{}) })
}

// removeNamespace deletes the namespace if an installation made it and nobody else uses it.
func (u *uninstallation) removeNamespace(ctx context.Context) error {
	core := u.cluster.kube.CoreV1()
	var ns *corev1.Namespace
	err := u.persist(ctx, func() (err error) {
		ns, err = core.Namespaces().Get(ctx, u.Namespace, metav1.GetOptions{})
		return err
	})
	if err != nil || ns == nil || ns.Name == "" || ns.Labels[createdBy] != createdByValue || u.options.KeepNamespace {
		return err
	}
	pods, err := core.Pods(u.Namespace).List(ctx, metav1.ListOptions{})
	if err != nil {
		return err
	}
	for i := range pods.Items {
		if !u.skipped(pods.Items[i].Spec.NodeName) {
			u.say("Namespace %s stays: pod %s is in it", u.Namespace, pods.Items[i].Name)
			return nil
		}
	}
	u.removed = true
	return u.persist(ctx, func() error { return core.Namespaces().Delete(ctx, u.Namespace, metav1.DeleteOptions{}) })
}

// installationID tells installations apart, as a label. The revision is part of it: an
// installation may be repaired after an interrupted uninstallation, and then no host that
// was clean still is.
func installationID(rel *release.Release) string {
	return fmt.Sprintf("%d-%d", rel.Info.FirstDeployed.Unix(), rel.Version)
}

func propagation(p metav1.DeletionPropagation) *metav1.DeletionPropagation { return &p }
