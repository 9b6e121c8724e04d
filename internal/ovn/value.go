package ovn

import (
	"fmt"
	"maps"
	"reflect"
	"slices"

	"github.com/ovn-kubernetes/libovsdb/model"
	"github.com/ovn-kubernetes/libovsdb/ovsdb"
)

// The generated models hold a column in one of twelve types. A value is handled through
// a pointer to the field, because a pointer in an interface costs no allocation:
//
//	*string *int *bool                         exactly one
//	**string **int **bool                      none or one
//	*[]string *[]int                           a set
//	*map[string]string *map[string]int ...     a map

// at returns a pointer to the field of m that holds c.
func (c *Column) at(m reflect.Value) any { return m.Field(c.field).Addr().Interface() }

// Value returns a pointer to the field of m, a row of the column's table.
func (c *Column) Value(m model.Model) any { return c.at(reflect.ValueOf(m).Elem()) }

func unknownType(p any) string { return fmt.Sprintf("no OVSDB column has the type %T", p) }

// EqualValues compares two values as OVSDB does: the order of a set's elements is nothing.
func EqualValues(a, b any) bool {
	switch a := a.(type) {
	case *string:
		return *a == *b.(*string)
	case *int:
		return *a == *b.(*int)
	case *bool:
		return *a == *b.(*bool)
	case **string:
		return equalOptional(*a, *b.(**string))
	case **int:
		return equalOptional(*a, *b.(**int))
	case **bool:
		return equalOptional(*a, *b.(**bool))
	case *[]string:
		return equalSets(*a, *b.(*[]string))
	case *[]int:
		return equalSets(*a, *b.(*[]int))
	case *map[string]string:
		return maps.Equal(*a, *b.(*map[string]string))
	case *map[string]int:
		return maps.Equal(*a, *b.(*map[string]int))
	case *map[int]string:
		return maps.Equal(*a, *b.(*map[int]string))
	case *map[int]int:
		return maps.Equal(*a, *b.(*map[int]int))
	}
	panic(unknownType(a))
}

func equalOptional[T comparable](a, b *T) bool {
	if a == nil || b == nil {
		return a == b
	}
	return *a == *b
}

// equalSets ignores order, and repetition of elements on one side: in a database there is
// none, what a feature wants may have some.
func equalSets[T comparable](a, b []T) bool {
	if len(a) == len(b) {
		added, removed := Difference(a, b)
		return len(added)+len(removed) == 0
	}
	in := make(map[T]bool, len(a))
	for _, v := range a {
		in[v] = false
	}
	seen := 0
	for _, v := range b {
		was, ok := in[v]
		if !ok {
			return false
		}
		if !was {
			in[v] = true
			seen++
		}
	}
	return seen == len(in)
}

// EmptyValue tells whether the value is what OVSDB takes for a column left out of an
// insert.
func EmptyValue(p any) bool {
	switch p := p.(type) {
	case *string:
		return *p == ""
	case *int:
		return *p == 0
	case *bool:
		return !*p
	case **string:
		return *p == nil
	case **int:
		return *p == nil
	case **bool:
		return *p == nil
	case *[]string:
		return len(*p) == 0
	case *[]int:
		return len(*p) == 0
	case *map[string]string:
		return len(*p) == 0
	case *map[string]int:
		return len(*p) == 0
	case *map[int]string:
		return len(*p) == 0
	case *map[int]int:
		return len(*p) == 0
	}
	panic(unknownType(p))
}

// wire turns a value into the notation of libovsdb's operations.
func (c *Column) wire(p any) any {
	switch p := p.(type) {
	case *string:
		return atom(*p, c.keyUUID)
	case *int:
		return *p
	case *bool:
		return *p
	case **string:
		if *p == nil {
			return ovsdb.OvsSet{}
		}
		return atom(**p, c.keyUUID)
	case **int:
		return wireOptional(*p)
	case **bool:
		return wireOptional(*p)
	case *[]string:
		return wireSet(*p, c.keyUUID)
	case *[]int:
		out := make([]any, 0, len(*p))
		for _, v := range distinct(*p) {
			out = append(out, v)
		}
		return ovsdb.OvsSet{GoSet: out}
	case *map[string]string:
		out := make(map[any]any, len(*p))
		for k, v := range *p {
			out[atom(k, c.keyUUID)] = atom(v, c.valUUID)
		}
		return ovsdb.OvsMap{GoMap: out}
	case *map[string]int:
		return wireMap(*p)
	case *map[int]string:
		out := make(map[any]any, len(*p))
		for k, v := range *p {
			out[k] = atom(v, c.valUUID)
		}
		return ovsdb.OvsMap{GoMap: out}
	case *map[int]int:
		return wireMap(*p)
	}
	panic(unknownType(p))
}

// atom is one string, or a reference to a row: to one that exists when it is a UUID, else
// to the one that the same transaction inserts under that name.
func atom(v string, ref bool) any {
	if ref {
		return ovsdb.UUID{GoUUID: v}
	}
	return v
}

func wireOptional[T int | bool](p *T) any {
	if p == nil {
		return ovsdb.OvsSet{}
	}
	return *p
}

func wireSet(vs []string, ref bool) ovsdb.OvsSet {
	vs = distinct(vs)
	out := make([]any, len(vs))
	for i, v := range vs {
		out[i] = atom(v, ref)
	}
	return ovsdb.OvsSet{GoSet: out}
}

// distinct leaves out repeated elements: a server refuses a set that has any.
func distinct[T comparable](vs []T) []T {
	const few = 16
	if len(vs) <= few {
		for i := 1; i < len(vs); i++ {
			if slices.Contains(vs[:i], vs[i]) {
				return distinctOfMany(vs)
			}
		}
		return vs
	}
	return distinctOfMany(vs)
}

func distinctOfMany[T comparable](vs []T) []T {
	seen := make(map[T]struct{}, len(vs))
	out := make([]T, 0, len(vs))
	for _, v := range vs {
		if _, ok := seen[v]; !ok {
			seen[v] = struct{}{}
			out = append(out, v)
		}
	}
	return out
}

func wireMap[K, V comparable](m map[K]V) ovsdb.OvsMap {
	out := make(map[any]any, len(m))
	for k, v := range m {
		out[k] = v
	}
	return ovsdb.OvsMap{GoMap: out}
}

// MapStrings replaces every string of a value, keys and values of a map included, by what f
// makes of it. Sets and maps are copied: other models may share them.
func MapStrings(p any, f func(string) string) {
	switch p := p.(type) {
	case *string:
		*p = f(*p)
	case **string:
		if *p != nil {
			v := f(**p)
			*p = &v
		}
	case *[]string:
		if len(*p) == 0 {
			return
		}
		out := make([]string, len(*p))
		for i, v := range *p {
			out[i] = f(v)
		}
		*p = out
	case *map[string]string:
		out := make(map[string]string, len(*p))
		for k, v := range *p {
			out[f(k)] = f(v)
		}
		*p = out
	}
}
