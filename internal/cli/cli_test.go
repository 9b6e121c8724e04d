package cli

import (
	"bytes"
	"strings"
	"testing"
)

func run(t *testing.T, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	var out, err bytes.Buffer
	code = Main(args, strings.NewReader(""), &out, &err)
	return code, out.String(), err.String()
}

func TestCommandLinesThatMakeNoSense(t *testing.T) {
	for _, args := range [][]string{
		{"ovnkctl", "--no-such-flag"},
		{"ovnkctl", "nonsense"},
		{"ovnkctl", "node", "surplus"},
		{"ovnkctl", "node"},
		{"ovnkctl", "version", "--no-such-flag"},
	} {
		t.Setenv("NODE_NAME", "")
		code, out, err := run(t, args...)
		if code != ExitUsage || out != "" || !strings.Contains(err, args[0]) {
			t.Errorf("%q: exit code %d, stdout %q, stderr %q", args, code, out, err)
		}
	}
}

func TestEveryCommandHasHelp(t *testing.T) {
	for _, args := range [][]string{
		{"ovnkctl"}, {"ovnkctl", "node"}, {"ovnkctl", "controller"}, {"ovnkctl", "cni"}, {"ovnkctl", "run"},
		{"ovnkctl", "install"}, {"ovnkctl", "upgrade"}, {"ovnkctl", "uninstall"}, {"ovnkctl", "version"},
	} {
		if code, out, err := run(t, append(args, "--help")...); code != ExitOK || !strings.Contains(out, "Usage:") || err != "" {
			t.Errorf("%q --help: exit code %d, stderr %q", args, code, err)
		}
	}
}

func TestThePluginHasNoDaemons(t *testing.T) {
	code, out, _ := run(t, "/usr/bin/kubectl-ovnk", "--help")
	if code != ExitOK || !strings.Contains(out, "kubectl ovnk") {
		t.Errorf("exit code %d, help %q", code, out)
	}
	for _, daemon := range []string{"node", "controller", "cni", "run"} {
		if code, _, _ := run(t, "kubectl-ovnk", daemon); code != ExitUsage {
			t.Errorf("kubectl ovnk %s: exit code %d, want %d", daemon, code, ExitUsage)
		}
	}
}
