//go:build linux

package main

import (
	"os"
	"path/filepath"
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
