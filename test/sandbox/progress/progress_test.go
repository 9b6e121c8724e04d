package progress

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func TestPhasesOnAPipe(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		l := New(&out, false, time.Now)
		err := l.Do("build", func(p *Phase) error {
			p.Note("kubelet")
			time.Sleep(65 * time.Second)
			p.Note("5 programs")
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		boom := errors.New("no space left")
		if err := l.Do("images", func(*Phase) error { return boom }); !errors.Is(err, boom) || err.Error() != "images: no space left" {
			t.Errorf("error %v", err)
		}
		want := strings.Join([]string{
			"[  30.0s] build                    ...      30.0s  kubelet",
			"[  60.0s] build                    ...      60.0s  kubelet",
			"[  65.0s] build                    done     65.0s  5 programs",
			"[  65.0s] images                   FAILED    0.0s",
			"",
		}, "\n")
		if out.String() != want {
			t.Errorf("got:\n%swant:\n%s", out.String(), want)
		}
	})
}

func TestTerminalOverwritesOneLine(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		l := New(&out, true, time.Now)
		if err := l.Do("nodes", func(*Phase) error { time.Sleep(2500 * time.Millisecond); return nil }); err != nil {
			t.Fatal(err)
		}
		if got := strings.Count(out.String(), "\n"); got != 1 {
			t.Errorf("%d lines: %q", got, out.String())
		}
		if got := strings.Count(out.String(), "\r\x1b[K"); got != 3 {
			t.Errorf("%d redraws: %q", got, out.String())
		}
	})
}

func TestExplainShowsTheEndOfTheLog(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "kubelet.log")
	var b strings.Builder
	for i := range 5000 {
		fmt.Fprintf(&b, "line %d\n", i)
	}
	if err := os.WriteFile(path, []byte(b.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	Explain(&out, fmt.Errorf("phase: %w", WithLog(errors.New("node1 did not register"), path)))
	got := out.String()
	if !strings.Contains(got, path) || !strings.Contains(got, "line 4999\n") || !strings.Contains(got, "line 4980\n") || strings.Contains(got, "line 4979\n") {
		t.Errorf("got:\n%s", got)
	}
	out.Reset()
	Explain(&out, errors.New("plain"))
	if out.Len() != 0 {
		t.Errorf("a plain error printed %q", out.String())
	}
}

func TestLinesNotesTheLastWholeLine(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		err := New(&out, false, time.Now).Do("install", func(p *Phase) error {
			w := p.Lines()
			for _, s := range []string{"first\nsec", "ond\n\n", strings.Repeat("x", 300)} {
				if _, err := w.Write([]byte(s)); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		if want := "[   0.0s] install                  done      0.0s  second\n"; out.String() != want {
			t.Errorf("got %q, want %q", out.String(), want)
		}
	})
}
