// Package rowtext prints desired rows for people: in golden files, where a review sees
// what a change does to the database, and in the tools.
//
//	Logical_Switch_Port stor-n1 (switch/port) in Logical_Switch n1.ports
//	    addresses  router
//	    options    router-port=rtos-n1
//	    type       router
//	NB_Global.options += name=n1
//
// The text is the same for equal sets, whatever their order. Columns with zero values are
// left out; "@id" refers to a row of the same set, "@Table/name" to one of any owner.
package rowtext

import (
	"cmp"
	"fmt"
	"reflect"
	"slices"
	"strings"

	"github.com/ovnkctl/ovnkctl/internal/ovn"
	"github.com/ovnkctl/ovnkctl/internal/ovn/rows"
)

// Text prints a set: rows in order of table, name and id, then the contributions to rows
// of others.
func Text(s rows.Set) string {
	parents := map[string][]string{} // row id → where the row is a member
	var contributions []string
	for _, m := range s.Members {
		where := m.Parent.Table + space(m.Parent.Name) + "." + m.Column
		switch id, isRef := rows.ParseRef(m.Value); {
		case isRef && m.Key == "":
			parents[id] = append(parents[id], where)
		case m.Key != "":
			contributions = append(contributions, where+" += "+m.Key+"="+reference(m.Value))
		default:
			contributions = append(contributions, where+" += "+reference(m.Value))
		}
	}
	blocks := make([]block, 0, len(s.Rows))
	for _, r := range s.Rows {
		blocks = append(blocks, newBlock(r, parents[r.ID]))
	}
	slices.SortFunc(blocks, func(a, b block) int {
		return cmp.Or(cmp.Compare(a.table, b.table), cmp.Compare(a.name, b.name), cmp.Compare(a.id, b.id))
	})
	var b strings.Builder
	for _, bl := range blocks {
		bl.write(&b)
	}
	slices.Sort(contributions)
	for _, c := range contributions {
		b.WriteString(c + "\n")
	}
	return b.String()
}

// block is one row.
type block struct {
	table, name, id string
	parents         []string
	columns         [][2]string // column and value
}

func newBlock(r rows.Row, parents []string) block {
	bl := block{id: r.ID, table: fmt.Sprintf("%T", r.Model), parents: slices.Sorted(slices.Values(parents))}
	t, ok := ovn.TableOf(r.Model)
	if !ok {
		return bl
	}
	bl.table = t.Name
	var natural []string
	for _, c := range t.Natural {
		natural = append(natural, c.Name)
	}
	v := reflect.ValueOf(r.Model).Elem()
	for i := range v.NumField() {
		column := v.Type().Field(i).Tag.Get("ovsdb")
		value := format(v.Field(i))
		switch {
		case column == "_uuid" || value == "":
		case len(natural) == 1 && natural[0] == column:
			bl.name = value
		default:
			bl.columns = append(bl.columns, [2]string{column, value})
		}
	}
	slices.SortFunc(bl.columns, func(a, b [2]string) int { return cmp.Compare(a[0], b[0]) })
	return bl
}

func (bl block) write(b *strings.Builder) {
	b.WriteString(bl.table + space(bl.name) + " (" + bl.id + ")")
	for i, p := range bl.parents {
		if i == 0 {
			b.WriteString(" in ")
		} else {
			b.WriteString(", ")
		}
		b.WriteString(p)
	}
	b.WriteByte('\n')
	width := 0
	for _, c := range bl.columns {
		width = max(width, len(c[0]))
	}
	for _, c := range bl.columns {
		fmt.Fprintf(b, "    %-*s  %s\n", width, c[0], c[1])
	}
}

// format is the text of a column's value, empty for the zero value.
func format(v reflect.Value) string {
	switch v.Kind() {
	case reflect.Pointer:
		if v.IsNil() {
			return ""
		}
		return reference(fmt.Sprint(v.Elem().Interface()))
	case reflect.Slice:
		var elements []string
		for i := range v.Len() {
			elements = append(elements, reference(fmt.Sprint(v.Index(i).Interface())))
		}
		slices.Sort(elements) // OVSDB sets have no order
		return strings.Join(elements, ", ")
	case reflect.Map:
		var entries []string
		for _, k := range v.MapKeys() {
			entries = append(entries, fmt.Sprint(k.Interface())+"="+reference(fmt.Sprint(v.MapIndex(k).Interface())))
		}
		slices.Sort(entries)
		return strings.Join(entries, ", ")
	}
	if v.IsZero() {
		return ""
	}
	return reference(fmt.Sprint(v.Interface()))
}

// reference makes references readable and leaves other values alone.
func reference(value string) string {
	if id, ok := rows.ParseRef(value); ok {
		return "@" + id
	}
	if t, ok := rows.ParseNamed(value); ok {
		return "@" + t.Table + "/" + t.Name
	}
	return value
}

func space(s string) string {
	if s == "" {
		return ""
	}
	return " " + s
}
