package whatif

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"github.com/ovnkctl/ovnkctl/internal/explain"
)

// Change is what the input would do.
type Change struct {
	// Edits are the objects of the input.
	Edits []Edit `json:"edits"`
	// Notes are what was chosen in place of the API server and its controllers.
	Notes []string `json:"notes,omitempty"`
	// Warnings are what would be refused, or would not be done as it is written.
	Warnings []string `json:"warnings,omitempty"`
	// Nodes are those that were looked at, in order.
	Nodes []*NodeChange `json:"nodes,omitempty"`
}

// NodeChange is the difference in the OVN of a node.
type NodeChange struct {
	Node string `json:"node"`
	// Rows are those that would be different, by object and table.
	Rows []*RowChange `json:"rows,omitempty"`
	// FlowsBefore and FlowsAfter are the logical flows of the node; none of one that stays as
	// it is.
	FlowsBefore int `json:"flowsBefore,omitempty"`
	FlowsAfter  int `json:"flowsAfter,omitempty"`
}

// RowChange counts the rows of one table that were made for one object.
type RowChange struct {
	Table  string         `json:"table"`
	Object explain.Object `json:"object,omitzero"` // none for rows that objects share
	// A row is changed when it has another value, or a set of it other elements.
	Added   int `json:"added,omitempty"`
	Changed int `json:"changed,omitempty"`
	Removed int `json:"removed,omitempty"`
}

// String is "ACL: 2 added, 1 removed".
func (r *RowChange) String() string {
	var parts []string
	for _, p := range []struct {
		n    int
		what string
	}{{r.Added, Added}, {r.Changed, "changed"}, {r.Removed, Removed}} {
		if p.n > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", p.n, p.what))
		}
	}
	return r.Table + ": " + strings.Join(parts, ", ")
}

// tally counts rows by table and object.
type tally map[tallyKey]*tallied

type tallyKey struct {
	table  string
	object explain.Object
}

type tallied struct {
	RowChange
	changed map[string]bool // UUIDs of rows that are counted
}

func (t tally) entry(r explain.RowRef) *tallied {
	key := tallyKey{r.Table, r.Object}
	e := t[key]
	if e == nil {
		e = &tallied{RowChange: RowChange{Table: r.Table, Object: r.Object}, changed: map[string]bool{}}
		t[key] = e
	}
	return e
}

func (t tally) of(r explain.RowRef) *RowChange { return &t.entry(r).RowChange }

// change counts a row once, however much of it changes.
func (t tally) change(r explain.RowRef) {
	if e := t.entry(r); !e.changed[r.UUID] {
		e.changed[r.UUID] = true
		e.Changed++
	}
}

// list is in order of objects, those of no object last, and of tables.
func (t tally) list() []*RowChange {
	var out []*RowChange
	for _, e := range t {
		out = append(out, &e.RowChange)
	}
	slices.SortFunc(out, func(a, b *RowChange) int {
		if one, other := a.Object == (explain.Object{}), b.Object == (explain.Object{}); one != other {
			if one {
				return 1
			}
			return -1
		}
		return strings.Compare(a.Object.String()+"\x00"+a.Table, b.Object.String()+"\x00"+b.Table)
	})
	return out
}

// Text writes the difference for people.
func (c *Change) Text(w io.Writer, wide bool) error {
	var b strings.Builder
	for _, e := range c.Edits {
		fmt.Fprintf(&b, "  %-9s %s (%s)\n", e.Action, e.Object, e.From)
	}
	for _, text := range c.Notes {
		fmt.Fprintf(&b, "  note      %s\n", text)
	}
	for _, text := range c.Warnings {
		fmt.Fprintf(&b, "  warning   %s\n", text)
	}
	for _, n := range c.Nodes {
		n.text(&b, wide)
	}
	_, err := io.WriteString(w, b.String())
	return err
}

func (n *NodeChange) text(b *strings.Builder, wide bool) {
	if len(n.Rows) == 0 {
		fmt.Fprintf(b, "  %s: no row would be different\n", n.Node)
		return
	}
	fmt.Fprintf(b, "  %s: %s\n", n.Node, n.total())
	if !wide {
		return
	}
	for _, r := range n.Rows {
		of := r.Object.String()
		if of == "" {
			of = "shared"
		}
		fmt.Fprintf(b, "    %s, %s\n", of, r)
	}
}

// total is all rows by table, and the logical flows.
func (n *NodeChange) total() string {
	sums := map[string]*RowChange{}
	for _, r := range n.Rows {
		s := sums[r.Table]
		if s == nil {
			s = &RowChange{Table: r.Table}
			sums[r.Table] = s
		}
		s.Added, s.Changed, s.Removed = s.Added+r.Added, s.Changed+r.Changed, s.Removed+r.Removed
	}
	var parts []string
	for _, table := range slices.Sorted(maps.Keys(sums)) {
		parts = append(parts, sums[table].String())
	}
	return strings.Join(parts, "; ") + fmt.Sprintf("; logical flows: %d → %d", n.FlowsBefore, n.FlowsAfter)
}
