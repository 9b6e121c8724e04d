package diagnose

import (
	"slices"
	"time"

	"github.com/ovn-kubernetes/libovsdb/model"
	corev1 "k8s.io/api/core/v1"

	"github.com/ovnkctl/ovnkctl/internal/config"
	"github.com/ovnkctl/ovnkctl/internal/inspect"
	"github.com/ovnkctl/ovnkctl/internal/ovn"
	"github.com/ovnkctl/ovnkctl/internal/runtime/feature"
	"github.com/ovnkctl/ovnkctl/internal/runtime/host"
	"github.com/ovnkctl/ovnkctl/internal/world"
)

// Rows are what a database of a node held. *ovn.Content has them.
type Rows interface {
	// Rows are all rows of a table in order of their UUIDs.
	Rows(t *ovn.Table) []model.Model
	// Row finds a row.
	Row(t *ovn.Table, uuid string) (model.Model, bool)
	// Has tells whether the database had the table and, unless it is empty, the column.
	Has(table, column string) bool
}

// Cluster is what checks look at. It is a value: nothing is read while they look.
type Cluster struct {
	Objects      *inspect.Objects
	Installation *inspect.Installation
	Config       *config.Config
	// World is the objects as the runtime sees them.
	World *world.Store
	// Features compute what the databases should hold.
	Features []feature.Feature
	// Nodes are those that run the network, in order of their names.
	Nodes []*Node
	// Now is when it was read.
	Now time.Time
	// Incomplete says that objects are missing, or the configuration: what should be in the
	// databases is not known then, nor what is left over there.
	Incomplete bool

	view *views
}

// Node is one node.
type Node struct {
	Name string
	// NB, SB and OVS are the databases; nil for one that could not be read.
	NB, SB, OVS Rows
	// Unread is what could not be read of the node.
	Unread []Unread
	// Texts are what programs print about the node, by the name of the artefact. Those that
	// the source does not have are not there.
	Texts map[string]string

	wishes  []*wish
	expects *host.Expected
	drifted []drifted
}

// Unread is something of a node that could not be read.
type Unread struct {
	What string // e.g. the name of the database
	Why  string
}

// views is what several checks need, made once.
type views struct {
	nodes map[string]*world.Node
	kube  map[string]*corev1.Node
	pods  map[string][]*podView // by node
}

// podView is a pod in both forms.
type podView struct {
	*world.Pod
	kube *corev1.Pod
}

func (c *Cluster) views() *views {
	if c.view != nil {
		return c.view
	}
	v := &views{nodes: map[string]*world.Node{}, kube: map[string]*corev1.Node{}, pods: map[string][]*podView{}}
	for i := range c.Objects.Nodes {
		n := &c.Objects.Nodes[i]
		v.nodes[n.Name], v.kube[n.Name] = world.FromNode(n), n
	}
	for i := range c.Objects.Pods {
		p := &c.Objects.Pods[i]
		v.pods[p.Spec.NodeName] = append(v.pods[p.Spec.NodeName], &podView{Pod: world.FromPod(p), kube: p})
	}
	c.view = v
	return v
}

// node is the Node object of a node.
func (c *Cluster) node(name string) (*world.Node, bool) {
	n, ok := c.views().nodes[name]
	return n, ok
}

// networked are the pods of a node that have a port on the pod network and were not just
// made: see settled.
func (c *Cluster) networked(node string) []*podView {
	var out []*podView
	for _, p := range c.views().pods[node] {
		if p.Networked() && !p.Deleting {
			out = append(out, p)
		}
	}
	return out
}

// settling is how long what has just changed may be on its way: a pod start in an idle
// cluster takes less than a second, and the databases and the API are not read at the same
// moment.
const settling = 10 * time.Second

// running tells whether a pod's containers were started some time ago, so that its network
// must be complete.
func (c *Cluster) running(p *podView) bool {
	if p.kube.Status.Phase != corev1.PodRunning || p.kube.Status.StartTime == nil {
		return false
	}
	return c.Now.Sub(p.kube.Status.StartTime.Time) > settling
}

// object names a world object.
func object(r world.ObjectRef) *Object {
	return &Object{Kind: string(r.Kind), Namespace: r.Namespace, Name: r.Name}
}

func nodeObject(name string) *Object { return &Object{Kind: "Node", Name: name} }

// all are the rows of type T of a database, none if it could not be read.
func all[T any](r Rows) []*T {
	if r == nil {
		return nil
	}
	t := tableOf[T]()
	models := r.Rows(t)
	out := make([]*T, 0, len(models))
	for _, m := range models {
		out = append(out, m.(*T))
	}
	return out
}

// tableOf is the table of a generated model.
func tableOf[T any]() *ovn.Table {
	t, ok := ovn.TableOf(new(T))
	if !ok {
		panic("diagnose: no model of a table") // a fault of the program that any test finds
	}
	return t
}

// one is the row of type T that fits; nil for none.
func one[T any](r Rows, fits func(*T) bool) *T {
	rows := all[T](r)
	if i := slices.IndexFunc(rows, fits); i >= 0 {
		return rows[i]
	}
	return nil
}

// byName are rows by what name says.
func byName[T any](r Rows, name func(*T) string) map[string]*T {
	out := map[string]*T{}
	for _, m := range all[T](r) {
		out[name(m)] = m
	}
	return out
}

func value[T any](p *T) T {
	if p == nil {
		return *new(T)
	}
	return *p
}
