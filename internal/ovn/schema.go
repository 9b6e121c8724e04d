package ovn

import (
	"embed"
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"sync"

	"github.com/ovn-kubernetes/libovsdb/model"

	"github.com/ovnkctl/ovnkctl/internal/ovn/nb"
	"github.com/ovnkctl/ovnkctl/internal/ovn/sb"
	"github.com/ovnkctl/ovnkctl/internal/ovn/vswitch"
)

// Database describes a database as this program was built to know it: the schema it was
// generated from, joined with the Go types of the rows. It never changes; what a server
// really has is asked of a DB.
type Database struct {
	Name    string // as the server calls it, e.g. "OVN_Northbound"
	Short   string // for logs and metrics: "nb", "sb", "ovs"
	Version string
	tables  map[string]*Table
}

// Table describes one table.
type Table struct {
	DB   *Database
	Name string
	// Root tables keep rows that nothing refers to; rows of the others vanish with the
	// last strong reference to them.
	Root bool
	// Singleton tables hold one row.
	Singleton bool
	// Natural are the columns that name a row to people and to other tables; empty for
	// tables whose rows have no name of their own (ACL, NAT, routes) and for singletons.
	Natural []*Column
	// Columns are in the order of the model's fields.
	Columns []*Column
	// Parents are the columns of other tables that keep rows of this one alive.
	Parents []*Column
	// ExternalIDs is the column that carries the owner; nil where the schema has none.
	ExternalIDs *Column

	byName map[string]*Column
	typ    reflect.Type // of the struct
	uuid   int          // field that holds _uuid
}

// Column describes one column.
type Column struct {
	Table *Table
	Name  string
	Role  Role
	// Ref is the table that the column's elements (or the map's keys) refer to, RefValue
	// the one that the map's values refer to; nil for plain values.
	Ref, RefValue *Table
	// Strong is false for references that do not keep the other row alive.
	Strong bool
	// Immutable columns are set by insert only.
	Immutable bool

	field    int    // index of the model's field
	bit      uint64 // the column's bit in a ColumnSet
	min      int    // 0 or 1
	many     bool   // a set or map of more than one element
	mapValue bool   // a map
	keyUUID  bool   // elements, or the map's keys, are UUIDs
	valUUID  bool   // the map's values are UUIDs
}

// ColumnSet is a set of columns of one table, one bit each.
type ColumnSet uint64

// Has tells whether c is in the set.
func (s ColumnSet) Has(c *Column) bool { return uint64(s)&c.bit != 0 }

// With is the set and c.
func (s ColumnSet) With(c *Column) ColumnSet { return s | ColumnSet(c.bit) }

// Names are the names of the columns of t that are in the set.
func (s ColumnSet) Names(t *Table) []string {
	var out []string
	for _, c := range t.Columns {
		if s.Has(c) {
			out = append(out, c.Name)
		}
	}
	return out
}

// Table returns the table of that name.
func (d *Database) Table(name string) (*Table, bool) {
	t, ok := d.tables[name]
	return t, ok
}

// Tables returns all tables in order of their names.
func (d *Database) Tables() []*Table {
	out := make([]*Table, 0, len(d.tables))
	for _, t := range d.tables {
		out = append(out, t)
	}
	slices.SortFunc(out, func(a, b *Table) int { return strings.Compare(a.Name, b.Name) })
	return out
}

// Column returns the column of that name.
func (t *Table) Column(name string) (*Column, bool) {
	c, ok := t.byName[name]
	return c, ok
}

// New makes an empty row.
func (t *Table) New() model.Model { return reflect.New(t.typ).Interface() }

// Map tells whether the column holds a map.
func (c *Column) Map() bool { return c.mapValue }

// Set tells whether the column holds a set of any number of elements.
func (c *Column) Set() bool { return c.many && !c.mapValue }

// String is "Table.column".
func (c *Column) String() string { return c.Table.Name + "." + c.Name }

//go:embed schema/*.ovsschema
var schemas embed.FS

// Northbound is OVN_Northbound: what the network should be.
var Northbound = sync.OnceValue(func() *Database {
	return mustDescribe("nb", "schema/ovn-nb.ovsschema", nb.FullDatabaseModel)
})

// Southbound is OVN_Southbound: what northd made of it, and the chassis.
var Southbound = sync.OnceValue(func() *Database {
	return mustDescribe("sb", "schema/ovn-sb.ovsschema", sb.FullDatabaseModel)
})

// OpenVSwitch is Open_vSwitch: the bridges and ports of one node.
var OpenVSwitch = sync.OnceValue(func() *Database {
	return mustDescribe("ovs", "schema/vswitch.ovsschema", vswitch.FullDatabaseModel)
})

// TableOf returns the table whose rows m is one of.
func TableOf(m model.Model) (*Table, bool) {
	t, ok := tablesByType()[reflect.TypeOf(m)]
	return t, ok
}

var tablesByType = sync.OnceValue(func() map[reflect.Type]*Table {
	out := map[reflect.Type]*Table{}
	for _, d := range []*Database{Northbound(), Southbound(), OpenVSwitch()} {
		for _, t := range d.tables {
			out[reflect.PointerTo(t.typ)] = t
		}
	}
	return out
})

// mustDescribe panics when the embedded schema and the generated models disagree: the
// program was built wrong, and every test sees it.
func mustDescribe(short, file string, models func() (model.ClientDBModel, error)) *Database {
	text, err := schemas.ReadFile(file)
	if err != nil {
		panic(err)
	}
	s, err := parseSchema(text)
	if err != nil {
		panic(fmt.Sprintf("%s: %v", file, err))
	}
	m, err := models()
	if err != nil {
		panic(fmt.Sprintf("%s: %v", file, err))
	}
	return describe(short, s, m.Types())
}

