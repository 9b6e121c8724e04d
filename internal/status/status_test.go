package status_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/ovn-kubernetes/libovsdb/ovsdb"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/ovnkctl/ovnkctl/internal/collect"
	"github.com/ovnkctl/ovnkctl/internal/inspect"
	"github.com/ovnkctl/ovnkctl/internal/inspect/inspecttest"
	"github.com/ovnkctl/ovnkctl/internal/output"
	"github.com/ovnkctl/ovnkctl/internal/ovn"
	"github.com/ovnkctl/ovnkctl/internal/ovn/nb"
	"github.com/ovnkctl/ovnkctl/internal/ovn/sb"
	"github.com/ovnkctl/ovnkctl/internal/status"
)

// patience is for what a loaded machine does in a moment.
const patience = 30 * time.Second

// began is when all pods of the tests began, and now when they are looked at.
var (
	began = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	now   = began.Add(time.Minute)
)

// cluster is a healthy one of two nodes, with a pod each.
type cluster struct {
	*inspecttest.Cluster
	t     *testing.T
	uuids map[string]string // of rows, by node and name
}

func newCluster(t *testing.T) *cluster {
	t.Helper()
	c := &cluster{inspecttest.New(t, "a", "b"), t, map[string]string{}}
	c.Run = func(_ string, argv []string) (string, int) {
		switch line := strings.Join(argv, " "); line {
		case "ovs-appctl -t ovs-vswitchd version":
			return "ovs-vswitchd (Open vSwitch) 3.5.0\n", 0
		case "ovn-appctl -t ovn-northd version", "ovn-appctl -t ovn-controller version":
			return argv[2] + " 25.03.0\nOpen vSwitch Library 3.5.0\n", 0
		case "/usr/bin/ovnkctl version --client":
			return "ovnkctl v1.0.0 (go1.26.8 linux/amd64)\n", 0
		default:
			return line, 0
		}
	}
	for name := range c.Nodes {
		c.insert(name, "nb", "nb", &nb.NBGlobal{Name: name, NbCfg: 7, SbCfg: 7, HvCfg: 7, NbCfgTimestamp: 1000, HvCfgTimestamp: 1012})
		c.insert(name, "sb", "sb", &sb.SBGlobal{NbCfg: 7})
		chassis := c.insert(name, "sb", "chassis", &sb.Chassis{Name: name, Hostname: name})
		c.insert(name, "sb", "remote", &sb.Chassis{Name: "remote", OtherConfig: map[string]string{"is-remote": "true"}})
		c.insert(name, "sb", "private", &sb.ChassisPrivate{Name: name, NbCfg: 7})
		c.insert(name, "sb", "privateremote", &sb.ChassisPrivate{Name: "remote", NbCfg: 0})
		port := "shop_web-" + name
		// A row that nothing refers to would not last.
		c.insert(name, "nb", "port", &nb.LogicalSwitchPort{Name: port}, ovn.Insert(&nb.LogicalSwitch{Name: name, Ports: []string{"row"}}, "switch"))
		datapath := c.insert(name, "sb", "datapath", &sb.DatapathBinding{TunnelKey: 1})
		c.insert(name, "sb", "port", &sb.PortBinding{LogicalPort: port, Chassis: &chassis, Up: ptr(true), Datapath: datapath, TunnelKey: 1})
		c.API.Put(pod("web-"+name, name))
	}
	for i, app := range []string{"ovs-node", "ovnkube-node"} {
		c.API.Put(&appsv1.DaemonSet{
			ObjectMeta: metav1.ObjectMeta{Namespace: inspecttest.Namespace, Name: app, Generation: int64(i)},
			Status:     appsv1.DaemonSetStatus{DesiredNumberScheduled: 2},
		})
	}
	c.API.Put(
		&appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Namespace: inspecttest.Namespace, Name: "ovnkube-control-plane"}},
		inspecttest.Pod("control", "ovnkube-control-plane", "a", "ovnkube-cluster-manager"),
	)
	return c
}

