package diagnose

import (
	"fmt"
	"maps"
	"reflect"
	"slices"
	"sort"
	"strconv"
	"strings"

	"github.com/ovn-kubernetes/libovsdb/model"

	"github.com/ovnkctl/ovnkctl/internal/ovn"
	"github.com/ovnkctl/ovnkctl/internal/ovn/owner"
	"github.com/ovnkctl/ovnkctl/internal/ovn/rows"
	"github.com/ovnkctl/ovnkctl/internal/runtime/feature"
)

// row is a row that is there.
type row struct {
	table *ovn.Table
	uuid  string
	model model.Model
	id    string // the row's name among its owner's
}

// rowsThere finds the rows of one database.
type rowsThere struct {
	db      *ovn.Database
	from    Rows
	byName  map[rows.Target][]*row
	byOwner map[string][]*row
	byUUID  map[string]*row
}

// indexRows reads the tables that features write. The others have rows of northd and
// ovn-controller, some with the external_ids of a row that a feature owns.
func indexRows(db *ovn.Database, from Rows) *rowsThere {
	x := &rowsThere{db: db, from: from, byName: map[rows.Target][]*row{}, byOwner: map[string][]*row{}, byUUID: map[string]*row{}}
	written := feature.NorthTables()
	if db.Name == ovn.Southbound().Name {
		written = feature.SouthTables()
	}
	for _, t := range db.Tables() {
		if !slices.Contains(written, t.Name) {
			continue
		}
		for _, m := range from.Rows(t) {
			r := &row{table: t, uuid: uuidOf(m), model: m}
			x.byUUID[r.uuid] = r
			x.byName[rows.Target{Table: t.Name, Name: t.NameOf(m)}] = append(x.byName[rows.Target{Table: t.Name, Name: t.NameOf(m)}], r)
			if t.ExternalIDs != nil {
				ids := *t.ExternalIDs.Value(m).(*map[string]string)
				r.id = ids[owner.Row]
				if who := ids[owner.Key]; who != "" {
					x.byOwner[who] = append(x.byOwner[who], r)
				}
			}
		}
	}
	return x
}

func uuidOf(m model.Model) string { return reflect.ValueOf(m).Elem().FieldByName("UUID").String() }

// named is a row of a natural name: of several one that somebody owns, as the engine picks.
func (x *rowsThere) named(t rows.Target) *row {
	list := x.byName[t]
	for _, r := range list {
		if r.id != "" {
			return r
		}
	}
	if len(list) > 0 {
		return list[0]
	}
	return nil
}

// match is the row that is there for a desired one; nil for none.
func (x *rowsThere) match(who string, want rows.Row, t *ovn.Table) *row {
	for _, r := range x.byOwner[who] {
		if r.table == t && r.id == want.ID {
			return r
		}
	}
	if t.ExternalIDs == nil && (t.Singleton || len(t.Natural) > 0) {
		return x.named(rows.Target{Table: t.Name, Name: t.NameOf(want.Model)})
	}
	return nil
}

// matched is a key's desired rows and those that are there for them.
type matched struct {
	x     *rowsThere
	who   string
	set   rows.Set
	there map[string]*row // by the row's name among its owner's; only those that are there
}

func (x *rowsThere) matchSet(who string, set rows.Set) *matched {
	m := &matched{x: x, who: who, set: set, there: map[string]*row{}}
	for _, want := range set.Rows {
		t, _ := ovn.TableOf(want.Model)
		if r := x.match(who, want, t); r != nil {
			m.there[want.ID] = r
		}
	}
	return m
}

// resolve is a reference as the database has it; ok is false for a row that is not there.
func (m *matched) resolve(ref string) (value string, ok bool) {
	if id, is := rows.ParseRef(ref); is {
		if r := m.there[id]; r != nil {
			return r.uuid, true
		}
		return "", false
	}
	if t, is := rows.ParseNamed(ref); is {
		if r := m.x.named(t); r != nil {
			return r.uuid, true
		}
		return "", false
	}
	return ref, true
}

// differences are what is wrong with the rows and memberships of the key, a line each.
func (m *matched) differences() []string {
	var out []string
	for _, want := range m.set.Rows {
		t, _ := ovn.TableOf(want.Model)
		have := m.there[want.ID]
		if have == nil {
			out = append(out, fmt.Sprintf("%s is missing", rowTitle(t, want.Model, want.ID)))
			continue
		}
		out = append(out, m.columns(t, want, have)...)
	}
	for _, member := range m.set.Members {
		if text := m.member(member); text != "" {
			out = append(out, text)
		}
	}
	return out
}

// columns compares what the owner of a row decides.
func (m *matched) columns(t *ovn.Table, want rows.Row, have *row) []string {
	var out []string
	for _, c := range t.Columns {
		if c == t.ExternalIDs || !m.x.from.Has(t.Name, c.Name) {
			continue // others add to external_ids; the owner has been looked at
		}
		if c.Role == ovn.Shared {
			out = append(out, m.shared(t, want, have, c)...)
			continue
		}
		if c.Role != ovn.Managed {
			continue
		}
		value, complete := m.value(t, want, c)
		if complete && !ovn.EqualValues(value, c.Value(have.model)) {
			out = append(out, fmt.Sprintf("%s: %s is %s, not %s", rowTitle(t, want.Model, want.ID), c.Name, text(c.Value(have.model)), text(value)))
		}
	}
	return out
}

