package status

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/ovnkctl/ovnkctl/internal/ovn"
	"github.com/ovnkctl/ovnkctl/internal/ovn/names"
	"github.com/ovnkctl/ovnkctl/internal/ovn/nb"
	"github.com/ovnkctl/ovnkctl/internal/ovn/sb"
	"github.com/ovnkctl/ovnkctl/internal/world"
)

// settling is how long a pod's network may be on its way: a start in an idle cluster takes
// less than a second, and the databases and the API are not read at the same moment.
const settling = 10 * time.Second

// podCount counts the pods of a node.
type podCount struct{ all, networked int }

// pods finds the pods without network, in order of their names.
func (f *facts) pods(now time.Time) ([]Waiting, map[string]podCount) {
	failed := f.failedStarts()
	ports := map[string]*portsOf{}
	for name, z := range f.ovn {
		ports[name] = newPorts(z)
	}
	counts := map[string]podCount{}
	var out []Waiting
	for i := range f.objects.Pods {
		kube := &f.objects.Pods[i]
		p := world.FromPod(kube)
		if !p.Networked() || p.Deleting {
			continue
		}
		n := counts[p.Node]
		n.all++
		stage, message := missing(p, ports[p.Node], failed[kube.UID])
		if stage == "" {
			n.networked++
		}
		counts[p.Node] = n
		began := kube.CreationTimestamp.Time
		if kube.Status.StartTime != nil {
			began = kube.Status.StartTime.Time
		}
		if age := now.Sub(began); stage != "" && age >= settling {
			out = append(out, Waiting{p.Namespace, p.Name, p.Node, int64(age.Seconds()), stage, message})
		}
	}
	slices.SortFunc(out, func(a, b Waiting) int {
		return cmp.Or(strings.Compare(a.Namespace, b.Namespace), strings.Compare(a.Name, b.Name))
	})
	return out, counts
}

// failedStarts is what the kubelet said last about pods whose network it could not make.
func (f *facts) failedStarts() map[types.UID]string {
	last := map[types.UID]*corev1.Event{}
	for i := range f.installation.Events {
		e := &f.installation.Events[i]
		if e.InvolvedObject.Kind != "Pod" || e.Reason != "FailedCreatePodSandBox" {
			continue
		}
		if o := last[e.InvolvedObject.UID]; o == nil || o.LastTimestamp.Before(&e.LastTimestamp) {
			last[e.InvolvedObject.UID] = e
		}
	}
	out := map[types.UID]string{}
	for uid, e := range last {
		out[uid] = strings.TrimSpace(e.Message)
	}
	return out
}

// portsOf are the ports of a node's databases; nil maps for those that could not be read.
type portsOf struct {
	north map[string]bool
	south map[string]*sb.PortBinding
}

func newPorts(z *zoneFacts) *portsOf {
	p := &portsOf{}
	if z.nb != nil {
		p.north = map[string]bool{}
		for _, r := range ovn.RowsOf[nb.LogicalSwitchPort](z.nb) {
			p.north[r.Name] = true
		}
	}
	if z.sb != nil {
		p.south = map[string]*sb.PortBinding{}
		for _, r := range ovn.RowsOf[sb.PortBinding](z.sb) {
			p.south[r.LogicalPort] = r
		}
	}
	return p
}

// missing is the first thing that a pod lacks. One without a sandbox may wait for its
// volumes, which is nothing to tell here, unless the kubelet says that it is the network.
func missing(p *world.Pod, on *portsOf, failed string) (Stage, string) {
	name := names.Pod(p.Namespace, p.Name)
	_, allocated := p.Networks[world.DefaultNetwork]
	late := p.Started || failed != ""
	var b *sb.PortBinding
	if on != nil {
		b = on.south[name]
	}
	switch {
	case !allocated:
		return StageAddress, because("the node's program has given it no address", failed)
	case on != nil && on.north != nil && !on.north[name]:
		return StagePort, because("the Northbound database has no port "+name, failed)
	case late && on != nil && on.south != nil && (b == nil || b.Chassis == nil):
		return StageBinding, because("port "+name+" is not bound", failed)
	case late && b != nil && b.Up != nil && !*b.Up:
		return StageFlows, because("the flows of port "+name+" are not in place", failed)
	case failed != "" && !p.Started:
		return StageStart, failed
	}
	return "", ""
}

func because(message, failed string) string {
	if failed == "" {
		return message
	}
	return message + ": " + failed
}

func (w *Waiting) note() Note {
	return Note{
		Severity: Error, Node: w.Node, Object: fmt.Sprintf("pod/%s/%s", w.Namespace, w.Name),
		Message: fmt.Sprintf("no network for %s: %s", time.Duration(w.Seconds)*time.Second, w.Message),
		Next:    fmt.Sprintf("ovnkctl diagnose pod %s/%s", w.Namespace, w.Name),
	}
}
