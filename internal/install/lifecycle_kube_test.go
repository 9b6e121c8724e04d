//go:build kube

package install

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
)

// lifecycle is one installation, from nothing to nothing, against a real control plane.
type lifecycle struct {
	*testing.T
	c        *testCluster
	kubelets *kubelets
	progress *watched
	version  string
	now      func() time.Time
}

func TestLifecycle(t *testing.T) {
	t.Parallel()
	l := &lifecycle{T: t, c: newTestCluster(t), version: testVersion, now: time.Now}
	l.kubelets = startKubelets(l.c)
	for _, name := range []string{"n1", "n2"} {
		l.c.createNode(t.Context(), name)
	}
	for _, step := range []struct {
		name string
		run  func(*lifecycle)
	}{
		{"a dry run changes nothing", (*lifecycle).dryRun},
		{"another network stops it", (*lifecycle).otherNetwork},
		{"somebody defined a kind of policy", (*lifecycle).defineOne},
		{"install", (*lifecycle).install},
		{"that definition stayed", (*lifecycle).definitionStayed},
		{"again is nothing", (*lifecycle).again},
		{"drift is repaired", (*lifecycle).drift},
		{"other settings take an upgrade", (*lifecycle).otherSettings},
		{"upgrade", (*lifecycle).upgrade},
		{"a failed upgrade goes back", (*lifecycle).goBack},
		{"rollback", (*lifecycle).rollback},
		{"a network in use does not change", (*lifecycle).networkChange},
		{"somebody else is at work", (*lifecycle).busy},
		{"an uninstallation that fails", (*lifecycle).uninstallStuck},
		{"is repaired by an installation", (*lifecycle).repair},
		{"uninstall", (*lifecycle).uninstall},
		{"uninstall again", (*lifecycle).uninstallAgain},
	} {
		if !t.Run(step.name, func(t *testing.T) {
			l.T = t
			step.run(l)
		}) {
			t.Fatal("the steps build on each other")
		}
	}
}

func (l *lifecycle) installer() *Installer {
	l.progress = &watched{}
	return New(Config{Getter: l.c.flags, Version: l.version, Progress: l.progress, Now: l.now})
}

func (l *lifecycle) must(r *Result, err error) *Result {
	l.Helper()
	if err != nil {
		l.Fatalf("%v\n%s", err, l.progress)
	}
	return r
}

func (l *lifecycle) refused(err error, code int, text string) {
	l.Helper()
	var p *Problem
	if !errors.As(err, &p) || p.ExitCode() != code || !strings.Contains(err.Error(), text) {
		l.Fatalf("want code %d and %q: %v\n%s", code, text, err, l.progress)
	}
}

func (l *lifecycle) outcome(r *Result, want Outcome) {
	l.Helper()
	if r.Outcome != want {
		l.Fatalf("outcome %s, want %s\n%s", r.Outcome, want, l.progress)
	}
}

func (l *lifecycle) nothingThere() {
	l.Helper()
	_, err := l.c.kube.CoreV1().Namespaces().Get(l.Context(), DefaultNamespace, metav1.GetOptions{})
	if !apierrors.IsNotFound(err) {
		l.Errorf("namespace: %v", err)
	}
	roles, err := l.c.kube.RbacV1().ClusterRoles().List(l.Context(), metav1.ListOptions{LabelSelector: "app.kubernetes.io/name=ovnk"})
	if err != nil || len(roles.Items) != 0 {
		l.Errorf("cluster roles: %d, %v", len(roles.Items), err)
	}
}

var wait = Options{Wait: true, Timeout: 2 * time.Minute}

func with(o Options, set ...string) Options {
	o.Values = Values{Set: set}
	return o
}

func (l *lifecycle) dryRun() {
	r := l.must(l.installer().Install(l.Context(), Options{Mode: DryServer}))
	for _, want := range []string{"kind: Namespace", "kind: DaemonSet", "bootstrapServers: https://" + advertised, "serviceSubnets: 10.96.0.0/16,fd00:10:96::/112",
		"clusterSubnets: 10.244.0.0/16/24,fd00:10:244::/48/64"} {
		if !strings.Contains(r.Manifest, want) {
			l.Errorf("the manifest lacks %q", want)
		}
	}
	_, err := l.installer().Install(l.Context(), Options{Mode: Diff})
	l.refused(err, exitFindings, "would change")
	l.nothingThere()
}

