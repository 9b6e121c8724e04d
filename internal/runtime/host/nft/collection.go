package nft

import (
	"maps"
	"slices"
	"strings"
)

// collection is a set or a map with its elements in the form in which they are compared.
type collection struct {
	name, kind, flags string   // kind is the type, and of a map that of its values
	isMap, named      bool     // named as a Set is
	keys              []string // each once
	values            map[string]string
}

// collections of a table by name, and the names in the table's order.
func collections(t Table) (byName map[string]*collection, names []string) {
	byName = make(map[string]*collection, len(t.Sets)+len(t.Maps))
	for _, s := range t.Sets {
		types := split(s.Type)
		c := &collection{name: s.Name, kind: join(types), flags: s.Flags, named: s.Named, values: make(map[string]string, len(s.Elements))}
		for _, e := range s.Elements {
			c.put(canonical(types, e), "")
		}
		byName[s.Name], names = c, append(names, s.Name)
	}
	for _, m := range t.Maps {
		types, values := split(m.Type), split(m.Value)
		c := &collection{
			name: m.Name, kind: join(types) + " : " + join(values), flags: m.Flags, isMap: true, named: m.Named,
			values: make(map[string]string, len(m.Elements)),
		}
		for _, k := range slices.Sorted(maps.Keys(m.Elements)) {
			c.put(canonical(types, k), canonical(values, m.Elements[k]))
		}
		byName[m.Name], names = c, append(names, m.Name)
	}
	return byName, names
}

// put adds an element; of two with the same key the first one stays.
func (c *collection) put(key, value string) {
	if _, ok := c.values[key]; !ok {
		c.keys, c.values[key] = append(c.keys, key), value
	}
}

func (c *collection) sameKind(o *collection) bool {
	return c.isMap == o.isMap && c.named == o.named && c.kind == o.kind && c.flags == o.flags
}

// verdicts tells that the elements may refer to chains.
func (c *collection) verdicts() bool { return c.isMap && strings.HasSuffix(c.kind, " : "+Verdict) }

// portValues tells that ports are among the values of a map.
func (c *collection) portValues() bool {
	_, values, _ := strings.Cut(c.kind, " : ")
	return c.isMap && strings.Contains(values, "inet_service")
}

// without are the keys of the elements that o does not have, or has with other values.
func (c *collection) without(o *collection) []string {
	var out []string
	for _, key := range c.keys {
		if value, ok := o.values[key]; !ok || value != c.values[key] {
			out = append(out, key)
		}
	}
	return out
}

func (c *collection) create() Op {
	if c.isMap {
		m := c.bare()
		return Op{Verb: AddMap, Map: &m}
	}
	return Op{Verb: AddSet, Set: &Set{Name: c.name, Type: c.kind, Flags: c.flags}}
}

func (c *collection) delete() Op {
	if c.isMap {
		return Op{Verb: DeleteMap, Map: &Map{Name: c.name}}
	}
	return Op{Verb: DeleteSet, Set: &Set{Name: c.name}}
}

// change adds or deletes those of its elements with the keys.
func (c *collection) change(verb Verb, keys []string) Op {
	if !c.isMap {
		return Op{Verb: verb, Set: &Set{Name: c.name, Elements: keys}}
	}
	m := Map{Name: c.name, Elements: make(map[string]string, len(keys))}
	for _, k := range keys {
		m.Elements[k] = c.values[k]
	}
	return Op{Verb: verb, Map: &m}
}

// bare is the definition of a map without elements.
func (c *collection) bare() Map {
	kind, value, _ := strings.Cut(c.kind, " : ")
	return Map{Name: c.name, Type: kind, Value: value, Flags: c.flags}
}