func pod(name, node string) *corev1.Pod {
	at := metav1.NewTime(began)
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: name, UID: types.UID(name), CreationTimestamp: at, Annotations: map[string]string{
			"k8s.ovn.org/pod-networks": `{"default":{"ip_addresses":["10.244.0.5/24"],"mac_address":"0a:58:0a:f4:00:05","gateway_ips":["10.244.0.1"],"ip_address":"10.244.0.5/24","gateway_ip":"10.244.0.1"}}`,
		}},
		Spec:   corev1.PodSpec{NodeName: node},
		Status: corev1.PodStatus{Phase: corev1.PodRunning, StartTime: &at, PodIP: "10.244.0.5", PodIPs: []corev1.PodIP{{IP: "10.244.0.5"}}},
	}
}

func ptr[T any](v T) *T { return &v }

// insert inserts a row, and returns its UUID.
func (c *cluster) insert(node, db, name string, m any, with ...ovsdb.Operation) string {
	c.t.Helper()
	r, err := c.Nodes[node].DB[db].Transact(c.t.Context(), "", append([]ovsdb.Operation{ovn.Insert(m, "row")}, with...)...)
	if err != nil {
		c.t.Fatal(err)
	}
	c.uuids[node+" "+db+" "+name] = r[0].UUID.GoUUID
	if len(r) > 1 {
		c.uuids[node+" "+db+" switch"] = r[1].UUID.GoUUID
	}
	return r[0].UUID.GoUUID
}

// change changes columns of a row.
func (c *cluster) change(node, db, name string, m any, columns ...string) {
	c.t.Helper()
	c.transact(node, db, ovn.Update(m, c.uuids[node+" "+db+" "+name], columns...))
}

// remove removes the ports of a node.
func (c *cluster) remove(node string) {
	c.t.Helper()
	c.change(node, "nb", "switch", &nb.LogicalSwitch{}, "ports")
}

func (c *cluster) transact(node, db string, op ovsdb.Operation) {
	c.t.Helper()
	if _, err := c.Nodes[node].DB[db].Transact(c.t.Context(), "", op); err != nil {
		c.t.Fatal(err)
	}
}

// put changes the pod of node a.
func (c *cluster) put(edit func(*corev1.Pod)) {
	p := c.API.Pod("shop", "web-a").DeepCopy()
	edit(p)
	c.API.Put(p)
}

func (c *cluster) failStart() {
	c.put(func(p *corev1.Pod) { p.Status.PodIP, p.Status.PodIPs, p.Status.Phase = "", nil, corev1.PodPending })
	for i, message := range []string{"older", "no flows after 30s"} {
		c.API.Put(&corev1.Event{
			ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: fmt.Sprint("e", i)}, Reason: "FailedCreatePodSandBox", Message: message,
			InvolvedObject: corev1.ObjectReference{Kind: "Pod", UID: c.API.Pod("shop", "web-a").UID},
			LastTimestamp:  metav1.NewTime(began.Add(time.Duration(i) * time.Second)),
		})
	}
}

func (c *cluster) options() status.Options {
	return status.Options{
		Open:  func(context.Context) (*inspect.Snapshot, error) { return c.Snapshot(patience), nil },
		Again: time.Millisecond, Now: func() time.Time { return now },
	}
}

func (c *cluster) look() *status.Status {
	c.t.Helper()
	s, err := status.Run(c.t.Context(), c.options())
	if err != nil {
		c.t.Fatal(err)
	}
	return s
}

func notes(s *status.Status) []string {
	out := []string{}
	for i := range s.Notes {
		out = append(out, string(s.Notes[i].Severity)+" "+s.Notes[i].String())
	}
	return out
}

