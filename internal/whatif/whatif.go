// Package whatif answers questions about a cluster as it would be with objects that are not
// applied, or without some that are.
//
//	objects ───────────────> features ─> rows that are wanted today ──┐
//	   └─ file, defaults ──> features ─> rows that would be wanted ───┴─ difference
//	                                                                       │ one transaction
//	NB, SB of a node ── copy ──> own ovsdb-server and ovn-northd <─────────┘
//	                                  └─ ovn-trace, as on the node
//
// Only the difference of the two computations is written, over what the node has: whatever
// is there for other reasons stays, and is in the answer. Nothing is written anywhere else.
package whatif

import (
	"context"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
	"sync"
	"time"

	networkingv1 "k8s.io/api/networking/v1"

	"github.com/ovnkctl/ovnkctl/internal/config"
	"github.com/ovnkctl/ovnkctl/internal/desired"
	"github.com/ovnkctl/ovnkctl/internal/inspect"
	"github.com/ovnkctl/ovnkctl/internal/ovn"
	"github.com/ovnkctl/ovnkctl/internal/ovn/nb"
	"github.com/ovnkctl/ovnkctl/internal/ovn/rows"
	"github.com/ovnkctl/ovnkctl/internal/ovn/sb"
	"github.com/ovnkctl/ovnkctl/internal/runtime/feature"
	"github.com/ovnkctl/ovnkctl/internal/world"
)

// Config is what New needs.
type Config struct {
	// Snapshot is the cluster as it is.
	Snapshot *inspect.Snapshot
	// Features are those of a node with that configuration.
	Features func(*config.Config) []feature.Feature
	Input    *Input
	// Now is the time at which objects would be made.
	Now time.Time
}

// WhatIf is a cluster as it would be. It is safe for concurrent use.
type WhatIf struct {
	overlay  *overlay
	features []feature.Feature
	today    *inspect.Snapshot
	tomorrow *inspect.Snapshot

	is, would *world.Store

	mu    sync.Mutex
	zones map[string]*zone
}

// zone is what is known of a node's OVN.
type zone struct {
	rows     []*RowChange
	warnings []string
	differs  bool
}

// New lays the input over a cluster. No node is asked before a question needs it. The caller
// closes it before the snapshot.
func New(ctx context.Context, c Config) (*WhatIf, error) {
	objects, err := c.Snapshot.Objects(ctx)
	if err != nil {
		return nil, err
	}
	conf, err := objects.Config()
	if conf == nil {
		return nil, err // any other error is a problem of the snapshot
	}
	o, err := c.Input.over(objects, serviceRanges(objects, conf), c.Now)
	if err != nil {
		return nil, err
	}
	w := &WhatIf{overlay: o, features: c.Features(conf), today: c.Snapshot, zones: map[string]*zone{}}
	if w.is, err = c.Snapshot.World(ctx); err != nil {
		return nil, err
	}
	if w.would, err = o.objects.World(); w.would == nil {
		return nil, err
	}
	w.tomorrow = c.Snapshot.Alter(inspect.Alteration{Objects: &o.objects, Zone: w.zone})
	return w, nil
}

// serviceRanges are where cluster IPs come from.
func serviceRanges(o *inspect.Objects, c *config.Config) []string {
	var out []string
	list := slices.Clone(o.ServiceCIDRs)
	slices.SortFunc(list, func(a, b networkingv1.ServiceCIDR) int { return a.CreationTimestamp.Compare(b.CreationTimestamp.Time) }) // the cluster's first one is the oldest
	for i := range list {
		out = append(out, list[i].Spec.CIDRs...)
	}
	if len(out) == 0 {
		out = strings.Split(c.Network.ServiceSubnets, ",")
	}
	return out
}

// Snapshot is the cluster as it would be.
func (w *WhatIf) Snapshot() *inspect.Snapshot { return w.tomorrow }

// Close removes the copies that were made.
func (w *WhatIf) Close() error { return w.tomorrow.Close() }

// zone is the OVN of a node as it would be; nil when it would be as it is.
func (w *WhatIf) zone(ctx context.Context, n *inspect.Node) (*inspect.Replica, error) {
	northbound, err := n.Database(ctx, ovn.Northbound())
	if err != nil {
		return nil, err
	}
	z := desired.Zone{Node: n.Name(), World: w.is, Features: w.features, Sets: ovn.RowsOf[nb.AddressSet](northbound)}
	today, _ := z.Wishes()
	z.World = w.would
	tomorrow, _ := z.Wishes()
	out := &zone{warnings: news(today, tomorrow)}
	if equal(today, tomorrow) {
		w.done(n, out)
		return nil, nil
	}
	r, err := n.Replicate(ctx)
	if err != nil {
		return nil, err
	}
	if err := out.apply(ctx, n.Name(), r, today, tomorrow); err != nil {
		return nil, fmt.Errorf("%w%s", err, closing(r))
	}
	if err := out.compare(ctx, northbound, r); err != nil {
		return nil, fmt.Errorf("%w%s", err, closing(r))
	}
	w.done(n, out)
	if !out.differs { // OVN has it already, or lacks what it hangs on
		return nil, r.Close()
	}
	return r, nil
}

func closing(r *inspect.Replica) string {
	if err := r.Close(); err != nil {
		return "; and the copy was not removed: " + err.Error()
	}
	return ""
}

func (w *WhatIf) done(n *inspect.Node, z *zone) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.zones[n.Name()] = z
}

