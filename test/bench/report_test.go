//go:build linux

package main

import (
	"bufio"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestReadBenchmarks(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "programs.txt")
	const output = "pkg: example.com/x/engine\nBenchmarkPlan/10-2 \t 100\t 12.5 ns/op\t 3 allocs/op\nPASS\npkg: example.com/x/pods\nBenchmarkDesired-2 5 1e+06 ns/op\n"
	if err := os.WriteFile(file, []byte(output), 0o600); err != nil {
		t.Fatal(err)
	}
	got, err := readBenchmarks(file)
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]Benchmark{
		"engine Plan/10": {"ns/op": 12.5, "allocs/op": 3},
		"pods Desired":   {"ns/op": 1e6},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
}

func TestStat(t *testing.T) {
	t.Parallel()
	var took []time.Duration
	for i := range 101 {
		took = append(took, time.Duration(100-i)*time.Millisecond)
	}
	if diff := cmp.Diff(Stat{N: 101, P50: 50, P90: 90, P99: 99}, stat(took)); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
	if diff := cmp.Diff(Stat{}, stat(nil)); diff != "" {
		t.Errorf("of nothing: %s", diff)
	}
}

func TestPartName(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		args []string
		want string
	}{
		{[]string{"/usr/bin/ovnkctl", "node", "--x"}, "ovnkctl node"},
		{[]string{"/usr/bin/ovnkctl", "run", "nb"}, ""},
		{[]string{"ovsdb-server", "/etc/ovn/ovnsb_db.db"}, "ovsdb-server ovnsb"},
		{[]string{"ovs-vswitchd", "unix:x"}, "ovs-vswitchd"},
		{[]string{"/pause"}, ""},
		{[]string{""}, ""},
	} {
		if got := partName(c.args); got != c.want {
			t.Errorf("%q: got %q, want %q", c.args, got, c.want)
		}
	}
}

func TestPoliciesReport(t *testing.T) {
	t.Parallel()
	report := func(programs map[string]Benchmark) string {
		var out strings.Builder
		w := &markdown{Writer: bufio.NewWriter(&out)}
		w.policies(Results{Programs: programs})
		if err := w.Flush(); err != nil {
			t.Fatal(err)
		}
		return out.String()
	}
	ours := Benchmark{
		"acls-with": 4000, "s-sync": 12, "s-sync-rows": 3, "txns-sync": 8, "ms-restart-p50": 700, "ms-flip-p50": 30, "ms-flip-p90": 40, "ms-flip-p99": 50,
		"ms-flip-rows-p50": 10, "MiB-ovnkctl-node-with": 64, "s-cpu-ovnkctl-node": 1.5,
	}
	floor := Benchmark{"acls-with": 4000, "s-sync": 10, "s-sync-rows": 2, "txns-sync": 3, "ms-flip-p50": 40, "ms-flip-request-p50": 20, "MiB-ovs-vswitchd-with": 99}
	got := report(map[string]Benchmark{"sim Policies/ours": ours, "sim Policies/floor": floor})
	for _, line := range []string{
		"| with them | 4000 |", "flows after 12.0 s; the floor 2.0 s (3 calls of `ovn-nbctl`) and 10.0 s: **1.20**",
		"| label: 1,000 pods become peers of 30 policies, or no peers | 10 / 0 / 0 | 30 / 40 / 50 | 40 / 0 / 0 | 20 / 0 / 0 | 0.75 | 1.50 |",
		"| ovnkctl-node | – | 64.0 | – | 1.5 | – |", "| ovs-vswitchd | – | – | 99.0 | – | – |",
	} {
		if !strings.Contains(got, line) {
			t.Errorf("no %q in\n%s", line, got)
		}
	}
	if got := report(map[string]Benchmark{"sim Policies/ours": ours}); got != "" {
		t.Errorf("without a floor there is %q", got)
	}
}