func (l *lifecycle) otherNetwork() {
	sets := l.c.kube.AppsV1().DaemonSets(metav1.NamespaceSystem)
	for _, name := range []string{"kindnet", "kube-proxy"} {
		labels := map[string]string{"app": name}
		if _, err := sets.Create(l.Context(), &appsv1.DaemonSet{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: appsv1.DaemonSetSpec{
			Selector: &metav1.LabelSelector{MatchLabels: labels},
			Template: corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: labels}, Spec: corev1.PodSpec{
				NodeSelector: map[string]string{corev1.LabelOSStable: "linux"}, Containers: []corev1.Container{{Name: "c", Image: "i"}}}},
		}}, metav1.CreateOptions{}); err != nil {
			l.Fatal(err)
		}
	}
	r, err := l.installer().Install(l.Context(), wait)
	l.refused(err, exitFailed, "other-cni, kube-proxy")
	for _, f := range r.Findings {
		if f.Level != Failure {
			l.Errorf("finding %+v", f)
		}
	}
	l.nothingThere()
	for _, name := range []string{"kindnet", "kube-proxy"} {
		if err := sets.Delete(l.Context(), name, metav1.DeleteOptions{}); err != nil {
			l.Fatal(err)
		}
	}
}

const (
	foreign = "clusternetworkpolicies.policy.networking.k8s.io"
	ownKind = "egressfirewalls.k8s.ovn.org"
)

// defineOne defines one of the kinds as another network would have: the chart's, in an older
// version.
func (l *lifecycle) defineOne() {
	c, err := connect(getter{l.c.flags})
	if err != nil {
		l.Fatal(err)
	}
	for _, o := range testRender(l.T).objects {
		if o.GetName() != foreign {
			continue
		}
		annotations := o.GetAnnotations()
		annotations[bundleVersion] = "v0.1.9"
		o.SetAnnotations(annotations)
		if _, err := c.apply(l.Context(), o); err != nil {
			l.Fatal(err)
		}
	}
}

func (l *lifecycle) definition(name string) *unstructured.Unstructured {
	l.Helper()
	c, err := connect(getter{l.c.flags})
	if err != nil {
		l.Fatal(err)
	}
	o := &unstructured.Unstructured{}
	o.SetAPIVersion("apiextensions.k8s.io/v1")
	o.SetKind("CustomResourceDefinition")
	o.SetName(name)
	live, err := c.get(l.Context(), o)
	if err != nil || live == nil {
		l.Fatalf("%s: %v, %v", name, live, err)
	}
	return live
}

func (l *lifecycle) definitionStayed() {
	if o := l.definition(foreign); isOurs(o, DefaultNamespace) || o.GetAnnotations()[bundleVersion] != "v0.1.9" {
		l.Errorf("the definition of somebody else was changed: %v", o.GetAnnotations())
	}
	if !isOurs(l.definition(ownKind), DefaultNamespace) {
		l.Errorf("%s is not ours", ownKind)
	}
	if want := foreign + " stays as it is: something else defined it"; !strings.Contains(l.progress.String(), want) {
		l.Errorf("progress lacks %q:\n%s", want, l.progress)
	}
}

// install has a daemon fail until the reason was said.
func (l *lifecycle) install() {
	l.kubelets.setBroken(func(pod *corev1.Pod, container string) string {
		if container == "ovn-northd" && pod.Spec.NodeName == "n2" {
			return "northd: boom"
		}
		return ""
	})
	_, err := l.installer().Upgrade(l.Context(), wait)
	l.refused(err, exitFailed, "not installed")
	i := l.installer()
	const reason = "n2: container ovn-northd waits: CrashLoopBackOff, it ended with code 1: northd: boom"
	l.progress.onMsg = func(line string) {
		if strings.Contains(line, reason) {
			l.kubelets.setBroken(func(*corev1.Pod, string) string { return "" })
		}
	}
	r := l.must(i.Upgrade(l.Context(), Options{OrInstall: true, Wait: true, Timeout: 2 * time.Minute}))
	l.outcome(r, Installed)
	for _, want := range []string{reason, "ovnkube-node: 2 of 2 ready", "ovnkube-control-plane: 1 of 1 ready", "ovs-node: 2 of 2 ready", "nodes: 2 of 2 ready", "Detected kubernetes.bootstrapServers=https://" + advertised} {
		if !strings.Contains(l.progress.String(), want) {
			l.Errorf("progress lacks %q:\n%s", want, l.progress)
		}
	}
	if r.Revision != 1 || !strings.Contains(r.Notes, "get pods") {
		l.Errorf("revision %d, notes %q", r.Revision, r.Notes)
	}
}

