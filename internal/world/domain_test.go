package world

import (
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/ovnkctl/ovnkctl/internal/world/selector"
)

func TestDomainNameMatches(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		domain DomainName
		name   string
		want   bool
	}{
		{DomainName{Name: "example.com"}, "example.com", true},
		{DomainName{Name: "example.com"}, "www.example.com", false},
		{DomainName{Name: "*.example.com"}, "www.example.com", true},
		{DomainName{Name: "*.example.com"}, "a.www.example.com", false},
		{DomainName{Name: "*.example.com", Deep: true}, "a.www.example.com", true},
		{DomainName{Name: "*.example.com", Deep: true}, "example.com", false},
		{DomainName{Name: "*.example.com", Deep: true}, ".example.com", false},
		{DomainName{Name: "*.example.com"}, "www.badexample.com", false},
	} {
		if got := c.domain.Matches(c.name); got != c.want {
			t.Errorf("%s stands for %s: %v, want %v", c.domain, c.name, got, c.want)
		}
	}
}

// Policies are touched when a name gets its first address or loses the last, the name's
// sets always; names that no policy speaks of concern nobody.
func TestSetDomainEffects(t *testing.T) {
	t.Parallel()
	s := New(Config{LocalNode: "n1"})
	s.SetPod(&Pod{Namespace: "web", Name: "a", UID: "a", Node: "n1"})
	p := &Policy{
		Kind: KindEgressFirewall, Namespace: "web", Name: "default", Subject: PodsIn("web", selector.Labels{}),
		Rules: []PolicyRule{{Direction: Egress, Peers: []Peer{{Domain: &DomainName{Name: "*.example.com"}}}}},
	}
	s.SetPolicy(p)
	var changes []PolicyEffects
	s.Subscribe(func(_ View, c Change) { changes = append(changes, c.Policy.PolicyEffects) })
	a, b := netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("192.0.2.2")
	s.SetDomain("www.example.com", []netip.Addr{b, a, b})
	s.SetDomain("www.example.com", []netip.Addr{a, b}) // no change
	s.SetDomain("ftp.example.com", []netip.Addr{a})
	s.SetDomain("www.example.com", nil)
	s.SetDomain("ftp.example.com", nil)
	s.SetDomain("example.com", []netip.Addr{a})
	domain := []DomainName{{Name: "*.example.com"}}
	want := []PolicyEffects{
		{Domains: domain, Policies: []PolicyKey{p.Key()}},
		{Domains: domain},
		{Domains: domain},
		{Domains: domain, Policies: []PolicyKey{p.Key()}},
		{},
	}
	if diff := cmp.Diff(want, changes); diff != "" {
		t.Errorf("effects (-want +got):\n%s", diff)
	}
	s.Read(func(v View) {
		if diff := cmp.Diff(domain, v.DomainNames()); diff != "" {
			t.Errorf("names in use (-want +got):\n%s", diff)
		}
		if got := v.DomainSubjects(); len(got) != 1 || got[0].ID != p.Subject.ID {
			t.Errorf("subjects %v, want %v", got, p.Subject)
		}
	})
	s.DeletePolicy(p.Key())
	s.Read(func(v View) {
		if n, g := v.DomainNames(), v.DomainSubjects(); len(n)+len(g) > 0 {
			t.Errorf("without policies there are names %v and subjects %v", n, g)
		}
	})
}
