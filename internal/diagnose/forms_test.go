package diagnose

import (
	"context"
	"encoding/json"
	"encoding/xml"
	"strings"
	"testing"
	"time"

	"github.com/ovnkctl/ovnkctl/internal/inspect"
	"github.com/ovnkctl/ovnkctl/internal/output"
)

// report is of a cluster with an error, which explains others, and a warning.
func report(t *testing.T, failOn Severity) *Report {
	t.Helper()
	c := testCluster(t, nil)
	for _, f := range faults {
		if f.code == "OVNK-POD-003" || f.code == "OVNK-POD-009" {
			f.state(t, c)
		}
	}
	return &Report{
		Meta: output.Kind(reportKind), Source: inspect.Origin{Kind: inspect.Live, Name: "https://192.0.2.1:6443"}, Time: now,
		Nodes: []string{"n1", "n2"}, Result: *Run(c, All()), failOn: failOn,
	}
}

func TestForms(t *testing.T) {
	t.Parallel()
	r := report(t, Error)
	for name, write := range r.Formats() {
		var b strings.Builder
		if err := write(&b); err != nil {
			t.Fatal(err)
		}
		golden(t, "report."+name, b.String())
		var document any
		if name == "sarif" {
			if err := json.Unmarshal([]byte(b.String()), &document); err != nil {
				t.Error(err)
			}
		} else if err := xml.Unmarshal([]byte(b.String()), new(junitSuites)); err != nil {
			t.Error(err)
		}
	}
	var b strings.Builder
	if err := output.JSON(&b, r); err != nil {
		t.Fatal(err)
	}
	golden(t, "report.json", b.String())
}

func TestExitCodeBelongsToTheResult(t *testing.T) {
	t.Parallel()
	partial := []*inspect.Problem{{Node: "n1", What: "nft", Why: "no answer in time"}}
	warning := Result{Findings: []Finding{{Severity: Warning}}}
	for _, c := range []struct {
		report Report
		want   int
	}{
		{Report{failOn: Warning}, output.OK},
		{Report{failOn: Warning, Result: warning}, output.Findings},
		{Report{failOn: Error, Result: warning}, output.OK},
		{Report{failOn: "", Result: warning}, output.OK},
		{Report{failOn: Warning, Result: warning, Problems: partial}, output.Findings},
		{Report{failOn: Error, Result: warning, Problems: partial}, output.Partial},
	} {
		if got := c.report.ExitCode(); got != c.want {
			t.Errorf("%+v: exit code %d, want %d", c.report, got, c.want)
		}
	}
}

func TestBothLooksMustAgree(t *testing.T) {
	t.Parallel()
	web, other := &Object{"Pod", "shop", "web"}, &Object{"Pod", "shop", "web"}
	first := []Finding{{Code: "A", Node: "n1"}, {Code: "B", Object: web, Message: "for 3s"}, {Code: "C"}}
	second := []Finding{{Code: "A", Node: "n2"}, {Code: "B", Object: other, Message: "for 6s"}, {Code: "C", Object: web}}
	got := both(first, second)
	if len(got) != 1 || got[0].Message != "for 6s" {
		t.Errorf("got %+v", got)
	}
}

func TestSelect(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		words []string
		want  int
	}{{nil, len(All()) - 1}, {[]string{"drift"}, 3}, {[]string{"ctl"}, 1}, {[]string{"ovnk-pod-003", "OVNK-POD-003"}, 1}, {[]string{"CTL", "OVNK-POD-003"}, 2}} {
		checks, err := Select(c.words)
		if err != nil || len(checks) != c.want {
			t.Errorf("%v: %d checks, %v", c.words, len(checks), err)
		}
	}
	_, err := Look(context.Background(), Options{Select: []string{"nonsense"}, Now: time.Now})
	if err == nil || !strings.Contains(err.Error(), "nonsense") {
		t.Errorf("got %v", err)
	}
}

func TestHelpFitsATerminal(t *testing.T) {
	t.Parallel()
	for _, c := range All() {
		text := c.Help()
		for line := range strings.Lines(text) {
			if len(line) > 80 {
				t.Errorf("%s: %q is too long", c.Code, line)
			}
		}
		for _, part := range []string{c.Code, "What to do"} {
			if !strings.Contains(text, part) {
				t.Errorf("%s: the help lacks %q", c.Code, part)
			}
		}
	}
}

func TestReferenceIsCurrent(t *testing.T) {
	t.Parallel()
	golden(t, "../../../docs/findings.md", Reference())
}
