// Package output is how commands answer: one result, one document, many forms.
//
//	result ── Print ──> table, wide        what people read: Table or Text of the result
//	                ├─> json, yaml         the document, with apiVersion and kind
//	                ├─> name, jsonpath=…, custom-columns=…
//	                └─> what the result has more, such as junit or dot
//
// The exit code is the result's, whatever its form.
package output

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"

	"github.com/spf13/pflag"
	"golang.org/x/term"
	"k8s.io/cli-runtime/pkg/genericiooptions"
	"sigs.k8s.io/yaml"
)

// APIVersion is that of all documents. Within it, fields are only added.
const APIVersion = "ovnkctl.io/v1alpha1"

// Meta is what every document begins with: embed it first, inline.
type Meta struct {
	APIVersion string `json:"apiVersion"`
	Kind       string `json:"kind"`
}

// Kind is the beginning of a document of a kind.
func Kind(name string) Meta { return Meta{APIVersion: APIVersion, Kind: name} }

// The exit codes.
const (
	OK          = 0   // fine, allowed
	Failed      = 1   // could not be done
	Usage       = 2   // the command line makes no sense
	Findings    = 3   // something was found; a packet is dropped
	Partial     = 4   // some of the data was not there
	Timeout     = 5   // time ran out
	Interrupted = 130 // by Ctrl-C
)

// A result is a struct with Meta, and implements some of these.
type (
	// Tabular is printed as a table.
	Tabular interface {
		Table(wide bool) Table
	}
	// Textual is printed as text, instead of a table.
	Textual interface {
		Text(w io.Writer, s Style, wide bool) error
	}
	// Named has what -o name prints, such as "pod/web-0": one line each.
	Named interface {
		Names() []string
	}
	// Listed has the elements that custom-columns prints a line for; others are one line.
	Listed interface {
		Items() any
	}
	// Formatted has forms of its own, such as "junit".
	Formatted interface {
		Formats() map[string]func(io.Writer) error
	}
	// Coded has an exit code other than OK.
	Coded interface {
		ExitCode() int
	}
)

// Flags are those of every command that prints a result.
type Flags struct {
	Output    string
	NoHeaders bool
	Color     string
	// Getenv is the environment; nil for the process's own.
	Getenv func(string) string

	more []string
}

// formats are those that every result has; those that end with = have an argument.
var formats = []string{"table", "wide", "json", "yaml", "name", "jsonpath=", "custom-columns="}

// FormsAnnotation is what the flag --output has the forms under, for shells.
const FormsAnnotation = "ovnkctl.io/forms"

// Add adds the flags, with the forms that this command's results have more.
func (f *Flags) Add(fs *pflag.FlagSet, more ...string) {
	f.more = more
	fs.StringVarP(&f.Output, "output", "o", "table", "`format`: "+strings.Join(f.Formats(), ", "))
	_ = fs.SetAnnotation("output", FormsAnnotation, f.Formats()) // it is there
	fs.BoolVar(&f.NoHeaders, "no-headers", false, "leave out the first line of tables")
	fs.StringVar(&f.Color, "color", ColorAuto, "`when` to use colour: auto, always or never")
}

// Formats are the forms that may be asked for.
func (f *Flags) Formats() []string { return append(formats[:len(formats):len(formats)], f.more...) }

// Validate checks the flags, before any work is done.
func (f *Flags) Validate() error {
	if !slices.Contains([]string{ColorAuto, ColorAlways, ColorNever, ""}, f.Color) {
		return fmt.Errorf("--color=%s: it is auto, always or never", f.Color)
	}
	name, argument, has := strings.Cut(f.Output, "=")
	switch {
	case f.Output == "", !has && slices.Contains(f.Formats(), name):
		return nil
	case name == "jsonpath" && has:
		_, err := parsePath(argument)
		return err
	case name == "custom-columns" && has:
		_, err := parseColumns(argument)
		return err
	}
	return fmt.Errorf("--output=%s: it is one of %s", f.Output, strings.Join(f.Formats(), ", "))
}

// Machine tells whether the form is for machines: then nothing else is said.
func (f *Flags) Machine() bool { return f.Output != "" && f.Output != "table" && f.Output != "wide" }

// ExitError ends a command with a code, when all there is to say was said.
type ExitError struct{ Code int }

// Error implements error.
func (e ExitError) Error() string { return fmt.Sprintf("exit code %d", e.Code) }