func describe(short string, s *serverSchema, types map[string]reflect.Type) *Database {
	d := &Database{Name: s.Name, Short: short, Version: s.Version, tables: map[string]*Table{}}
	for name, ts := range s.Tables {
		typ := types[name].Elem()
		t := &Table{
			DB: d, Name: name, Root: ts.IsRoot, Singleton: ts.MaxRows == 1,
			byName: map[string]*Column{}, typ: typ,
		}
		for i := range typ.NumField() {
			column := typ.Field(i).Tag.Get("ovsdb")
			if column == "_uuid" {
				t.uuid = i
				continue
			}
			c := describeColumn(t, column, ts.Columns[column])
			c.field, c.bit = i, 1<<len(t.Columns)
			t.Columns = append(t.Columns, c)
			t.byName[column] = c
		}
		if len(t.Columns) > 64 {
			panic(fmt.Sprintf("table %s has %d columns, a ColumnSet holds 64", name, len(t.Columns)))
		}
		t.ExternalIDs = t.byName["external_ids"]
		t.Natural = naturalIndex(t, ts.Indexes)
		d.tables[name] = t
	}
	for name, ts := range s.Tables {
		for _, c := range d.tables[name].Columns {
			c.resolve(d, ts.Columns[c.Name].Type)
		}
	}
	return d
}

func describeColumn(t *Table, name string, s serverColumn) *Column {
	c := &Column{
		Table: t, Name: name, Role: roleOf(t.Name, name),
		Immutable: s.Mutable != nil && !*s.Mutable,
		min:       s.Type.Min, many: s.Type.Max != 1,
		mapValue: s.Type.Value != nil,
		keyUUID:  s.Type.Key.Type == "uuid",
		valUUID:  s.Type.Value != nil && s.Type.Value.Type == "uuid",
		Strong:   s.Type.Key.RefType != "weak",
	}
	if s.Ephemeral && c.Role == Managed {
		c.Role = Theirs // the daemon's own report, lost with a restart of the server
	}
	return c
}

func (c *Column) resolve(d *Database, s columnType) {
	c.Ref = d.tables[s.Key.RefTable]
	if s.Value != nil {
		c.RefValue = d.tables[s.Value.RefTable]
		c.Strong = c.Strong && s.Value.RefType != "weak"
	}
	for _, ref := range []*Table{c.Ref, c.RefValue} {
		if ref != nil && c.Strong {
			ref.Parents = append(ref.Parents, c)
		}
	}
}

// naturalIndex is the first index of the schema, else a column that is unique by
// convention.
func naturalIndex(t *Table, indexes [][]string) []*Column {
	if t.Singleton {
		return nil
	}
	names := conventionalName[t.Name]
	if len(indexes) > 0 {
		names = indexes[len(indexes)-1] // Port_Binding's last one is the name, the first a tunnel key
	}
	var out []*Column
	for _, n := range names {
		out = append(out, t.byName[n])
	}
	return out
}

// serverSchema is a schema as servers report it and as the files have it.
type serverSchema struct {
	Name    string                 `json:"name"`
	Version string                 `json:"version"`
	Tables  map[string]serverTable `json:"tables"`
}

type serverTable struct {
	Columns map[string]serverColumn `json:"columns"`
	IsRoot  bool                    `json:"isRoot"`
	MaxRows int                     `json:"maxRows"`
	Indexes [][]string              `json:"indexes"`
}

type serverColumn struct {
	Type      columnType `json:"type"`
	Mutable   *bool      `json:"mutable"`
	Ephemeral bool       `json:"ephemeral"`
}

type columnType struct {
	Key   baseType
	Value *baseType
	Min   int
	Max   int // 1, or anything else for more
}

type baseType struct {
	Type     string
	RefTable string
	RefType  string
}

func parseSchema(text []byte) (*serverSchema, error) {
	var s serverSchema
	if err := json.Unmarshal(text, &s); err != nil {
		return nil, fmt.Errorf("schema: %w", err)
	}
	return &s, nil
}

// UnmarshalJSON reads a type, which is written as a word when it is a plain scalar.
func (t *columnType) UnmarshalJSON(b []byte) error {
	t.Min, t.Max = 1, 1
	if b[0] == '"' {
		return json.Unmarshal(b, &t.Key.Type)
	}
	var s struct {
		Key   baseType        `json:"key"`
		Value *baseType       `json:"value"`
		Min   *int            `json:"min"`
		Max   json.RawMessage `json:"max"`
	}
	if err := json.Unmarshal(b, &s); err != nil {
		return err
	}
	t.Key, t.Value = s.Key, s.Value
	if s.Min != nil {
		t.Min = *s.Min
	}
	if len(s.Max) > 0 && string(s.Max) != "1" {
		t.Max = -1
	}
	return nil
}

// UnmarshalJSON reads a base type, which is written as a word when it is plain.
func (t *baseType) UnmarshalJSON(b []byte) error {
	if b[0] == '"' {
		return json.Unmarshal(b, &t.Type)
	}
	var s struct {
		Type     string `json:"type"`
		RefTable string `json:"refTable"`
		RefType  string `json:"refType"`
	}
	if err := json.Unmarshal(b, &s); err != nil {
		return err
	}
	*t = baseType(s)
	return nil
}
