package featuretest

import (
	"fmt"
	"reflect"
	"testing"

	"pgregory.net/rapid"

	"github.com/ovnkctl/ovnkctl/internal/ovn"
	"github.com/ovnkctl/ovnkctl/internal/ovn/rows"
	"github.com/ovnkctl/ovnkctl/internal/runtime/feature"
	"github.com/ovnkctl/ovnkctl/internal/world"
)

// Consistent checks what the engine relies on: ids are unique, references lead somewhere,
// columns exist, and a row of a table that OVSDB collects has a row to hold it.
func Consistent(t testing.TB, k feature.Key, out feature.Output) {
	t.Helper()
	for db, s := range allSets(out) {
		for _, problem := range problems(s) {
			t.Errorf("%s of key %s: %s", db, k, problem)
		}
	}
}

// findings gathers what is wrong with a set.
type findings struct {
	set  rows.Set
	ids  map[string]bool // of the set's rows
	held map[string]bool // ids that a row or a member refers to
	text []string
}

func (f *findings) add(format string, args ...any) {
	f.text = append(f.text, fmt.Sprintf(format, args...))
}

func problems(s rows.Set) []string {
	f := findings{set: s, ids: map[string]bool{}, held: map[string]bool{}}
	for _, r := range s.Rows {
		if f.ids[r.ID] {
			f.add("two rows are called %q", r.ID)
		}
		f.ids[r.ID] = true
		for _, ref := range references(r) {
			f.held[ref] = true
		}
	}
	for _, m := range s.Members {
		f.member(m)
	}
	for id := range f.held {
		if !f.ids[id] {
			f.add("a reference to %q, which is no row of the set", id)
		}
	}
	names := map[string]bool{}
	for _, r := range s.Rows {
		f.row(r, names)
	}
	return f.text
}

func (f *findings) member(m rows.Member) {
	t, ok := table(m.Parent.Table)
	if !ok {
		f.add("member of unknown table %q", m.Parent.Table)
		return
	}
	c, ok := t.Column(m.Column)
	if !ok || !c.Map() && !c.Set() || c.Map() != (m.Key != "") {
		f.add("%s has no column %q for the member %q=%q", m.Parent.Table, m.Column, m.Key, m.Value)
	}
	if (m.Parent.Name == "") != t.Singleton {
		f.add("member of %s %q: singletons have no name, others have one", m.Parent.Table, m.Parent.Name)
	}
	if id, ok := rows.ParseRef(m.Value); ok {
		f.held[id] = true
	}
}

func (f *findings) row(r rows.Row, names map[string]bool) {
	t, ok := ovn.TableOf(r.Model)
	if !ok {
		f.add("row %q is a %T, which is no table", r.ID, r.Model)
		return
	}
	if !t.Root && !f.held[r.ID] {
		f.add("row %q of %s is held by no row: OVSDB removes it at once", r.ID, t.Name)
	}
	for _, c := range t.Columns {
		if columnOf(r, c.Name).IsZero() {
			continue
		}
		switch c.Role {
		case ovn.Theirs:
			f.add("row %q sets %s, which OVN writes itself", r.ID, c)
		case ovn.Collected:
			f.add("row %q sets %s, which takes only members", r.ID, c)
		}
	}
	if len(t.Natural) == 1 {
		name := fmt.Sprint(t.Name, " ", columnOf(r, t.Natural[0].Name).Interface())
		if names[name] {
			f.add("two rows are %s", name)
		}
		names[name] = true
	}
}

func table(name string) (*ovn.Table, bool) {
	if t, ok := ovn.Northbound().Table(name); ok {
		return t, true
	}
	return ovn.Southbound().Table(name)
}

func columnOf(r rows.Row, column string) reflect.Value {
	v := reflect.ValueOf(r.Model).Elem()
	for i := range v.NumField() {
		if v.Type().Field(i).Tag.Get("ovsdb") == column {
			return v.Field(i)
		}
	}
	return reflect.Value{}
}

// references are the ids that the columns of a row refer to.
func references(r rows.Row) []string {
	var out []string
	add := func(v reflect.Value) {
		if v.Kind() == reflect.String {
			if id, ok := rows.ParseRef(v.String()); ok {
				out = append(out, id)
			}
		}
	}
	v := reflect.ValueOf(r.Model).Elem()
	for i := range v.NumField() {
		switch f := v.Field(i); f.Kind() {
		case reflect.Pointer:
			add(f.Elem())
		case reflect.Slice:
			for j := range f.Len() {
				add(f.Index(j))
			}
		case reflect.Map:
			for _, k := range f.MapKeys() {
				add(f.MapIndex(k))
			}
		default:
			add(f)
		}
	}
	return out
}

// CheckKeys adds, changes and removes the objects in random order and checks that each
// key whose rows or reasons changed was named by Keys: else the engine would not look.
func CheckKeys(t *testing.T, f feature.Feature, c world.Config, objects []Object) {
	t.Helper()
	if len(objects) == 0 {
		return
	}
	universe := AllKeys(f, c, objects)
	rapid.Check(t, func(rt *rapid.T) {
		store := world.New(c)
		touched := map[feature.Key]bool{}
		store.Subscribe(func(v world.View, ch world.Change) {
			for _, k := range f.Keys(v, ch) {
				touched[k] = true
			}
		})
		known := map[feature.Key]string{}
		for _, k := range universe {
			known[k] = ""
		}
		steps := rapid.IntRange(1, 3*len(objects)).Draw(rt, "steps")
		for range steps {
			o := rapid.SampledFrom(objects).Draw(rt, "object")
			switch rapid.IntRange(0, 3).Draw(rt, "what") {
			case 0:
				o.remove(store)
			case 1:
				mutate(rt, o).set(store)
			default:
				o.set(store)
			}
			store.Read(func(v world.View) {
				for k, before := range known {
					out, reasons := f.Desired(v, k)
					now := Text(k, out, reasons)
					if now != before && !touched[k] {
						rt.Fatalf("key %s changed and Keys did not say so:\nbefore:\n%s\nnow:\n%s", k, before, now)
					}
					known[k] = now
				}
			})
			clear(touched)
		}
	})
}
