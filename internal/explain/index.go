package explain

import (
	"strings"

	"github.com/ovn-kubernetes/libovsdb/model"

	"github.com/ovnkctl/ovnkctl/internal/ovn"
)

// prefixDigits is how many digits of a UUID logical flows and OpenFlow flows keep: 32 bits.
const prefixDigits = 8

// Entry is a row with what it is.
type Entry struct {
	RowRef
	Type  *ovn.Table
	Model model.Model
}

// Index finds the rows of one node.
type Index struct {
	node    string
	entries []*Entry
	byUUID  map[string]*Entry
	byStart map[string][]*Entry
}

// NewIndex makes an empty index.
func NewIndex(node string) *Index {
	return &Index{node: node, byUUID: map[string]*Entry{}, byStart: map[string][]*Entry{}}
}

// Add adds rows of a table.
func (x *Index) Add(t *ovn.Table, models ...model.Model) {
	for _, m := range models {
		e := &Entry{RowRef: RowOf(x.node, t, m), Type: t, Model: m}
		x.entries = append(x.entries, e)
		x.byUUID[e.UUID] = e
		start := e.UUID[:min(prefixDigits, len(e.UUID))]
		x.byStart[start] = append(x.byStart[start], e)
	}
}

// Entries are all rows, in the order in which they were added.
func (x *Index) Entries() []*Entry { return x.entries }

// ByUUID finds a row.
func (x *Index) ByUUID(uuid string) (*Entry, bool) {
	e, ok := x.byUUID[strings.ToLower(uuid)]
	return e, ok
}

// ByPrefix finds the rows whose UUIDs begin with eight digits: one, as a rule.
func (x *Index) ByPrefix(start string) []*Entry { return x.byStart[strings.ToLower(start)] }
