// Package policytest draws random clusters, policies and packets for tests of whatever
// compiles or explains network policy. The universes are small, so that selectors select,
// ranges touch each other, priorities tie and packets hit rules.
package policytest

import (
	"net/netip"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"pgregory.net/rapid"

	"github.com/ovnkctl/ovnkctl/internal/policy"
)

// Config says what to draw. The zero value draws valid objects of every kind.
type Config struct {
	// Invalid adds objects with parts that the API server refuses, or accepted before the
	// API grew.
	Invalid bool
	// Without leaves kinds out, by their name, e.g. "EgressFirewall".
	Without []string
}

// drawer draws parts of policies about what is in a cluster.
type drawer struct {
	t   *rapid.T
	cfg Config
	c   *policy.Cluster
}

// The universes.
var (
	namespaceLabels = map[string][]string{"team": {"red", "blue"}, "env": {"prod", "test"}}
	podLabels       = map[string][]string{"app": {"web", "db", "api"}, "side": {"front", "back"}}
	nodeLabels      = map[string][]string{"zone": {"a", "b"}}

	protocols   = []corev1.Protocol{corev1.ProtocolTCP, corev1.ProtocolUDP, corev1.ProtocolSCTP}
	portNumbers = []int32{53, 80, 81, 443, 8080}
	portNames   = []string{"web", "dns", "metrics"}

	// ranges contain, halve and adjoin one another, around pods, nodes and the outside.
	ranges = []string{
		"0.0.0.0/0", "10.244.0.0/16", "10.244.1.0/24", "10.244.1.0/29", "10.244.1.4/30", "10.244.1.8/29", "10.244.2.0/24",
		"10.244.1.4/32", "192.0.2.0/24", "192.0.2.1/32", "192.0.2.2/31", "203.0.113.0/24", "203.0.113.0/25", "203.0.113.128/25",
		"203.0.113.0/31", "203.0.113.2/32", "198.51.100.0/24",
		"::/0", "fd01::/32", "fd01:0:0:1::/64", "fd01:0:0:1::4/126", "fd01:0:0:2::/64", "fd00:10::/64", "fd00:10::1/128",
		"2001:db8::/32", "2001:db8::/64", "2001:db8:0:1::/64", "2001:db8::1/128",
	}
	outside = []string{
		"203.0.113.0", "203.0.113.1", "203.0.113.2", "203.0.113.127", "203.0.113.128", "198.51.100.7",
		"2001:db8::1", "2001:db8::2", "2001:db8:0:1::1", "2001:db8:1::1",
	}
	// knownNames resolve; domainNames are what policies ask for.
	knownNames  = []string{"example.com", "www.example.com", "a.www.example.com", "api.example.org"}
	domainNames = []string{
		"example.com", "WWW.example.com.", "*.example.com", "*.www.example.com", "api.example.org", "gone.example.org",
	}
)

func pick[T any](d drawer, label string, from []T) T {
	return rapid.SampledFrom(from).Draw(d.t, label)
}

// chance is true in about so many of a hundred cases.
func (d drawer) chance(percent int, label string) bool {
	return rapid.IntRange(1, 100).Draw(d.t, label) > 100-percent // shrinks to false
}

func (d drawer) count(least, most int, label string) int {
	return rapid.IntRange(least, most).Draw(d.t, label)
}

// spoil is true where an object should get a part that cannot be understood.
func (d drawer) spoil() bool { return d.cfg.Invalid && d.chance(5, "spoil") }

// labels draws a value or none for each key. Keys are in a fixed order, or a seed would not
// mean the same twice.
func (d drawer) labels(of map[string][]string) map[string]string {
	out := map[string]string{}
	for _, k := range keys(of) {
		if d.chance(75, "has "+k) {
			out[k] = pick(d, k, of[k])
		}
	}
	return out
}

// selector draws one of: everything, labels, an expression, both, and seldom nothing.
func (d drawer) selector(of map[string][]string) metav1.LabelSelector {
	var s metav1.LabelSelector
	shape := d.count(0, 9, "selector")
	if shape >= 2 && shape <= 6 {
		k := pick(d, "label", keys(of))
		s.MatchLabels = map[string]string{k: pick(d, "value", append(of[k], "nobody"))}
	}
	if shape >= 6 {
		k := pick(d, "key", keys(of))
		r := metav1.LabelSelectorRequirement{Key: k, Operator: pick(d, "operator", []metav1.LabelSelectorOperator{
			metav1.LabelSelectorOpIn, metav1.LabelSelectorOpNotIn, metav1.LabelSelectorOpExists, metav1.LabelSelectorOpDoesNotExist,
		})}
		if r.Operator == metav1.LabelSelectorOpIn || r.Operator == metav1.LabelSelectorOpNotIn {
			r.Values = append(r.Values, pick(d, "value", of[k]))
			if d.chance(30, "second value") {
				r.Values = append(r.Values, pick(d, "value", append(of[k], "nobody")))
			}
		}
		if d.spoil() {
			r.Operator = "Like"
		}
		s.MatchExpressions = append(s.MatchExpressions, r)
	}
	return s
}

func (d drawer) cidr() string {
	if d.spoil() {
		return pick(d, "bad range", []string{"", "10.0.0.0", "10.0.0.0/33", "::ffff:10.0.0.0/104", "nonsense"})
	}
	return pick(d, "range", ranges)
}

// span draws the first and last port of a range.
func (d drawer) span() (first, last int32) {
	if d.spoil() {
		return pick(d, "bad first", []int32{0, 81, 70000}), 80
	}
	first = pick(d, "first port", portNumbers)
	return first, first + int32(d.count(1, 30, "more ports"))
}

func (d drawer) addrs(from []string, most int, label string) []netip.Addr {
	var out []netip.Addr
	for range d.count(0, most, label) {
		out = append(out, netip.MustParseAddr(pick(d, label, from)))
	}
	return out
}
