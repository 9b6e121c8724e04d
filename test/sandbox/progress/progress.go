// Package progress tells a waiting person what happens and for how long: one
// line per finished phase, and a sign of life while a phase runs.
package progress

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"time"
)

// Log prints phases.
type Log struct {
	mu    sync.Mutex
	w     io.Writer
	tty   bool
	now   func() time.Time
	start time.Time
}

// New returns a log that counts from now. On a terminal the running phase is
// one line that is written over; elsewhere it is repeated every half minute.
func New(w io.Writer, tty bool, now func() time.Time) *Log {
	return &Log{w: w, tty: tty, now: now, start: now()}
}

// Phase is one running step.
type Phase struct {
	log   *Log
	name  string
	begin time.Time
	note  string
}

// Note says how far the phase is; the last note is printed with its end.
func (p *Phase) Note(format string, args ...any) {
	p.log.mu.Lock()
	defer p.log.mu.Unlock()
	p.note = fmt.Sprintf(format, args...)
}

// Lines returns a writer that notes the last line written to it.
func (p *Phase) Lines() io.Writer { return &lineNotes{phase: p} }

type lineNotes struct {
	phase   *Phase
	partial string
}

// noteWidth keeps a running phase on one line of a common terminal.
const noteWidth = 100

func (l *lineNotes) Write(b []byte) (int, error) {
	lines := strings.Split(l.partial+string(b), "\n")
	l.partial = lines[len(lines)-1]
	for i := len(lines) - 2; i >= 0; i-- {
		if text := strings.TrimSpace(lines[i]); text != "" {
			if len(text) > noteWidth {
				text = text[:noteWidth] + "..."
			}
			l.phase.Note("%s", text)
			break
		}
	}
	return len(b), nil
}

// Do runs fn as a phase. Its error is named after the phase.
func (l *Log) Do(name string, fn func(*Phase) error) error {
	p := &Phase{log: l, name: name, begin: l.now()}
	every := 30 * time.Second
	if l.tty {
		every = time.Second
	}
	tick := time.NewTicker(every)
	defer tick.Stop()
	done := make(chan error, 1)
	go func() { done <- fn(p) }()
	for {
		select {
		case err := <-done:
			l.end(p, err)
			if err != nil {
				return fmt.Errorf("%s: %w", name, err)
			}
			return nil
		case <-tick.C:
			l.alive(p)
		}
	}
}

// Info prints one line between phases.
func (l *Log) Info(format string, args ...any) {
	l.mu.Lock()
	defer l.mu.Unlock()
	fmt.Fprintf(l.w, "%s %s\n", l.stamp(), fmt.Sprintf(format, args...)) //nolint:errcheck // progress is best effort
}

func (l *Log) stamp() string { return fmt.Sprintf("[%6.1fs]", l.now().Sub(l.start).Seconds()) }

func (l *Log) end(p *Phase, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	word := "done"
	if err != nil {
		word = "FAILED"
	}
	took := l.now().Sub(p.begin)
	line := fmt.Sprintf("%s %-24s %-6s %6.1fs", l.stamp(), p.name, word, took.Seconds())
	if p.note != "" {
		line += "  " + p.note
	}
	fmt.Fprint(l.w, l.clear()+line+"\n") //nolint:errcheck // progress is best effort
}

func (l *Log) alive(p *Phase) {
	l.mu.Lock()
	defer l.mu.Unlock()
	line := fmt.Sprintf("%s %-24s ...    %6.1fs  %s", l.stamp(), p.name, l.now().Sub(p.begin).Seconds(), p.note)
	if l.tty {
		fmt.Fprint(l.w, l.clear()+line) //nolint:errcheck // progress is best effort
		return
	}
	fmt.Fprintln(l.w, strings.TrimRight(line, " ")) //nolint:errcheck // progress is best effort
}

func (l *Log) clear() string {
	if l.tty {
		return "\r\x1b[K"
	}
	return ""
}

// LogError is an error whose reason is in a log file.
type LogError struct {
	Err  error
	Path string
}

func (e *LogError) Error() string { return e.Err.Error() }
func (e *LogError) Unwrap() error { return e.Err }

// WithLog points at the log that explains the error.
func WithLog(err error, path string) error {
	if err == nil || path == "" {
		return err
	}
	return &LogError{Err: err, Path: path}
}

// Explain writes the last lines of the log that belongs to an error.
func Explain(w io.Writer, err error) {
	var le *LogError
	if !errors.As(err, &le) {
		return
	}
	lines, rerr := Tail(le.Path, 20)
	if rerr != nil || len(lines) == 0 {
		return
	}
	fmt.Fprintf(w, "\nLast lines of %s:\n", le.Path) //nolint:errcheck // already reporting an error
	for _, s := range lines {
		fmt.Fprintln(w, "  "+s) //nolint:errcheck // already reporting an error
	}
}

// Tail returns the last n lines of a file.
func Tail(path string, n int) ([]string, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("log: %w", err)
	}
	defer f.Close() //nolint:errcheck // read only
	// A long log is not read from its beginning; 512 bytes per line is plenty.
	if st, err := f.Stat(); err == nil && st.Size() > int64(n)*512 {
		if _, err := f.Seek(-int64(n)*512, io.SeekEnd); err != nil {
			return nil, fmt.Errorf("log: %w", err)
		}
	}
	var lines []string
	sc := bufio.NewScanner(f)
	sc.Buffer(nil, 1<<20)
	for sc.Scan() {
		lines = append(lines, sc.Text())
		if len(lines) > n {
			lines = lines[1:]
		}
	}
	return lines, sc.Err()
}