func TestHealthy(t *testing.T) {
	t.Parallel()
	s := newCluster(t).look()
	if diff := cmp.Diff([]string{}, notes(s)); diff != "" || len(s.Problems) > 0 || s.ExitCode() != output.OK || !s.Ready {
		t.Fatalf("ready %v, exit code %d, problems %v, notes:\n%s", s.Ready, s.ExitCode(), s.Problems, diff)
	}
	want := status.Node{
		Name: "a", Ready: true, Pods: 1, Networked: 1,
		Versions: status.Versions{Ovnkctl: "v1.0.0", Northd: "25.03.0", Controller: "25.03.0", OVS: "3.5.0"},
		Zone:     &status.Zone{NBCfg: 7, SBCfg: 7, HVCfg: 7, Milliseconds: 12},
	}
	if diff := cmp.Diff(want, s.Nodes[0], cmpopts.IgnoreFields(status.Node{}, "Containers")); diff != "" {
		t.Errorf("node a (-want +got):\n%s", diff)
	}
	if n := len(s.Nodes[0].Containers); n != 8 {
		t.Errorf("node a has %d containers, want 8: %v", n, s.Nodes[0].Containers)
	}
	want3 := []string{"ovs-node 2/2", "ovnkube-node 2/2", "ovnkube-control-plane 1/1"}
	got3 := []string{}
	for _, c := range s.Components {
		got3 = append(got3, fmt.Sprintf("%s %d/%d", c.Name, c.Ready, c.Desired))
	}
	if diff := cmp.Diff(want3, got3); diff != "" {
		t.Errorf("components (-want +got):\n%s", diff)
	}
}

// Each fault is told once, by the note that names it.
func TestFaults(t *testing.T) {
	t.Parallel()
	for name, x := range map[string]struct {
		harm  func(*cluster)
		want  []string
		stage status.Stage
		next  string
	}{
		"a container": {
			harm: func(c *cluster) { c.Stop("ovnkube-node-b", "ovn-northd") },
			want: []string{"error pod/ovn-kubernetes/ovnkube-node-b on b: ovn-northd: CrashLoopBackOff (restarts: 1)"},
		},
		"a pod that is being made": {
			harm: func(c *cluster) {
				p := c.API.Pod(inspecttest.Namespace, "ovs-node-b").DeepCopy()
				for i := range p.Status.ContainerStatuses {
					s := &p.Status.ContainerStatuses[i]
					s.Ready, s.State = false, corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: "ContainerCreating"}}
				}
				c.API.Put(p)
			},
			want: []string{"error pod/ovn-kubernetes/ovs-node-b on b: ovsdb-server, ovs-daemons: ContainerCreating"},
			next: "kubectl -n ovn-kubernetes describe pod ovs-node-b",
		},
		"a pod of the network": {
			harm: func(c *cluster) { c.API.Delete(c.API.Pod(inspecttest.Namespace, "control")) },
			want: []string{"error deployment/ovnkube-control-plane: 0 of 1 pods are there"},
		},
		"a node": {
			harm: func(c *cluster) {
				n := c.API.Node("b").DeepCopy()
				n.Status.Conditions = []corev1.NodeCondition{{Type: corev1.NodeReady, Status: corev1.ConditionUnknown, Message: "Kubelet stopped posting node status."}}
				c.API.Put(n)
			},
			want: []string{"error node/b: Kubernetes says it is not ready: Kubelet stopped posting node status."},
		},
		"northd": {
			harm: func(c *cluster) { c.change("a", "nb", "nb", &nb.NBGlobal{NbCfg: 9}, "nb_cfg") },
			want: []string{"error node/a: ovn-northd does not follow (behind by 2)"},
		},
		"ovn-controller": {
			harm: func(c *cluster) {
				c.change("a", "nb", "nb", &nb.NBGlobal{NbCfg: 8}, "nb_cfg")
				c.change("a", "sb", "sb", &sb.SBGlobal{NbCfg: 8}, "nb_cfg")
			},
			want: []string{"error node/a: ovn-controller does not follow (behind by 1)"},
		},
		"versions": {
			harm: func(c *cluster) {
				run := c.Run
				c.Run = func(node string, argv []string) (string, int) {
					if node == "b" && slices.Contains(argv, "ovn-northd") {
						return "ovn-northd 24.03.1\n", 0
					}
					return run(node, argv)
				}
			},
			want: []string{"warning ovn-northd: different versions: 24.03.1 on b; 25.03.0 on a"},
		},
		"an image": {
			harm: func(c *cluster) {
				for name, image := range map[string]string{"ovs-node-a": "registry:5000/x:v1", "ovs-node-b": "registry:5000/x@sha256:12"} {
					p := c.API.Pod(inspecttest.Namespace, name).DeepCopy()
					p.Spec.Containers[0].Image = image
					c.API.Put(p)
				}
			},
			want: []string{"warning daemonset/ovs-node: different images: sha256:12 on b; v1 on a"},
		},
		"an address": {
			harm:  func(c *cluster) { c.put(func(p *corev1.Pod) { p.Annotations = nil }) },
			want:  []string{"error pod/shop/web-a on a: no network for 1m0s: the node's program has given it no address"},
			stage: status.StageAddress,
		},
		"a port": {
			harm:  func(c *cluster) { c.remove("a") },
			want:  []string{"error pod/shop/web-a on a: no network for 1m0s: the Northbound database has no port shop_web-a"},
			stage: status.StagePort,
		},
		"a claim": {
			harm:  func(c *cluster) { c.change("a", "sb", "port", &sb.PortBinding{}, "chassis") },
			want:  []string{"error pod/shop/web-a on a: no network for 1m0s: port shop_web-a is not bound"},
			stage: status.StageBinding,
		},
		"flows": {
			harm: func(c *cluster) {
				c.change("a", "sb", "port", &sb.PortBinding{Up: ptr(false)}, "up")
				c.failStart()
			},
			want:  []string{"error pod/shop/web-a on a: no network for 1m0s: the flows of port shop_web-a are not in place: no flows after 30s"},
			stage: status.StageFlows,
		},
		"a start": {
			harm:  (*cluster).failStart,
			want:  []string{"error pod/shop/web-a on a: no network for 1m0s: no flows after 30s"},
			stage: status.StageStart,
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := newCluster(t)
			x.harm(c)
			s := c.look()
			if diff := cmp.Diff(x.want, notes(s)); diff != "" {
				t.Errorf("notes (-want +got):\n%s", diff)
			}
			code := output.Findings
			if strings.HasPrefix(x.want[0], "warning") {
				code = output.OK
			}
			if s.ExitCode() != code {
				t.Errorf("exit code %d, want %d", s.ExitCode(), code)
			}
			if x.next != "" && s.Notes[0].Next != x.next {
				t.Errorf("next is %q, want %q", s.Notes[0].Next, x.next)
			}
			if x.stage != "" && (len(s.Waiting) != 1 || s.Waiting[0].Stage != x.stage) {
				t.Errorf("waiting pods %v, want one at stage %s", s.Waiting, x.stage)
			}
		})
	}
}

