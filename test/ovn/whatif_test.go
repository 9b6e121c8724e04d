//go:build ovn && linux

package ovn

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"sort"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"pgregory.net/rapid"

	"github.com/ovnkctl/ovnkctl/internal/annotation"
	"github.com/ovnkctl/ovnkctl/internal/config"
	"github.com/ovnkctl/ovnkctl/internal/desired"
	"github.com/ovnkctl/ovnkctl/internal/explain"
	"github.com/ovnkctl/ovnkctl/internal/inspect"
	"github.com/ovnkctl/ovnkctl/internal/inspect/replica"
	"github.com/ovnkctl/ovnkctl/internal/ovn"
	"github.com/ovnkctl/ovnkctl/internal/ovn/ovntest"
	"github.com/ovnkctl/ovnkctl/internal/ovn/owner"
	"github.com/ovnkctl/ovnkctl/internal/policy"
	"github.com/ovnkctl/ovnkctl/internal/policy/policytest"
	"github.com/ovnkctl/ovnkctl/internal/runtime/engine"
	"github.com/ovnkctl/ovnkctl/internal/runtime/feature"
	"github.com/ovnkctl/ovnkctl/internal/runtime/feature/featuretest"
	"github.com/ovnkctl/ovnkctl/internal/runtime/feature/pods"
	policies "github.com/ovnkctl/ovnkctl/internal/runtime/feature/policy"
	"github.com/ovnkctl/ovnkctl/internal/runtime/feature/topology"
	"github.com/ovnkctl/ovnkctl/internal/trace"
	"github.com/ovnkctl/ovnkctl/internal/whatif"
	"github.com/ovnkctl/ovnkctl/internal/world"
	"github.com/ovnkctl/ovnkctl/internal/world/plan"
	"github.com/ovnkctl/ovnkctl/test/ovn/box"
)

// whatIfs is how many clusters are drawn, whatIfPackets how many packets are asked about in
// each.
const whatIfs, whatIfPackets = 8, 12

