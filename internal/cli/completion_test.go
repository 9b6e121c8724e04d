package cli

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// completions are the words that a shell would offer, and cobra's directive.
func completions(t *testing.T, args ...string) string {
	t.Helper()
	code, out, _ := run(t, append([]string{"ovnkctl", "__complete"}, args...)...)
	if code != ExitOK {
		t.Errorf("%q: exit code %d", args, code)
	}
	return strings.TrimSpace(strings.ReplaceAll(out, "\n", " "))
}

const record = "--from=../../test/bundle/shop.tar.gz"

// The directives: ":4" has the shell offer no files, ":6" write no blank either.
func TestCompletion(t *testing.T) {
	for _, c := range []struct {
		args []string
		want string
	}{
		{[]string{"trace", record, "s"}, "shop/ svc/ :6"},
		{[]string{"trace", record, "shop/"}, "shop/cart-0 shop/db shop/db-0 shop/mail shop/web shop/web-0 shop/web-1 :4"},
		{[]string{"trace", record, "svc/sh"}, "svc/shop/db svc/shop/mail svc/shop/web :4"},
		{[]string{"trace", record, "shop/cart-0", "node/"}, "node/node1 node/node2 node/node3 :4"},
		{[]string{"trace", record, "-n", "shop", "web"}, "web web-0 web-1 :4"},
		{[]string{"trace", record, "a", "b", ""}, ":4"},
		{[]string{"reach", record, "shop/cart-0", "shop/c"}, ":4"}, // it is there already
		{[]string{"explain", record, "netpol/"}, "netpol/shop/db-from-cart :4"},
		{[]string{"explain", record, "--node", ""}, "node1 node2 node3 :4"},
		{[]string{"logs", record, "node2", "ovn-"}, "ovn-controller ovn-northd :4"},
		{[]string{"logs", "--level", ""}, "debug info warn error :4"},
		{[]string{"diagnose", "OVNK-VER"}, "OVNK-VER-001 :4"},
		{[]string{"diagnose", record, "pod", "shop/c"}, "shop/cart-0 :4"},
		{[]string{"help", "ver"}, "version :4"},
		{[]string{"trace", "-o", "j"}, "json jsonpath= :4"},
		{[]string{"logs", "-o", "nd"}, "ndjson :4"},
		{[]string{"trace", "--expect", ""}, "allowed dropped :4"},
		{[]string{"status", record, "-n", "sho"}, "shop :4"},
		{[]string{"schema", "Log"}, "Logs :4"},
		{[]string{"trace", "--kubeconfig=/nonexistent", ""}, ":4"},
		{[]string{"trace", "--from=/nonexistent", ""}, ":4"},
		{[]string{"trace", "-s", "http://127.0.0.1:1", ""}, ":4"},
	} {
		if d := cmp.Diff(c.want, completions(t, c.args...)); d != "" {
			t.Errorf("%q: %s", c.args, d)
		}
	}
}

func TestCompletionOfThePlugin(t *testing.T) {
	_, out, _ := run(t, "kubectl-ovnk", "__complete", "")
	for _, want := range []string{"trace\t", "logs\t"} {
		if !strings.Contains(out, want) {
			t.Errorf("no %q in %s", want, out)
		}
	}
	if strings.Contains(out, "controller\t") {
		t.Errorf("a daemon in %s", out)
	}
}
