package cli

import (
	"bytes"
	"context"
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"k8s.io/cli-runtime/pkg/genericclioptions"
	"k8s.io/cli-runtime/pkg/genericiooptions"

	"github.com/ovnkctl/ovnkctl/internal/explain"
	"github.com/ovnkctl/ovnkctl/internal/inspect"
	"github.com/ovnkctl/ovnkctl/internal/output"
	"github.com/ovnkctl/ovnkctl/internal/trace"
	"github.com/ovnkctl/ovnkctl/internal/whatif"
)

var errOpened = errors.New("opened")

// opens is an inspector that notes that the command got so far.
func opens(*pflag.FlagSet) func(context.Context) (*inspect.Snapshot, error) {
	return func(context.Context) (*inspect.Snapshot, error) { return nil, errOpened }
}

// TestReadingCommandsCheckFlags: what makes no sense is told before anything is opened.
func TestReadingCommandsCheckFlags(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		args string
		want string // of the error; empty when the cluster is opened
	}{
		{"trace a b", ""},
		{"trace a b --protocol UDP --port dns --family 6 --backend 10.0.0.1 --expect dropped --all-backends --reply --physical --via n1 --source-port 5 -o yaml", ""},
		{"trace a", "accepts 2 arg(s)"},
		{"trace a b --protocol igmp", "--protocol=igmp: it is one of"},
		{"trace a b --family 5", "--family=5: it is 4 or 6"},
		{"trace a b --backend x", "--backend=x: not an address"},
		{"trace a b --expect denied", "--expect=denied: it is allowed or dropped"},
		{"trace a b -o xml", "--output=xml: it is one of"},
		{"trace a b --without netpol/a/b --without svc/b", ""},
		{"trace a b --with no-such-file.yaml", "no-such-file.yaml: there is no such file"},
		{"trace a b --with -", "standard input: there is no object in it"},
		{"trace a b --without deployment/a/b", `"deployment" is none of the kinds`},
		{"trace a b --without netpol/a/b --physical", "--physical shows the flows that Open vSwitch has"},
		{"trace a b --watch --interval 1s --for 5s --expect allowed -o json", ""},
		{"trace a b --for 5s", "--interval and --for are about --watch"},
		{"trace a b -w --interval 0", "must be longer than nothing"},
		{"trace a b -w --without netpol/a/b", "--watch is about the cluster as it is"},
		{"explain a", ""},
		{"explain a --node n1 -o json", ""},
		{"explain", "accepts 1 arg(s)"},
		{"explain a -o xml", "--output=xml: it is one of"},
	} {
		streams := genericiooptions.IOStreams{In: strings.NewReader(""), Out: io.Discard, ErrOut: io.Discard}
		root := &cobra.Command{Use: "ovnkctl", SilenceErrors: true, SilenceUsage: true}
		config := genericclioptions.NewConfigFlags(true)
		root.AddCommand(NewTraceCommand(streams, config, opens), NewExplainCommand(streams, config, opens))
		root.SetArgs(strings.Fields(c.args))
		err := root.Execute()
		switch {
		case c.want == "" && !errors.Is(err, errOpened):
			t.Errorf("%s: %v", c.args, err)
		case c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want) || exitCode(t.Context(), err) != ExitUsage):
			t.Errorf("%s: %v (exit code %d), want %q", c.args, err, exitCode(t.Context(), err), c.want)
		}
	}
}

func TestTraceExitCodes(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		verdict trace.Verdict
		expect  string
		partial bool
		want    int
	}{
		{trace.Allowed, "", false, ExitOK}, {trace.Allowed, "allowed", false, ExitOK}, {trace.Allowed, "dropped", false, ExitFindings},
		{trace.Dropped, "", false, ExitFindings}, {trace.Dropped, "dropped", false, ExitOK}, {trace.Rejected, "dropped", false, ExitOK},
		{trace.Unreachable, "allowed", false, ExitFindings}, {trace.Unknown, "dropped", false, ExitPartial},
		{trace.Allowed, "", true, ExitPartial}, {trace.Dropped, "", true, ExitFindings},
	} {
		f := traceFlags{expect: c.expect}
		if got := f.exit(&trace.Result{Verdict: c.verdict}, c.partial); got != c.want {
			t.Errorf("%s, expected %q, partial %v: exit code %d; want %d", c.verdict, c.expect, c.partial, got, c.want)
		}
	}
}

