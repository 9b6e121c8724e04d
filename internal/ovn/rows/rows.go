// Package rows is the vocabulary in which features say what a database should
// hold: rows that one owner has, and memberships that an owner contributes to
// rows it shares with others.
//
//	Set ── Row    a whole row, owned by one key: created, updated and deleted with it
//	    └─ Member one element of a set column, or one entry of a map column, of a
//	              row that somebody else owns: inserted and deleted alone, so that
//	              one pod in a namespace of 10,000 costs one element
//
// The package knows nothing of connections: a Set is a value, compared by the engine
// with what the database holds.
package rows

import (
	"strings"

	"github.com/ovn-kubernetes/libovsdb/model"
)

// Row is one desired row of one database table. The table follows from the type
// of the model (see package ovn).
type Row struct {
	// ID names the row among the rows of its owner: stable, short, unique there,
	// e.g. "port" or "route/10.244.2.0/24".
	ID string
	// Model is a pointer to a generated model with an empty UUID. Columns that refer
	// to other rows hold what Ref and Named return. Member columns (package ovn lists
	// them) and columns that OVN itself writes are ignored here.
	Model model.Model
}

// Member is one element that a key contributes to a row shared with other keys.
type Member struct {
	// Parent is the shared row.
	Parent Target
	// Column is a set or map column of the parent.
	Column string
	// Key is the map key when Column is a map, else empty.
	Key string
	// Value is the element: a plain value, or a reference made by Ref or Named.
	Value string
}

// Target names a row by its table and natural name (the column that package ovn
// declares as the table's index: nearly always "name"). An empty Name is the only
// row of a singleton table such as NB_Global.
type Target struct {
	Table string
	Name  string
}

// Set is everything that one key wants in one database.
type Set struct {
	Rows    []Row
	Members []Member
}

// Add appends a row and returns a reference to it.
func (s *Set) Add(id string, m model.Model) string {
	s.Rows = append(s.Rows, Row{ID: id, Model: m})
	return Ref(id)
}

// AddTo appends a row and makes it an element of a set column of parent. It is the
// usual way to create a row of a table that OVSDB garbage-collects when nothing refers
// to it (isRoot false in the schema), such as a logical switch port.
func (s *Set) AddTo(parent Target, column, id string, m model.Model) string {
	ref := s.Add(id, m)
	s.Members = append(s.Members, Member{Parent: parent, Column: column, Value: ref})
	return ref
}

// Put contributes one entry to a map column of parent.
func (s *Set) Put(parent Target, column, key, value string) {
	s.Members = append(s.Members, Member{Parent: parent, Column: column, Key: key, Value: value})
}

const (
	refPrefix   = "@id:"
	namedPrefix = "@name:"
)

// Ref refers to the row called id of the same owner.
func Ref(id string) string { return refPrefix + id }

// Named refers to a row of any owner by its table and natural name.
func Named(table, name string) string { return namedPrefix + table + ":" + name }

// ParseRef takes apart what Ref made.
func ParseRef(s string) (id string, ok bool) { return strings.CutPrefix(s, refPrefix) }

// ParseNamed takes apart what Named made.
func ParseNamed(s string) (t Target, ok bool) {
	rest, ok := strings.CutPrefix(s, namedPrefix)
	if !ok {
		return Target{}, false
	}
	table, name, ok := strings.Cut(rest, ":")
	return Target{Table: table, Name: name}, ok
}
