package output

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/spf13/pflag"
	"k8s.io/cli-runtime/pkg/genericiooptions"
)

// sample is a result of all traits.
type sample struct {
	Meta
	Pods []samplePod `json:"pods"`
	code int
}

type samplePod struct {
	Name    string            `json:"name"`
	Node    string            `json:"node,omitempty"`
	Ready   bool              `json:"ready"`
	Labels  map[string]string `json:"labels,omitempty"`
	Since   time.Time         `json:"since,omitzero"`
	Parents []*samplePod      `json:"parents,omitempty"`
}

func (s sample) Table(wide bool) Table {
	t := Table{Header: []string{"NAME", "READY"}}
	if wide {
		t.Header = append(t.Header, "NODE")
	}
	for _, p := range s.Pods {
		row := []string{p.Name, fmt.Sprint(p.Ready)}
		if wide {
			row = append(row, p.Node)
		}
		t.Rows = append(t.Rows, row)
	}
	return t
}
func (s sample) Names() []string { return []string{"pod/a", "pod/long-name"} }
func (s sample) Items() any      { return s.Pods }
func (s sample) ExitCode() int   { return s.code }
func (s sample) Formats() map[string]func(io.Writer) error {
	return map[string]func(io.Writer) error{"dot": func(w io.Writer) error { _, err := io.WriteString(w, "digraph {}\n"); return err }}
}

func newSample() sample {
	return sample{Meta: Kind("Sample"), Pods: []samplePod{{Name: "a", Ready: true, Labels: map[string]string{"app": "x<y"}}, {Name: "long-name", Node: "n1"}}}
}

func printed(t *testing.T, result any, args ...string) (string, error) {
	t.Helper()
	var f Flags
	fs := pflag.NewFlagSet("test", pflag.ContinueOnError)
	f.Add(fs, "dot")
	f.Getenv = func(string) string { return "" }
	if err := fs.Parse(args); err != nil {
		t.Fatal(err)
	}
	if err := f.Validate(); err != nil {
		return "", err
	}
	var out bytes.Buffer
	err := Print(genericiooptions.IOStreams{Out: &out}, result, &f)
	return out.String(), err
}

func TestForms(t *testing.T) {
	t.Parallel()
	for args, want := range map[string]string{
		"":                            "NAME        READY\na           true\nlong-name   false\n",
		"-o wide":                     "NAME        READY   NODE\na           true    -\nlong-name   false   n1\n",
		"--no-headers":                "a           true\nlong-name   false\n",
		"-o name":                     "pod/a\npod/long-name\n",
		"-o dot":                      "digraph {}\n",
		"-o jsonpath={.pods[*].name}": "a long-name\n",
		"-o jsonpath=pods[1].node":    "n1\n",
		"-o jsonpath=.nothing":        "",
		"-o custom-columns=N:name,R:.ready,L:.labels.app": "N           R       L\na           true    x<y\nlong-name   false   -\n",
		"-o yaml": "apiVersion: ovnkctl.io/v1alpha1\nkind: Sample\npods:\n- labels:\n    app: x<y\n  name: a\n  ready: true\n- name: long-name\n  node: n1\n  ready: false\n",
	} {
		got, err := printed(t, newSample(), strings.Fields(args)...)
		if diff := cmp.Diff(want, got); diff != "" || err != nil {
			t.Errorf("%q: %v (-want +got):\n%s", args, err, diff)
		}
	}
	got, err := printed(t, newSample(), "-o", "json")
	if err != nil || !strings.Contains(got, `"app": "x<y"`) || !json.Valid([]byte(got)) {
		t.Errorf("json: %v\n%s", err, got)
	}
}

func TestFormsThatThereAreNot(t *testing.T) {
	t.Parallel()
	for _, args := range []string{"-o xml", "-o jsonpath", "-o jsonpath={.x", "-o custom-columns=x", "-o custom-columns=A:{", "--color=maybe", "-o table=x"} {
		if got, err := printed(t, newSample(), strings.Fields(args)...); err == nil || got != "" {
			t.Errorf("%s: %q, %v", args, got, err)
		}
	}
	if _, err := printed(t, struct{ Meta }{Kind("Bare")}, "-o", "name"); err == nil {
		t.Error("names of what has none")
	}
}