// TestExplained: an explanation in all forms, and what could not be read beside it.
func TestExplained(t *testing.T) {
	t.Parallel()
	e := Explained{
		Meta:        output.Kind("Explanation"),
		Explanation: &explain.Explanation{Subject: "x", What: "a thing", Object: explain.Object{Kind: "Pod", Namespace: "a", Name: "b"}},
	}
	for form, want := range map[string]string{
		"table": "x: a thing\n", "name": "pod/b\n", "jsonpath={.what}": "a thing\n", "custom-columns=IS:.what": "IS\na thing\n",
		"yaml": "apiVersion: ovnkctl.io/v1alpha1\nkind: Explanation\nobject:\n  kind: Pod\n  name: b\n  namespace: a\nsubject: x\nwhat: a thing\n",
	} {
		var b bytes.Buffer
		if err := output.Print(genericiooptions.IOStreams{Out: &b}, e, &output.Flags{Output: form}); err != nil || b.String() != want {
			t.Errorf("%s: %v\n%s", form, err, b.String())
		}
	}
	e.Unread = []*inspect.Problem{{Node: "n1", What: "database", Why: "no answer"}}
	var b bytes.Buffer
	err := output.Print(genericiooptions.IOStreams{Out: &b}, e, &output.Flags{})
	if exitCode(t.Context(), err) != ExitPartial || !strings.Contains(b.String(), "no answer") {
		t.Errorf("%v\n%s", err, b.String())
	}
}

// TestTracedWhatIf: both verdicts stand on top, and the exit code is that of what would be.
func TestTracedWhatIf(t *testing.T) {
	t.Parallel()
	doc := Traced{
		Meta: output.Kind("Trace"), Result: &trace.Result{Verdict: trace.Dropped}, with: "with deny.yaml", code: ExitFindings,
		Today: whatif.NewToday(&trace.Result{Verdict: trace.Allowed, Paths: []*trace.Path{{Verdict: trace.Allowed, Decision: trace.Decision{Text: "nothing forbids it"}}}}, nil),
		Change: &whatif.Change{
			Edits:    []whatif.Edit{{Object: explain.Object{Kind: "NetworkPolicy", Namespace: "shop", Name: "deny"}, Action: whatif.Added, From: "deny.yaml"}},
			Warnings: []string{"look out"},
			Nodes: []*whatif.NodeChange{
				{Node: "n1", Rows: []*whatif.RowChange{{Table: "ACL", Added: 2}, {Table: "ACL", Removed: 1}, {Table: "Port_Group", Changed: 1}}, FlowsBefore: 10, FlowsAfter: 14},
				{Node: "n2"},
			},
		},
	}
	var b bytes.Buffer
	err := output.Print(genericiooptions.IOStreams{Out: &b}, doc, &output.Flags{})
	want := []string{
		"today: ALLOWED → with deny.yaml: DROPPED\n  today    nothing forbids it\n", "\nwith deny.yaml\n  added     NetworkPolicy shop/deny (deny.yaml)\n  warning   look out\n",
		"  n1: ACL: 2 added, 1 removed; Port_Group: 1 changed; logical flows: 10 → 14\n  n2: no row would be different\n",
	}
	if exitCode(t.Context(), err) != ExitFindings {
		t.Errorf("exit code of %v", err)
	}
	for _, text := range want {
		if !strings.Contains(b.String(), text) {
			t.Errorf("lacks %q:\n%s", text, b.String())
		}
	}
	doc.Today = whatif.NewToday(nil, errors.New("no such service"))
	if got := doc.Today.String() + ", " + doc.Today.Why; got != "cannot be asked, no such service" {
		t.Error(got)
	}
}