// ExitCode is the code.
func (e ExitError) ExitCode() int { return e.Code }

// Print prints a result in the form that is asked for. The error is an ExitError when the
// result's exit code is not OK.
func Print(streams genericiooptions.IOStreams, result any, f *Flags) error {
	if err := f.print(streams.Out, result); err != nil {
		return err
	}
	if c, ok := result.(Coded); ok && c.ExitCode() != OK {
		return ExitError{c.ExitCode()}
	}
	return nil
}

func (f *Flags) print(w io.Writer, result any) error {
	name, argument, _ := strings.Cut(f.Output, "=")
	if own, ok := result.(Formatted); ok {
		if write := own.Formats()[f.Output]; write != nil {
			return write(w)
		}
	}
	switch name {
	case "", "table", "wide":
		return f.human(w, result, name == "wide")
	case "json":
		return JSON(w, result)
	case "yaml":
		data, err := yaml.Marshal(result)
		if err != nil {
			return fmt.Errorf("result as YAML: %w", err)
		}
		_, err = w.Write(data)
		return err
	case "name":
		return names(w, result)
	case "jsonpath":
		return printPath(w, result, argument)
	case "custom-columns":
		return f.customColumns(w, result, argument)
	}
	return fmt.Errorf("this result has no form %q; it is one of %s", f.Output, strings.Join(formatsOf(result), ", "))
}

func formatsOf(result any) []string {
	own, ok := result.(Formatted)
	if !ok {
		return formats
	}
	return append(formats[:len(formats):len(formats)], slices.Sorted(maps.Keys(own.Formats()))...)
}

func (f *Flags) human(w io.Writer, result any, wide bool) error {
	s := f.Style(w)
	switch r := result.(type) {
	case Textual:
		return r.Text(w, s, wide)
	case Tabular:
		t := r.Table(wide)
		return t.write(w, s, f.NoHeaders)
	}
	data, err := yaml.Marshal(result)
	if err != nil {
		return err
	}
	_, err = w.Write(data)
	return err
}

func names(w io.Writer, result any) error {
	n, ok := result.(Named)
	if !ok {
		return errors.New("--output=name: this result has no names; use table, json or yaml")
	}
	for _, name := range n.Names() {
		if _, err := fmt.Fprintln(w, name); err != nil {
			return err
		}
	}
	return nil
}

// JSON writes a document for machines and people: indented, and without the escapes that
// are for web pages.
func JSON(w io.Writer, v any) error {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	if err := e.Encode(v); err != nil {
		return fmt.Errorf("result as JSON: %w", err)
	}
	_, err := w.Write(b.Bytes())
	return err
}

// The values of --color.
const (
	ColorAuto   = "auto"
	ColorAlways = "always"
	ColorNever  = "never"
)

// Style is how text is marked. The zero value does not mark any.
type Style struct{ color bool }

// Style is how text on w is marked.
func (f *Flags) Style(w io.Writer) Style {
	getenv := f.Getenv
	if getenv == nil {
		getenv = os.Getenv
	}
	file, ok := w.(*os.File)
	return Style{colored(f.Color, ok && term.IsTerminal(int(file.Fd())), getenv)}
}

// colored decides by what is usual: a flag, NO_COLOR, CLICOLOR_FORCE, and then whether
// there is a terminal that can.
func colored(mode string, terminal bool, getenv func(string) string) bool {
	switch {
	case mode == ColorAlways:
		return true
	case mode == ColorNever, getenv("NO_COLOR") != "":
		return false
	case getenv("CLICOLOR_FORCE") != "" && getenv("CLICOLOR_FORCE") != "0":
		return true
	}
	return terminal && getenv("TERM") != "dumb" && getenv("TERM") != ""
}

// Good is for what is well. As with all marks, the words must say the same without.
func (s Style) Good(text string) string { return s.mark("32", text) }

// Bad is for what fails.
func (s Style) Bad(text string) string { return s.mark("31", text) }

// Warn is for what may fail.
func (s Style) Warn(text string) string { return s.mark("33", text) }

// Dim is for what matters less.
func (s Style) Dim(text string) string { return s.mark("2", text) }

// Bold is for headings.
func (s Style) Bold(text string) string { return s.mark("1", text) }

func (s Style) mark(code, text string) string {
	if !s.color || text == "" {
		return text
	}
	return "\x1b[" + code + "m" + text + "\x1b[0m"
}
