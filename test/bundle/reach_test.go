package bundle

import (
	"bytes"
	"encoding/csv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/ovnkctl/ovnkctl/internal/cli"
)

// verdicts are the cells of a matrix of the bundle.
func verdicts(t *testing.T, flags ...string) []string {
	t.Helper()
	args := append([]string{
		"ovnkctl", "reach", "*", "to", "*", "svc/shop/*",
		"--from", recorded, "-o", "csv",
	}, flags...)
	var out, errOut bytes.Buffer
	if code := cli.Main(args, strings.NewReader(""), &out, &errOut); code != 0 {
		t.Fatalf("%q: exit code %d\n%s%s", args, code, &out, &errOut)
	}
	records, err := csv.NewReader(&out).ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	var cells []string
	for _, r := range records {
		cells = append(cells, strings.Join(r[:4], " "))
	}
	return cells
}

// TestReach: the matrix of the policies is that of ovn-trace, which traces many packets in one
// go there.
func TestReach(t *testing.T) {
	policies := verdicts(t, "--evaluate")
	if len(policies) < 50 {
		t.Fatalf("%d cells are too few to use up what one ovn-trace is started with", len(policies))
	}
	withOVN(t)
	if d := cmp.Diff(policies, verdicts(t)); d != "" {
		t.Error(d)
	}
}
