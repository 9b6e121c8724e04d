package ovntrace

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
	fmt.Fprintf(&b, "packet: %s\n", t.Packet)
	if t.Failure != "" {
		fmt.Fprintf(&b, "failure: %s\n", t.Failure)
	}
	fmt.Fprintf(&b, "messages: %d\n", len(t.Messages))
	for _, form := range []struct {
		name  string
		nodes []*Node
	}{{"detailed", t.Detailed}, {"summary", t.Summary}, {"minimal", t.Minimal}} {
		if form.nodes == nil {
			continue
		}
		fmt.Fprintf(&b, "%s:\n", form.name)
		Walk(form.nodes, func(n *Node, within []*Node) bool {
			// Depth of what is within pipelines and transformations, not of each flow in the one before.
			depth := 1
			for _, w := range within {
				if w.Kind != Flow {
					depth++
				}
			}
			fmt.Fprintf(&b, "%s%s", strings.Repeat("  ", depth), n.Kind)
			switch {
			case n.Flow != nil && n.Flow.NoMatch:
				fmt.Fprintf(&b, " %d %s: none", n.Flow.Table, n.Flow.Stage)
			case n.Flow != nil:
				fmt.Fprintf(&b, " %d %s <%s> %d %s %s", n.Flow.Table, n.Flow.Stage, n.Flow.Match, n.Flow.Priority, n.Flow.UUID, n.Flow.Source)
			case n.Out != nil:
				fmt.Fprintf(&b, " %q %q", n.Out.Port, n.Out.Type)
			case n.Ports != Ports{}:
				fmt.Fprintf(&b, " %+v", n.Ports)
			default:
				fmt.Fprintf(&b, " %s", n.Text)
			}
			b.WriteByte('\n')
			return true
		})
	}
	for _, l := range t.Unknown {
		fmt.Fprintf(&b, "unknown: %s\n", l)
	}
	return b.String()
}

// TestSamples reads what ovn-trace of two versions printed, and understands each line.
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
			got := dump(trace)
			golden := strings.TrimSuffix(f, ".txt") + ".golden"
			if *update {
				if err := os.WriteFile(golden, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(string(want), got); d != "" {
				t.Error(d)
			}
		})
	}
}

func TestLines(t *testing.T) {
	t.Parallel()
	const top = "# tcp\n\ningress(dp=\"n1\", inport=\"p\")\n----------------------------\n"
	for _, c := range []struct{ text, want string }{
		{"error parsing flow: Syntax error\n", "packet: \nfailure: error parsing flow: Syntax error\nmessages: 0\n"},
		{"", "packet: \nmessages: 0\n"},
		{top + "10. ls_in_x: no match (implicit drop)\n", "packet: tcp\nmessages: 0\ndetailed:\n  Pipeline {Ingress:true Datapath:n1 Inport:p Outport: Group:}\n    Flow 10 ls_in_x: none\n"},
		{top + " 0. no match (implicit drop)\n", "packet: tcp\nmessages: 0\ndetailed:\n  Pipeline {Ingress:true Datapath:n1 Inport:p Outport: Group:}\n    Flow 0 : none\n"},
		{top + " 0. (northd.c:1): a, priority 2, uuid 00000001\n    drop;\n    what\n      next;\n", "packet: tcp\nmessages: 0\ndetailed:\n  Pipeline {Ingress:true Datapath:n1 Inport:p Outport: Group:}\n    Flow 0  <a> 2 00000001 northd.c:1\n    Action drop;\nunknown: line 7: \"    what\": neither a flow nor an action\nunknown: line 8: \"      next;\": in a column that no line is in\n"},
		{"# tcp\nct_lb_mark {\n    arp.op = 2;\n    *** TTL underflow;\n    clone;\n    output(\"p\");\n};\n}\nboo {\n", "packet: tcp\nmessages: 0\nminimal:\n  Transformation ct_lb_mark\n    Modify arp.op = 2\n    Error *** TTL underflow\n    Transformation clone\n    Output \"p\" \"\"\n  Transformation boo\nunknown: line 8: \"}\": it closes what is not open\nunknown: line 9: \"boo {\": not a title that is known\nunknown: line 9: \"boo\": its brace is not closed\n"},
	} {
		if d := cmp.Diff(c.want, dump(Parse(c.text))); d != "" {
			t.Errorf("%q: %s", c.text, d)
		}
	}
}

// checkLines fails unless each line that says something is a node, a message, or reported.
func checkLines(t *testing.T, text string, trace *Trace) {
	t.Helper()
	seen := map[int]bool{}
	for _, nodes := range [][]*Node{trace.Detailed, trace.Summary, trace.Minimal} {
		Walk(nodes, func(n *Node, _ []*Node) bool {
			if seen[n.Line] {
				t.Errorf("line %d is two nodes", n.Line)
			}
			seen[n.Line] = true
			return true
		})
	}
	for _, list := range [][]Line{trace.Messages, trace.Unknown} {
		for _, l := range list {
			seen[l.Number] = true
		}
	}
	lines := strings.Split(strings.ReplaceAll(text, "\r\n", "\n"), "\n")
	for i, l := range lines {
		trimmed := strings.TrimSpace(l)
		_, heading := headings[l]
		switch {
		case seen[i+1], trimmed == "", trimmed == "}", trimmed == "};", heading:
		case strings.Trim(trimmed, "-") == "" && i > 0 && seen[i] && isUnderline(lines[i-1], l):
		case l == "# "+trace.Packet, l == trace.Failure:
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
