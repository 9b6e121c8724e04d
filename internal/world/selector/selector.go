// Package selector has label selectors in one canonical form: two that ask for the same in
// other words have the same text, so that their results can be shared.
package selector

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Labels is a label selector. The zero value selects everything. It is never modified.
type Labels struct {
	text         string
	requirements []requirement
}

type operator uint8

const (
	in operator = iota
	notIn
	exists
	absent
)

// requirement is one condition; values are sorted, each once.
type requirement struct {
	key    string
	op     operator
	values []string
}

var operators = map[metav1.LabelSelectorOperator]operator{
	metav1.LabelSelectorOpIn: in, metav1.LabelSelectorOpNotIn: notIn,
	metav1.LabelSelectorOpExists: exists, metav1.LabelSelectorOpDoesNotExist: absent,
}

// From reads a selector of an API object. An empty one selects everything; a nil one is
// not a selector.
func From(s *metav1.LabelSelector) (Labels, error) {
	if _, err := metav1.LabelSelectorAsSelector(s); err != nil {
		return Labels{}, fmt.Errorf("label selector: %w", err)
	}
	var list []requirement
	for k, v := range s.MatchLabels {
		list = append(list, requirement{k, in, []string{v}})
	}
	for _, e := range s.MatchExpressions {
		r := requirement{key: e.Key, op: operators[e.Operator]}
		if r.op == in || r.op == notIn {
			r.values = slices.Compact(slices.Sorted(slices.Values(e.Values)))
		}
		list = append(list, r)
	}
	slices.SortFunc(list, requirement.compare)
	list = slices.CompactFunc(list, func(a, b requirement) bool { return a.compare(b) == 0 })
	words := make([]string, 0, len(list))
	for _, r := range list {
		words = append(words, r.String())
	}
	return Labels{strings.Join(words, ","), list}, nil
}

func (r requirement) compare(o requirement) int {
	return cmp.Or(cmp.Compare(r.key, o.key), cmp.Compare(r.op, o.op), slices.Compare(r.values, o.values))
}

// String is the requirement in kubectl's words. A value cannot contain any of the
// separators.
func (r requirement) String() string {
	switch {
	case r.op == exists:
		return r.key
	case r.op == absent:
		return "!" + r.key
	case len(r.values) == 1 && r.op == in:
		return r.key + "=" + r.values[0]
	case len(r.values) == 1:
		return r.key + "!=" + r.values[0]
	case r.op == in:
		return r.key + " in (" + strings.Join(r.values, ",") + ")"
	}
	return r.key + " notin (" + strings.Join(r.values, ",") + ")"
}

// String is the selector in kubectl's words, empty for everything.
func (s Labels) String() string { return s.text }

// Everything tells whether the selector selects everything.
func (s Labels) Everything() bool { return len(s.requirements) == 0 }

// Matches tells whether the selector selects an object with those labels.
func (s Labels) Matches(labels map[string]string) bool {
	for i := range s.requirements {
		r := &s.requirements[i]
		v, ok := labels[r.key]
		switch r.op {
		case in:
			ok = ok && slices.Contains(r.values, v)
		case notIn:
			ok = !ok || !slices.Contains(r.values, v)
		case absent:
			ok = !ok
		}
		if !ok {
			return false
		}
	}
	return true
}

// Needs is a label without which nothing is selected, if there is one: the selector need
// not be compared with objects that do not have it.
func (s Labels) Needs() (key, value string, ok bool) {
	for _, r := range s.requirements {
		if r.op == in && len(r.values) == 1 {
			return r.key, r.values[0], true
		}
	}
	return "", "", false
}

// Only is the value when the selector asks for one label and nothing else.
func (s Labels) Only(key string) (value string, ok bool) {
	if len(s.requirements) != 1 || s.requirements[0].key != key {
		return "", false
	}
	_, value, ok = s.Needs()
	return value, ok
}
