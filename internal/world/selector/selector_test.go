package selector

import (
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"pgregory.net/rapid"
)

func expression(key string, op metav1.LabelSelectorOperator, values ...string) metav1.LabelSelectorRequirement {
	return metav1.LabelSelectorRequirement{Key: key, Operator: op, Values: values}
}

func TestText(t *testing.T) {
	t.Parallel()
	tests := map[string]metav1.LabelSelector{
		"":                   {},
		"a=b":                {MatchExpressions: []metav1.LabelSelectorRequirement{expression("a", "In", "b", "b")}},
		"a=b,c=d":            {MatchLabels: map[string]string{"c": "d", "a": "b"}},
		"a in (b,c)":         {MatchExpressions: []metav1.LabelSelectorRequirement{expression("a", "In", "c", "b")}},
		"a=b,a!=c,!e,f":      {MatchLabels: map[string]string{"a": "b"}, MatchExpressions: []metav1.LabelSelectorRequirement{expression("f", "Exists"), expression("e", "DoesNotExist"), expression("a", "NotIn", "c"), expression("a", "In", "b")}},
		"x.io/a notin (1,2)": {MatchExpressions: []metav1.LabelSelectorRequirement{expression("x.io/a", "NotIn", "2", "1", "2")}},
	}
	for want, s := range tests {
		got, err := From(&s)
		if err != nil || got.String() != want || got.Everything() != (want == "") {
			t.Errorf("%+v: %q, everything %v, %v; want %q", s, got, got.Everything(), err, want)
		}
	}
	for _, bad := range []metav1.LabelSelector{
		{MatchLabels: map[string]string{"a b": "c"}}, {MatchLabels: map[string]string{"a": "b,c"}},
		{MatchExpressions: []metav1.LabelSelectorRequirement{expression("a", "Like", "b")}},
		{MatchExpressions: []metav1.LabelSelectorRequirement{expression("a", "In")}},
		{MatchExpressions: []metav1.LabelSelectorRequirement{expression("a", "Exists", "b")}},
	} {
		if got, err := From(&bad); err == nil {
			t.Errorf("%+v is read as %q", bad, got)
		}
	}
}

// TestMatches compares with Kubernetes' own selectors; Needs must never lie.
func TestMatches(t *testing.T) {
	t.Parallel()
	keys, values := rapid.SampledFrom([]string{"a", "b", "c"}), rapid.SampledFrom([]string{"", "x", "y", "z"})
	labels := rapid.MapOfN(keys, values, 0, 3)
	rapid.Check(t, func(t *rapid.T) {
		s := metav1.LabelSelector{MatchLabels: rapid.MapOfN(keys, values, 0, 2).Draw(t, "match labels")}
		for range rapid.IntRange(0, 2).Draw(t, "expressions") {
			op := rapid.SampledFrom([]metav1.LabelSelectorOperator{"In", "NotIn", "Exists", "DoesNotExist"}).Draw(t, "operator")
			e := expression(keys.Draw(t, "key"), op)
			if op == "In" || op == "NotIn" {
				e.Values = rapid.SliceOfN(values, 1, 3).Draw(t, "values")
			}
			s.MatchExpressions = append(s.MatchExpressions, e)
		}
		got, err := From(&s)
		if err != nil {
			t.Fatal(err)
		}
		theirs, _ := metav1.LabelSelectorAsSelector(&s)
		for range 5 {
			l := labels.Draw(t, "labels")
			if got.Matches(l) != theirs.Matches(set(l)) {
				t.Fatalf("%s on %v: %v", got, l, got.Matches(l))
			}
			if k, v, ok := got.Needs(); ok && got.Matches(l) && l[k] != v {
				t.Fatalf("%s selects %v and claims to need %s=%s", got, l, k, v)
			}
			if v, ok := got.Only("a"); ok && got.Matches(l) != (l["a"] == v && has(l, "a")) {
				t.Fatalf("%s on %v is not only a=%s", got, l, v)
			}
		}
	})
}

type set map[string]string

func (s set) Has(k string) bool              { return has(s, k) }
func (s set) Get(k string) string            { return s[k] }
func (s set) Lookup(k string) (string, bool) { v, ok := s[k]; return v, ok }

func has(m map[string]string, k string) bool {
	_, ok := m[k]
	return ok
}
