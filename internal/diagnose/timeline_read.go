package diagnose

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/ovnkctl/ovnkctl/internal/cni/history"
	"github.com/ovnkctl/ovnkctl/internal/inspect"
	"github.com/ovnkctl/ovnkctl/internal/ovn"
	"github.com/ovnkctl/ovnkctl/internal/ovn/names"
	"github.com/ovnkctl/ovnkctl/internal/ovn/nb"
	"github.com/ovnkctl/ovnkctl/internal/ovn/sb"
	"github.com/ovnkctl/ovnkctl/internal/ovn/vswitch"
	"github.com/ovnkctl/ovnkctl/internal/world"
)

// podFacts is what is known of one pod's start.
type podFacts struct {
	pod    *corev1.Pod
	seen   *world.Pod
	events []*corev1.Event // of the pod, the oldest first
	system string          // namespace of the network
	agent  string          // the node's pod ovnkube-node, if there is one

	// Each database may be unread; rows are nil if there are none.
	north, south, switched rowOf
	port                   *nb.LogicalSwitchPort
	binding                *sb.PortBinding
	iface                  *vswitch.Interface
	chassis                string // UUID of the node's own

	// history is nil if the node does not tell; its entries for the pod are the next two.
	history *history.Document
	noted   *history.Pod
	adds    []history.Add // the oldest first

	claimed, up time.Time // by the log of ovn-controller
}

// rowOf tells whether a database was read, so that a row that is not there is missing.
type rowOf bool

// readPod reads what there is about a pod.
func readPod(ctx context.Context, s *inspect.Snapshot, namespace, name string) (*podFacts, error) {
	objects, err := s.Objects(ctx, inspect.Pods, inspect.Events)
	if err != nil {
		return nil, err
	}
	f := &podFacts{system: s.Namespace()}
	for i := range objects.Pods {
		if p := &objects.Pods[i]; p.Namespace == namespace && p.Name == name {
			f.pod, f.seen = p, world.FromPod(p)
		}
	}
	switch {
	case f.pod == nil:
		return nil, absent(s, objects, namespace, name)
	case f.pod.Spec.HostNetwork:
		return nil, noSuchPod{namespace, name, "it is on the network of its host, and has none of its own", "ovnkctl explain pod/" + namespace + "/" + name}
	}
	installation, err := s.Installation(ctx)
	if err != nil {
		return nil, err
	}
	for i := range installation.Events {
		if e := &installation.Events[i]; e.InvolvedObject.Kind == "Pod" && e.InvolvedObject.UID == f.pod.UID {
			f.events = append(f.events, e)
		}
	}
	slices.SortStableFunc(f.events, func(a, b *corev1.Event) int { return eventTime(a).Compare(eventTime(b)) })
	if node := f.pod.Spec.NodeName; node != "" {
		f.readNode(ctx, s, s.Node(node))
	}
	return f, nil
}

// absent is that there is no such pod, with those whose names are like it.
func absent(s *inspect.Snapshot, o *inspect.Objects, namespace, name string) error {
	for _, p := range s.Problems() {
		if p.Node == "" && p.What == string(inspect.Pods) {
			return p // nobody knows whether there is one
		}
	}
	e := noSuchPod{namespace, name, "there is no such pod", "name it as NAMESPACE/NAME, or its namespace with -n"}
	var like []string
	for i := range o.Pods {
		p := &o.Pods[i]
		if p.Name == name || p.Namespace == namespace && strings.HasPrefix(p.Name, name) {
			like = append(like, p.Namespace+"/"+p.Name)
		}
	}
	if slices.Sort(like); len(like) > 0 {
		const few = 5
		e.next = "do you mean " + strings.Join(like[:min(few, len(like))], ", ") + "?"
	}
	return e
}

// eventTime is when an event was last, as exactly as it tells.
func eventTime(e *corev1.Event) time.Time {
	switch {
	case e.Series != nil && e.Series.LastObservedTime.After(e.EventTime.Time):
		return e.Series.LastObservedTime.Time
	case !e.LastTimestamp.IsZero():
		return e.LastTimestamp.Time
	}
	return cmp.Or(e.EventTime.Time, e.FirstTimestamp.Time)
}

