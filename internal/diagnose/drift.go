package diagnose

import (
	"fmt"
	"slices"
	"strings"

	"github.com/ovnkctl/ovnkctl/internal/ovn"
	"github.com/ovnkctl/ovnkctl/internal/ovn/owner"
	"github.com/ovnkctl/ovnkctl/internal/ovn/rows"
	"github.com/ovnkctl/ovnkctl/internal/runtime/feature"
)

var drift = &Check{
	Code: "OVNK-DRIFT-001", Severity: Error,
	Title: "rows of a node's databases are not what they should be",
	Meaning: "What each row should be follows from the objects of the cluster, by the same code that the node's program runs. " +
		"The node's program puts back at once what somebody changes; rows that stay different tell that it does not run, " +
		"does not hear of changes, or cannot write.",
	Remedy: "See whether ovnkube-controller of the node is ready and what it logs (" + logsOf("ovnkube-controller") + "). " +
		"`ovnkctl diagnose --repair` has it look at these rows again, a restart of the pod ovnkube-node at all; traffic goes on meanwhile.",
	causes: nodeDown(
		cause{nodeIncomplete.Code, sameNode}, cause{nodeConflict.Code, sameNode}, cause{remoteChassis.Code, sameObject},
		cause{podPort.Code, sameObject}, cause{podObject.Code, sameObject}, cause{stalePort.Code, sameObject},
		cause{podAllocation.Code, sameObject}, cause{podAddress.Code, sameObject},
	),
	find: func(c *Cluster, found func(Finding)) {
		for _, n := range c.Nodes {
			for _, d := range c.drifts(n) {
				if d.feature != servicesFeature { // serviceRows tells of these
					found(d.finding(n))
				}
			}
		}
	},
}

// drifted is a key of a feature whose rows are not in order.
type drifted struct {
	feature string
	key     feature.Key
	lines   []string
}

// drifts compares what a node's databases should hold and hold. It is computed once.
func (c *Cluster) drifts(n *Node) []drifted {
	if n.drifted != nil || n.NB == nil || c.Incomplete {
		return n.drifted
	}
	wishes := c.desired(n)
	features := map[string]bool{}
	for _, f := range c.Features {
		features[f.Name()] = true
	}
	byOwner := map[string]*drifted{}
	at := func(id owner.ID) *drifted {
		if byOwner[id.String()] == nil {
			byOwner[id.String()] = &drifted{feature: id.Feature, key: feature.ParseKey(id.Key)}
		}
		return byOwner[id.String()]
	}
	compare := func(db *ovn.Database, from Rows, setOf func(feature.Output) rows.Set) {
		if from == nil {
			return
		}
		x := indexRows(db, from)
		known := map[string]bool{}
		for _, w := range wishes {
			id := owner.ID{Feature: w.feature, Key: w.key.String()}
			known[id.String()] = true
			m := x.matchSet(id.String(), setOf(w.output))
			if lines := append(m.differences(), m.stale()...); len(lines) > 0 {
				d := at(id)
				d.lines = append(d.lines, lines...)
			}
		}
		for who, left := range x.byOwner {
			id, ok := owner.Parse(who)
			if !ok || known[who] || !features[id.Feature] {
				continue // another program's, or a newer version's
			}
			for _, r := range left {
				d := at(id)
				d.lines = append(d.lines, rowTitle(r.table, r.model, r.id)+" is left over")
			}
		}
	}
	compare(ovn.Northbound(), n.NB, func(o feature.Output) rows.Set { return o.NB })
	compare(ovn.Southbound(), n.SB, func(o feature.Output) rows.Set { return o.SB })
	n.drifted = []drifted{}
	for _, d := range byOwner {
		n.drifted = append(n.drifted, *d)
	}
	slices.SortFunc(n.drifted, func(a, b drifted) int {
		return strings.Compare(a.feature+"/"+a.key.String(), b.feature+"/"+b.key.String())
	})
	return n.drifted
}

func (d *drifted) finding(n *Node) Finding {
	f := Finding{Node: n.Name, Object: d.object(), repair: target{feature: d.feature, key: d.key.String()}}
	f.tell(fmt.Sprintf("%s of %s on node %s", d.feature, d.key, n.Name), d.lines)
	if d.feature == topologyFeature && d.key.Name != n.Name {
		f.peers = []string{d.key.Name}
	}
	return f
}

// object is the object behind a key, where a key is one.
func (d *drifted) object() *Object {
	kind, ok := map[string]string{
		topologyFeature: "Node", podsFeature: "Pod", hostPortsFeature: "Pod", servicesFeature: "Service",
	}[d.feature]
	if !ok {
		return nil
	}
	return &Object{Kind: kind, Namespace: d.key.Namespace, Name: d.key.Name}
}
