// Package logs reads what the programs of the network say on all nodes, in the order of time.
package logs

import (
	"context"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/ovnkctl/ovnkctl/internal/inspect"
)

// Source is where logs are.
type Source interface {
	Nodes(ctx context.Context) ([]string, error)
	// Logs are those of a node, and Log is the end of one, with the time before each line: the
	// part that is asked for, or more.
	Logs(ctx context.Context, node string) ([]inspect.Log, error)
	Log(ctx context.Context, node string, l inspect.Log, part inspect.LogPart) (string, error)
	// Stream is a log from a second on, for as long as it is written.
	Stream(ctx context.Context, node string, l inspect.Log, since time.Time) (io.ReadCloser, error)
	// NoteError takes what could not be read, which makes the answer partial.
	NoteError(node, what string, err error)
}

// Options say which lines.
type Options struct {
	// Select are names of nodes and of containers; none for all. Of a kind that none is named
	// of there are all.
	Select []string
	// Since leaves out what is older; zero for nothing.
	Since time.Time
	// Tail is how many lines at the end; negative for all.
	Tail int
	// Level leaves out what is less bad.
	Level Level
	// Match leaves out what does not match it; nil for nothing.
	Match *regexp.Regexp
	// Previous has what containers said before they were started again, too.
	Previous bool
}

// wants tells whether a line is asked for.
func (o *Options) wants(l *Line) bool {
	return !l.Time.Before(o.Since) && l.Level.atLeast(o.Level) && (o.Match == nil || o.Match.MatchString(l.raw))
}

// part is what has to be read of each log: of one there are no more lines than of all.
func (o *Options) part() inspect.LogPart {
	part := inspect.LogPart{Since: o.Since}
	if o.Tail > 0 && o.Level == "" && o.Match == nil {
		part.Lines = o.Tail
	}
	return part
}

// place is a log on a node.
type place struct {
	node string
	log  inspect.Log
}

// UnknownError is a name that no node and no container has.
type UnknownError struct {
	Name              string
	Nodes, Containers []string
}

func (e *UnknownError) Error() string {
	return fmt.Sprintf("no node and no container is called %q", e.Name)
}

// Hint lists what there is.
func (e *UnknownError) Hint() string {
	return fmt.Sprintf("the nodes are %s; the containers are %s", strings.Join(e.Nodes, ", "), strings.Join(e.Containers, ", "))
}

// nodesAtOnce bounds how many nodes are asked at the same time.
const nodesAtOnce = 8

// places are the logs that are asked for. A node that does not tell its logs is a problem.
func places(ctx context.Context, s Source, o *Options) ([]place, error) {
	nodes, err := s.Nodes(ctx)
	if err != nil {
		return nil, err
	}
	lists := make([][]inspect.Log, len(nodes))
	var g errgroup.Group
	g.SetLimit(nodesAtOnce)
	for i, n := range nodes {
		g.Go(func() error {
			list, err := s.Logs(ctx, n)
			if err != nil {
				s.NoteError(n, "list of logs", err)
			}
			lists[i] = list
			return nil
		})
	}
	_ = g.Wait() // it is noted what goes wrong
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	wantNodes, wantContainers, err := o.selection(nodes, lists)
	if err != nil {
		return nil, err
	}
	var out []place
	for i, n := range nodes {
		if len(wantNodes) > 0 && !slices.Contains(wantNodes, n) {
			continue
		}
		for _, l := range lists[i] {
			if (len(wantContainers) == 0 || slices.Contains(wantContainers, l.Container)) && (o.Previous || !l.Previous) {
				out = append(out, place{n, l})
			}
		}
	}
	return out, nil
}

// selection sorts the names that were given.
func (o *Options) selection(nodes []string, lists [][]inspect.Log) (wantNodes, wantContainers []string, err error) {
	var containers []string
	for _, list := range lists {
		for _, l := range list {
			if !slices.Contains(containers, l.Container) {
				containers = append(containers, l.Container)
			}
		}
	}
	slices.Sort(containers)
	for _, name := range o.Select {
		name = strings.TrimPrefix(name, "node/")
		switch {
		case slices.Contains(nodes, name):
			wantNodes = append(wantNodes, name)
		case slices.Contains(containers, name):
			wantContainers = append(wantContainers, name)
		default:
			return nil, nil, &UnknownError{name, nodes, containers}
		}
	}
	return wantNodes, wantContainers, nil
}

// Read reads the lines that there are, by time. Those of one log stay in their order.
func Read(ctx context.Context, s Source, o *Options) ([]Line, error) {
	where, err := places(ctx, s, o)
	if err != nil {
		return nil, err
	}
	read := make([][]Line, len(where))
	var g errgroup.Group
	g.SetLimit(nodesAtOnce)
	for i, p := range where {
		g.Go(func() error {
			text, err := s.Log(ctx, p.node, p.log, o.part())
			if err != nil {
				s.NoteError(p.node, "log of "+p.log.Container, err)
				return nil
			}
			read[i] = o.lines(text, p)
			return nil
		})
	}
	_ = g.Wait() // it is noted what goes wrong
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	lines := slices.Concat(read...)
	slices.SortStableFunc(lines, func(a, b Line) int { return a.Time.Compare(b.Time) })
	return tail(lines, o.Tail), nil
}

func tail(lines []Line, n int) []Line {
	if n < 0 || len(lines) <= n {
		return lines
	}
	return slices.Clone(lines[len(lines)-n:]) // the others need no memory any more
}

// lines are those of a text that are asked for: of one log no more than of all.
func (o *Options) lines(text string, p place) []Line {
	var out []Line
	var last time.Time
	for line := range strings.Lines(text) {
		l, dated := parse(strings.TrimRight(line, "\r\n"))
		if !dated {
			l.Time = last // the rest of a line that was cut
		}
		last = l.Time
		l.Node, l.Pod, l.Container, l.Previous = p.node, p.log.Pod, p.log.Container, p.log.Previous
		if o.wants(&l) {
			out = append(out, l)
		}
	}
	return tail(out, o.Tail)
}