// TestWhatIf: what would become of packets is what does become of them when the file is
// applied, and the rows of the copies are those that the engine then writes.
func TestWhatIf(t *testing.T) {
	t.Parallel()
	var zones []*logical
	for range mostZones {
		zones = append(zones, newLogical(t))
	}
	changed, dropped := 0, 0
	for seed := range whatIfs {
		d := rapid.Custom(func(rt *rapid.T) *drawnChange { return drawChange(rt) }).Example(seed)
		l := &whatIfLab{t: t, drawnChange: d, zones: map[string]*logical{}}
		for i, n := range d.cluster.Nodes {
			l.zones[n.Name] = zones[i]
		}
		l.program(d.today())
		before := inspectBundle(t, l.bundle(d.today()))
		in, err := whatif.Read(l.file(), d.without(), "", nil)
		if err != nil {
			t.Fatal(err)
		}
		w, err := whatif.New(t.Context(), whatif.Config{Snapshot: before, Features: l.features, Input: in, Now: time.Now()})
		if err != nil {
			t.Fatal(err)
		}
		said := l.ask(w.Snapshot(), seed)
		would := l.rowsOf(w.Snapshot())
		change, err := w.Change(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for _, n := range change.Nodes {
			if len(n.Rows) > 0 {
				changed++
			}
		}
		if err := w.Close(); err != nil {
			t.Error(err)
		}

		l.program(d.tomorrow())
		after := inspectBundle(t, l.bundle(d.tomorrow()))
		for q, is := range l.ask(after, seed) {
			if said[q] != is {
				t.Errorf("seed %d, %s: would be %s, and is %s", seed, q, said[q], is)
			}
			if !strings.HasPrefix(is, string(trace.Allowed)) {
				dropped++
			}
		}
		for node, is := range l.rowsOf(after) {
			if would[node] != is {
				t.Errorf("seed %d, node %s: rows would be\n%s\nand are\n%s", seed, node, without(would[node], is), without(is, would[node]))
			}
		}
	}
	t.Logf("%d zones would be different, %d packets not allowed in the end", changed, dropped)
	if changed == 0 || dropped == 0 {
		t.Error("nothing was tried")
	}
}

// without are the lines of a that b has not.
func without(a, b string) string {
	has := strings.Split(b, "\n")
	return strings.Join(slices.DeleteFunc(strings.Split(a, "\n"), func(l string) bool { return slices.Contains(has, l) }), "\n")
}

// When a policy is there.
const (
	always = iota
	nowOnly
	thenOnly
)

// drawnChange is a cluster with policies, of which some come and some go, and with a pod and a
// namespace that get labels of another one.
type drawnChange struct {
	cluster   policy.Cluster
	when      map[string]int // by kind and name
	pod       int
	namespace int
	labels    [2]map[string]string // of the pod and of the namespace
}

func drawChange(rt *rapid.T) *drawnChange {
	d := &drawnChange{cluster: policytest.Cluster(rt, policytest.Config{}), when: map[string]int{}}
	d.cluster.DomainNames = nil // nobody has asked DNS here
	d.each(func(o explain.Object, _ metav1.Object) {
		d.when[o.String()] = rapid.IntRange(always, thenOnly).Draw(rt, "when")
	})
	d.pod = rapid.IntRange(0, len(d.cluster.Pods)-1).Draw(rt, "pod")
	d.namespace = rapid.IntRange(0, len(d.cluster.Namespaces)-1).Draw(rt, "namespace")
	d.labels[0] = rapid.SampledFrom(d.cluster.Pods).Draw(rt, "like").Labels
	d.labels[1] = maps.Clone(rapid.SampledFrom(d.cluster.Namespaces).Draw(rt, "like").Labels)
	delete(d.labels[1], corev1.LabelMetadataName)
	return d
}

// made is when a policy was made: of two with the same priority the older one decides.
func (d *drawnChange) made(o explain.Object) metav1.Time {
	if d.when[o.String()] == thenOnly {
		return metav1.Unix(2, 0)
	}
	return metav1.Unix(1, 0)
}

// each calls f for all policies.
func (d *drawnChange) each(f func(explain.Object, metav1.Object)) {
	c := &d.cluster
	for i := range c.NetworkPolicies {
		p := c.NetworkPolicies[i].DeepCopy()
		p.TypeMeta = metav1.TypeMeta{APIVersion: "networking.k8s.io/v1", Kind: "NetworkPolicy"}
		f(explain.Object{Kind: p.Kind, Namespace: p.Namespace, Name: p.Name}, p)
	}
	for i := range c.AdminNetworkPolicies {
		p := c.AdminNetworkPolicies[i].DeepCopy()
		p.TypeMeta = metav1.TypeMeta{APIVersion: "policy.networking.k8s.io/v1alpha1", Kind: "AdminNetworkPolicy"}
		f(explain.Object{Kind: p.Kind, Name: p.Name}, p)
	}
	if c.BaselineAdminNetworkPolicy != nil {
		p := c.BaselineAdminNetworkPolicy.DeepCopy()
		p.TypeMeta = metav1.TypeMeta{APIVersion: "policy.networking.k8s.io/v1alpha1", Kind: "BaselineAdminNetworkPolicy"}
		f(explain.Object{Kind: p.Kind, Name: p.Name}, p)
	}
	for i := range c.ClusterNetworkPolicies {
		p := c.ClusterNetworkPolicies[i].DeepCopy()
		p.TypeMeta = metav1.TypeMeta{APIVersion: "policy.networking.k8s.io/v1alpha2", Kind: "ClusterNetworkPolicy"}
		f(explain.Object{Kind: p.Kind, Name: p.Name}, p)
	}
	for i := range c.EgressFirewalls {
		p := c.EgressFirewalls[i].DeepCopy()
		p.TypeMeta = metav1.TypeMeta{APIVersion: "k8s.ovn.org/v1", Kind: "EgressFirewall"}
		f(explain.Object{Kind: p.Kind, Namespace: p.Namespace, Name: p.Name}, p)
	}
}

func (d *drawnChange) today() map[string][]any    { return d.objects(thenOnly) }
func (d *drawnChange) tomorrow() map[string][]any { return d.objects(nowOnly) }

// objects are the cluster's, by the plural of their kinds, without policies of one sort.
func (d *drawnChange) objects(not int) map[string][]any {
	out := map[string][]any{}
	n := featuretest.ClusterNetwork(d.cluster)
	n.TransitSubnets = []netip.Prefix{netip.MustParsePrefix("100.88.0.0/16"), netip.MustParsePrefix("fd97::/64")}
	for _, o := range featuretest.ClusterObjects(d.cluster) {
		if o.Node != nil {
			out["nodes"] = append(out["nodes"], nodeObject(n, o.Node))
		}
		if o.Namespace != nil {
			ns := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: o.Namespace.Name, Labels: o.Namespace.Labels}}
			if ns.Name == d.cluster.Namespaces[d.namespace].Name && not == nowOnly {
				ns.Labels = merged(ns.Labels, d.labels[1])
			}
			out["namespaces"] = append(out["namespaces"], ns)
		}
	}
	for i := range d.cluster.Pods {
		p := podObject(&d.cluster.Pods[i])
		if i == d.pod && not == nowOnly {
			p.Labels = merged(p.Labels, d.labels[0])
		}
		out["pods"] = append(out["pods"], p)
	}
	var subnets []string
	for _, s := range n.ClusterSubnets {
		subnets = append(subnets, fmt.Sprintf("%s/%d", s.Prefix, s.HostLength))
	}
	services := map[bool]string{true: "10.96.0.0/16", false: "fd00:10:96::/112"}
	var ranges []string
	for _, s := range n.ClusterSubnets {
		ranges = append(ranges, services[s.Prefix.Addr().Is4()])
	}
	out["configmaps"] = []any{&corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "ovn-kubernetes", Name: "ovnkctl-config"}, Data: map[string]string{"config.yaml": fmt.Sprintf(
		"network: {clusterSubnets: %q, serviceSubnets: %q}\npolicy: {allowICMPNetworkPolicy: %v}\n", strings.Join(subnets, ","), strings.Join(ranges, ","), d.cluster.AllowICMP)}}}
	d.each(func(o explain.Object, p metav1.Object) {
		p.SetCreationTimestamp(d.made(o))
		if d.when[o.String()] != not {
			plural := strings.ToLower(o.Kind) + "s"
			if stem, ok := strings.CutSuffix(plural, "ys"); ok {
				plural = stem + "ies"
			}
			out[plural] = append(out[plural], p)
		}
	})
	return out
}