func (l *lifecycle) again() {
	before := l.versions()
	r := l.must(l.installer().Install(l.Context(), wait))
	l.outcome(r, Unchanged)
	if r.Revision != 1 || len(r.Changes) != 0 {
		l.Errorf("%+v", r)
	}
	if after := l.versions(); !slices.Equal(before, after) {
		l.Errorf("objects were written:\n%v\n%v", before, after)
	}
	l.must(l.installer().Upgrade(l.Context(), Options{Mode: Diff}))
}

// versions are those of what an installation writes.
func (l *lifecycle) versions() []string {
	l.Helper()
	var all []string
	cms, err := l.c.kube.CoreV1().ConfigMaps(DefaultNamespace).List(l.Context(), metav1.ListOptions{})
	if err != nil {
		l.Fatal(err)
	}
	for _, o := range cms.Items {
		all = append(all, o.Name+o.ResourceVersion)
	}
	secrets, err := l.c.kube.CoreV1().Secrets(DefaultNamespace).List(l.Context(), metav1.ListOptions{})
	if err != nil {
		l.Fatal(err)
	}
	for _, o := range secrets.Items {
		all = append(all, o.Name+o.ResourceVersion)
	}
	sets, err := l.c.kube.AppsV1().DaemonSets(DefaultNamespace).List(l.Context(), metav1.ListOptions{})
	if err != nil {
		l.Fatal(err)
	}
	for _, o := range sets.Items {
		all = append(all, fmt.Sprint(o.Name, o.Generation))
	}
	return all
}

func (l *lifecycle) drift() {
	patch := `{"spec":{"template":{"spec":{"containers":[{"name":"ovs-daemons","image":"evil"}]}}}}`
	if _, err := l.c.kube.AppsV1().DaemonSets(DefaultNamespace).Patch(l.Context(), ovsName, types.StrategicMergePatchType, []byte(patch), metav1.PatchOptions{FieldManager: "kubectl-edit"}); err != nil {
		l.Fatal(err)
	}
	if err := l.c.kube.CoreV1().ConfigMaps(DefaultNamespace).Delete(l.Context(), configMapName, metav1.DeleteOptions{}); err != nil {
		l.Fatal(err)
	}
	r := l.must(l.installer().Install(l.Context(), wait))
	l.outcome(r, Repaired)
	var names []string
	for _, c := range r.Changes {
		names = append(names, string(c.Action)+" "+c.Name)
	}
	if want := []string{"create " + configMapName, "change " + ovsName}; !slices.Equal(names, want) {
		l.Errorf("changes %v, want %v", names, want)
	}
	if d := r.Changes[1].Diff; !strings.Contains(d, "-        image: evil") || !strings.Contains(d, "+        image: ghcr.io/ovnkctl/ovnkctl:"+testVersion) {
		l.Errorf("the diff does not show the image:\n%s", d)
	}
	l.must(l.installer().Upgrade(l.Context(), Options{Mode: Diff}))
}

func (l *lifecycle) otherSettings() {
	_, err := l.installer().Install(l.Context(), with(wait, "log.level=debug"))
	l.refused(err, exitFailed, "log.level is not set, and debug now")
}

