package catalog

import (
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const small = `
groups:
- {name: conformance, about: a, specs: ['\[Conformance\]']}
- {name: services, about: b, specs: ['Services ', 'Unused']}
selections:
- {name: core, about: c, specs: ['basic']}
exclusions:
- {spec: 'SCTP', reason: no SCTP, unless: SCTP}
- {spec: 'dual', reason: one family, families: single}
- {spec: 'kube-proxy', reason: no kube-proxy}
`

var specs = []string{
	"[sig-network] Services basic [Conformance]", "[sig-network] Services basic", "[sig-network] Services SCTP",
	"[sig-network] Services dual", "[sig-network] Services kube-proxy [Conformance]", "[sig-node] Pods", "[sig-network] Unused",
}

func parse(t *testing.T, text string) *Catalog {
	t.Helper()
	c, err := Parse([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestPlan(t *testing.T) {
	t.Parallel()
	c := parse(t, small)
	basic, other := specs[0], specs[1]
	for name, test := range map[string]struct {
		env  Environment
		want Plan
	}{
		"everything": {Environment{DualStack: true}, Plan{
			Run:      map[string][]string{"conformance": {basic}, "services": {other, specs[2], specs[3], specs[6]}, "core": {basic, other}},
			Excluded: []Excluded{{specs[4], "no kube-proxy"}},
		}},
		"a small machine": {Environment{Cannot: []string{"VRF devices", "SCTP"}}, Plan{
			Run:      map[string][]string{"conformance": {basic}, "services": {other, specs[6]}, "core": {basic, other}},
			Excluded: []Excluded{{specs[2], "no SCTP"}, {specs[3], "one family"}, {specs[4], "no kube-proxy"}},
		}},
	} {
		got, err := c.Plan(specs, test.env)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(&test.want, got); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
}

func TestNothingIsLeftOutSilently(t *testing.T) {
	t.Parallel()
	c := parse(t, small)
	if _, err := c.Plan(append(specs[:len(specs):len(specs)], "[sig-network] New thing"), Environment{}); err == nil || !strings.Contains(err.Error(), "\n  [sig-network] New thing") {
		t.Errorf("a new spec: %v", err)
	}
	if _, err := c.Plan(specs[:3], Environment{}); err == nil || !strings.Contains(err.Error(), "\n  dual\n  kube-proxy\n  Unused") {
		t.Errorf("patterns without specs: %v", err)
	}
}

func TestParseRefuses(t *testing.T) {
	t.Parallel()
	for _, text := range []string{
		"groups: [{name: a, about: b}]",
		"groups: [{name: a, about: b, specs: ['(']}]",
		"groups: [{name: a, about: b, specs: [c]}, {name: a, about: b, specs: [c]}]",
		"exclusions: [{spec: a}]",
		"exclusions: [{reason: a}]",
		"exclusions: [{spec: a, reason: b, families: dual}]",
		"exclusion: []",
	} {
		if _, err := Parse([]byte(text)); err == nil {
			t.Errorf("accepted: %s", text)
		}
	}
}

func TestFocusMatchesExactly(t *testing.T) {
	t.Parallel()
	re := regexp.MustCompile(Focus(specs[1:3]))
	for i, s := range specs {
		if re.MatchString("Kubernetes e2e suite "+s) != (i == 1 || i == 2) {
			t.Errorf("%q: %v", s, i)
		}
	}
	if re.MatchString("Kubernetes e2e suite [sig-network] Services basic and more") {
		t.Error("a spec with a longer name is taken")
	}
}

func TestCommitted(t *testing.T) {
	t.Parallel()
	c, err := Committed()
	if err != nil {
		t.Fatal(err)
	}
	core, err := c.Group("core")
	if err != nil {
		t.Fatal(err)
	}
	if n := len(core.Specs); n < 12 || n > 15 {
		t.Errorf("the core has %d specs", n)
	}
	if _, err := c.Group("none"); err == nil || !strings.Contains(err.Error(), "conformance, zones, services, netpol, core, policies") {
		t.Errorf("%v", err)
	}
}
