package ovn_test

import (
	"maps"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/ovnkctl/ovnkctl/internal/ovn"
)

func TestDifference(t *testing.T) {
	t.Parallel()
	set := rapid.SliceOfNDistinct(rapid.IntRange(0, 30), 0, 25, rapid.ID[int])
	rapid.Check(t, func(r *rapid.T) {
		a := set.Draw(r, "a")
		b := slices.Clone(a)
		if rapid.Bool().Draw(r, "unrelated") {
			b = set.Draw(r, "b")
		} else {
			for range rapid.IntRange(0, 4).Draw(r, "steps") {
				if len(b) > 0 && rapid.Bool().Draw(r, "remove") {
					i := rapid.IntRange(0, len(b)-1).Draw(r, "at")
					b[i] = b[len(b)-1]
					b = b[:len(b)-1]
				} else if v := rapid.IntRange(0, 30).Draw(r, "new"); !slices.Contains(b, v) {
					b = append(b, v)
				}
			}
		}
		before := slices.Clone(a)
		added, removed := ovn.Difference(a, b)
		if !slices.Equal(before, a) {
			r.Fatal("the input was changed")
		}
		got := map[int]bool{}
		for _, v := range a {
			got[v] = true
		}
		for _, v := range removed {
			if !got[v] {
				r.Fatalf("%d removed, but not there", v)
			}
			delete(got, v)
		}
		for _, v := range added {
			if got[v] {
				r.Fatalf("%d added, but there", v)
			}
			got[v] = true
		}
		want := map[int]bool{}
		for _, v := range b {
			want[v] = true
		}
		if !maps.Equal(got, want) {
			r.Fatalf("a %v + %v - %v is not b %v", a, added, removed, b)
		}
		if ovn.EqualValues(&a, &b) != maps.Equal(toSet(a), toSet(b)) {
			r.Fatalf("EqualValues(%v, %v)", a, b)
		}
		if len(a) > 0 {
			twice := append(slices.Clone(a), a[0])
			if !ovn.EqualValues(&a, &twice) || !ovn.EqualValues(&twice, &a) {
				r.Fatal("an element that is repeated makes another set")
			}
		}
	})
}

func toSet(vs []int) map[int]bool {
	out := map[int]bool{}
	for _, v := range vs {
		out[v] = true
	}
	return out
}
