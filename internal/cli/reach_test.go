package cli

import (
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/spf13/cobra"
	"k8s.io/cli-runtime/pkg/genericclioptions"
	"k8s.io/cli-runtime/pkg/genericiooptions"

	"github.com/ovnkctl/ovnkctl/internal/inspect"
	"github.com/ovnkctl/ovnkctl/internal/output"
	"github.com/ovnkctl/ovnkctl/internal/reach"
	"github.com/ovnkctl/ovnkctl/internal/trace"
)

// TestReachChecksItsCommandLine: what makes no sense is told before anything is opened.
func TestReachChecksItsCommandLine(t *testing.T) {
	t.Parallel()
	gate := filepath.Join(t.TempDir(), "gate.csv")
	if err := os.WriteFile(gate, []byte("source,destination,port,verdict\nns/a,ns/b,tcp/80,allowed\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		args string
		want string // of the error; empty when the cluster is opened
		code int
	}{
		{"", "", 0},
		{"ns/a b/app=c to svc/d/e 192.0.2.1 --port tcp/80,icmp --each --family 6 --evaluate -o html", "", 0},
		{"to ns/a", "", 0},
		{"--expect " + gate, "", 0},
		{"ns/a to ns/b --port 80 --expect " + gate, "", 0},
		{"ns/a to", "no destination behind 'to'", ExitUsage},
		{"a to b to c", "'to' stands between sources and destinations, once", ExitUsage},
		{"a/b/c", "neither a name nor labels nor an address", ExitUsage},
		{"--port 0", "--port: \"0\": a port is from 1 to 65535", ExitUsage},
		{"--family 5", "--family=5: it is 4 or 6", ExitUsage},
		{"-o xml", "--output=xml: it is one of", ExitUsage},
		{"--port 80 --expect " + gate, "--port: the file of --expect says which ports", ExitUsage},
		{"--expect /no/such/file", "expectations: open /no/such/file", ExitFailed},
		{"--expect -", "expectations in standard input: there are none", ExitFailed},
		{"--with /no/such/file.yaml", "/no/such/file.yaml", ExitUsage},
	} {
		streams := genericiooptions.IOStreams{In: strings.NewReader(""), Out: io.Discard, ErrOut: io.Discard}
		root := &cobra.Command{Use: "ovnkctl", SilenceErrors: true, SilenceUsage: true}
		root.AddCommand(NewReachCommand(streams, genericclioptions.NewConfigFlags(true), opens))
		root.SetArgs(append([]string{"reach"}, strings.Fields(c.args)...))
		err := root.Execute()
		switch {
		case c.want == "" && !errors.Is(err, errOpened):
			t.Errorf("%s: %v", c.args, err)
		case c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want) || exitCode(t.Context(), err) != c.code):
			t.Errorf("%s: %v (exit code %d), want %q", c.args, err, exitCode(t.Context(), err), c.want)
		}
	}
}

func TestReachExitCodes(t *testing.T) {
	t.Parallel()
	unknown := map[trace.Verdict]int{trace.Unknown: 1}
	different := []reach.Difference{{Source: "a"}}
	for _, c := range []struct {
		r                 reach.Result
		partial, expected bool
		want              int
	}{
		{reach.Result{Summary: map[trace.Verdict]int{trace.Dropped: 5}}, false, false, ExitOK},
		{reach.Result{Summary: unknown}, false, false, ExitPartial},
		{reach.Result{}, true, true, ExitPartial},
		{reach.Result{Differences: different, Summary: unknown}, true, true, ExitFindings},
		{reach.Result{Differences: different}, false, false, ExitOK}, // from today
		{reach.Result{Disagreements: 1}, false, false, ExitFindings},
	} {
		if got := reachCode(&c.r, c.partial, c.expected); got != c.want {
			t.Errorf("%+v: exit code %d, want %d", c, got, c.want)
		}
	}
}

// TestReached: the document says where it is from, and what could not be read.
func TestReached(t *testing.T) {
	t.Parallel()
	r := Reached{
		Meta: output.Kind("Reachability"), With: "with a.yaml", From: inspect.Origin{Kind: inspect.Bundle, Name: "b.tar.gz", Time: time.Unix(0, 0)},
		Result: &reach.Result{Cells: []*reach.Cell{{Source: "ns/a", Destination: "ns/b", Port: "icmp", Verdict: trace.Allowed}}},
		unread: unread{[]*inspect.Problem{{Node: "n1", What: "database", Why: "no answer"}}}, code: ExitPartial,
	}
	for form, want := range map[string][]string{
		"table": {"as it would be with a.yaml, which was not applied\n", "as of 1970-01-01T00:00:00Z, from b.tar.gz\n", "SOURCE   ns/b icmp\nns/a     .\n", "database of node n1: no answer"},
		"name":  {"ns/a ns/b icmp allowed\n"},
		"csv":   {"ns/a,ns/b,icmp,Allowed,"},
		"json":  {`"kind": "Reachability"`, `"with": "with a.yaml"`, `"why": "no answer"`},
	} {
		var b bytes.Buffer
		err := output.Print(genericiooptions.IOStreams{Out: &b}, r, &output.Flags{Output: form})
		if exitCode(t.Context(), err) != ExitPartial {
			t.Errorf("%s: %v", form, err)
		}
		for _, text := range want {
			if !strings.Contains(b.String(), text) {
				t.Errorf("%s: no %q in\n%s", form, text, b.String())
			}
		}
	}
}
