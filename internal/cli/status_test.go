package cli

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/ovnkctl/ovnkctl/internal/ovn"
	"github.com/ovnkctl/ovnkctl/internal/ovn/dbfile"
	"github.com/ovnkctl/ovnkctl/internal/ovn/ovntest"
	"github.com/ovnkctl/ovnkctl/internal/status"
)

// northbound writes a Northbound database of a zone into a file.
func northbound(t *testing.T, zone string) string {
	t.Helper()
	schema, err := json.Marshal(ovntest.Schema(ovn.Northbound()))
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	row := map[string]any{"name": zone, "nb_cfg": 3}
	if err := dbfile.Write(&b, schema, map[string]map[string]map[string]any{
		"NB_Global": {"00000000-0000-0000-0000-000000000001": row},
	}, time.Unix(0, 0)); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "nb.db")
	if err := os.WriteFile(path, b.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestStatusOfFiles(t *testing.T) {
	file := northbound(t, "worker-1")
	code, out, stderr := run(t, "ovnkctl", "status", "--from", file, "-o", "json")
	var s status.Status
	if err := json.Unmarshal([]byte(out), &s); err != nil {
		t.Fatalf("%v: %s %s", err, out, stderr)
	}
	// There is no Southbound database: the answer is partial, and says so.
	if code != ExitPartial || s.Kind != "Status" || len(s.Nodes) != 1 || s.Nodes[0].Name != "worker-1" || s.Nodes[0].Zone != nil || len(s.Problems) == 0 {
		t.Errorf("exit code %d: %s", code, out)
	}
	if code, out, _ := run(t, "ovnkctl", "status", "--from", file, "-o", "name"); code != ExitPartial || out != "node/worker-1\n" {
		t.Errorf("exit code %d: %q", code, out)
	}
	if code, out, _ := run(t, "ovnkctl", "status", "--from", file); code != ExitPartial || !strings.Contains(out, "worker-1") || !strings.Contains(out, "partial:") {
		t.Errorf("exit code %d: %q", code, out)
	}
}

func TestStatusFails(t *testing.T) {
	t.Setenv("HOME", t.TempDir())
	file := northbound(t, "worker-1")
	for name, c := range map[string]struct {
		args []string
		code int
		want string
	}{
		"nobody answers":         {[]string{"--kubeconfig", deadCluster(t)}, ExitFailed, "connection refused"},
		"nobody answers a wait":  {[]string{"--kubeconfig", deadCluster(t), "--wait=1ms"}, ExitTimeout, "after 1ms"},
		"a record is waited for": {[]string{"--from", file, "--wait"}, ExitUsage, "does not change"},
		"a wait into the past":   {[]string{"--wait=-1s"}, ExitUsage, "--wait=-1s"},
		"no such format":         {[]string{"-o", "junit"}, ExitUsage, "--output=junit"},
	} {
		code, out, stderr := run(t, append([]string{"ovnkctl", "status"}, c.args...)...)
		if code != c.code || out != "" || !strings.Contains(stderr, c.want) {
			t.Errorf("%s: exit code %d, want %d; %q, %q", name, code, c.code, out, stderr)
		}
	}
}