func merged(a, b map[string]string) map[string]string {
	out := maps.Clone(a)
	maps.Copy(out, b)
	return out
}

// without names what goes.
func (d *drawnChange) without() []string {
	var out []string
	d.each(func(o explain.Object, _ metav1.Object) {
		if d.when[o.String()] == nowOnly {
			out = append(out, strings.Replace(strings.TrimSpace(o.String()), " ", "/", 1))
		}
	})
	return out
}

func nodeObject(n world.Network, from *world.Node) *corev1.Node {
	o := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: from.Name, Labels: from.Labels, Annotations: map[string]string{}}}
	a := o.Annotations
	connect(nil, &n, from)
	annotation.NodeID.Put(a, from.ID)
	annotation.NodeSubnets.Put(a, from.Subnets)
	annotation.NodeTransit.Put(a, from.Transit)
	annotation.NodeChassisID.Put(a, from.ChassisID)
	annotation.NodePrimaryAddrs.Put(a, from.Gateway.Addresses)
	annotation.NodeHostAddrs.Put(a, from.HostAddrs)
	annotation.NodeEncapIPs.Put(a, from.EncapIPs)
	annotation.L3Gateway.Put(a, annotation.Gateway{
		Mode: annotation.ModeShared, BridgeID: from.Gateway.BridgeID, InterfaceID: from.Gateway.InterfaceID, MAC: from.Gateway.MAC,
		Addresses: from.Gateway.Addresses, NextHops: from.Gateway.NextHops,
	})
	for _, ip := range from.InternalIPs {
		o.Status.Addresses = append(o.Status.Addresses, corev1.NodeAddress{Type: corev1.NodeInternalIP, Address: ip.String()})
	}
	return o
}

func podObject(from *policy.Pod) *corev1.Pod {
	o := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: from.Namespace, Name: from.Name, Labels: from.Labels, Annotations: map[string]string{}},
		Spec:       corev1.PodSpec{NodeName: from.Node, HostNetwork: from.HostNetwork},
		Status:     corev1.PodStatus{Phase: corev1.PodRunning},
	}
	if from.Finished {
		o.Status.Phase = corev1.PodSucceeded
	}
	if from.Deleting {
		o.DeletionTimestamp = &metav1.Time{Time: time.Unix(1, 0)}
	}
	var ports []corev1.ContainerPort
	for _, p := range from.Ports {
		ports = append(ports, corev1.ContainerPort{Name: p.Name, Protocol: p.Protocol, ContainerPort: int32(p.Port)})
	}
	o.Spec.Containers = []corev1.Container{{Name: "c", Ports: ports}}
	if len(from.IPs) > 0 {
		bits := map[bool]int{true: 24, false: 64}
		n := annotation.PodNetwork{MAC: macOf(from.IPs)}
		for _, a := range from.IPs {
			n.Addresses = append(n.Addresses, netip.PrefixFrom(a, bits[a.Is4()]))
			o.Status.PodIPs = append(o.Status.PodIPs, corev1.PodIP{IP: a.String()})
		}
		annotation.PodNetworks.Put(o.Annotations, map[string]annotation.PodNetwork{annotation.DefaultNetwork: n})
	}
	return o
}