// shared compares the entries that the owner of a row has in a map to which others add, such
// as the chassis among the options of a gateway router.
func (m *matched) shared(t *ovn.Table, want rows.Row, have *row, c *ovn.Column) []string {
	entries, ok := c.Value(want.Model).(*map[string]string)
	there, same := c.Value(have.model).(*map[string]string)
	if !ok || !same {
		return nil
	}
	var out []string
	for _, k := range slices.Sorted(maps.Keys(*entries)) {
		v, found := (*there)[k]
		is := strconv.Quote(v)
		if !found {
			is = "not set"
		}
		if w := (*entries)[k]; !found || v != w {
			out = append(out, fmt.Sprintf("%s: %s:%s is %s, not %q", rowTitle(t, want.Model, want.ID), c.Name, k, is, w))
		}
	}
	return out
}

// value is a desired value with UUIDs for references, and with what the key itself adds to
// it. It is not complete when a row is missing, which is told of itself.
func (m *matched) value(t *ovn.Table, want rows.Row, c *ovn.Column) (value any, complete bool) {
	from := reflect.ValueOf(c.Value(want.Model)).Elem()
	out := reflect.New(from.Type())
	complete = true
	resolve := func(ref string) string {
		v, ok := m.resolve(ref)
		complete = complete && ok
		return v
	}
	switch p := from.Interface().(type) {
	case string:
		out.Elem().SetString(resolve(p))
	case *string:
		if p != nil {
			v := resolve(*p)
			out.Elem().Set(reflect.ValueOf(&v))
		}
	case []string:
		list := make([]string, 0, len(p))
		for _, v := range p {
			list = append(list, resolve(v))
		}
		for _, member := range m.set.Members {
			if member.Parent.Table == t.Name && member.Column == c.Name && member.Parent.Name == t.NameOf(want.Model) {
				if v := resolve(member.Value); !slices.Contains(list, v) {
					list = append(list, v)
				}
			}
		}
		out.Elem().Set(reflect.ValueOf(list))
	case map[string]string:
		if c.Ref == nil && c.RefValue == nil {
			out.Elem().Set(from)
			break
		}
		entries := map[string]string{}
		for k, v := range p {
			entries[resolve(k)] = resolve(v)
		}
		out.Elem().Set(reflect.ValueOf(entries))
	default:
		out.Elem().Set(from)
	}
	return out.Interface(), complete
}

// member tells what is wrong with one contribution; nothing if it is there, or its row is
// missing, which is told of itself.
func (m *matched) member(w rows.Member) string {
	parent := m.x.named(w.Parent)
	title := strings.TrimSpace(w.Parent.Table + " " + w.Parent.Name)
	if parent == nil {
		if m.wants(w.Parent) {
			return ""
		}
		return title + " is missing"
	}
	c, ok := parent.table.Column(w.Column)
	if !ok || !m.x.from.Has(parent.table.Name, w.Column) {
		return ""
	}
	if p, ok := c.Value(parent.model).(*map[string]string); ok {
		if v, there := (*p)[w.Key]; !there || v != w.Value {
			return fmt.Sprintf("%s: %s:%s is %q, not %q", title, w.Column, w.Key, v, w.Value)
		}
		return ""
	}
	p, ok := c.Value(parent.model).(*[]string)
	if !ok {
		return ""
	}
	v, ok := m.resolve(w.Value)
	if ok && !slices.Contains(*p, v) {
		return fmt.Sprintf("%s: %s lacks %s", title, w.Column, m.show(w.Value))
	}
	return ""
}

func (m *matched) wants(t rows.Target) bool {
	return slices.ContainsFunc(m.set.Rows, func(r rows.Row) bool {
		table, _ := ovn.TableOf(r.Model)
		return table.Name == t.Table && table.NameOf(r.Model) == t.Name
	})
}

// show is a reference for people.
func (m *matched) show(ref string) string {
	if id, ok := rows.ParseRef(ref); ok {
		return "row " + id
	}
	if t, ok := rows.ParseNamed(ref); ok {
		return t.Table + " " + t.Name
	}
	return ref
}

// stale are the rows of an owner that it does not want.
func (m *matched) stale() []string {
	var out []string
	for _, r := range m.x.byOwner[m.who] {
		if m.there[r.id] != r {
			out = append(out, rowTitle(r.table, r.model, r.id)+" is left over")
		}
	}
	return out
}

// rowTitle names a row.
func rowTitle(t *ovn.Table, m model.Model, id string) string {
	name := t.NameOf(m)
	if name == "" {
		name = "(" + id + ")"
	}
	return t.Name + " " + name
}

// longest is how many characters of a value are shown: a port group may have thousands of
// elements.
const longest = 200

// text is a value for people: p is a pointer to it.
func text(p any) string {
	v := reflect.ValueOf(p).Elem()
	if v.Kind() == reflect.Pointer {
		if v.IsNil() {
			return "empty"
		}
		v = v.Elem()
	}
	var s string
	switch x := v.Interface().(type) {
	case map[string]string:
		entries := make([]string, 0, len(x))
		for k, e := range x {
			entries = append(entries, k+"="+e)
		}
		sort.Strings(entries)
		s = strings.Join(entries, ", ")
	case []string:
		s = strings.Join(slices.Sorted(slices.Values(x)), ", ")
	default:
		s = fmt.Sprint(x)
	}
	if s == "" {
		return "empty"
	}
	if len(s) > longest {
		return s[:longest] + "…"
	}
	return s
}
