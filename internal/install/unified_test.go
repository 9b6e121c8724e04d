package install

import (
	"fmt"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func TestUnified(t *testing.T) {
	t.Parallel()
	before := "a\nb\nc\nd\ne\nf\ng\nh\ni\nj\nk\nl\n"
	after := "a\nB\nc\nd\ne\nf\ng\nh\ni\nj\nk\nl\nm\n"
	want := "@@ -1,5 +1,5 @@\n a\n-b\n+B\n c\n d\n e\n@@ -10,3 +10,4 @@\n j\n k\n l\n+m\n"
	if got := unified(before, after); got != want {
		t.Errorf("got\n%swant\n%s", got, want)
	}
	if got := unified("", "a\n"); got != "@@ -0,0 +1,1 @@\n+a\n" {
		t.Error(got)
	}
}

// TestUnifiedApplies: who applies the hunks to the first text gets the second.
func TestUnifiedApplies(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		text := rapid.Custom(func(t *rapid.T) string {
			var b strings.Builder
			for _, l := range rapid.SliceOfN(rapid.SampledFrom([]string{"a", "b", "c", ""}), 0, 40).Draw(t, "lines") {
				b.WriteString(l + "\n")
			}
			return b.String()
		})
		before, after := text.Draw(t, "before"), text.Draw(t, "after")
		if got := patched(t, before, unified(before, after)); got != after {
			t.Fatalf("got %q, want %q", got, after)
		}
	})
}

// patched applies a unified diff as patch(1) does, trusting line numbers.
func patched(t *rapid.T, text, diff string) string {
	old := lines(text)
	var out []string
	next := 0 // index of the next line of old
	for _, line := range lines(diff) {
		if strings.HasPrefix(line, "@@") {
			var from, n, to, m int
			if _, err := fmt.Sscanf(line, "@@ -%d,%d +%d,%d @@", &from, &n, &to, &m); err != nil {
				t.Fatal(err)
			}
			if n > 0 {
				from--
			}
			out = append(out, old[next:from]...)
			next = from
			continue
		}
		if line[0] != '+' {
			if old[next] != line[1:] {
				t.Fatalf("line %d is %q, the hunk says %q", next+1, old[next], line[1:])
			}
			next++
		}
		if line[0] != '-' {
			out = append(out, line[1:])
		}
	}
	out = append(out, old[next:]...)
	if len(out) == 0 {
		return ""
	}
	return strings.Join(out, "\n") + "\n"
}