// What is on its way, or nothing of the network's, is nothing to tell of.
func TestNoFaults(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(*cluster){
		"a pod that has just begun": func(c *cluster) {
			c.put(func(p *corev1.Pod) {
				at := metav1.NewTime(now.Add(-time.Second))
				p.Annotations, p.Status.StartTime = nil, &at
			})
		},
		"a pod that waits for a volume": func(c *cluster) {
			c.put(func(p *corev1.Pod) { p.Status.PodIP, p.Status.PodIPs, p.Status.Phase = "", nil, corev1.PodPending })
			c.change("a", "sb", "port", &sb.PortBinding{}, "chassis")
		},
		"a pod on its host's network": func(c *cluster) {
			c.put(func(p *corev1.Pod) { p.Annotations, p.Spec.HostNetwork = nil, true })
		},
		"a pod that is done": func(c *cluster) {
			c.put(func(p *corev1.Pod) { p.Status.Phase = corev1.PodSucceeded })
			c.remove("a")
		},
		"a pod that is replaced": func(c *cluster) {
			p := inspecttest.Pod("ovs-node-old", "ovs-node", "a", "ovs-daemons")
			p.DeletionTimestamp, p.Finalizers, p.Status.ContainerStatuses[0].Ready = &metav1.Time{Time: began}, []string{"x/y"}, false
			c.API.Put(p)
		},
		"a pod of another workload": func(c *cluster) {
			p := inspecttest.Pod("other", "ovs-node", "a", "x")
			p.Namespace, p.Status.ContainerStatuses[0].Ready = "elsewhere", false
			c.API.Put(p)
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := newCluster(t)
			change(c)
			if s := c.look(); len(s.Notes) > 0 || !s.Ready {
				t.Errorf("notes %v", notes(s))
			}
		})
	}
}