// equal tells whether nothing is wanted that is not wanted today.
func equal(today, tomorrow []*desired.Wish) bool {
	before := map[string]*desired.Wish{}
	for _, w := range today {
		before[ownerOf(w)] = w
	}
	for _, w := range tomorrow {
		old := before[ownerOf(w)]
		if old == nil && !empty(w) || old != nil && !reflect.DeepEqual(old.Output, w.Output) {
			return false
		}
		delete(before, ownerOf(w))
	}
	for _, w := range before {
		if !empty(w) {
			return false
		}
	}
	return true
}

func empty(w *desired.Wish) bool {
	return len(w.Output.NB.Rows)+len(w.Output.NB.Members)+len(w.Output.SB.Rows)+len(w.Output.SB.Members) == 0
}

// news are the reasons that features have for the input: what cannot be done as it is written.
func news(today, tomorrow []*desired.Wish) []string {
	known := map[feature.Reason]bool{}
	for _, w := range today {
		for _, r := range w.Reasons {
			known[r] = true
		}
	}
	var out []string
	for _, w := range tomorrow {
		for _, r := range w.Reasons {
			if known[r] {
				continue
			}
			known[r] = true
			text := fmt.Sprintf("%s %s: %s", r.Object.Kind, strings.TrimPrefix(r.Object.Namespace+"/"+r.Object.Name, "/"), r.Message)
			if r.Remedy != "" {
				text += "; " + r.Remedy
			}
			out = append(out, text)
		}
	}
	return out
}

// apply writes the difference to a copy, and waits for its northd.
func (z *zone) apply(ctx context.Context, node string, r *inspect.Replica, today, tomorrow []*desired.Wish) error {
	counted := tally{}
	for _, side := range []struct {
		d      *ovn.Database
		tables []string
		of     func(*desired.Wish) rows.Set
	}{ // as the engine does: chassis first
		{ovn.Southbound(), feature.SouthTables(), func(w *desired.Wish) rows.Set { return w.Output.SB }},
		{ovn.Northbound(), feature.NorthTables(), func(w *desired.Wish) rows.Set { return w.Output.NB }},
	} {
		content, err := r.Content(ctx, side.d, side.tables...)
		if err != nil {
			return err
		}
		d := newDiffer(node, indexed(side.d, content, side.tables), today, tomorrow, side.of)
		d.counted = counted
		ops := d.operations()
		z.warn(node, d.missing)
		if len(ops) == 0 {
			continue
		}
		z.differs = true
		if err := r.Transact(ctx, side.d, ops...); err != nil {
			return fmt.Errorf("node %s would refuse it: %w", node, err)
		}
	}
	z.rows = counted.list()
	if !z.differs {
		return nil
	}
	return r.Settle(ctx)
}

// missingShown is how many rows that are not there are named.
const missingShown = 3

func (z *zone) warn(node string, missing []string) {
	slices.Sort(missing)
	missing = slices.Compact(missing)
	if len(missing) == 0 {
		return
	}
	text := strings.Join(missing[:min(len(missing), missingShown)], ", ")
	if more := len(missing) - missingShown; more > 0 {
		text += fmt.Sprintf(", and %d more", more)
	}
	z.warnings = append(z.warnings, fmt.Sprintf("node %s is not as it should be today (%s): the answer may be wrong; ovnkctl diagnose drift", node, text))
}

// northdVersion is where ovn-northd notes its version, in the options of NB_Global.
const northdVersion = "northd_internal_version"

// compare warns of a northd that is not the node's.
func (z *zone) compare(ctx context.Context, today *ovn.Content, r *inspect.Replica) error {
	content, err := r.Content(ctx, ovn.Northbound(), nb.NBGlobalTable)
	if err != nil {
		return err
	}
	was, is := versionOf(today), versionOf(content)
	if was != "" && is != "" && was != is {
		z.warnings = append(z.warnings, fmt.Sprintf("the flows are those of ovn-northd %s on this machine, the node has %s: other differences may be among them", is, was))
	}
	return nil
}

func versionOf(c *ovn.Content) string {
	for _, g := range ovn.RowsOf[nb.NBGlobal](c) {
		return g.Options[northdVersion]
	}
	return ""
}

// Change is what the input would do to the nodes that were asked so far.
func (w *WhatIf) Change(ctx context.Context) (*Change, error) {
	w.mu.Lock()
	zones := maps.Clone(w.zones)
	w.mu.Unlock()
	c := &Change{Edits: w.overlay.edits, Notes: w.overlay.notes, Warnings: slices.Clone(w.overlay.warnings)}
	for _, name := range slices.Sorted(maps.Keys(zones)) {
		z := zones[name]
		for _, text := range z.warnings {
			if !slices.Contains(c.Warnings, text) {
				c.Warnings = append(c.Warnings, text)
			}
		}
		n := &NodeChange{Node: name, Rows: z.rows}
		if z.differs {
			var err error
			if n.FlowsBefore, err = flows(ctx, w.today.Node(name)); err != nil {
				return nil, err
			}
			if n.FlowsAfter, err = flows(ctx, w.tomorrow.Node(name)); err != nil {
				return nil, err
			}
		}
		c.Nodes = append(c.Nodes, n)
	}
	return c, nil
}

func flows(ctx context.Context, n *inspect.Node) (int, error) {
	c, err := n.Database(ctx, ovn.Southbound(), sb.LogicalFlowTable)
	if err != nil {
		return 0, err
	}
	return len(ovn.RowsOf[sb.LogicalFlow](c)), nil
}
