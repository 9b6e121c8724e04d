package main

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/ovnkctl/ovnkctl/test/conformance/catalog"
	"github.com/ovnkctl/ovnkctl/test/conformance/report"
)

func testPlan(t *testing.T) (*catalog.Catalog, *catalog.Plan) {
	t.Helper()
	c, err := catalog.Parse([]byte(`
groups:
- {name: conformance, about: a, specs: ['\[Conformance\]']}
- {name: zones, about: b, nodes: 6, specs: ['zones']}
- {name: services, about: c, specs: ['Services']}
- {name: netpol, about: d, specs: ['Netpol']}
exclusions:
- {spec: 'cloud', reason: no cloud}
- {spec: 'SCTP', reason: no SCTP}
`))
	if err != nil {
		t.Fatal(err)
	}
	p, err := c.Plan([]string{
		"[sig-network] a [Conformance]", "[sig-network] b zones", "[sig-network] Services c", "[sig-network] Netpol d",
		"[sig-network] cloud", "[sig-network] Services SCTP", "[sig-network] Netpol SCTP",
	}, catalog.Environment{})
	if err != nil {
		t.Fatal(err)
	}
	return c, p
}

func TestRounds(t *testing.T) {
	t.Parallel()
	list, plan := testPlan(t)
	nodes := func(groups []string, nodes int) (out []map[string]int) {
		rounds, err := rounds(list, plan, groups, nodes)
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range rounds {
			sizes := map[string]int{"nodes": r.nodes}
			for name, specs := range r.specs {
				sizes[name] = len(specs)
			}
			out = append(out, sizes)
		}
		return out
	}
	all := []string{"services", "zones", "conformance"}
	if diff := cmp.Diff([]map[string]int{{"nodes": 3, "conformance": 1, "services": 1}, {"nodes": 6, "zones": 1}}, nodes(all, 3)); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]map[string]int{{"nodes": 7, "conformance": 1, "services": 1, "zones": 1}}, nodes(all, 7)); diff != "" {
		t.Error(diff)
	}
	if _, err := rounds(list, plan, []string{"other"}, 3); err == nil {
		t.Error("an unknown group is accepted")
	}
}

func TestEveryExclusionIsInAReport(t *testing.T) {
	t.Parallel()
	list, plan := testPlan(t)
	for group, want := range map[string]map[string]string{
		"services":    {"[sig-network] cloud": "no cloud", "[sig-network] Services SCTP": "no SCTP"},
		"netpol":      {"[sig-network] Netpol SCTP": "no SCTP"},
		"conformance": {},
	} {
		if diff := cmp.Diff(want, excluded(list, plan, []string{group})); diff != "" {
			t.Errorf("%s: %s", group, diff)
		}
	}
}

func TestWrite(t *testing.T) {
	t.Parallel()
	c := config{out: filepath.Join(t.TempDir(), "made"), name: "x"}
	r := report.New(title(c.name), map[string][]string{"g": {"s"}}, nil, []report.Result{{Name: "s", State: report.Passed, Took: time.Second}})
	if err := c.write(r); err != nil {
		t.Fatal(err)
	}
	for _, ext := range []string{".md", ".xml"} {
		if info, err := os.Stat(c.file(ext)); err != nil || info.Size() == 0 {
			t.Errorf("%s: %v", ext, err)
		}
	}
	r.Specs[0].Reason, r.Specs[0].State = "see /home/x", report.Failed
	if err := c.write(r); err == nil {
		t.Error("a path of this machine was written")
	}
}
