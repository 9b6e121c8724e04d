package report

import (
	"encoding/xml"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "write the golden files")

func results(t *testing.T) ([]Result, error) {
	t.Helper()
	data, err := os.ReadFile("testdata/ginkgo.json")
	if err != nil {
		t.Fatal(err)
	}
	return Ginkgo(data)
}

func TestGinkgo(t *testing.T) {
	t.Parallel()
	got, err := results(t)
	want := []Result{
		{"[sig-network] Services should a [Conformance]", Passed, "", 12500 * time.Millisecond},
		{"[sig-network] Services should b|c", Failed, "timed out: 3 < 5 pods (test/e2e/network/service.go:77)", 90 * time.Second},
		{"[sig-network] DNS should d", Skipped, "need at least 3 zones (test/e2e/network/dns.go:54)", time.Millisecond},
		{"[sig-network] DNS should e", Failed, "", 2 * time.Second},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	for _, part := range []string{"outside of the specs: ", "Suite Timeout Elapsed", "SynchronizedBeforeSuite: nodes are not ready", "should a [Conformance] was tried 2 times"} {
		if err == nil || !strings.Contains(err.Error(), part) {
			t.Errorf("error %v lacks %q", err, part)
		}
	}
	if _, err := Ginkgo([]byte("[{")); err == nil {
		t.Error("half a report is accepted")
	}
}

func TestMessagesAreShortAndKeepNoPlaces(t *testing.T) {
	t.Parallel()
	got := Paragraph("I1123 02:34:51.123 77 x.go:5] failed:\n\n  /home/me/go/pkg/mod/k8s.io/x.go:7 " + strings.Repeat("é", 400))
	if !strings.HasPrefix(got, "failed: x.go:7 éé") || len(got) > longest+len("…") || strings.Contains(got, "\ufffd") {
		t.Errorf("%q", got)
	}
}

func report(t *testing.T) *Report {
	t.Helper()
	all, _ := results(t)
	r := New("Services", map[string][]string{
		"services":    {"[sig-network] Services should b|c", "[sig-network] DNS should d", "[sig-network] DNS should f"},
		"conformance": {"[sig-network] Services should a [Conformance]"},
	}, map[string]string{"[sig-network] X": "needs a cloud", "[sig-network] Y": "needs a cloud", "[sig-network] <Z>": "asks the internet"}, all)
	r.About = "Kubernetes' own end-to-end specs against the sandbox: each once, without retries."
	r.Took = 123*time.Second + time.Millisecond
	r.Facts = []Fact{{"Kubernetes", "v1.37.2"}, {"gateway mode", "shared"}}
	return r
}

func TestReport(t *testing.T) {
	t.Parallel()
	r := report(t)
	if r.Good() || r.Count(Passed) != 1 || r.Count(Failed, Skipped, Missing) != 3 || r.Count(Excluded) != 3 {
		t.Errorf("%+v", r.Specs)
	}
	if (&Report{}).Good() {
		t.Error("a run of nothing is good")
	}
	if g := New("", map[string][]string{"a": {"b"}}, nil, []Result{{Name: "b", State: Passed}}); !g.Good() {
		t.Errorf("%+v", g)
	}
	junit, err := r.JUnit()
	if err != nil {
		t.Fatal(err)
	}
	for name, got := range map[string]string{"report.md": r.Markdown(), "report.xml": string(junit)} {
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
		if diff := cmp.Diff(string(want), got); diff != "" {
			t.Errorf("%s (go test -update accepts it): %s", name, diff)
		}
	}
	var back junitSuites
	if err := xml.Unmarshal(junit, &back); err != nil || len(back.Suites) != 1 || len(back.Suites[0].Cases) != 7 || back.Suites[0].Failures != 3 {
		t.Errorf("%v, %+v", err, back)
	}
}
