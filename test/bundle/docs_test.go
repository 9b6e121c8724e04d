package bundle

import (
	"bytes"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/ovnkctl/ovnkctl/internal/cli"
)

// sample is a command in the documents, and what they say that it says. A line "…" stands for
// any lines, and "…" within a line for any text.
type sample struct {
	command string
	says    []string
}

// samplesIn are the commands in the blocks of a document.
func samplesIn(text string) []sample {
	var out []sample
	block, open := false, false // open: lines belong to the last command
	for line := range strings.Lines(text) {
		line = strings.TrimRight(line, "\n")
		switch command, ok := strings.CutPrefix(line, "$ "); {
		case strings.HasPrefix(line, "```"):
			block, open = !block, false
		case block && ok:
			out, open = append(out, sample{command: command}), true
		case block && open:
			last := &out[len(out)-1]
			last.says = append(last.says, line)
		}
	}
	for i := range out { // an empty line before the next command is for the eye
		for n := len(out[i].says); n > 0 && out[i].says[n-1] == ""; n-- {
			out[i].says = out[i].says[:n-1]
		}
	}
	return out
}

var words = regexp.MustCompile(`'[^']*'|\S+`)

// differs is the first line of what was said that the document does not say, and of the
// document the line that is not said; both are empty if they agree.
func differs(want, got []string) (wanted, said string) {
	if len(want) == 0 {
		if len(got) == 0 {
			return "", ""
		}
		return "(the end)", got[0]
	}
	if strings.TrimSpace(want[0]) == "…" {
		for skip := range len(got) + 1 {
			if wanted, said = differs(want[1:], got[skip:]); wanted == "" && said == "" {
				return "", ""
			}
		}
		return want[min(1, len(want)-1)], "(nothing like it)"
	}
	if len(got) == 0 {
		return want[0], "(the end)"
	}
	parts := strings.Split(want[0], "…")
	for i := range parts {
		parts[i] = regexp.QuoteMeta(parts[i])
	}
	if !regexp.MustCompile("^" + strings.Join(parts, ".*") + "$").MatchString(strings.TrimRight(got[0], " ")) {
		return want[0], got[0]
	}
	return differs(want[1:], got[1:])
}

func linesOf(text string) []string { return strings.Split(strings.TrimRight(text, "\n"), "\n") }

// TestDocuments: what the documents show of the recorded cluster is what the program says.
func TestDocuments(t *testing.T) {
	withOVN(t)
	files, err := filepath.Glob("../../docs/*.md")
	if err != nil {
		t.Fatal(err)
	}
	dir, count := t.TempDir(), 0
	for _, file := range append(files, "../../README.md") {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, s := range samplesIn(string(text)) {
			args := words.FindAllString(s.command, -1)
			for i := range args {
				args[i] = strings.Trim(args[i], "'")
			}
			if args[0] == "cat" && len(args) == 2 { // a file that the next command is about
				if err := os.WriteFile(filepath.Join(dir, args[1]), []byte(strings.Join(s.says, "\n")+"\n"), 0o644); err != nil {
					t.Fatal(err)
				}
				continue
			}
			if args[0] != "ovnkctl" || !slices.Contains(args, recorded) {
				continue
			}
			count++
			for i := range args {
				if _, err := os.Stat(filepath.Join(dir, args[i])); err == nil && strings.HasSuffix(args[i], ".yaml") {
					args[i] = filepath.Join(dir, args[i])
				}
			}
			var said bytes.Buffer
			code := cli.Main(args, strings.NewReader(""), &said, &said)
			got := strings.ReplaceAll(said.String(), dir+"/", "")
			if code == cli.ExitUsage || len(s.says) > 0 {
				if wanted, line := differs(s.says, linesOf(got)); wanted != "" || line != "" {
					t.Errorf("%s: $ %s\nthe document  %s\nthe program   %s\nexit code %d, all of it:\n%s", file, s.command, wanted, line, code, got)
				}
			}
		}
	}
	if count < 10 {
		t.Errorf("%d commands found in the documents", count)
	}
}

func TestDiffers(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		want, got string
		same      bool
	}{
		{"a\nb", "a\nb", true}, {"a\nb", "a", false}, {"a", "a\nb", false}, {"a\n…", "a\nb\nc", true}, {"a\n…\nc", "a\nb\nc", true},
		{"…\nc", "c", true}, {"a\n…\nd", "a\nb\nc", false}, {"a … c", "a b c", true}, {"a … c", "a b d", false}, {"a.c", "abc", false}, {"a …", "a b", true},
	} {
		if wanted, said := differs(linesOf(c.want), linesOf(c.got)); (wanted == "" && said == "") != c.same {
			t.Errorf("%q and %q: %q, %q", c.want, c.got, wanted, said)
		}
	}
}