func (l *lifecycle) upgrade() {
	before, err := l.c.kube.AppsV1().DaemonSets(DefaultNamespace).Get(l.Context(), ovsName, metav1.GetOptions{})
	if err != nil {
		l.Fatal(err)
	}
	r := l.must(l.installer().Upgrade(l.Context(), with(wait, "log.level=debug")))
	l.outcome(r, Upgraded)
	if !strings.Contains(l.progress.String(), "-      level: info") {
		l.Errorf("progress does not show the change:\n%s", l.progress)
	}
	// A setting that is not Open vSwitch's does not interrupt traffic.
	after, err := l.c.kube.AppsV1().DaemonSets(DefaultNamespace).Get(l.Context(), ovsName, metav1.GetOptions{})
	if err != nil || after.Generation != before.Generation {
		l.Errorf("ovs-node was replaced: %v", err)
	}
	// Settings that are not named stay.
	r = l.must(l.installer().Upgrade(l.Context(), with(wait, "controller.replicas=2")))
	if !strings.Contains(r.Manifest, "level: debug") || !strings.Contains(r.Manifest, "kind: PodDisruptionBudget") {
		l.Error("an earlier setting was forgotten, or the new one not taken")
	}
}

func (l *lifecycle) goBack() {
	l.version = "v1.2.4"
	defer func() { l.version = testVersion }()
	l.kubelets.setBroken(func(pod *corev1.Pod, container string) string {
		if strings.HasSuffix(pod.Spec.Containers[0].Image, "v1.2.4") && container == agentContainer {
			return "agent: cannot read the new configuration"
		}
		return ""
	})
	_, err := l.installer().Upgrade(l.Context(), Options{Wait: true, Timeout: 15 * time.Second, RollbackOnFailure: true})
	l.refused(err, exitFailed, "taken back to revision 4")
	if !strings.Contains(err.Error(), "agent: cannot read the new configuration") {
		l.Errorf("the reason is lost: %v", err)
	}
	l.kubelets.setBroken(func(*corev1.Pod, string) string { return "" })
	if ds, err := l.c.kube.AppsV1().DaemonSets(DefaultNamespace).Get(l.Context(), nodeName, metav1.GetOptions{}); err != nil ||
		!strings.HasSuffix(ds.Spec.Template.Spec.Containers[0].Image, testVersion) {
		l.Errorf("image: %v, %v", ds.Spec.Template.Spec.Containers[0].Image, err)
	}
}

func (l *lifecycle) rollback() {
	r := l.must(l.installer().Rollback(l.Context(), RollbackOptions{Revision: 1, Wait: true, Timeout: 2 * time.Minute}))
	l.outcome(r, RolledBack)
	if _, err := l.c.kube.PolicyV1().PodDisruptionBudgets(DefaultNamespace).Get(l.Context(), controllerName, metav1.GetOptions{}); !apierrors.IsNotFound(err) {
		l.Errorf("the disruption budget of a later revision stayed: %v", err)
	}
	_, err := l.installer().Rollback(l.Context(), RollbackOptions{Revision: 99})
	l.refused(err, exitFailed, "no such revision")
}

func (l *lifecycle) networkChange() {
	_, err := l.installer().Upgrade(l.Context(), with(wait, "network.clusterSubnets=10.128.0.0/16/24\\,fd00:10:244::/48/64"))
	l.refused(err, exitFailed, "network-change")
	_, err = l.installer().Upgrade(l.Context(), with(wait, "datapath=netdev"))
	l.refused(err, exitFailed, "network-change")
}

func (l *lifecycle) busy() {
	op, err := l.installer().begin(l.Context(), Options{})
	if err != nil {
		l.Fatal(err)
	}
	last, err := op.releases.last()
	if err != nil {
		l.Fatal(err)
	}
	last.SetStatus("pending-upgrade", "test")
	last.Info.LastDeployed = time.Now()
	if err := op.releases.book.Update(last); err != nil {
		l.Fatal(err)
	}
	_, err = l.installer().Upgrade(l.Context(), with(wait, "log.format=text"))
	l.refused(err, exitFailed, "somebody is changing the installation")
	l.now = func() time.Time { return time.Now().Add(time.Hour) }
	defer func() { l.now = time.Now }()
	l.must(l.installer().Upgrade(l.Context(), with(wait, "log.format=text")))
}

func (l *lifecycle) uninstallStuck() {
	l.kubelets.setBroken(func(pod *corev1.Pod, _ string) string {
		if pod.Labels["app"] == cleanupApp && pod.Spec.NodeName == "n2" {
			return "cannot remove br-ex: no database"
		}
		return ""
	})
	_, err := l.installer().Uninstall(l.Context(), UninstallOptions{Timeout: 15 * time.Second})
	l.refused(err, exitTimeout, "n2: container cleanup waits: CrashLoopBackOff, it ended with code 1: cannot remove br-ex: no database")
	l.kubelets.setBroken(func(*corev1.Pod, string) string { return "" })
}

