package explain

import (
	"context"
	"fmt"
	"slices"
	"sync"

	"github.com/ovnkctl/ovnkctl/internal/inspect"
	"github.com/ovnkctl/ovnkctl/internal/ovn"
	"github.com/ovnkctl/ovnkctl/internal/ovn/sb"
	"github.com/ovnkctl/ovnkctl/internal/ovn/vswitch"
	"github.com/ovnkctl/ovnkctl/internal/world"
)

// Snapshot is an inspected cluster as a Source.
type Snapshot struct {
	from *inspect.Snapshot

	mu    sync.Mutex
	nodes map[string]*read
}

// read is what was read of one node: many ask for it at the same time.
type read struct {
	mu    sync.Mutex
	index *Index
	flows map[string][]*sb.LogicalFlow // by the first digits of their UUIDs
	// flowsFor are they by the first digits of the row that they were made for.
	flowsFor map[string][]*sb.LogicalFlow
}

func (s *Snapshot) of(node string) *read {
	s.mu.Lock()
	defer s.mu.Unlock()
	r := s.nodes[node]
	if r == nil {
		r = &read{}
		s.nodes[node] = r
	}
	return r
}

var _ Source = (*Snapshot)(nil)

// FromSnapshot makes a Source of an inspected cluster.
func FromSnapshot(s *inspect.Snapshot) *Snapshot {
	return &Snapshot{from: s, nodes: map[string]*read{}}
}

// objects are the kinds that things are explained by. End points are not among them: of
// those, the rows tell.
var objects = []inspect.Resource{
	inspect.Nodes, inspect.Namespaces, inspect.Pods, inspect.Services, inspect.EndpointSlices, inspect.NetworkPolicies, inspect.AdminNetworkPolicies,
	inspect.BaselineAdminNetworkPolicies, inspect.ClusterNetworkPolicies, inspect.EgressFirewalls,
}

// World implements Source. A configuration that cannot be read is a problem of the snapshot,
// and the objects are there nevertheless.
func (s *Snapshot) World(ctx context.Context) (*world.Store, error) {
	w, err := s.from.World(ctx, objects...)
	if w == nil {
		return nil, err
	}
	if err != nil {
		s.from.Note(&inspect.Problem{What: "configuration of the network", Why: err.Error()})
	}
	return w, nil
}

// Nodes implements Source.
func (s *Snapshot) Nodes(ctx context.Context) ([]string, error) { return s.from.Nodes(ctx) }

// southbound are the tables of the Southbound database that are looked at: logical flows are
// many, and read on their own.
var southbound = []string{sb.PortBindingTable, sb.MACBindingTable, sb.DatapathBindingTable}

// openVSwitch is what is read of the node's switch.
var openVSwitch = []string{vswitch.InterfaceTable, vswitch.PortTable, vswitch.BridgeTable}

// Rows implements Source. What cannot be read besides the Northbound database is a problem
// of the snapshot.
func (s *Snapshot) Rows(ctx context.Context, node string) (*Index, error) {
	r := s.of(node)
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.index != nil {
		return r.index, nil
	}
	n := s.from.Node(node)
	Prefetch(ctx, n)
	x := NewIndex(node)
	if err := s.add(ctx, x, n, ovn.Northbound()); err != nil {
		return nil, err
	}
	if err := s.add(ctx, x, n, ovn.Southbound(), southbound...); err != nil {
		s.note(node, err)
	}
	if err := s.add(ctx, x, n, ovn.OpenVSwitch(), openVSwitch...); err != nil {
		s.note(node, err)
	}
	if ctx.Err() == nil { // else it may lack what was not read in time
		r.index = x
	}
	return x, ctx.Err()
}

// Prefetch reads what Rows needs of a node all at once: each database is a round trip. What
// goes wrong is heard of by who asks for the rows.
func Prefetch(ctx context.Context, n *inspect.Node) {
	var all sync.WaitGroup
	for d, tables := range map[*ovn.Database][]string{
		ovn.Northbound(): nil, ovn.Southbound(): southbound, ovn.OpenVSwitch(): openVSwitch,
	} {
		all.Go(func() { _, _ = n.Database(ctx, d, tables...) })
	}
	all.Wait()
}

func (s *Snapshot) note(node string, err error) {
	s.from.Note(&inspect.Problem{Node: node, What: "rows", Why: err.Error()})
}

// add reads tables, or all of a database.
func (s *Snapshot) add(ctx context.Context, x *Index, n *inspect.Node, d *ovn.Database, tables ...string) error {
	content, err := n.Database(ctx, d, tables...)
	if err != nil {
		return err
	}
	for _, t := range d.Tables() {
		if len(tables) == 0 || slices.Contains(tables, t.Name) {
			x.Add(t, content.Rows(t)...)
		}
	}
	return nil
}

// LogicalFlows implements Source.
func (s *Snapshot) LogicalFlows(ctx context.Context, node string, starts []string) ([]*sb.LogicalFlow, error) {
	r := s.of(node)
	r.mu.Lock()
	defer r.mu.Unlock()
	if err := s.readFlows(ctx, node, r); err != nil {
		return nil, err
	}
	return gather(r.flows, starts), nil
}

// FlowsFor implements Source.
func (s *Snapshot) FlowsFor(ctx context.Context, node string, rows []string) ([]*sb.LogicalFlow, error) {
	x, err := s.Rows(ctx, node)
	if err != nil {
		return nil, err
	}
	r := s.of(node)
	r.mu.Lock()
	defer r.mu.Unlock()
	if err := s.readFlows(ctx, node, r); err != nil {
		return nil, err
	}
	out := gather(r.flowsFor, rows)
	for hint, flows := range r.flowsFor {
		if len(x.ByPrefix(hint)) > 0 {
			continue // the hint is current
		}
		for _, f := range flows {
			if e, ok := x.OfFlow(KeyOf(f)); ok && slices.Contains(rows, e.UUID[:prefixDigits]) {
				out = append(out, f)
			}
		}
	}
	return out, nil
}

func gather(by map[string][]*sb.LogicalFlow, starts []string) []*sb.LogicalFlow {
	var out []*sb.LogicalFlow
	for _, start := range starts {
		out = append(out, by[start]...)
	}
	return out
}

// readFlows reads a node's logical flows, once.
func (s *Snapshot) readFlows(ctx context.Context, node string, r *read) error {
	if r.flows != nil {
		return nil
	}
	content, err := s.from.Node(node).Database(ctx, ovn.Southbound(), sb.LogicalFlowTable)
	if err != nil {
		return fmt.Errorf("logical flows: %w", err)
	}
	r.flows, r.flowsFor = map[string][]*sb.LogicalFlow{}, map[string][]*sb.LogicalFlow{}
	for _, f := range ovn.RowsOf[sb.LogicalFlow](content) {
		start := f.UUID[:prefixDigits]
		r.flows[start] = append(r.flows[start], f)
		if hint := f.ExternalIDs["stage-hint"]; hint != "" {
			r.flowsFor[hint] = append(r.flowsFor[hint], f)
		}
	}
	return nil
}

// Text implements Source.
func (s *Snapshot) Text(ctx context.Context, node, name string) (string, error) {
	return s.from.Node(node).Text(ctx, name)
}