// A change that is in force at the second look was only on its way at the first.
func TestSecondLook(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	c.change("a", "nb", "nb", &nb.NBGlobal{NbCfg: 8}, "nb_cfg")
	o, looks := c.options(), 0
	open := o.Open
	o.Open = func(ctx context.Context) (*inspect.Snapshot, error) {
		if looks++; looks == 2 {
			c.change("a", "nb", "nb", &nb.NBGlobal{NbCfg: 9}, "nb_cfg") // the next one is on its way
			c.change("a", "sb", "sb", &sb.SBGlobal{NbCfg: 8}, "nb_cfg")
			c.change("a", "sb", "private", &sb.ChassisPrivate{NbCfg: 8}, "nb_cfg")
		}
		return open(ctx)
	}
	s, err := status.Run(t.Context(), o)
	if err != nil || len(s.Notes) > 0 || looks != 2 {
		t.Errorf("after %d looks notes %v, error %v", looks, notes(s), err)
	}
}

// A node that cannot be reached makes the answer partial, and no others' fault.
func TestUnreachable(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	c.Refuse = func(node string) error {
		if node == "b" {
			return errors.New("no route to host")
		}
		return nil
	}
	s := c.look()
	if s.ExitCode() != output.Partial || !s.Nodes[0].Ready || s.Nodes[1].Ready || s.Nodes[1].Zone != nil {
		t.Errorf("exit code %d, nodes %+v", s.ExitCode(), s.Nodes)
	}
	for _, p := range s.Problems {
		if p.Node != "b" {
			t.Errorf("problem %v is not of node b", p)
		}
	}
}

func TestWait(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	c.Stop("ovnkube-node-b", "ovn-northd")
	o := c.options()
	o.Wait = patience
	var heard []string
	o.Progress = func(s *status.Status) {
		heard = append(heard, s.Summary())
		c.API.Put(inspecttest.Pod("ovnkube-node-b", "ovnkube-node", "b", "ovn-northd"))
	}
	s, err := status.Run(t.Context(), o)
	if err != nil || !s.Ready {
		t.Fatalf("%v, notes %v", err, notes(s))
	}
	want := []string{"1 of 2 nodes ready; pod/ovn-kubernetes/ovnkube-node-b on b: ovn-northd: CrashLoopBackOff (restarts: 1)"}
	if diff := cmp.Diff(want, heard); diff != "" {
		t.Errorf("progress (-want +got):\n%s", diff)
	}
}

// What cannot be read may not be ready, and is waited for.
func TestWaitToRead(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	down := true
	c.Refuse = func(string) error {
		if down {
			return errors.New("no route to host")
		}
		return nil
	}
	o := c.options()
	o.Wait = patience
	open := o.Open
	looks := 0
	o.Open = func(ctx context.Context) (*inspect.Snapshot, error) {
		looks++
		down = looks == 1
		return open(ctx)
	}
	if s, err := status.Run(t.Context(), o); err != nil || !s.Ready || len(s.Problems) > 0 || looks != 2 {
		t.Errorf("after %d looks: %v, error %v", looks, s, err)
	}
}

// When the time has run out, or who waits gives up, there is what was seen last.
func TestWaitTooLong(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	c.Stop("ovnkube-node-b", "ovn-northd")
	ctx, cancel := context.WithCancelCause(t.Context())
	o := c.options()
	o.Wait = 10 * patience
	o.Progress = func(*status.Status) { cancel(nil) }
	if s, err := status.Run(ctx, o); !errors.Is(err, context.Canceled) || s == nil {
		t.Errorf("interrupted: status %v, error %v", s, err)
	}
	o.Wait, o.Progress = time.Nanosecond, nil
	_, err := status.Run(t.Context(), o)
	var coded interface{ ExitCode() int }
	if !errors.As(err, &coded) || coded.ExitCode() != output.Timeout {
		t.Errorf("too long: %v", err)
	}
}

