// Package bundle has a recorded cluster to try the reading commands on, and their test.
package bundle

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/ovnkctl/ovnkctl/internal/cli"
)

// recorded is the bundle that ships, which `make bundle` records again.
const recorded = "shop.tar.gz"

// answer is what a command says about it.
type answer struct {
	command string
	code    int
	want    []string
}

// ask runs a command on the bundle.
func ask(t *testing.T, a answer) {
	t.Helper()
	var out, errOut bytes.Buffer
	args := append(append([]string{"ovnkctl"}, strings.Fields(a.command)...), "--from", recorded)
	code := cli.Main(args, strings.NewReader(""), &out, &errOut)
	if code != a.code {
		t.Errorf("%s: exit code %d, want %d\n%s%s", a.command, code, a.code, &out, &errOut)
	}
	for _, w := range a.want {
		if !strings.Contains(out.String(), w) {
			t.Errorf("%s: no %q in\n%s%s", a.command, w, &out, &errOut)
		}
	}
}

func TestReading(t *testing.T) {
	t.Parallel()
	for _, a := range []answer{
		{"status", 0, []string{"ready: 3 of 3 nodes, 9 of 9 pods", "findings: none", "node3   ready"}},
		{"status -o name", 0, []string{"node/node1\nnode/node2\nnode/node3\n"}},
		{"diagnose", 0, []string{"on 3 nodes: no findings"}},
		{"explain shop/db-0", 0, []string{"pod shop/db-0 on node node2", "NetworkPolicy shop/db-from-cart", "EgressFirewall shop/default"}},
		{"explain svc/shop/web", 0, []string{"service shop/web at ", "80/tcp"}},
		{"explain NP:shop:db-from-cart:Ingress:0", 0, []string{"made for NetworkPolicy shop/db-from-cart, ingress rule 0", "node node2"}},
		{"explain shop/nobody", 1, nil},
	} {
		t.Run(a.command, func(t *testing.T) {
			t.Parallel()
			ask(t, a)
		})
	}
}

// withOVN finds ovn-trace of `make ovn-root`, or of this machine; without any the test is
// skipped, unless OVN is required.
func withOVN(t *testing.T) {
	t.Helper()
	dir, err := filepath.Abs("ovn")
	if err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", dir+string(filepath.ListSeparator)+os.Getenv("PATH"))
	if out, err := exec.CommandContext(t.Context(), "ovn-trace", "--version").CombinedOutput(); err != nil {
		if required {
			t.Fatalf("%v: %s", err, out)
		}
		t.Skipf("NOT TESTED: %s", out)
	}
}

func TestTrace(t *testing.T) {
	withOVN(t)
	for _, a := range []answer{
		{"trace shop/cart-0 svc/shop/web:80", 0, []string{"ALLOWED: Pod shop/cart-0 to Service shop/web, tcp/80", "arrives  Pod shop/web-", "GENEVE to node"}},
		{"trace shop/cart-0 svc/shop/db:5432", 0, []string{"ALLOWED", "allowed by NetworkPolicy shop/db-from-cart ingress[0]", "arrives  Pod shop/db-0"}},
		{"trace shop/web-0 svc/shop/db:5432", 3, []string{"DROPPED", "isolated by NetworkPolicy shop/db-from-cart", "pods with app=cart in namespace shop"}},
		{"trace audit/reader-0 svc/shop/db:5432", 3, []string{"DROPPED", "denied by AdminNetworkPolicy audit-stays-out ingress[0] (no-audit)"}},
		{"trace shop/cart-0 svc/shop/mail:25", 3, []string{"REJECTED", "no end point"}},
		{"trace shop/cart-0 203.0.113.9:443", 3, []string{"DROPPED", "denied by EgressFirewall shop/default egress[1]", "203.0.113.1/32"}},
		{"trace shop/cart-0 203.0.113.1:8080", 0, []string{"ALLOWED", "translated to"}},
	} {
		ask(t, a)
	}
}

// TestSmall: it is cloned by everybody.
func TestSmall(t *testing.T) {
	t.Parallel()
	const most = 450 << 10 // bytes
	if stat, err := os.Stat(recorded); err != nil || stat.Size() > most {
		t.Errorf("%v, %v: more than %d bytes", stat, err, most)
	}
}
