package inspect_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/ovnkctl/ovnkctl/internal/inspect"
	"github.com/ovnkctl/ovnkctl/internal/inspect/inspecttest"
	"github.com/ovnkctl/ovnkctl/internal/ovn/ovntest"
)

// An ovn-trace that is older than the record would say that packets are dropped which are not.
func TestOlderTraceProgram(t *testing.T) {
	t.Parallel()
	path := databaseFile(t, ovntest.SB(t), "n")
	script := inspecttest.Script(t, "ovn-trace", `echo "ovn-trace 22.03.0"; echo "DB Schema 20.9.0"`)
	s, err := inspect.Open(inspect.OpenConfig{Paths: []string{path}, Find: func(string) (string, error) { return script, nil }})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	_, err = s.Node("unknown").Exec(t.Context(), "", "ovn-trace", "sw", "")
	var p *inspect.Problem
	if !errors.As(err, &p) || !strings.Contains(p.Error(), "ovn-trace 22.03.0 on this machine") || !strings.Contains(p.Why, "up to 20.9.0") || p.Next == "" {
		t.Errorf("error = %v", err)
	}
}
