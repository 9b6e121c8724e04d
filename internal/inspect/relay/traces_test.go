package relay

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestTracesFail: what keeps a node from tracing many packets at once comes to who asks.
func TestTracesFail(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	program := filepath.Join(dir, "ovn-trace")
	script := "#!/bin/sh\necho \"ovn-trace: no database in $OVN_RUNDIR\" >&2\nexit 1\n"
	if err := os.WriteFile(program, []byte(script), 0o700); err != nil { //nolint:gosec // a program
		t.Fatal(err)
	}
	found := errors.New("ovn-trace is not installed")
	for _, c := range []struct {
		name string
		find func(string) (string, error)
		want string
	}{
		{"no program", func(string) (string, error) { return "", found }, found.Error()},
		{"no database", func(string) (string, error) { return program, nil }, "no database in " + dir},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			client := pair(t, Config{Find: c.find, OVNRunDir: dir})
			_, err := client.Traces(t.Context(), nil, [][]string{{"x"}})
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%v, want %q", err, c.want)
			}
		})
	}
}
