package cli

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestRun(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	file := func(name, text string) string {
		t.Helper()
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	nowhere := file("nowhere.yaml", "ovn: {nb: \"unix:"+dir+"/nb.sock\", runDir: "+dir+"}\n")
	broken := file("broken.yaml", "netwrk: {}\n")
	for _, test := range []struct {
		args string
		code int
		says []string
	}{
		{"run nonsense", ExitUsage, []string{`unknown command "nonsense"`}},
		{"run probe", ExitUsage, []string{"arg(s)"}},
		{"run probe vswitchd", ExitUsage, []string{"ovsdb, ovs, nb, sb, northd, ovn-controller"}},
		{"run nb surplus", ExitUsage, []string{`"surplus" is not expected`, "behind --"}},
		{"run nb surplus -- --more", ExitUsage, []string{`"surplus" is not expected`}},
		{"run nb --wait=1s", ExitUsage, []string{"unknown flag: --wait"}},
		{"run northd --set-aside-corrupt", ExitUsage, []string{"unknown flag: --set-aside-corrupt"}},
		{"run nb --network.mtu=big", ExitUsage, []string{`"big" is not a whole number`}},
		{"run nb --network.mtu=1", ExitFailed, []string{`network.mtu "1"`, "→"}},
		{"run nb --config " + broken, ExitFailed, []string{"netwrk: unknown key", "did you mean network?"}},
		{"run probe nb --config " + nowhere, ExitFailed, []string{dir + "/nb.sock does not exist"}},
		{"run probe northd --liveness --config " + nowhere, ExitFailed, []string{"ovn-northd is not running: there is no " + dir}},
		{"run stop northd --config " + nowhere, ExitFailed, []string{"ovn-northd is not running"}},
		// A mistake in a new configuration does not make running daemons look dead.
		{"run probe nb --ovn.nb=unix:" + dir + "/none --config " + broken, ExitFailed, []string{"using default sockets", dir + "/none does not exist"}},
	} {
		code, out, err := run(t, append([]string{"ovnkctl"}, strings.Fields(test.args)...)...)
		if code != test.code || out != "" {
			t.Errorf("%s: exit code %d, want %d; stdout %q", test.args, code, test.code, out)
		}
		for _, want := range test.says {
			if !strings.Contains(err, want) {
				t.Errorf("%s: %q is not in\n%s", test.args, want, err)
			}
		}
	}
}
