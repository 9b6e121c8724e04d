package install

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestValuesLaterOnesWin(t *testing.T) {
	t.Parallel()
	first, second := filepath.Join(t.TempDir(), "a.yaml"), filepath.Join(t.TempDir(), "b.yaml")
	if err := os.WriteFile(first, []byte("network: {mtu: 1300, encapPort: 6082}\nlog: {level: warn}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(second, []byte("network: {mtu: 1400}\nnode: {podLabels: {a: b}}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	got, err := Values{
		Files: []string{first, second, "-"}, Set: []string{"log.level=debug,gateway.vlan=7"}, SetString: []string{"node.podLabels.n=7"},
	}.read(strings.NewReader("network: {encapIP: 192.0.2.1}\n"))
	if err != nil {
		t.Fatal(err)
	}
	want := values{
		"network": map[string]any{"mtu": 1400.0, "encapPort": 6082.0, "encapIP": "192.0.2.1"},
		"log":     map[string]any{"level": "debug"},
		"gateway": map[string]any{"vlan": 7.0},
		"node":    map[string]any{"podLabels": map[string]any{"a": "b", "n": "7"}},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestValuesErrorsAreUsage(t *testing.T) {
	t.Parallel()
	for name, v := range map[string]Values{
		"no such file":  {Files: []string{"/nonexistent/values.yaml"}},
		"no input":      {Files: []string{"-"}},
		"no assignment": {Set: []string{"log.level"}},
		"no index":      {SetString: []string{"a[x]=1"}},
	} {
		var p *Problem
		if _, err := v.read(nil); !errors.As(err, &p) || p.ExitCode() != exitUsage {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestDifferences(t *testing.T) {
	t.Parallel()
	was := values{"a": map[string]any{"b": 1, "c": "x"}, "d": true}
	is := values{"a": map[string]any{"b": 2, "c": "x"}, "e": "y"}
	if got, want := differences(was, is), "a.b is 1, not 2; d is true, and not set now; e is not set, and y now"; got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	if got := differences(was, was.clone()); got != "" {
		t.Error(got)
	}
}
