package logs

import (
	"bufio"
	"context"
	"io"
	"strings"
	"sync"
	"time"

	"github.com/ovnkctl/ovnkctl/internal/inspect"
)

// Following is how logs are followed.
type Following struct {
	// Open opens the source; anew each time that it is looked for pods that have come.
	Open func(ctx context.Context) (Source, func(), error)
	// Again is the time between such looks, and before a log that has ended is opened again.
	Again time.Duration
	// Say gets each line, one at a time, and Lost each log that cannot be followed for now.
	Say  func(Line) error
	Lost func(node, container string, err error)
}

// Patience is the usual Following.Again.
const Patience = 2 * time.Second

// longest bounds a line, in bytes; of longer ones the rest is left out.
const longest = 64 << 10

// Follow says the lines that there are, and then those that come, until the context ends. Logs
// of containers that start meanwhile are among them. Across logs the order is that of their
// coming.
func Follow(ctx context.Context, o *Options, f *Following) error {
	ctx, cancel := context.WithCancelCause(ctx)
	w := &follower{o: o, f: f, cancel: cancel, last: map[place]time.Time{}, open: map[place]bool{}}
	defer w.running.Wait()
	defer cancel(nil)
	err := w.look(ctx, true)
	for err == nil {
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(f.Again):
		}
		if again := w.look(ctx, false); again != nil && ctx.Err() == nil {
			f.Lost("", "", again) // the API server may be away for a while
		}
	}
	if cause := context.Cause(ctx); cause != nil {
		return cause
	}
	return err
}

// follower is one call of Follow.
type follower struct {
	o       *Options
	f       *Following
	cancel  context.CancelCauseFunc
	running sync.WaitGroup

	mu   sync.Mutex
	last map[place]time.Time // of the last line of each log
	open map[place]bool
}

// look starts to follow the logs that nobody follows. The first time the lines that there are
// are said, by time.
func (w *follower) look(ctx context.Context, first bool) error {
	s, done, err := w.f.Open(ctx)
	if err != nil {
		return err
	}
	var used sync.WaitGroup // by the logs that are followed through it
	defer func() {
		w.running.Go(func() {
			used.Wait()
			done()
		})
	}()
	from := time.Now()
	if first {
		lines, err := Read(ctx, s, w.o)
		if err != nil {
			return err
		}
		for i := range lines {
			w.say(place{lines[i].Node, inspect.Log{Pod: lines[i].Pod, Container: lines[i].Container}}, lines[i])
		}
	}
	o := *w.o
	o.Previous = false
	where, err := places(ctx, s, &o)
	if err != nil {
		return err
	}
	for _, p := range where {
		if !w.claim(p, from, first) {
			continue
		}
		used.Add(1)
		w.running.Go(func() {
			defer used.Done()
			w.follow(ctx, s, p)
		})
	}
	return nil
}

// claim tells whether a log is to be followed now. One that has come later is said from its
// beginning.
func (w *follower) claim(p place, from time.Time, first bool) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.open[p] {
		return false
	}
	w.open[p] = true
	if _, known := w.last[p]; !known && first {
		w.last[p] = from
	}
	return true
}

// follow says the lines of a log until it ends.
func (w *follower) follow(ctx context.Context, s Source, p place) {
	defer func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		delete(w.open, p)
	}()
	w.mu.Lock()
	since := w.last[p]
	w.mu.Unlock()
	stream, err := s.Stream(ctx, p.node, p.log, since)
	if err != nil {
		if ctx.Err() == nil {
			w.f.Lost(p.node, p.log.Container, err)
		}
		return
	}
	defer stream.Close() //nolint:errcheck // only read
	stop := context.AfterFunc(ctx, func() { stream.Close() })
	defer stop()
	r := bufio.NewReaderSize(stream, longest)
	for {
		text, cut, err := r.ReadLine()
		if err != nil {
			return // the next look opens it again
		}
		line, dated := parse(strings.TrimRight(string(text), "\r"))
		for cut && err == nil {
			_, cut, err = r.ReadLine()
		}
		line.Node, line.Pod, line.Container = p.node, p.log.Pod, p.log.Container
		w.mu.Lock()
		said := dated && !line.Time.After(w.last[p]) // streams begin at whole seconds
		w.mu.Unlock()
		if !said && w.o.wants(&line) {
			w.say(p, line)
		}
		if err == io.EOF { //nolint:errorlint // of a Reader
			return
		}
	}
}

// say says a line, and remembers its time.
func (w *follower) say(p place, l Line) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if l.Time.After(w.last[p]) {
		w.last[p] = l.Time
	}
	if err := w.f.Say(l); err != nil {
		w.cancel(err)
	}
}
