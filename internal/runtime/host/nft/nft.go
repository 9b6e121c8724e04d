// Package nft compares nftables tables with what they should be and changes only what
// differs, in one transaction.
//
// nft lists a rule in other words than it was given, so a rule is known by its comment,
// which ends in a hash of the text it was made from. A rule edited behind its comment is
// found by the digest of the listed rules, as long as this process saw the table when it
// was right. The elements of sets and maps are compared one by one.
package nft

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// Table is one table. As wanted, rules have a Text; as listed, only their Comment, which
// then has the hash in it.
type Table struct {
	Family, Name string
	Sets         []Set
	Maps         []Map
	Chains       []Chain
	// Digest is the hash of the listed rules; empty for a wanted table.
	Digest string
}

// Set is a named set. Type and Elements are in nft's language, with " . " between the
// parts of a concatenation: "ipv4_addr . inet_proto . inet_service" and
// "10.0.0.1 . tcp . 80". Ports are numbers; protocols are numbers or tcp, udp, sctp, icmp
// and icmpv6. With the flag interval, elements may have prefixes and ranges, of which no
// two may overlap (Disjoint helps). The types are those that selectors has.
type Set struct {
	Name, Type string
	Flags      string // with commas; empty, or Interval
	Elements   []string
	// Named tells of a listed set that it was declared by the names of types.
	Named bool
}

// Interval is the flag of sets and maps with prefixes and ranges.
const Interval = "interval"

// Verdict is the type of the values of a verdict map.
const Verdict = "verdict"

// Map is a named map from elements of Type, as those of a Set, to elements of type Value.
// The values of a verdict map are "drop", "goto chain" and so on.
type Map struct {
	Name, Type, Value string
	Flags             string
	Elements          map[string]string
	// Named is as that of a Set.
	Named bool
}

// Chain is a chain; Base is nil when only other chains lead to it.
type Chain struct {
	Name  string
	Base  *Base
	Rules []Rule
}

// Base is where packets enter a chain.
type Base struct {
	Type, Hook string
	Priority   int
	Policy     string
	Device     string // of a netdev table; nft before 1.1 does not list it
}

// Rule is one rule; the comment says why it is there, without quotes, which nft cannot
// keep. The text has no maps without names: see selectors.
type Rule struct{ Text, Comment string }

// tag is the comment that is written: what it says and the hash of what it does.
func (r Rule) tag() string {
	sum := sha256.Sum256([]byte(r.Text))
	return r.Comment + " [" + hex.EncodeToString(sum[:4]) + "]"
}

// Op is one line of a transaction.
type Op struct {
	Verb          Verb
	Family, Table string
	Set           *Set   // of the verbs about sets; its Elements those to add or delete
	Map           *Map   // of the verbs about maps, likewise; of elements to delete only keys matter
	Chain         *Chain // of the verbs about chains; without rules
	Rule          *Rule  // of AddRule
}

// Verb is what an Op does.
type Verb string

// The verbs.
const (
	AddTable       Verb = "add table"
	DeleteTable    Verb = "delete table"
	AddSet         Verb = "add set"
	DeleteSet      Verb = "delete set"
	AddMap         Verb = "add map"
	DeleteMap      Verb = "delete map"
	AddElements    Verb = "add element"
	DeleteElements Verb = "delete element"
	AddChain       Verb = "add chain"
	DeleteChain    Verb = "delete chain"
	FlushChain     Verb = "flush chain"
	AddRule        Verb = "add rule"
)

// String is the line in nft's language.
func (o Op) String() string {
	head := fmt.Sprintf("%s %s %s", o.Verb, o.Family, o.Table)
	switch o.Verb {
	case AddSet:
		return fmt.Sprintf("%s %s { typeof %s ;%s }", head, o.Set.Name, selected(o.Set.Type), flags(o.Set.Flags))
	case AddMap:
		return fmt.Sprintf("%s %s { typeof %s : %s ;%s }", head, o.Map.Name, selected(o.Map.Type), selected(o.Map.Value), flags(o.Map.Flags))
	case DeleteSet:
		return head + " " + o.Set.Name
	case DeleteMap:
		return head + " " + o.Map.Name
	case AddElements, DeleteElements:
		name, elements := o.elements()
		return fmt.Sprintf("%s %s { %s }", head, name, strings.Join(elements, ", "))
	case AddChain:
		return head + " " + o.Chain.Name + o.Chain.Base.String()
	case DeleteChain, FlushChain:
		return head + " " + o.Chain.Name
	case AddRule:
		return fmt.Sprintf("%s %s %s comment \"%s\"", head, o.Chain.Name, o.Rule.Text, o.Rule.tag())
	}
	return head
}

// elements are those of an Op as nft writes them.
func (o Op) elements() (name string, texts []string) {
	if o.Set != nil {
		return o.Set.Name, o.Set.Elements
	}
	for _, k := range slices.Sorted(maps.Keys(o.Map.Elements)) {
		if o.Verb == AddElements {
			k += " : " + o.Map.Elements[k]
		}
		texts = append(texts, k)
	}
	return o.Map.Name, texts
}

func flags(f string) string {
	if f == "" {
		return ""
	}
	return " flags " + f + " ;"
}

// String is the definition of a base chain in nft's language, empty for other chains.
func (b *Base) String() string {
	if b == nil {
		return ""
	}
	device := ""
	if b.Device != "" {
		device = fmt.Sprintf(" device %q", b.Device)
	}
	return fmt.Sprintf(" { type %s hook %s%s priority %d ; policy %s ; }", b.Type, b.Hook, device, b.Priority, b.Policy)
}