func (l *lifecycle) repair() {
	l.outcome(l.must(l.installer().Install(l.Context(), with(wait, "log.format=text"))), Repaired)
}

func (l *lifecycle) uninstall() {
	for _, name := range []string{"n1", "n2"} {
		patch := `{"metadata":{"annotations":{"k8s.ovn.org/node-subnets":"{}","k8s.ovn.org/host-cidrs":"[]","k8s.ovn.org/node-ingress-snat-exclude-subnets":"[]","example.com/a":"b"}}}`
		if _, err := l.c.kube.CoreV1().Nodes().Patch(l.Context(), name, types.MergePatchType, []byte(patch), metav1.PatchOptions{}); err != nil {
			l.Fatal(err)
		}
	}
	for _, name := range []string{"n1", "n2"} {
		patch := fmt.Sprintf(`{"status":{"conditions":[{"type":%q,"status":"True","reason":"Allocated"}]}}`, conditionType)
		if _, err := l.c.kube.CoreV1().Nodes().Patch(l.Context(), name, types.StrategicMergePatchType, []byte(patch), metav1.PatchOptions{}, "status"); err != nil {
			l.Fatal(err)
		}
	}
	planned := l.must(l.installer().Uninstall(l.Context(), UninstallOptions{Mode: Diff, Timeout: time.Minute}))
	l.outcome(planned, Planned)
	from := len(l.kubelets.log())
	r := l.must(l.installer().Uninstall(l.Context(), UninstallOptions{Timeout: 2 * time.Minute}))
	l.outcome(r, Uninstalled)
	if len(planned.Changes) != len(r.Changes) || len(r.Changes) < 15 {
		l.Errorf("%d changes planned, %d made", len(planned.Changes), len(r.Changes))
	}
	l.order(l.kubelets.log()[from:])
	l.c.await(func() bool {
		_, err := l.c.kube.CoreV1().Namespaces().Get(l.Context(), DefaultNamespace, metav1.GetOptions{})
		return apierrors.IsNotFound(err)
	})
	l.nothingThere()
	l.definition(ownKind) // stays, and with it what users wrote
	node, err := l.c.kube.CoreV1().Nodes().Get(l.Context(), "n1", metav1.GetOptions{})
	if err != nil {
		l.Fatal(err)
	}
	for key := range node.Annotations {
		if strings.HasPrefix(key, annotationPrefix) && key != annotationPrefix+"node-ingress-snat-exclude-subnets" {
			l.Errorf("annotation %s stayed", key)
		}
	}
	if len(node.Status.Conditions) != 1 || node.Status.Conditions[0].Type != corev1.NodeReady {
		l.Errorf("conditions %+v", node.Status.Conditions)
	}
	if node.Annotations["example.com/a"] != "b" || len(node.Annotations) < 2 {
		l.Errorf("annotations of others went: %v", node.Annotations)
	}
}

// order: agents end, then hosts are cleaned, then Open vSwitch ends.
func (l *lifecycle) order(history []string) {
	l.Helper()
	phase := map[string]int{"end " + nodeName: 0, "end " + controllerName: 0, "start " + cleanupApp: 1, "end " + cleanupApp: 2, "end " + ovsName: 2}
	at := 0
	counts := map[string]int{}
	for _, event := range history {
		words := strings.Fields(event)
		what := words[0] + " " + words[1]
		counts[what]++
		p, known := phase[what]
		if !known || p < at {
			l.Errorf("%q is out of order in\n%s", event, strings.Join(history, "\n"))
			return
		}
		at = p
	}
	for what, want := range map[string]int{"end " + nodeName: 2, "end " + controllerName: 1, "start " + cleanupApp: 2, "end " + ovsName: 2} {
		if counts[what] != want {
			l.Errorf("%s: %d, want %d\n%s", what, counts[what], want, strings.Join(history, "\n"))
		}
	}
}

func (l *lifecycle) uninstallAgain() {
	l.outcome(l.must(l.installer().Uninstall(l.Context(), UninstallOptions{Timeout: time.Minute})), Unchanged)
}
