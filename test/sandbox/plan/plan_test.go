package plan

import (
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

func TestPlanPerFamily(t *testing.T) {
	t.Parallel()
	type facts struct{ Node, Pods, Services, Subnets, API, DNS, Kubernetes string }
	of := func(f Family) facts {
		p := New(f)
		return facts{
			Join(p.Node(1)), Join(p.Pods()), Join(p.Services()), p.ClusterSubnets(), p.APIServer(),
			Join(p.DNSService()), Join(p.KubernetesService()),
		}
	}
	want := map[Family]facts{
		Dual: {
			"172.30.250.11/24,fd30:250::11/64", "10.244.0.0/16,fd00:10:244::/48", "10.96.0.0/16,fd00:10:96::/112",
			"10.244.0.0/16/24,fd00:10:244::/48/64", "https://172.30.250.11:6443", "10.96.0.10,fd00:10:96::a", "10.96.0.1,fd00:10:96::1",
		},
		IPv4: {
			"172.30.250.11/24", "10.244.0.0/16", "10.96.0.0/16",
			"10.244.0.0/16/24", "https://172.30.250.11:6443", "10.96.0.10", "10.96.0.1",
		},
		IPv6: {
			"fd30:250::11/64", "fd00:10:244::/48", "fd00:10:96::/112",
			"fd00:10:244::/48/64", "https://[fd30:250::11]:6443", "fd00:10:96::a", "fd00:10:96::1",
		},
	}
	for f, w := range want {
		if diff := cmp.Diff(w, of(f)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", f, diff)
		}
	}
}

func TestAddressesAreUniqueAndOnTheFabric(t *testing.T) {
	t.Parallel()
	for _, f := range []Family{Dual, IPv4, IPv6} {
		p := New(f)
		seen := map[netip.Addr]string{}
		take := func(who string, ps []netip.Prefix) {
			for _, a := range ps {
				if other, taken := seen[a.Addr()]; taken {
					t.Errorf("%s: %s and %s both have %s", f, who, other, a)
				}
				seen[a.Addr()] = who
				on := false
				for _, fab := range p.Fabric() {
					on = on || (fab.Contains(a.Addr()) && fab.Bits() == a.Bits())
				}
				if !on {
					t.Errorf("%s: %s of %s is not on the fabric", f, a, who)
				}
			}
		}
		take("outside", p.Outside())
		take("machine", p.Machine())
		for i := 1; i <= MaxNodes; i++ {
			take("a node", p.Node(i))
		}
	}
}

func TestReservedRangesDoNotOverlap(t *testing.T) {
	t.Parallel()
	rs := New(Dual).Reserved()
	for i, a := range rs {
		for _, b := range rs[i+1:] {
			if a.Overlaps(b) {
				t.Errorf("%s overlaps %s", a, b)
			}
		}
	}
}

func TestNodeMACIsUnicastAndLocal(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		a, b := rapid.IntRange(1, MaxNodes).Draw(t, "a"), rapid.IntRange(1, MaxNodes).Draw(t, "b")
		m := NodeMAC(a)
		if m[0]&1 != 0 || m[0]&2 == 0 {
			t.Fatalf("%s is not a local unicast address", m)
		}
		if (a == b) != (m.String() == NodeMAC(b).String()) {
			t.Fatalf("nodes %d and %d: %s and %s", a, b, m, NodeMAC(b))
		}
	})
}

func TestParseFamily(t *testing.T) {
	t.Parallel()
	if _, err := ParseFamily("ipv5"); err == nil {
		t.Error("ipv5 accepted")
	}
	if f, err := ParseFamily("dual"); err != nil || f != Dual {
		t.Errorf("dual: %v %v", f, err)
	}
}
