package ovn

import (
	"fmt"
	"slices"
	"strings"

	"github.com/ovn-kubernetes/libovsdb/model"
)

// Content is what a database held at one moment: what the tools read. Tables and columns
// that the database had and this program does not know are left out; those it knows and the
// database did not have are empty, see Has.
type Content struct {
	Database *Database
	// Version of the schema that the database had.
	Version string

	tables map[*Table]*held
	has    map[*Table]ColumnSet
}

type held struct {
	byUUID map[string]model.Model
	sorted []model.Model // nil until somebody asks
}

// NewContent makes an empty content.
func NewContent(d *Database, version string) *Content {
	return &Content{Database: d, Version: version, tables: map[*Table]*held{}, has: map[*Table]ColumnSet{}}
}

// Had notes that the database had a column.
func (c *Content) Had(col *Column) { c.has[col.Table] = c.has[col.Table].With(col) }

// Has tells whether the database had the table and, unless it is empty, the column.
func (c *Content) Has(table, column string) bool {
	t, ok := c.Database.Table(table)
	if !ok || c.has[t] == 0 {
		return false
	}
	col, ok := t.Column(column)
	return column == "" || ok && c.has[t].Has(col)
}

// Add adds a row, given by column in the notation of OVSDB (see Column.Parse). A column that
// cannot be read stays empty, and is named by the error; the row is there nevertheless.
func (c *Content) Add(t *Table, uuid string, row map[string]any) error {
	m := t.New()
	t.setUUID(m, uuid)
	var unread []string
	for name, v := range row {
		col, ok := t.byName[name]
		if !ok {
			continue // of a newer schema, or _uuid and _version
		}
		if err := col.Parse(m, v); err != nil {
			unread = append(unread, err.Error())
		}
	}
	h := c.tables[t]
	if h == nil {
		h = &held{byUUID: map[string]model.Model{}}
		c.tables[t] = h
	}
	h.byUUID[uuid], h.sorted = m, nil
	if len(unread) > 0 {
		slices.Sort(unread)
		return fmt.Errorf("row %s of %s: %s", uuid, t.Name, strings.Join(unread, "; "))
	}
	return nil
}

// Seal is called when all rows have been added: from then on the content may be read by
// many at once.
func (c *Content) Seal() {
	for t, h := range c.tables {
		h.sorted = make([]model.Model, 0, len(h.byUUID))
		for _, m := range h.byUUID {
			h.sorted = append(h.sorted, m)
		}
		slices.SortFunc(h.sorted, func(a, b model.Model) int { return strings.Compare(t.UUIDOf(a), t.UUIDOf(b)) })
	}
}

// Take adds the tables of another content of the same database, read at another moment.
func (c *Content) Take(other *Content) {
	for t, h := range other.tables {
		c.tables[t] = h
	}
	for t, has := range other.has {
		c.has[t] = has
	}
}

// Rows are all rows of a table in order of their UUIDs. They must not be modified.
func (c *Content) Rows(t *Table) []model.Model {
	if h := c.tables[t]; h != nil {
		return h.sorted
	}
	return nil
}

// Row finds a row.
func (c *Content) Row(t *Table, uuid string) (model.Model, bool) {
	h := c.tables[t]
	if h == nil {
		return nil, false
	}
	m, ok := h.byUUID[uuid]
	return m, ok
}

// Len is the number of rows of all tables.
func (c *Content) Len() int {
	n := 0
	for _, h := range c.tables {
		n += len(h.byUUID)
	}
	return n
}

// RowsOf are all rows of type T in order of their UUIDs. They must not be modified.
func RowsOf[T any](c *Content) []*T {
	rows := c.Rows(tableFor[T]())
	out := make([]*T, 0, len(rows))
	for _, m := range rows {
		out = append(out, m.(*T))
	}
	return out
}

// RowOf finds the row of type T with that UUID.
func RowOf[T any](c *Content, uuid string) (*T, bool) {
	m, ok := c.Row(tableFor[T](), uuid)
	if !ok {
		return nil, false
	}
	return m.(*T), true
}

// DatabaseNamed finds a database by the name that servers and files call it, or by its
// short name.
func DatabaseNamed(name string) (*Database, bool) {
	for _, d := range Databases() {
		if d.Name == name || d.Short == name {
			return d, true
		}
	}
	return nil, false
}

// Databases are the databases of a node.
func Databases() []*Database { return []*Database{Northbound(), Southbound(), OpenVSwitch()} }
