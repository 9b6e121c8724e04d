package nft

import (
	"cmp"
	"encoding/json"
	"slices"
	"strconv"
	"strings"
)

// selectors are what of a packet has a type.
//
// Sets and maps are declared by them (typeof) instead of by the names of types. What nft
// 1.1.3 keeps with the kernel of most other declarations makes nft 1.0.6 crash, whatever it
// is asked to list: of the names of types, and of maps without names in rules, unless they
// are concatenations (measured). The operator's nft is often older than ours.
var selectors = map[string]string{
	"ipv4_addr": "ip daddr", "ipv6_addr": "ip6 daddr", "inet_proto": "meta l4proto", "inet_service": "th dport",
	"mark": "meta mark", "ifname": "meta iifname",
}

// selected declares a type by selectors. What has none is left for nft to refuse.
func selected(kind string) string {
	parts := split(kind)
	for i, p := range parts {
		parts[i] = cmp.Or(selectors[p], p)
	}
	return join(parts)
}

// tellsSelectors says whether this version of nft lists selectors as such in JSON: 1.1.2
// began with it; before, it is not to be seen how a set was declared.
func tellsSelectors(version string) bool {
	var numbers []int
	for _, p := range strings.Split(version, ".") {
		n, err := strconv.Atoi(p)
		if err != nil {
			break
		}
		numbers = append(numbers, n)
	}
	return slices.Compare(numbers, []int{1, 1, 2}) >= 0
}

// typeName is a type as it is listed: a name, a list of those that are concatenated, or
// selectors. nft before 1.1 writes that of a map's values as a name with dots.
type typeName struct {
	name     string
	selected bool // it was declared by selectors
}

// UnmarshalJSON reads any form; what is none of them equals no type that anybody wants.
func (t *typeName) UnmarshalJSON(data []byte) error {
	var parts []string
	if json.Unmarshal(data, &parts) == nil {
		t.name = join(parts)
		return nil
	}
	var name string
	if json.Unmarshal(data, &name) == nil {
		t.name = join(split(name))
		return nil
	}
	if parts, t.selected = selectedTypes(data); t.selected {
		t.name = join(parts)
		return nil
	}
	t.name = string(data)
	return nil
}

// selector is what of a packet is looked up.
type selector struct {
	Payload struct{ Protocol, Field string }
	Meta    struct{ Key string }
}

func (s selector) String() string {
	if s.Meta.Key != "" {
		return "meta " + s.Meta.Key
	}
	return s.Payload.Protocol + " " + s.Payload.Field
}

// selectedTypes are the types of selectors, if these are all ours.
func selectedTypes(data []byte) ([]string, bool) {
	var l struct {
		Typeof struct {
			selector
			Concat []selector
		}
	}
	if json.Unmarshal(data, &l) != nil {
		return nil, false
	}
	list := l.Typeof.Concat
	if len(list) == 0 {
		list = []selector{l.Typeof.selector}
	}
	var types []string
	for _, s := range list {
		for kind, ours := range selectors {
			if ours == s.String() {
				types = append(types, kind)
			}
		}
	}
	return types, len(types) == len(list)
}
