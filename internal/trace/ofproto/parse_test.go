package ofproto

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "write the goldens")

// dump is a trace with its true depth.
func dump(t *Trace) string {
	var b strings.Builder
	for _, p := range t.Passes {
		fmt.Fprintf(&b, "pass %s ct=%s assumed=%v\n  flow %s\n  final %s\n  megaflow %s\n  actions %s\n  NAT %s => %s\n", p.Recirculation, p.CTState, p.Assumed,
			p.Flow, p.Final, p.Megaflow, p.Actions, p.NATFrom, p.NATTo)
		for _, s := range p.SlowPath {
			fmt.Fprintf(&b, "  slow: %s\n", s)
		}
		if p.Failure != "" {
			fmt.Fprintf(&b, "  failure: %s\n", p.Failure)
		}
		nodes(&b, p.Nodes, 1)
	}
	if t.Limit != "" {
		fmt.Fprintf(&b, "limit: %s\n", t.Limit)
	}
	for _, l := range t.Unknown {
		fmt.Fprintf(&b, "unknown: %s\n", l)
	}
	return b.String()
}

func nodes(b *strings.Builder, list []*Node, depth int) {
	for _, n := range list {
		fmt.Fprintf(b, "%s%s ", strings.Repeat("  ", depth), n.Kind)
		switch {
		case n.Flow == nil:
			b.WriteString(n.Text)
		case n.Flow.NoMatch:
			fmt.Fprintf(b, "%d none", n.Flow.Table)
		default:
			fmt.Fprintf(b, "%d <%s> %d %08x", n.Flow.Table, n.Flow.Match, n.Flow.Priority, n.Flow.Cookie)
		}
		b.WriteByte('\n')
		nodes(b, n.Children, depth+1)
	}
}

// TestSamples reads what two versions printed, and understands each line.
func TestSamples(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatal(files, err)
	}
	for _, f := range files {
		t.Run(strings.TrimSuffix(filepath.Base(f), ".txt"), func(t *testing.T) {
			t.Parallel()
			text, err := os.ReadFile(f)
			if err != nil {
				t.Fatal(err)
			}
			trace := Parse(string(text))
			for _, l := range trace.Unknown {
				t.Errorf("not understood: %s", l)
			}
			checkLines(t, string(text), trace)
			golden := strings.TrimSuffix(f, ".txt") + ".golden"
			if *update {
				if err := os.WriteFile(golden, []byte(dump(trace)), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(string(want), dump(trace)); d != "" {
				t.Error(d)
			}
		})
	}
}

func TestLines(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ name, text, want string }{
		{"nothing", "", ""},
		{"an error", "Bad openflow flow syntax: x\n", "unknown: line 1: \"Bad openflow flow syntax: x\": neither a flow nor an action\n"},
		{
			"slow path and failure",
			"Flow: tcp\n\nbridge(\"b\")\n-----------\n 0. priority 0\n    NORMAL\n     -> forwarding to learned port\n     >> odd\n     >>>> bad <<<<\n    what()\n\nFinal flow: unchanged\nMegaflow: eth\nDatapath actions: 1\nThis flow is handled by the userspace slow path because it:\n  - Sends \"packet-in\" messages to the OpenFlow controller.\nTranslation failed (Too deep), packet is dropped.\n",
			"pass  ct= assumed=false\n  flow tcp\n  final unchanged\n  megaflow eth\n  actions 1\n  NAT  => \n  slow: Sends \"packet-in\" messages to the OpenFlow controller.\n  failure: Translation failed (Too deep), packet is dropped.\n  Bridge b\n    Table 0 <> 0 00000000\n      Action NORMAL\n      Detail forwarding to learned port\n      Warning odd\n      Error bad\nunknown: line 10: \"    what()\": neither a flow nor an action\n",
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			if d := cmp.Diff(c.want, dump(Parse(c.text))); d != "" {
				t.Error(d)
			}
		})
	}
}

// checkLines fails unless each line that says something is a node, part of a pass, or
// reported.
func checkLines(t *testing.T, text string, trace *Trace) {
	t.Helper()
	seen := map[int]bool{}
	facts := map[string]bool{".": true, slowPath: true, "Replacing src/dst IP/ports to simulate NAT:": true, " Initial flow: ": true, " Modified flow: ": true}
	for _, p := range trace.Passes {
		for _, f := range []string{
			"Flow: " + p.Flow, " Initial flow: " + p.NATFrom, " Modified flow: " + p.NATTo, "Final flow: " + p.Final,
			"Megaflow: " + p.Megaflow, "Datapath actions: " + p.Actions,
		} {
			facts[f] = true
		}
		for _, s := range p.SlowPath {
			facts["  - "+s] = true
		}
		Walk(p.Nodes, func(n *Node) {
			if seen[n.Line] {
				t.Errorf("line %d is two nodes", n.Line)
			}
			seen[n.Line] = true
		})
	}
	for _, l := range trace.Unknown {
		seen[l.Number] = true
	}
	said := trace.Limit
	for _, p := range trace.Passes {
		said += " " + p.Failure + " recirc(" + p.Recirculation + ")"
	}
	lines := strings.Split(strings.ReplaceAll(text, "\r\n", "\n"), "\n")
	for i, l := range lines {
		head, _, _ := strings.Cut(l, " - resume")
		switch {
		case seen[i+1], facts[l], strings.TrimSpace(l) == "", strings.Trim(l, "=") == "", strings.Contains(said, head):
		case i > 0 && seen[i] && isUnderline(lines[i-1], l):
		default:
			t.Errorf("line %d is lost: %q", i+1, l)
		}
	}
}

func FuzzParse(f *testing.F) {
	files, _ := filepath.Glob("testdata/*.txt")
	for _, name := range files {
		if text, err := os.ReadFile(name); err == nil {
			f.Add(string(text))
		}
	}
	f.Fuzz(func(t *testing.T, text string) {
		checkLines(t, text, Parse(text))
	})
}
