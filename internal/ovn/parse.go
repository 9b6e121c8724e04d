package ovn

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"reflect"
	"strconv"

	"github.com/ovn-kubernetes/libovsdb/model"
)

// Parse sets the column of m from JSON in the notation of OVSDB (RFC 7047, 5.1), decoded
// with numbers as json.Number. Another schema may allow more or fewer elements than ours:
// that is tolerated where the value itself fits.
func (c *Column) Parse(m model.Model, v any) error {
	elements, err := Elements(v)
	if err == nil {
		err = c.set(c.Value(m), elements)
	}
	if err != nil {
		return fmt.Errorf("column %s: %w", c.Name, err)
	}
	return nil
}

// Element is one element of a value: of a set, or a pair of a map. Both are a string, a
// json.Number or a bool; Value is nil in sets. UUIDs are strings.
type Element struct{ Key, Value any }

// Elements takes a value in OVSDB's notation apart.
func Elements(v any) ([]Element, error) {
	list, ok := v.([]any)
	if !ok {
		k, err := atomOf(v)
		return []Element{{Key: k}}, err
	}
	if len(list) != 2 {
		return nil, errNotation
	}
	switch content, _ := list[1].([]any); list[0] {
	case "set":
		out := make([]Element, 0, len(content))
		for _, e := range content {
			k, err := atomOf(e)
			if err != nil {
				return nil, err
			}
			out = append(out, Element{Key: k})
		}
		return out, nil
	case "map":
		out := make([]Element, 0, len(content))
		for _, e := range content {
			pair, _ := e.([]any)
			if len(pair) != 2 {
				return nil, errNotation
			}
			k, kerr := atomOf(pair[0])
			val, verr := atomOf(pair[1])
			if err := errors.Join(kerr, verr); err != nil {
				return nil, err
			}
			out = append(out, Element{k, val})
		}
		return out, nil
	}
	k, err := atomOf(v)
	return []Element{{Key: k}}, err
}

var errNotation = errors.New("not in OVSDB's notation")

func atomOf(v any) (any, error) {
	switch v := v.(type) {
	case string, bool, json.Number:
		return v, nil
	case []any:
		if len(v) == 2 && (v[0] == "uuid" || v[0] == "named-uuid") {
			if s, ok := v[1].(string); ok {
				return s, nil
			}
		}
	}
	return nil, errNotation
}

// set stores elements behind p, a pointer to a field.
func (c *Column) set(p any, elements []Element) error {
	for _, e := range elements {
		if (e.Value != nil) != c.mapValue {
			return errors.New("a map where there should be none, or the reverse")
		}
	}
	switch p := p.(type) {
	case *string:
		return parseOne(p, elements, asString)
	case *int:
		return parseOne(p, elements, asInt)
	case *bool:
		return parseOne(p, elements, asBool)
	case **string:
		return parseOptional(p, elements, asString)
	case **int:
		return parseOptional(p, elements, asInt)
	case **bool:
		return parseOptional(p, elements, asBool)
	case *[]string:
		return parseAll(p, elements, asString)
	case *[]int:
		return parseAll(p, elements, asInt)
	case *map[string]string:
		return parsePairs(p, elements, asString, asString)
	case *map[string]int:
		return parsePairs(p, elements, asString, asInt)
	case *map[int]string:
		return parsePairs(p, elements, asInt, asString)
	case *map[int]int:
		return parsePairs(p, elements, asInt, asInt)
	}
	panic(unknownType(p))
}

func parseOne[T any](p *T, elements []Element, as func(any) (T, error)) error {
	switch len(elements) {
	case 0:
		return nil
	case 1:
		v, err := as(elements[0].Key)
		*p = v
		return err
	}
	return fmt.Errorf("%d values where there should be one", len(elements))
}

func parseOptional[T any](p **T, elements []Element, as func(any) (T, error)) error {
	if len(elements) == 0 {
		return nil
	}
	v := new(T)
	if err := parseOne(v, elements, as); err != nil {
		return err
	}
	*p = v
	return nil
}

func parseAll[T any](p *[]T, elements []Element, as func(any) (T, error)) error {
	if len(elements) == 0 {
		return nil
	}
	out := make([]T, 0, len(elements))
	for _, e := range elements {
		v, err := as(e.Key)
		if err != nil {
			return err
		}
		out = append(out, v)
	}
	*p = out
	return nil
}

func parsePairs[K comparable, V any](p *map[K]V, elements []Element, key func(any) (K, error), value func(any) (V, error)) error {
	if len(elements) == 0 {
		return nil
	}
	out := make(map[K]V, len(elements))
	for _, e := range elements {
		k, err := key(e.Key)
		if err != nil {
			return err
		}
		if out[k], err = value(e.Value); err != nil {
			return err
		}
	}
	*p = out
	return nil
}

func asString(v any) (string, error) {
	if s, ok := v.(string); ok {
		return s, nil
	}
	return "", fmt.Errorf("%v is no string", v)
}

func asBool(v any) (bool, error) {
	if b, ok := v.(bool); ok {
		return b, nil
	}
	return false, fmt.Errorf("%v is no boolean", v)
}

func asInt(v any) (int, error) {
	n, ok := v.(json.Number)
	if !ok {
		return 0, fmt.Errorf("%v is no number", v)
	}
	if i, err := strconv.ParseInt(n.String(), 10, strconv.IntSize); err == nil {
		return int(i), nil
	}
	// Columns that were reals once, and integers that are written as such.
	f, err := n.Float64()
	if err != nil || f != math.Trunc(f) || math.Abs(f) > 1<<53 {
		return 0, fmt.Errorf("%s is no integer", n)
	}
	return int(f), nil
}

func (t *Table) setUUID(m model.Model, uuid string) {
	reflect.ValueOf(m).Elem().Field(t.uuid).SetString(uuid)
}