// whatIfLab is a drawn cluster with its zones.
type whatIfLab struct {
	t *testing.T
	*drawnChange
	zones map[string]*logical
}

func (l *whatIfLab) features(c *config.Config) []feature.Feature {
	return []feature.Feature{topology.Feature{}, policies.Feature{AllowICMP: c.Policy.AllowICMPNetworkPolicy}, pods.Feature{}}
}

// program has the engine write all zones.
func (l *whatIfLab) program(objects map[string][]any) {
	l.t.Helper()
	s := inspectBundle(l.t, l.files(objects))
	w, err := s.World(l.t.Context())
	if err != nil {
		l.t.Fatal(err)
	}
	o, err := s.Objects(l.t.Context())
	if err != nil {
		l.t.Fatal(err)
	}
	conf, err := o.Config()
	if err != nil {
		l.t.Fatal(err)
	}
	var network world.Network
	w.Read(func(v world.View) {
		n, _ := v.Network(world.DefaultNetwork)
		network = *n
	})
	for name, z := range l.zones {
		store := world.New(world.Config{LocalNode: name, Networks: []world.Network{network}})
		e := engine.New(engine.Config{World: store, NB: z.db, SB: z.sbDB(), Features: l.features(conf)})
		desired.Zone{Node: name, World: w}.Fill(store)
		store.MarkSynced()
		ctx, cancel := context.WithTimeout(l.t.Context(), box.Patience)
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			_ = e.Run(ctx)
		}()
		select {
		case <-e.Synced():
		case <-ctx.Done():
			l.t.Fatalf("the zone is not programmed: %+v", e.Status())
		}
		cancel()
		<-ended
		z.run("ovn-nbctl", "--db="+z.nb.Backend(), "--timeout=60", "--wait=sb", "sync")
	}
}

// file is the manifest of what comes.
func (l *whatIfLab) file() []string {
	var text bytes.Buffer
	add := func(o any) {
		data, err := json.Marshal(o)
		if err != nil {
			l.t.Fatal(err)
		}
		fmt.Fprintf(&text, "---\n%s\n", data)
	}
	l.each(func(o explain.Object, p metav1.Object) {
		if l.when[o.String()] == thenOnly {
			add(p)
		}
	})
	pod := &l.cluster.Pods[l.pod]
	add(&corev1.Pod{
		TypeMeta:   metav1.TypeMeta{APIVersion: "v1", Kind: "Pod"},
		ObjectMeta: metav1.ObjectMeta{Namespace: pod.Namespace, Name: pod.Name, Labels: l.labels[0]},
	})
	add(&corev1.Namespace{
		TypeMeta:   metav1.TypeMeta{APIVersion: "v1", Kind: "Namespace"},
		ObjectMeta: metav1.ObjectMeta{Name: l.cluster.Namespaces[l.namespace].Name, Labels: l.labels[1]},
	})
	path := filepath.Join(l.t.TempDir(), "then.yaml")
	if err := os.WriteFile(path, text.Bytes(), 0o600); err != nil {
		l.t.Fatal(err)
	}
	return []string{path}
}

// files is a bundle of objects alone.
func (l *whatIfLab) files(objects map[string][]any) string {
	dir := l.t.TempDir()
	write := func(name string, data []byte) {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			l.t.Fatal(err)
		}
		if err := os.WriteFile(path, data, 0o600); err != nil {
			l.t.Fatal(err)
		}
	}
	var nodes []string
	for name := range l.zones {
		nodes = append(nodes, name)
	}
	sort.Strings(nodes)
	manifest, _ := json.Marshal(inspect.Manifest{APIVersion: "ovnkctl.io/v1alpha1", Kind: "Bundle", Namespace: "ovn-kubernetes", Nodes: nodes, Time: time.Unix(1, 0)})
	write(inspect.ManifestFile, manifest)
	for plural, items := range objects {
		data, err := json.Marshal(map[string]any{"items": items})
		if err != nil {
			l.t.Fatal(err)
		}
		write("cluster/"+plural+".json", data)
	}
	return dir
}

