package reach

import (
	"bytes"
	"encoding/csv"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/cli-runtime/pkg/genericiooptions"

	"github.com/ovnkctl/ovnkctl/internal/output"
)

var update = flag.Bool("update", false, "rewrite the golden files")

func golden(t *testing.T, name, got string) {
	t.Helper()
	file := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(file, []byte(got), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(string(want), got); d != "" {
		t.Error(d)
	}
}

func printed(t *testing.T, r *Result, form string) string {
	t.Helper()
	var b bytes.Buffer
	if err := output.Print(genericiooptions.IOStreams{Out: &b}, r, &output.Flags{Output: form}); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// TestForms pins what people and machines get.
func TestForms(t *testing.T) {
	t.Parallel()
	s := newShop()
	s.does.AdminNetworkPolicies = nil // the nodes have not heard of it
	small := Options{Oracle: OVN, Sources: []string{"ns/audit", "shop/app=web"}, Destinations: []string{"shop/app=db", "ns/audit", "2001:db8::1"}}
	everything := Options{Oracle: Policies, Destinations: []string{"*", "svc/shop/*"}}
	expected, err := ReadExpected("gate.csv", strings.NewReader("source,destination,port,verdict\nns/audit,shop/app=db,tcp/5432,dropped\nns/audit,ns/audit,icmp,same\nns/gone,ns/audit,icmp,allowed\n"))
	if err != nil {
		t.Fatal(err)
	}
	gate := small
	gate.Expected = expected
	for _, c := range []struct {
		file, form string
		options    Options
	}{
		{"matrix.txt", "table", small},
		{"numbered.txt", "table", everything},
		{"wide.txt", "wide", small},
		{"names.txt", "name", small},
		{"matrix.csv", "csv", small},
		{"matrix.json", "json", small},
		{"matrix.html", "html", gate},
		{"differences.txt", "table", gate},
		{"columns.txt", "custom-columns=WHO:.source,WHOM:.destination,WHY:.decision.rule.object.name", small},
		{"path.txt", `jsonpath={range .cells[?(@.verdict=="Dropped")]}{.source} {.destination}{"\n"}{end}`, everything},
	} {
		t.Run(c.file, func(t *testing.T) {
			t.Parallel()
			golden(t, c.file, printed(t, s.run(t, c.options), c.form))
		})
	}
}

// TestTheRecordIsTheExpectation: what a run writes is what the next one is compared with, in
// each form, and nothing differs.
func TestTheRecordIsTheExpectation(t *testing.T) {
	t.Parallel()
	s := newShop()
	for _, form := range []string{"csv", "json", "yaml"} {
		for _, o := range []Options{
			{Oracle: OVN},
			{Oracle: Policies},
			{Oracle: Policies, Sources: []string{"*", "node/*"}, Destinations: []string{"*", "svc/shop/*", "203.0.113.9", "2001:db8::1", "shop/pod-template-hash in (cart, web-1)"}},
		} {
			record := printed(t, s.run(t, o), form)
			expected, err := ReadExpected("record", strings.NewReader(record))
			if err != nil {
				t.Fatal(err)
			}
			for _, again := range []Options{
				{Oracle: o.Oracle, Expected: expected},
				{Oracle: o.Oracle, Expected: expected, Sources: o.Sources, Destinations: o.Destinations},
			} {
				if again.Sources == nil && o.Sources == nil {
					again.Sources = []string{Everything}
				}
				r := s.run(t, again)
				if len(r.Differences) > 0 || r.Expected != "record" {
					t.Errorf("%s: %+v", form, r.Differences)
				}
				if lines(r) != lines(s.run(t, o)) {
					t.Errorf("%s: other cells than in the record", form)
				}
			}
		}
	}
}

// TestCSVIsCSV: selectors with commas do not break it.
func TestCSVIsCSV(t *testing.T) {
	t.Parallel()
	r := newShop().run(t, Options{Oracle: Policies, Sources: []string{"shop/app in (db, web),app!=web"}, Destinations: []string{"ns/audit"}})
	records, err := csv.NewReader(strings.NewReader(printed(t, r, "csv"))).ReadAll()
	if err != nil || len(records) != 2 || records[1][0] != "shop/app in (db, web),app!=web" {
		t.Errorf("%q, %v", records, err)
	}
}

// TestThePageIsSafe: names of objects are text on the page, whatever they are.
func TestThePageIsSafe(t *testing.T) {
	t.Parallel()
	r := &Result{Cells: []*Cell{{Source: "<script>alert(1)</script>", Destination: `"><b>`, Verdict: Impossible, Error: "<i>"}}}
	page := printed(t, r, "html")
	for _, bad := range []string{"<script>alert", "<b>", "<i>"} {
		if strings.Contains(page, bad) {
			t.Errorf("the page has %s", bad)
		}
	}
}

func TestColours(t *testing.T) {
	t.Parallel()
	r := newShop().run(t, Options{Oracle: Policies, Sources: []string{"ns/audit"}, Destinations: []string{"shop/app=db"}})
	r.Style = (&output.Flags{Color: output.ColorAlways}).Style(&bytes.Buffer{})
	if text := fmt.Sprint(r.Table(false).Rows); !strings.Contains(text, "\x1b[31mX") {
		t.Errorf("%q", text)
	}
	if page := printed(t, r, "html"); strings.Contains(page, "\x1b") {
		t.Error("the page has marks of terminals")
	}
}
