package alloc

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/ovnkctl/ovnkctl/internal/world"
)

var opaque = cmp.Options{cmpopts.EquateComparable(netip.Prefix{}), cmpopts.EquateEmpty()}

// network is a plan of addresses from texts such as "10.244.0.0/16/24".
func network(clusterSubnets ...string) world.Network {
	n := world.Network{
		JoinSubnets:    prefixes("100.64.0.0/16", "fd98::/64"),
		TransitSubnets: prefixes("100.88.0.0/16", "fd97::/64"),
		ServiceSubnets: prefixes("10.96.0.0/16"),
	}
	for _, text := range clusterSubnets {
		i := strings.LastIndexByte(text, '/')
		c := world.ClusterSubnet{Prefix: netip.MustParsePrefix(text[:i])}
		if _, err := fmt.Sscan(text[i+1:], &c.HostLength); err != nil {
			panic(err)
		}
		n.ClusterSubnets = append(n.ClusterSubnets, c)
	}
	return n
}

func prefixes(texts ...string) []netip.Prefix {
	var list []netip.Prefix
	for _, t := range texts {
		list = append(list, netip.MustParsePrefix(t))
	}
	return list
}

// claim is of a node that was created so many seconds after the epoch.
func claim(node string, created, id int, subnets ...string) Claim {
	return Claim{Node: node, Created: time.Unix(int64(created), 0), Allocation: Allocation{id, prefixes(subnets...)}}
}

// text sums a result up: "a 2 10.244.0.0/24 -SubnetConflict !ClusterSubnetsExhausted".
func (r Result) text() string {
	s := fmt.Sprintf("%s %d", r.Node, r.ID)
	for _, p := range r.Subnets {
		s += " " + p.String()
	}
	for _, f := range r.Findings {
		s += " -" + f.Code
	}
	if r.Problem != nil {
		s += " !" + r.Problem.Code
	}
	return s
}

