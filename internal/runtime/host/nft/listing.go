package nft

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// listing is the JSON of `nft list table`, as far as it is used (libnftables-json(5)).
type listing struct {
	Objects []struct {
		Metainfo *struct{ Version string } // the first one
		Table    *struct{ Family, Name string }
		Set      *listedSet
		Map      *listedSet
		Chain    *struct {
			Name, Type, Hook, Policy, Dev string
			Prio                          int
		}
		Rule json.RawMessage
	} `json:"nftables"`
}

// listedSet is a set, or a map with Map as the type of its values and pairs as elements.
type listedSet struct {
	Name      string
	Type, Map typeName
	Flags     []string
	Elem      []any
}

func parse(data []byte) (*Table, error) {
	var l listing
	// Numbers are kept as they are written.
	d := json.NewDecoder(bytes.NewReader(data))
	d.UseNumber()
	if err := d.Decode(&l); err != nil {
		return nil, fmt.Errorf("nft: listing: %w", err)
	}
	t := &Table{}
	sum, chains, tells := sha256.New(), map[string]int{}, false
	for _, o := range l.Objects {
		switch {
		case o.Metainfo != nil:
			tells = tellsSelectors(o.Metainfo.Version)
		case o.Table != nil:
			t.Family, t.Name = o.Table.Family, o.Table.Name
		case o.Set != nil:
			s := o.Set.set()
			s.Named = tells && !o.Set.Type.selected
			t.Sets = append(t.Sets, s)
		case o.Map != nil:
			m := o.Map.mapping()
			m.Named = tells && !o.Map.Type.selected
			t.Maps = append(t.Maps, m)
		case o.Chain != nil:
			c := Chain{Name: o.Chain.Name}
			if o.Chain.Hook != "" {
				c.Base = &Base{Type: o.Chain.Type, Hook: o.Chain.Hook, Priority: o.Chain.Prio, Policy: o.Chain.Policy, Device: o.Chain.Dev}
			}
			chains[c.Name] = len(t.Chains)
			t.Chains = append(t.Chains, c)
		case o.Rule != nil:
			// Rules come after all chains. Of sets and maps the digest says nothing: they
			// are compared, and the kernel lists their elements now in this order, now in
			// that.
			_, _ = sum.Write(o.Rule)
			var r struct{ Chain, Comment string }
			if err := json.Unmarshal(o.Rule, &r); err != nil {
				return nil, fmt.Errorf("nft: listing: rule: %w", err)
			}
			if i, ok := chains[r.Chain]; ok {
				t.Chains[i].Rules = append(t.Chains[i].Rules, Rule{Comment: r.Comment})
			}
		}
	}
	t.Digest = hex.EncodeToString(sum.Sum(nil))
	return t, nil
}

func (l *listedSet) flags() string {
	slices.Sort(l.Flags)
	return strings.Join(l.Flags, ",")
}

func (l *listedSet) set() Set {
	s := Set{Name: l.Name, Type: l.Type.name, Flags: l.flags()}
	types := split(s.Type)
	for _, e := range l.Elem {
		s.Elements = append(s.Elements, canonical(types, expression(e)))
	}
	return s
}

func (l *listedSet) mapping() Map {
	m := Map{Name: l.Name, Type: l.Type.name, Value: l.Map.name, Flags: l.flags(), Elements: make(map[string]string, len(l.Elem))}
	types, values := split(m.Type), split(m.Value)
	for _, e := range l.Elem {
		if pair, ok := e.([]any); ok && len(pair) == 2 {
			m.Elements[canonical(types, expression(pair[0]))] = canonical(values, expression(pair[1]))
		}
	}
	return m
}

// expression is an element or a value in nft's language. What nobody of us makes comes out
// as JSON, and so equals nothing that is wanted.
func expression(e any) string {
	switch e := e.(type) {
	case string:
		return e
	case json.Number:
		return string(e)
	case map[string]any:
		for kind, v := range e {
			if text, ok := object(kind, v); ok && len(e) == 1 {
				return text
			}
		}
	}
	data, _ := json.Marshal(e) // it was just read
	return string(data)
}

// object is an expression of one key.
func object(kind string, v any) (string, bool) {
	list, _ := v.([]any)
	fields, _ := v.(map[string]any)
	switch kind {
	case "concat":
		parts := make([]string, len(list))
		for i, p := range list {
			parts[i] = expression(p)
		}
		return join(parts), true
	case "range":
		if len(list) == 2 {
			return expression(list[0]) + "-" + expression(list[1]), true
		}
	case "prefix":
		return expression(fields["addr"]) + "/" + expression(fields["len"]), true
	case "elem": // one with a comment, a counter or a time limit
		return expression(fields["val"]), true
	case "jump", "goto":
		return kind + " " + expression(fields["target"]), true
	case "accept", "drop", "return", "continue", "queue":
		return kind, v == nil
	}
	return strconv.Quote(kind), false
}

// Find reads a table out of `nft -j list ruleset`; nil if it is not there.
func Find(ruleset []byte, family, name string) (*Table, error) {
	var all struct {
		Objects []map[string]json.RawMessage `json:"nftables"`
	}
	if err := json.Unmarshal(ruleset, &all); err != nil {
		return nil, fmt.Errorf("nft: ruleset: %w", err)
	}
	found := false
	all.Objects = slices.DeleteFunc(all.Objects, func(o map[string]json.RawMessage) bool {
		for kind, body := range o {
			var of struct{ Family, Table, Name string }
			if kind == "metainfo" {
				return false
			}
			if json.Unmarshal(body, &of) != nil || of.Family != family {
				return true
			}
			if kind == "table" {
				found = found || of.Name == name
				return of.Name != name
			}
			return of.Table != name
		}
		return true
	})
	if !found {
		return nil, nil
	}
	table, err := json.Marshal(all)
	if err != nil {
		return nil, fmt.Errorf("nft: ruleset: %w", err)
	}
	return parse(table)
}
