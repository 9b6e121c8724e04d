package cli

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/ovnkctl/ovnkctl/internal/diagnose"
)

func TestPodOf(t *testing.T) {
	t.Parallel()
	for line, want := range map[string]podName{
		"pod/cart":       {"", "cart"},
		"pod/shop/cart":  {"shop", "cart"},
		"shop/cart":      {"shop", "cart"},
		"pod shop/cart":  {"shop", "cart"},
		"pods shop/cart": {"shop", "cart"},
		"pod cart":       {"", "cart"},
		"pod pod/tun":    {"pod", "tun"},
		"pod shop/tun":   {"shop", "tun"},
	} {
		if got, ok := podOf(strings.Fields(line)); !ok || got != want {
			t.Errorf("%s: %+v, %v", line, got, ok)
		}
	}
	// Areas and codes of checks are not pods.
	for _, line := range []string{"", "pod", "pod tun", "tun pod", "pod OVNK-TUN-002", "pod cart web"} {
		if got, ok := podOf(strings.Fields(line)); ok {
			t.Errorf("%s: %+v", line, got)
		}
	}
}

const recorded = "../../test/bundle/shop.tar.gz"

func TestDiagnosePod(t *testing.T) {
	t.Parallel()
	diagnosed := func(args ...string) (int, string, string) {
		return run(t, append([]string{"ovnkctl", "diagnose", "--from", recorded}, args...)...)
	}
	code, out, stderr := diagnosed("pod/cart-0", "-n", "shop", "-o", "json")
	var tl diagnose.Timeline
	if err := json.Unmarshal([]byte(out), &tl); err != nil || code != ExitOK {
		t.Fatalf("exit code %d, %v: %s", code, err, stderr)
	}
	if tl.State != diagnose.PodReady || tl.Namespace != "shop" || tl.Node == "" || len(tl.Addresses) != 2 || len(tl.Stages) < 10 {
		t.Errorf("%+v", tl)
	}
	if code, out, _ := diagnosed("pod", "shop/cart-0", "-o", "name"); code != ExitOK || out != "pod/shop/cart-0\n" {
		t.Errorf("exit code %d, output %q", code, out)
	}
	for line, want := range map[string]string{
		"pod cart-0":               "pod default/cart-0: there is no such pod",
		"pod shop/cart":            "do you mean shop/cart-0?",
		"pod/a/b/c":                "want pod/NAME",
		"pod/":                     "want pod/NAME",
		"pod shop/cart-0 --list":   "--list",
		"pod shop/cart-0 -o junit": "--output=junit",
	} {
		if code, out, stderr := diagnosed(strings.Fields(line)...); code == ExitOK || out != "" || !strings.Contains(stderr, want) {
			t.Errorf("%s: exit code %d, output %q, error %q", line, code, out, stderr)
		}
	}
}
