package cli

import (
	"strings"
	"testing"
)

func TestHelpExplainsCodes(t *testing.T) {
	t.Parallel()
	code, out, _ := run(t, "ovnkctl", "help", "ovnk-tun-002")
	if code != ExitOK || !strings.HasPrefix(out, "OVNK-TUN-002 (error)") {
		t.Errorf("exit code %d, output %q", code, out)
	}
	code, _, stderr := run(t, "ovnkctl", "help", "OVNK-TUN-999")
	if code != ExitUsage || !strings.Contains(stderr, "OVNK-TUN-999") {
		t.Errorf("exit code %d, error %q", code, stderr)
	}
	code, out, _ = run(t, "ovnkctl", "help", "diagnose")
	if code != ExitOK || !strings.Contains(out, "--fail-on") {
		t.Errorf("exit code %d, output %q", code, out)
	}
}

func TestDiagnoseCommandLines(t *testing.T) {
	t.Parallel()
	for _, args := range [][]string{{"nonsense"}, {"--fail-on", "bad"}, {"-o", "csv"}, {"--list", "OVNK-NO-001"},
		{"--interval", "5s"}, {"--watch", "--interval", "0s"}, {"--watch", "--from", "../../test/bundle/shop.tar.gz"},
		{"--watch", "--list"}, {"--watch", "pod/cart"}, {"--watch", "-o", "junit"}, {"--watch", "nonsense"},
	} {
		if code, out, stderr := run(t, append([]string{"ovnkctl", "diagnose"}, args...)...); code != ExitUsage || out != "" || stderr == "" {
			t.Errorf("%v: exit code %d, output %q, error %q", args, code, out, stderr)
		}
	}
	code, out, _ := run(t, "ovnkctl", "diagnose", "--list", "ctl", "-o", "name")
	if code != ExitOK || out != "OVNK-CTL-001\n" {
		t.Errorf("exit code %d, output %q", code, out)
	}
}

// Nobody answers at the first look: the watch ends, and says why.
func TestDiagnoseWatchNeedsACluster(t *testing.T) {
	t.Parallel()
	code, out, stderr := run(t, "ovnkctl", "diagnose", "--watch", "--server", "http://127.0.0.1:1")
	if code == ExitOK || out != "" || !strings.Contains(stderr, "127.0.0.1:1") {
		t.Errorf("exit code %d, output %q, error %q", code, out, stderr)
	}
}