// bundle is a bundle of the objects and of the zones as they are.
func (l *whatIfLab) bundle(objects map[string][]any) string {
	l.t.Helper()
	dir := l.files(objects)
	for name, z := range l.zones {
		for d, server := range map[*ovn.Database]*ovntest.Server{ovn.Northbound(): z.nb, ovn.Southbound(): z.sb} {
			data, err := replica.FromServer(l.t.Context(), strings.TrimPrefix(server.Backend(), "unix:"), d)
			if err != nil {
				l.t.Fatal(err)
			}
			path := filepath.Join(dir, inspect.DatabaseFile(name, d))
			if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
				l.t.Fatal(err)
			}
			if err := os.WriteFile(path, data, 0o600); err != nil {
				l.t.Fatal(err)
			}
		}
	}
	return dir
}

func inspectBundle(t *testing.T, dir string) *inspect.Snapshot {
	t.Helper()
	s, err := inspect.Open(inspect.OpenConfig{Paths: []string{dir}, Timeout: box.Patience, Find: func(name string) (string, error) { return wrappedProgram(t, name), nil }})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

// wrappedProgram is a script that runs a program of OVN as tests find it.
func wrappedProgram(t *testing.T, name string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	text := "#!/bin/sh\nexec '" + strings.Join(ovntest.Command(t, name).Args, "' '") + "' \"$@\"\n"
	if err := os.WriteFile(path, []byte(text), 0o700); err != nil { //nolint:gosec // it is to be run
		t.Fatal(err)
	}
	return path
}

// ask asks about some packets, and returns the answers by question.
func (l *whatIfLab) ask(s *inspect.Snapshot, seed int) map[string]string {
	l.t.Helper()
	q := &tracedCluster{cluster: l.cluster}
	packets := q.questions(uint64(seed))
	r := rand.New(rand.NewPCG(uint64(seed), 1))
	r.Shuffle(len(packets), func(i, j int) { packets[i], packets[j] = packets[j], packets[i] })
	source := trace.FromSnapshot(s)
	out := map[string]string{}
	for _, p := range packets[:min(len(packets), whatIfPackets)] {
		result, err := trace.Run(l.t.Context(), source, q.options(p))
		if err != nil {
			l.t.Fatalf("%s: %v", describe(p), err)
		}
		path := result.Paths[0]
		for _, problem := range path.Problems {
			l.t.Errorf("seed %d, %s: %s", seed, describe(p), problem)
		}
		out[describe(p)] = string(result.Verdict) + ": " + path.Decision.Text
	}
	return out
}

// rowsOf are the rows that features write in all zones, with names in place of UUIDs.
func (l *whatIfLab) rowsOf(s *inspect.Snapshot) map[string]string {
	out := map[string]string{}
	for node := range l.zones {
		c, err := s.Node(node).Database(l.t.Context(), ovn.Northbound())
		if err != nil {
			l.t.Fatal(err)
		}
		names := map[string]string{}
		for _, name := range feature.NorthTables() {
			t, _ := ovn.Northbound().Table(name)
			for _, m := range c.Rows(t) {
				title := t.NameOf(m)
				if t.ExternalIDs != nil {
					ids := *t.ExternalIDs.Value(m).(*map[string]string)
					title += "/" + ids[owner.Key] + "/" + ids[owner.Row]
				}
				names[explain.UUID(m)] = name + " " + title
			}
		}
		var lines []string
		for _, name := range feature.NorthTables() {
			t, _ := ovn.Northbound().Table(name)
			for _, m := range c.Rows(t) {
				if t.Singleton {
					continue // northd's own
				}
				lines = append(lines, names[explain.UUID(m)]+": "+columnsText(t, m, names))
			}
		}
		slices.Sort(lines)
		out[node] = strings.Join(lines, "\n")
	}
	return out
}

// columnsText is what a row holds but for what OVN itself writes.
func columnsText(t *ovn.Table, m any, names map[string]string) string {
	var parts []string
	for _, c := range t.Columns {
		if c.Role == ovn.Theirs {
			continue
		}
		text := ""
		switch p := c.Value(m).(type) {
		case *[]string:
			var list []string
			for _, v := range *p {
				if n, ok := names[v]; ok {
					v = n
				}
				list = append(list, v)
			}
			slices.Sort(list)
			text = strings.Join(list, ", ")
		case **string:
			if *p != nil {
				text = **p
				if n, ok := names[text]; ok {
					text = n
				}
			}
		default:
			data, _ := json.Marshal(p)
			text = string(data)
		}
		parts = append(parts, c.Name+"="+text)
	}
	return strings.Join(parts, "; ")
}

func macOf(ips []netip.Addr) string { return plan.MACOf(ips...) }