func TestLoad(t *testing.T) {
	t.Parallel()
	cases := []struct {
		name   string
		plan   world.Network
		claims []Claim
		want   []string
	}{
		{
			name:   "new nodes, by age and name",
			plan:   network("10.244.0.0/16/24", "fd00:10:244::/48/64"),
			claims: []Claim{claim("c", 2, 0), claim("b", 1, 0), claim("a", 1, 0)},
			want:   []string{"a 2 10.244.0.0/24 fd00:10:244::/64", "b 3 10.244.1.0/24 fd00:10:244:1::/64", "c 4 10.244.2.0/24 fd00:10:244:2::/64"},
		},
		{
			name:   "what nodes have is kept, gaps are filled",
			plan:   network("10.244.0.0/16/24"),
			claims: []Claim{claim("a", 1, 3, "10.244.1.0/24"), claim("b", 2, 0), claim("c", 3, 0, "10.244.0.0/24")},
			want:   []string{"a 3 10.244.1.0/24", "b 2 10.244.2.0/24", "c 4 10.244.0.0/24"},
		},
		{
			name:   "of two claims the older node's stands",
			plan:   network("10.244.0.0/16/24"),
			claims: []Claim{claim("a", 9, 7, "10.244.7.0/24"), claim("b", 1, 7, "10.244.7.0/24")},
			want:   []string{"b 7 10.244.7.0/24", "a 2 10.244.0.0/24 -NodeIDConflict -SubnetConflict"},
		},
		{
			name:   "of the same age, the first name's stands",
			plan:   network("10.244.0.0/16/24"),
			claims: []Claim{claim("b", 1, 7, "10.244.7.0/24"), claim("a", 1, 7, "10.244.8.0/24")},
			want:   []string{"a 7 10.244.8.0/24", "b 2 10.244.7.0/24 -NodeIDConflict"},
		},
		{
			name:   "subnets of another size: kept, and nothing is put into them",
			plan:   network("10.244.0.0/16/24"),
			claims: []Claim{claim("a", 1, 2, "10.244.0.0/22"), claim("b", 2, 3, "10.244.4.128/25"), claim("c", 3, 0), claim("d", 4, 5, "10.244.2.0/24")},
			want:   []string{"a 2 10.244.0.0/22", "b 3 10.244.4.128/25", "c 4 10.244.5.0/24", "d 5 10.244.6.0/24 -SubnetConflict"},
		},
		{
			name:   "outside the cluster subnets: kept, and told",
			plan:   network("10.244.0.0/16/24"),
			claims: []Claim{claim("a", 1, 2, "10.9.0.0/24")},
			want:   []string{"a 2 10.9.0.0/24 !SubnetOutsideCluster"},
		},
		{
			name:   "subnets with another use, or of no use",
			plan:   network("10.244.0.0/16/24"),
			claims: []Claim{claim("a", 1, 2, "10.96.3.0/24"), claim("b", 2, 3, "10.244.9.4/31")},
			want:   []string{"a 2 10.244.0.0/24 -SubnetConflict", "b 3 10.244.1.0/24 -SubnetInvalid"},
		},
		{
			name:   "from single stack to dual stack",
			plan:   network("10.244.0.0/16/24", "fd00:10:244::/48/64"),
			claims: []Claim{claim("a", 1, 2, "10.244.3.0/24"), claim("b", 2, 3, "10.244.4.0/24")},
			want:   []string{"a 2 10.244.3.0/24 fd00:10:244::/64", "b 3 10.244.4.0/24 fd00:10:244:1::/64"},
		},
		{
			name:   "from dual stack to single stack",
			plan:   network("fd00:10:244::/48/64"),
			claims: []Claim{claim("a", 1, 2, "10.244.3.0/24", "fd00:10:244:9::/64")},
			want:   []string{"a 2 fd00:10:244:9::/64 -SubnetReleased"},
		},
		{
			name:   "cluster subnets are used in order, until they are full",
			plan:   network("10.1.0.0/23/24", "10.2.0.0/24/24"),
			claims: []Claim{claim("a", 1, 0), claim("b", 2, 0), claim("c", 3, 0), claim("d", 4, 0)},
			want:   []string{"a 2 10.1.0.0/24", "b 3 10.1.1.0/24", "c 4 10.2.0.0/24", "d 0 !ClusterSubnetsExhausted"},
		},
		{
			name:   "no half allocation when one family is full, but nothing is taken away",
			plan:   network("10.1.0.0/16/24", "fd00::/63/64"),
			claims: []Claim{claim("a", 1, 0), claim("b", 2, 0), claim("c", 3, 0), claim("d", 4, 9, "10.1.9.0/24")},
			want:   []string{"a 2 10.1.0.0/24 fd00::/64", "b 3 10.1.1.0/24 fd00:0:0:1::/64", "c 0 !ClusterSubnetsExhausted", "d 9 10.1.9.0/24 !ClusterSubnetsExhausted"},
		},
		{
			name: "join subnet too small for the id",
			plan: func() world.Network {
				n := network("10.1.0.0/16/24")
				n.JoinSubnets = prefixes("100.64.0.0/30")
				return n
			}(),
			claims: []Claim{claim("a", 1, 3, "10.1.0.0/24"), claim("b", 2, 0)},
			want:   []string{"a 2 10.1.0.0/24 -NodeIDOutOfRange", "b 0 !NodeIDsExhausted"},
		},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			var got []string
			for _, r := range New(c.plan).Load(c.claims) {
				got = append(got, r.text())
				for _, f := range append(r.Findings, *cmpOr(r.Problem)) {
					if f.Code != "" && (f.Message == "" || f.Remedy == "") {
						t.Errorf("incomplete finding %+v", f)
					}
				}
			}
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}

// cmpOr is the finding or an empty one.
func cmpOr(f *Finding) *Finding {
	if f == nil {
		return &Finding{}
	}
	return f
}

func TestMessages(t *testing.T) {
	t.Parallel()
	results := New(network("10.1.0.0/24/24")).Load([]Claim{claim("a", 1, 2, "10.1.0.0/24"), claim("b", 2, 2, "10.1.0.0/25")})
	want := Result{
		Node: "b",
		Findings: []Finding{
			{NodeIDConflict, "node id 2 belongs to node a; this node gets another", "nothing: the node takes the new id over by itself"},
			{SubnetConflict, "10.1.0.0/25 overlaps 10.1.0.0/24 of node a; this node gets another",
				"delete the pods of this node that still have addresses of 10.1.0.0/25, so that they get new ones"},
		},
		Problem: &Finding{ClusterSubnetsFull, "all IPv4 subnets of 10.1.0.0/24 are in use", enlargeClusterSubnets},
	}
	if diff := cmp.Diff(want, results[1], opaque); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

func TestLife(t *testing.T) {
	t.Parallel()
	a := New(network("10.1.0.0/23/24"))
	steps := []struct {
		what string
		do   func() string
		want string
	}{
		{"first", func() string { return a.Allocate(claim("a", 1, 0)).text() }, "a 2 10.1.0.0/24"},
		{"second", func() string { return a.Allocate(claim("b", 2, 0)).text() }, "b 3 10.1.1.0/24"},
		{"third waits", func() string { return a.Allocate(claim("c", 3, 0)).text() }, "c 0 !ClusterSubnetsExhausted"},
		{"an annotation by hand does not count", func() string { return a.Allocate(claim("a", 1, 9, "10.1.1.0/24")).text() }, "a 2 10.1.0.0/24"},
		{"delete", func() string { return fmt.Sprint(a.Release("a")) }, "true"},
		{"delete again", func() string { return fmt.Sprint(a.Release("a")) }, "false"},
		{"delete one that has nothing", func() string { return fmt.Sprint(a.Release("c")) }, "false"},
		{"what waited goes on", func() string { return a.Allocate(claim("c", 3, 0)).text() }, "c 2 10.1.0.0/24"},
		{"the same name again starts clean", func() string { return a.Allocate(claim("a", 4, 0)).text() }, "a 0 !ClusterSubnetsExhausted"},
		{"one that comes later with what another has", func() string {
			a.Release("b")
			return a.Allocate(claim("d", 1, 2, "10.1.0.0/24")).text()
		}, "d 3 10.1.1.0/24 -NodeIDConflict -SubnetConflict"},
	}
	for _, s := range steps {
		if got := s.do(); got != s.want {
			t.Errorf("%s: got %q, want %q", s.what, got, s.want)
		}
	}
	if got := a.SubnetUsage()["ipv4"]; got != (Usage{2, 2}) {
		t.Errorf("subnets %+v", got)
	}
	if got := a.IDUsage(); got != (Usage{2, 32766}) {
		t.Errorf("ids %+v", got)
	}
}

func TestBlocks(t *testing.T) {
	t.Parallel()
	cases := []struct {
		cluster string
		n       uint64
		want    string
	}{
		{"10.128.0.0/14/23", 511, "10.131.254.0/23"},
		{"10.0.0.0/8/29", 1<<21 - 1, "10.255.255.248/29"},
		{"fd00:10:244::/48/64", 0xbeef, "fd00:10:244:beef::/64"},
		{"fd00::/16/112", 0x1_0000_0001, "fd00::1:0:1:0/112"},
		{"fd00::/63/64", 1, "fd00:0:0:1::/64"},
		{"10.1.2.0/24/24", 0, "10.1.2.0/24"},
	}
	for _, c := range cases {
		cl := cluster{ClusterSubnet: network(c.cluster).ClusterSubnets[0]}
		got := cl.block(c.n)
		if got.String() != c.want {
			t.Errorf("block %d of %s is %s, want %s", c.n, c.cluster, got, c.want)
		}
		if n := cl.index(got.Addr()); n != c.n {
			t.Errorf("%s is block %d of %s, want %d", got, n, c.cluster, c.n)
		}
	}
	wide := cluster{ClusterSubnet: network("fd00::/16/112").ClusterSubnets[0]}
	if n := wide.index(netip.MustParseAddr("fd00:ffff::")); n != wide.size()-1 {
		t.Errorf("an address beyond all that can be counted is block %d", n)
	}
}

func BenchmarkLoad(b *testing.B) {
	for _, count := range []int{10, 1000, 10000} {
		b.Run(fmt.Sprint(count), func(b *testing.B) {
			var claims []Claim
			for i := range count {
				claims = append(claims, claim(fmt.Sprintf("node-%d", i), i, 0))
			}
			n := network("10.0.0.0/8/24", "fd00:10:244::/48/64")
			b.ReportAllocs()
			for b.Loop() {
				if r := New(n).Load(slices.Clone(claims)); r[count-1].Problem != nil {
					b.Fatal(r[count-1].Problem)
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*count), "ns/node")
		})
	}
}
