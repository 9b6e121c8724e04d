package status_test

import (
	"bytes"
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/ovnkctl/ovnkctl/internal/output"
	"github.com/ovnkctl/ovnkctl/internal/status"
)

var build = status.Build{Version: "v1.0.0", Go: "go1.26.8", Platform: "linux/amd64"}

// released reads the versions of a cluster and writes them for people.
func released(t *testing.T, c *cluster, client status.Build) (*status.Release, string) {
	t.Helper()
	s := c.Snapshot(patience)
	defer s.Close() //nolint:errcheck // only read
	r, err := status.ReadRelease(t.Context(), s, client)
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	if err := r.Text(&b, output.Style{}, false); err != nil {
		t.Fatal(err)
	}
	return r, b.String()
}

func TestRelease(t *testing.T) {
	t.Parallel()
	r, text := released(t, newCluster(t), build)
	want := `ovnkctl v1.0.0 (go1.26.8 linux/amd64)

in ` + r.Source.Name + `:
PROGRAM          VERSION   NODES
ovnkctl          v1.0.0    a, b
ovn-northd       25.03.0   a, b
ovn-controller   25.03.0   a, b
Open vSwitch     3.5.0     a, b
`
	if d := cmp.Diff(want, text); d != "" || r.ExitCode() != output.OK {
		t.Errorf("%s\nexit code %d", d, r.ExitCode())
	}
}

// TestReleaseSkew: nodes that differ, and a client that does, are told.
func TestReleaseSkew(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	run := c.Run
	c.Run = func(node string, argv []string) (string, int) {
		text, code := run(node, argv)
		if node == "b" {
			text = strings.Replace(text, "ovn-controller 25.03.0", "ovn-controller 24.09.1", 1)
		}
		return text, code
	}
	client := build
	client.Version = "v2.0.0"
	r, text := released(t, c, client)
	if len(r.Notes) != 2 || !strings.Contains(text, "24.09.1 on b; 25.03.0 on a") || !strings.Contains(text, "this program is v2.0.0, the cluster runs v1.0.0") {
		t.Errorf("%d notes:\n%s", len(r.Notes), text)
	}
}

// TestReleasePartly: a node that does not answer is named, and the rest is told.
func TestReleasePartly(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	c.Refuse = func(node string) error {
		if node == "b" {
			return errors.New("no route to host")
		}
		return nil
	}
	r, text := released(t, c, build)
	if r.ExitCode() != output.Partial || !strings.Contains(text, "node b") || !strings.Contains(text, "25.03.0   a\n") {
		t.Errorf("exit code %d:\n%s", r.ExitCode(), text)
	}
}