// The exit code does not depend on the form.
func TestExitCodes(t *testing.T) {
	t.Parallel()
	s := newSample()
	s.code = Findings
	for _, format := range []string{"table", "json", "yaml", "name", "dot", "jsonpath=.kind"} {
		got, err := printed(t, s, "-o", format)
		var exit ExitError
		if !errors.As(err, &exit) || exit.Code != Findings || got == "" {
			t.Errorf("%s: %v, %q", format, err, got)
		}
	}
}

func TestColored(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		mode     string
		terminal bool
		env      map[string]string
		want     bool
	}{
		{"auto", true, map[string]string{"TERM": "xterm"}, true},
		{"auto", false, map[string]string{"TERM": "xterm"}, false},
		{"auto", true, map[string]string{"TERM": "dumb"}, false},
		{"auto", true, map[string]string{}, false},
		{"auto", true, map[string]string{"TERM": "xterm", "NO_COLOR": "1"}, false},
		{"auto", false, map[string]string{"CLICOLOR_FORCE": "1"}, true},
		{"auto", false, map[string]string{"CLICOLOR_FORCE": "0"}, false},
		{"auto", false, map[string]string{"CLICOLOR_FORCE": "1", "NO_COLOR": "1"}, false},
		{"always", false, map[string]string{"NO_COLOR": "1"}, true},
		{"never", true, map[string]string{"TERM": "xterm", "CLICOLOR_FORCE": "1"}, false},
	} {
		if got := colored(c.mode, c.terminal, func(k string) string { return c.env[k] }); got != c.want {
			t.Errorf("%+v: %v", c, got)
		}
	}
}

// Marks do not move columns.
func TestColouredTable(t *testing.T) {
	t.Parallel()
	s := Style{color: true}
	table := Table{Header: []string{"STATE", "NAME"}, Rows: [][]string{{s.Good("ok"), "a"}, {s.Bad("dropped"), "ü"}}}
	var out bytes.Buffer
	if err := table.Write(&out, s); err != nil {
		t.Fatal(err)
	}
	want := "\x1b[1mSTATE     NAME\x1b[0m\n\x1b[32mok\x1b[0m        a\n\x1b[31mdropped\x1b[0m   ü\n"
	if diff := cmp.Diff(want, out.String()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

type hinted struct{ error }

func (hinted) Hint() string { return "do this" }

func TestErrors(t *testing.T) {
	t.Parallel()
	err := fmt.Errorf("what: %w", hinted{errors.New("why")})
	var out bytes.Buffer
	WriteError(&out, "ovnkctl", err, Failed, false)
	if out.String() != "ovnkctl: what: why\n  → do this\n" {
		t.Errorf("%q", out.String())
	}
	out.Reset()
	WriteError(&out, "ovnkctl", err, Timeout, true)
	var e Error
	if err := json.Unmarshal(out.Bytes(), &e); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(Error{Meta: Kind("Error"), Message: "what: why", Hint: "do this", ExitCode: Timeout}, e); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestSchema(t *testing.T) {
	t.Parallel()
	got, err := Schema(newSample())
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	if err := JSON(&out, got["$defs"]); err != nil {
		t.Fatal(err)
	}
	want := `{
  "samplePod": {
    "properties": {
      "labels": {
        "additionalProperties": {
          "type": "string"
        },
        "type": [
          "object",
          "null"
        ]
      },
      "name": {
        "type": "string"
      },
      "node": {
        "type": "string"
      },
      "parents": {
        "items": {
          "$ref": "#/$defs/samplePod"
        },
        "type": [
          "array",
          "null"
        ]
      },
      "ready": {
        "type": "boolean"
      },
      "since": {
        "format": "date-time",
        "type": "string"
      }
    },
    "required": [
      "name",
      "ready"
    ],
    "type": "object"
  }
}
`
	if diff := cmp.Diff(want, out.String()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if _, err := Schema(samplePod{}); err == nil {
		t.Error("a schema of what is no document")
	}
}