// A bundle says what the cluster said, as of its time.
func TestBundle(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	c.failStart()
	c.change("b", "nb", "nb", &nb.NBGlobal{NbCfg: 9}, "nb_cfg") // northd heard of it long ago
	live := c.look()
	var out bytes.Buffer
	if _, err := collect.Run(t.Context(), collect.Options{Snapshot: c.Snapshot(patience), Namespace: inspecttest.Namespace, Version: "v", Out: &out, Name: "b"}); err != nil {
		t.Fatal(err)
	}
	path := inspecttest.Write(t, "bundle.tar.gz", out.Bytes())
	o := status.Options{
		Open: func(context.Context) (*inspect.Snapshot, error) {
			return inspect.Open(inspect.OpenConfig{Paths: []string{path}, Timeout: patience})
		},
		Now: func() time.Time { return now },
	}
	recorded, err := status.Run(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	ignore := []cmp.Option{
		cmpopts.IgnoreFields(status.Status{}, "Source", "Time", "Problems"), cmpopts.IgnoreFields(status.Waiting{}, "Seconds"),
		cmpopts.IgnoreFields(status.Note{}, "Message"),
	}
	if diff := cmp.Diff(live, recorded, ignore...); diff != "" {
		t.Errorf("status (-live +bundle):\n%s", diff)
	}
	if !recorded.Time.Equal(recorded.Source.Time) || recorded.Time.Equal(now) {
		t.Errorf("a record of %s is judged as of %s", recorded.Source.Time, recorded.Time)
	}
	o.Wait = patience
	var coded interface{ ExitCode() int }
	if _, err := status.Run(t.Context(), o); !errors.As(err, &coded) || coded.ExitCode() != output.Usage {
		t.Errorf("a record is waited for: %v", err)
	}
}

// The text says all that is wrong, and what to run.
func TestText(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	c.Stop("ovnkube-node-b", "ovn-northd")
	c.change("a", "nb", "nb", &nb.NBGlobal{NbCfg: 9}, "nb_cfg")
	s := c.look()
	text := func(wide bool) string {
		var b bytes.Buffer
		if err := s.Text(&b, output.Style{}, wide); err != nil {
			t.Fatal(err)
		}
		return b.String()
	}
	want := `not ready: 0 of 2 nodes, 2 of 2 pods have their network

COMPONENT               READY   IMAGE
ovs-node                2/2     -
ovnkube-node            1/2     -
ovnkube-control-plane   1/1     -

NODE   STATE       CONTAINERS   BEHIND   PODS   OVNKCTL   OVN       OVS
a      not ready   8/8          2        1/1    v1.0.0    25.03.0   3.5.0
b      not ready   6/7          0        1/1    v1.0.0    25.03.0   3.5.0

error pod/ovn-kubernetes/ovnkube-node-b on b: ovn-northd: CrashLoopBackOff (restarts: 1)
  → kubectl -n ovn-kubernetes logs ovnkube-node-b -c ovn-northd --previous

error node/a: ovn-northd does not follow (behind by 2)
  → ovnkctl diagnose db node
`
	if diff := cmp.Diff(want, text(false)); diff != "" {
		t.Errorf("text (-want +got):\n%s", diff)
	}
	for _, word := range []string{"9/7/7", "CONTAINER", "ovnkube-cluster-manager"} {
		if !strings.Contains(text(true), word) {
			t.Errorf("the wide text has no %q:\n%s", word, text(true))
		}
	}
	if err := s.Text(brokenWriter{}, output.Style{}, false); !errors.Is(err, io.ErrClosedPipe) {
		t.Errorf("a broken writer: %v", err)
	}
}

type brokenWriter struct{}

func (brokenWriter) Write([]byte) (int, error) { return 0, io.ErrClosedPipe }
