package diagnose

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/labels"

	"github.com/ovnkctl/ovnkctl/internal/config"
	"github.com/ovnkctl/ovnkctl/internal/inspect"
	"github.com/ovnkctl/ovnkctl/internal/ovn"
	"github.com/ovnkctl/ovnkctl/internal/ovn/names"
	"github.com/ovnkctl/ovnkctl/internal/ovn/sb"
	"github.com/ovnkctl/ovnkctl/internal/ovn/vswitch"
	"github.com/ovnkctl/ovnkctl/internal/runtime/feature"
)

// What checks look at. Logical flows are left out: they are most of a database.
var (
	southTables = []string{sb.SBGlobalTable, sb.ChassisTable, sb.ChassisPrivateTable, sb.EncapTable, sb.PortBindingTable}
	ovsTables   = []string{vswitch.OpenvSwitchTable, vswitch.BridgeTable, vswitch.PortTable, vswitch.InterfaceTable}
	texts       = []string{
		inspect.TextNFT, inspect.TextNFTJSON, inspect.TextNodeCheck,
		inspect.TextLinks, inspect.TextRoutes, inspect.TextRoutes6, inspect.TextNeighbours,
	}
)

// ReadOptions say what is read, and how it is judged.
type ReadOptions struct {
	// Features are those that the nodes run.
	Features func(*config.Config) []feature.Feature
	// Now is the time, unless the snapshot is a record with a time of its own.
	Now time.Time
	// Flows has the flows of br-int and the whole Southbound database read, too.
	Flows bool
}

// Read reads of a snapshot what checks look at. What cannot be read of a node is in its
// Unread and a problem of the snapshot; the error is about what nothing can be said without.
func Read(ctx context.Context, s *inspect.Snapshot, o ReadOptions) (*Cluster, error) {
	now := o.Now
	if t := s.Origin().Time; !t.IsZero() {
		now = t // a record is judged as of when it was taken
	}
	c := &Cluster{Now: now}
	if err := c.readObjects(ctx, s); err != nil {
		return nil, err
	}
	var err error
	if c.Config, err = c.Objects.Config(); c.Config == nil {
		return nil, err // World has noted any other error
	}
	if len(c.Objects.Nodes) == 0 {
		for _, p := range s.Problems() {
			if p.Node == "" {
				return nil, p // why there are none, and what to do about it
			}
		}
		return nil, noObjects{s.Origin().Name}
	}
	if c.Incomplete = slices.ContainsFunc(s.Problems(), func(p *inspect.Problem) bool { return p.Node == "" }); c.Incomplete {
		s.Note(&inspect.Problem{
			What: "drift, and what is left over", Why: "not looked for: what should be in the databases is not known without all objects",
		})
	}
	c.Features = o.Features(c.Config)
	found, err := s.Nodes(ctx)
	if err != nil {
		return nil, err
	}
	for i := range c.Objects.Nodes {
		if n := &c.Objects.Nodes[i]; c.networks(n) && !slices.Contains(found, n.Name) {
			found = append(found, n.Name)
		}
	}
	slices.Sort(found)
	var mu sync.Mutex
	byName := map[string]*Node{}
	err = s.Each(ctx, found, func(ctx context.Context, from *inspect.Node) error {
		n := o.node(ctx, s, from, c.Config.Gateway.Bridge)
		mu.Lock()
		defer mu.Unlock()
		byName[n.Name] = n
		return nil
	})
	for _, name := range found {
		if n := byName[name]; n != nil {
			c.Nodes = append(c.Nodes, n)
		}
	}
	return c, err
}

// readObjects reads what the API server has, which is one round trip.
func (c *Cluster) readObjects(ctx context.Context, s *inspect.Snapshot) error {
	var g errgroup.Group
	g.Go(func() (err error) {
		c.Installation, err = s.Installation(ctx)
		return err
	})
	g.Go(func() (err error) {
		if c.Objects, err = s.Objects(ctx); err == nil {
			c.World, err = s.World(ctx)
		}
		return err
	})
	return g.Wait()
}

// noObjects is a source in which no Nodes are.
type noObjects struct{ source string }

func (n noObjects) Error() string {
	return n.source + " has no Kubernetes objects, and without them nobody knows what should be in the databases"
}

// Hint says where there are some.
func (noObjects) Hint() string { return "use a bundle of 'ovnkctl collect', which has them" }

// networks tells whether the network's DaemonSet wants a node.
func (c *Cluster) networks(n *corev1.Node) bool {
	for i := range c.Installation.DaemonSets {
		d := &c.Installation.DaemonSets[i]
		if slices.Contains(daemonSets, d.Name) && labels.SelectorFromSet(d.Spec.Template.Spec.NodeSelector).Matches(labels.Set(n.Labels)) {
			return true
		}
	}
	return false
}

// wanted is what is read of a node.
type wanted struct {
	databases map[*ovn.Database][]string
	texts     []string
}

func (o *ReadOptions) wanted(bridge string) wanted {
	w := wanted{
		databases: map[*ovn.Database][]string{ovn.Northbound(): nil, ovn.Southbound(): southTables, ovn.OpenVSwitch(): ovsTables},
		texts:     append(slices.Clone(texts), inspect.TextFlows+bridge),
	}
	if o.Flows {
		w.databases[ovn.Southbound()] = nil // all tables
		w.texts = append(w.texts, inspect.TextFlows+names.IntegrationBridge)
	}
	return w
}

func (o *ReadOptions) node(ctx context.Context, s *inspect.Snapshot, from *inspect.Node, bridge string) *Node {
	n, w := &Node{Name: from.Name(), Texts: map[string]string{}}, o.wanted(bridge)
	w.ahead(ctx, from)
	database := func(d *ovn.Database) Rows {
		content, err := from.Database(ctx, d, w.databases[d]...)
		if err != nil || content == nil {
			n.unread(s, d.Name, err)
			return nil // not a Rows that holds nil
		}
		return content
	}
	n.NB, n.SB, n.OVS = database(ovn.Northbound()), database(ovn.Southbound()), database(ovn.OpenVSwitch())
	for _, name := range w.texts {
		text, err := from.Text(ctx, name)
		switch {
		case err == nil:
			n.Texts[name] = text
		case !errors.Is(err, inspect.ErrAbsent):
			s.Note(problem(n.Name, name, err))
		}
	}
	return n
}

// ahead reads all that is read of a node at once: each answer is a round trip. What goes
// wrong is heard of when it is asked for.
func (w *wanted) ahead(ctx context.Context, from *inspect.Node) {
	var all sync.WaitGroup
	for d, tables := range w.databases {
		all.Go(func() { _, _ = from.Database(ctx, d, tables...) })
	}
	for _, name := range w.texts {
		all.Go(func() { _, _ = from.Text(ctx, name) })
	}
	all.Wait()
}

// unread notes what could not be read.
func (n *Node) unread(s *inspect.Snapshot, what string, err error) {
	p := problem(n.Name, what, err)
	n.Unread = append(n.Unread, Unread{What: what, Why: p.Why})
	s.Note(p)
}

func problem(node, what string, err error) *inspect.Problem {
	var p *inspect.Problem
	if errors.As(err, &p) && p.Node != "" {
		return p
	}
	why := "it is not there"
	if err != nil {
		why = err.Error()
	}
	return &inspect.Problem{Node: node, What: what, Why: why}
}
