package diagnose

import (
	"flag"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/ovnkctl/ovnkctl/internal/output"
)

var update = flag.Bool("update", false, "write the golden files anew")

func textOf(t *testing.T, r *Result) string {
	t.Helper()
	var b strings.Builder
	report := &Report{Result: *r, Nodes: []string{"n1", "n2"}}
	if err := report.Text(&b, output.Style{}, true); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func golden(t *testing.T, name, got string) {
	t.Helper()
	file := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(string(want), got); d != "" {
		t.Errorf("differs from %s (-want +got); `go test -update` accepts it:\n%s", file, d)
	}
}

func TestHealthyClusterHasNoFindings(t *testing.T) {
	t.Parallel()
	r := Run(testCluster(t, nil), All())
	if got := textOf(t, r); len(r.Findings) > 0 {
		t.Error(got)
	}
	if len(r.Checks) != len(All()) {
		t.Errorf("%d of %d checks ran", len(r.Checks), len(All()))
	}
}

// Each fault is one finding, whatever else it brings about.
func TestFaultsAreFoundOnce(t *testing.T) {
	t.Parallel()
	for _, f := range faults {
		name := f.code
		if f.name != "" {
			name += "-" + f.name
		}
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := testCluster(t, f.objects)
			if f.state != nil {
				f.state(t, c)
			}
			r := Run(c, All())
			golden(t, name+".txt", textOf(t, r))
			if len(r.Findings) != 1 || r.Findings[0].Code != f.code {
				t.Errorf("want one finding %s", f.code)
			}
			alone, _ := Find(f.code)
			if r := Run(testCluster(t, nil), []*Check{alone}); len(r.Findings) > 0 {
				t.Errorf("the check alone finds something in a healthy cluster:\n%s", textOf(t, r))
			}
		})
	}
}

// Without all objects nothing is left over, and nothing should be there.
func TestIncompleteObjectsAreNoDrift(t *testing.T) {
	t.Parallel()
	c := testCluster(t, nil)
	o, in := testObjects()
	removePod(o, "web-1")
	o.Services = nil
	less := assemble(t, o, in)
	c.Objects, c.World, c.view = less.Objects, less.World, nil
	if r := Run(c, All()); len(r.Findings) == 0 {
		t.Error("the test lacks its fault")
	}
	c.Incomplete, c.view = true, nil
	for _, n := range c.Nodes {
		n.wishes, n.drifted = nil, nil
	}
	if r := Run(c, All()); len(r.Findings) > 0 {
		t.Error(textOf(t, r))
	}
}

var form = regexp.MustCompile(`^OVNK-[A-Z]+-[0-9]{3}$`)

func TestChecksAreComplete(t *testing.T) {
	t.Parallel()
	tested := map[string]bool{}
	for _, f := range faults {
		tested[f.code] = true
	}
	before := map[string]bool{}
	for _, c := range All() {
		if !form.MatchString(c.Code) || before[c.Code] {
			t.Errorf("code %q: not of the form, or twice", c.Code)
		}
		for _, cause := range c.causes {
			if !before[cause.code] {
				t.Errorf("%s: cause %s does not come before", c.Code, cause.code)
			}
		}
		before[c.Code] = true
		if c.Title == "" || c.Meaning == "" || c.Remedy == "" || c.Severity == "" {
			t.Errorf("%s: a text is missing", c.Code)
		}
		if !tested[c.Code] {
			t.Errorf("%s: no test has its fault", c.Code)
		}
		if found, ok := Find(c.Code); !ok || found.Code != c.Code {
			t.Errorf("%s: is not found by its code", c.Code)
		}
	}
}

func TestConsequencesGoBelowTheirRoot(t *testing.T) {
	t.Parallel()
	pod := &Object{"Pod", "shop", "web-1"}
	emit := func(f ...Finding) func(*Cluster, func(Finding)) {
		return func(_ *Cluster, found func(Finding)) {
			for _, x := range f {
				found(x)
			}
		}
	}
	a := &Check{Code: "OVNK-A-001", Severity: Error, find: emit(Finding{Node: "n1", Message: "a"})}
	b := &Check{Code: "OVNK-B-001", Severity: Warning, causes: []cause{{a.Code, sameNode}},
		find: emit(Finding{Node: "n2", peers: []string{"n1"}, Object: pod, Message: "by a"}, Finding{Node: "n2", Message: "by nobody"})}
	c := &Check{Code: "OVNK-C-001", Severity: Info, causes: []cause{{b.Code, sameObject}}, find: emit(Finding{Node: "n3", Object: pod, Message: "by b"})}
	got := Run(nil, []*Check{a, b, c}).Findings
	want := []Finding{
		{Code: a.Code, Severity: Error, Node: "n1", Message: "a", Next: "ovnkctl help OVNK-A-001", Explains: []Consequence{
			{Code: b.Code, Node: "n2", Object: pod, Message: "by a"}, {Code: c.Code, Node: "n3", Object: pod, Message: "by b"},
		}},
		{Code: b.Code, Severity: Warning, Node: "n2", Message: "by nobody", Next: "ovnkctl help OVNK-B-001"},
	}
	if d := cmp.Diff(want, got, cmpopts.IgnoreUnexported(Finding{}, Consequence{})); d != "" {
		t.Error(d)
	}
	if worst, ok := Run(nil, []*Check{c}).Worst(); !ok || worst != Info {
		t.Errorf("worst is %q", worst)
	}
}
