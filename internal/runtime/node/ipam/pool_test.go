package ipam

import (
	"errors"
	"fmt"
	"net/netip"
	"testing"

	"pgregory.net/rapid"

	"github.com/ovnkctl/ovnkctl/internal/world"
	"github.com/ovnkctl/ovnkctl/internal/world/plan"
)

func prefixes(texts ...string) []netip.Prefix {
	var out []netip.Prefix
	for _, t := range texts {
		out = append(out, netip.MustParsePrefix(t))
	}
	return out
}

func owner(n int) Owner {
	return Owner{world.PodKey{Namespace: "ns", Name: fmt.Sprint("p", n)}, fmt.Sprint("uid", n)}
}

// TestPoolNeverGivesAnAddressTwice runs random histories against the obvious model.
func TestPoolNeverGivesAnAddressTwice(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		subnets := rapid.SampledFrom([][]netip.Prefix{
			prefixes("10.244.1.0/28"), prefixes("10.244.1.0/29", "fd00:10:244:1::/64"), prefixes("fd00:10:244:1::/124"),
		}).Draw(t, "subnets")
		p := NewPool(subnets)
		holds := map[int][]netip.Prefix{}
		taken := map[netip.Addr]int{}
		for i := range rapid.IntRange(1, 60).Draw(t, "steps") {
			if o := rapid.IntRange(0, i).Draw(t, "pod"); holds[o] != nil {
				if !p.Release(owner(o), holds[o]) {
					t.Fatalf("pod %d held %v and nothing was released", o, holds[o])
				}
				for _, a := range holds[o] {
					delete(taken, a.Addr())
				}
				delete(holds, o)
				continue
			}
			got, err := p.Allocate(owner(i))
			var full *FullError
			if errors.As(err, &full) {
				u := p.Usage()[full.Subnet]
				if u[0] < u[1] {
					t.Fatalf("%v, but %d of %d are in use", err, u[0], u[1])
				}
				continue
			}
			for j, a := range got {
				if other, ok := taken[a.Addr()]; ok {
					t.Fatalf("%s given to pods %d and %d", a, other, i)
				}
				for _, r := range plan.Reserved(subnets[j]) {
					if a.Addr() == r {
						t.Fatalf("reserved address %s given away", a)
					}
				}
				if a.Masked() != subnets[j] {
					t.Fatalf("%s is not in %s", a, subnets[j])
				}
				taken[a.Addr()] = i
			}
			holds[i] = got
		}
	})
}

// TestPoolFillsUp: all 11 pod addresses of a /28 are given, then an error names the subnet,
// and what was freed longest ago comes first again.
func TestPoolFillsUp(t *testing.T) {
	t.Parallel()
	p := NewPool(prefixes("10.244.1.0/28"))
	var got [][]netip.Prefix
	for i := range 12 {
		a, err := p.Allocate(owner(i))
		if err != nil {
			t.Fatalf("after %d: %v", i, err)
		}
		got = append(got, a)
	}
	if _, err := p.Allocate(owner(99)); err == nil || err.Error() != "node subnet 10.244.1.0/28 is full: 12 addresses are in use" {
		t.Errorf("error of a full subnet: %v", err)
	}
	p.Release(owner(5), got[5])
	p.Release(owner(2), got[2])
	if a, err := p.Allocate(owner(100)); err != nil || a[0] != got[2][0] {
		t.Errorf("got %v, %v; want %v: the search goes on from the last address", a, err, got[2])
	}
}

func TestReserve(t *testing.T) {
	t.Parallel()
	p := NewPool(prefixes("10.244.1.0/24", "fd00:10:244:1::/64"))
	good := prefixes("10.244.1.9/24", "fd00:10:244:1::9/64")
	if err := p.Reserve(owner(1), good); err != nil {
		t.Fatal(err)
	}
	if err := p.Reserve(owner(1), good); err != nil {
		t.Errorf("the same again: %v", err)
	}
	for name, bad := range map[string][]netip.Prefix{
		"another pod's":     good,
		"half another's":    prefixes("10.244.1.10/24", "fd00:10:244:1::9/64"),
		"one family":        prefixes("10.244.1.10/24"),
		"foreign subnet":    prefixes("10.244.2.10/24", "fd00:10:244:1::10/64"),
		"two of one family": prefixes("10.244.1.10/24", "10.244.1.11/24"),
		"gateway":           prefixes("10.244.1.1/24", "fd00:10:244:1::10/64"),
		"wrong length":      prefixes("10.244.1.10/25", "fd00:10:244:1::10/64"),
	} {
		if err := p.Reserve(owner(2), bad); err == nil {
			t.Errorf("%s: %v was reserved", name, bad)
		}
	}
	if err := p.Reserve(owner(2), prefixes("10.244.1.10/24", "fd00:10:244:1::10/64")); err != nil {
		t.Errorf("a refused reservation took something: %v", err)
	}
}

func BenchmarkAllocateRelease(b *testing.B) {
	p := NewPool(prefixes("10.244.1.0/24", "fd00:10:244:1::/64"))
	for i := range 250 {
		if _, err := p.Allocate(owner(i)); err != nil {
			b.Fatal(err)
		}
	}
	o := owner(1000)
	b.ReportAllocs()
	for b.Loop() {
		a, err := p.Allocate(o)
		if err != nil {
			b.Fatal(err)
		}
		p.Release(o, a)
	}
}