// readNode reads what the pod's node has, at once; then the log, for which a node that does
// not answer would have one wait again.
func (f *podFacts) readNode(ctx context.Context, s *inspect.Snapshot, n *inspect.Node) {
	var all sync.WaitGroup
	var silent error // about what the node remembers
	port, uid := names.Pod(f.pod.Namespace, f.pod.Name), string(f.pod.UID)
	all.Go(func() {
		if c := f.table(ctx, s, n, ovn.Northbound(), nb.LogicalSwitchPortTable); c != nil {
			f.port, f.north = named(c, func(p *nb.LogicalSwitchPort) bool { return p.Name == port }), true
		}
	})
	all.Go(func() {
		if c := f.table(ctx, s, n, ovn.Southbound(), sb.PortBindingTable, sb.ChassisTable); c != nil {
			f.binding, f.south = named(c, func(b *sb.PortBinding) bool { return b.LogicalPort == port }), true
			if own := named(c, func(c *sb.Chassis) bool { return c.OtherConfig["is-remote"] != "true" }); own != nil {
				f.chassis = own.UUID
			}
		}
	})
	all.Go(func() {
		if c := f.table(ctx, s, n, ovn.OpenVSwitch(), vswitch.InterfaceTable); c != nil {
			f.iface = named(c, func(i *vswitch.Interface) bool {
				return i.ExternalIDs["iface-id"] == port && i.ExternalIDs["iface-id-ver"] == uid
			})
			f.switched = true
		}
	})
	all.Go(func() { silent = f.readStarts(ctx, n) })
	all.Wait()
	f.findAgent(ctx, s, n.Name())
	if silent != nil && !errors.Is(silent, inspect.ErrAbsent) {
		p := *problem(n.Name(), inspect.TextPodStarts, silent)
		if p.Next == "" {
			p.What, p.Next = "what the node remembers of its pods", f.logs("ovnkube-controller")
		}
		s.Note(&p)
	}
	if f.agent == "" || !f.switched && !f.south {
		return
	}
	if log, err := n.Text(ctx, inspect.TextLog(f.agent, "ovn-controller")); err == nil {
		f.readLog(log, port)
	}
}

func (f *podFacts) readStarts(ctx context.Context, n *inspect.Node) error {
	text, err := n.Text(ctx, inspect.TextPodStarts)
	if err != nil {
		return err
	}
	d := &history.Document{}
	if err := json.Unmarshal([]byte(text), d); err != nil {
		return err
	}
	f.remember(d)
	return nil
}

// findAgent finds the pod of the node's program.
func (f *podFacts) findAgent(ctx context.Context, s *inspect.Snapshot, node string) {
	own, err := s.NetworkPods(ctx)
	if err != nil {
		return // told where they are read first
	}
	for i := range own {
		if p := &own[i]; p.Spec.NodeName == node && p.Labels["app"] == "ovnkube-node" && (f.agent == "" || p.DeletionTimestamp == nil) {
			f.agent = p.Name
		}
	}
}

func (f *podFacts) table(ctx context.Context, s *inspect.Snapshot, n *inspect.Node, d *ovn.Database, tables ...string) *ovn.Content {
	c, err := n.Database(ctx, d, tables...)
	if err != nil || c == nil {
		s.Note(problem(n.Name(), d.Name, err))
		return nil
	}
	return c
}

func named[T any](c *ovn.Content, fits func(*T) bool) *T {
	for _, r := range ovn.RowsOf[T](c) {
		if fits(r) {
			return r
		}
	}
	return nil
}

// remember takes what the node remembers of the pod. Of an ADD that was refused before the
// pod was known, its name and its time tell.
func (f *podFacts) remember(d *history.Document) {
	f.history = d
	uid := string(f.pod.UID)
	for i := range d.Pods {
		if d.Pods[i].UID == uid {
			f.noted = &d.Pods[i]
		}
	}
	for i := range d.Adds {
		a := &d.Adds[i]
		if a.UID == uid || a.UID == "" && a.Namespace == f.pod.Namespace && a.Name == f.pod.Name && !a.Began.Before(f.pod.CreationTimestamp.Time) {
			f.adds = append(f.adds, *a)
		}
	}
}

// readLog finds out from ovn-controller's log when it took the port, and when it was up:
// lines as the kubelet keeps them, with the time at which they were written.
func (f *podFacts) readLog(log, port string) {
	claimed, up := "|Claiming lport "+port+" for this chassis", "|Setting lport "+port+" up in Southbound"
	for line := range strings.Lines(log) {
		var to *time.Time
		switch {
		case strings.Contains(line, claimed):
			to = &f.claimed
		case strings.Contains(line, up):
			to = &f.up
		default:
			continue
		}
		stamp, _, _ := strings.Cut(line, " ")
		if t, err := time.Parse(time.RFC3339Nano, stamp); err == nil && !t.Before(f.pod.CreationTimestamp.Time) {
			*to = t
		}
	}
}

// notes say what is not known.
func (f *podFacts) notes() []string {
	var out []string
	node := f.pod.Spec.NodeName
	switch {
	case node == "":
	case f.history == nil:
		out = append(out, "the stages of the CNI ADD are not known: what node "+node+" remembers could not be read, or is not in the record")
	case f.noted == nil && len(f.adds) == 0 && f.history.Since.After(f.pod.CreationTimestamp.Time):
		out = append(out, fmt.Sprintf("the program of node %s started at %s, after the pod: it remembers nothing of the pod's start", node, f.history.Since.UTC().Format(time.RFC3339)))
	}
	return out
}
