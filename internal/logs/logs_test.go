package logs

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/ovnkctl/ovnkctl/internal/inspect"
	"github.com/ovnkctl/ovnkctl/internal/output"
)

// cluster is a Source: logs by node, then by pod and container.
type cluster struct {
	mu       sync.Mutex
	logs     map[string]map[inspect.Log]string
	streams  map[inspect.Log]string // what streams have, where it is not the log
	problems []string
}

func (c *cluster) Nodes(context.Context) ([]string, error) { return []string{"n1", "n2", "n3"}, nil }

func (c *cluster) Logs(_ context.Context, node string) ([]inspect.Log, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if node == "n3" {
		return nil, errors.New("it is away")
	}
	var out []inspect.Log
	for l := range c.logs[node] {
		out = append(out, l)
	}
	slices.SortFunc(out, func(a, b inspect.Log) int { return strings.Compare(a.Container, b.Container) })
	return out, nil
}

func (c *cluster) Log(_ context.Context, node string, l inspect.Log, part inspect.LogPart) (string, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	text := c.logs[node][l]
	if part.Lines > 0 { // as a kubelet does it
		lines := strings.SplitAfter(strings.TrimSuffix(text, "\n"), "\n")
		text = strings.Join(lines[max(0, len(lines)-part.Lines):], "")
	}
	return text, nil
}

// Stream has the log as it is now, and ends with the context.
func (c *cluster) Stream(ctx context.Context, node string, l inspect.Log, _ time.Time) (io.ReadCloser, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	r, w := io.Pipe()
	text, ok := c.streams[l]
	if !ok {
		text = c.logs[node][l]
	}
	go func() {
		_, _ = io.WriteString(w, text) // it may be closed
		if strings.HasSuffix(text, "bye\n") {
			w.Close()
		}
	}()
	return r, nil
}

func (c *cluster) NoteError(node, what string, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.problems = append(c.problems, fmt.Sprintf("%s: %s: %v", node, what, err))
}

var (
	node       = inspect.Log{Pod: "node-1", Container: "ovnkube-controller"}
	controller = inspect.Log{Pod: "node-2", Container: "ovn-controller"}
	before     = inspect.Log{Pod: "node-2", Container: "ovn-controller", Previous: true}
)

func newCluster() *cluster {
	return &cluster{logs: map[string]map[inspect.Log]string{
		"n1": {node: `2026-01-02T03:04:05.100000000Z {"time":"2026-01-02T03:04:05.1Z","level":"INFO","msg":"ready","pods":3,"of":{"a": 1},"why":"so it is"}
2026-01-02T03:04:07.000000000Z {"level":"ERROR","msg":"failed"}
2026-01-02T03:04:07.000000001Z goroutine 1 [running]:
`},
		"n2": {
			controller: `2026-01-02T03:04:06.000000000Z 2026-01-02T03:04:06Z|00001|binding|WARN|odd: a|b
2026-01-02T03:04:06.500000000Z 2026-01-02T03:04:06.5Z|00002|poll_loop(urcu1)|DBG|wakeup
`,
			before: "2026-01-01T23:00:00.000000000Z 2026-01-01T23:00:00Z|00009|fatal_signal|EMER|bye\n",
		},
	}}
}

// told is what Read says for people.
func told(t *testing.T, o Options) string {
	t.Helper()
	c := newCluster()
	lines, err := Read(t.Context(), c, &o)
	if err != nil {
		t.Fatal(err)
	}
	if len(c.problems) != 1 || c.problems[0] != "n3: list of logs: it is away" {
		t.Errorf("problems %q, want the node that is away", c.problems)
	}
	var b bytes.Buffer
	if err := NewDocument(inspect.Origin{}, lines, nil).Text(&b, output.Style{}, false); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

const (
	readyLine  = "03:04:05.100 n1/ovnkube-controller INFO ready pods=3 of=\"{\\\"a\\\":1}\" why=\"so it is\"\n"
	oddLine    = "03:04:06.000 n2/ovn-controller WARN binding: odd: a|b\n"
	wakeLine   = "03:04:06.500 n2/ovn-controller DEBUG poll_loop(urcu1): wakeup\n"
	failedLine = "03:04:07.000 n1/ovnkube-controller ERROR failed\n"
	crashLine  = "03:04:07.000 n1/ovnkube-controller goroutine 1 [running]:\n"
	day        = "2026-01-02 UTC\n"
)

func TestRead(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name string
		o    Options
		want string
	}{
		{"all", Options{Tail: -1}, day + readyLine + oddLine + wakeLine + failedLine + crashLine},
		{"the last", Options{Tail: 2}, day + failedLine + crashLine},
		{"none", Options{}, ""},
		{"bad ones, and those that do not say", Options{Tail: -1, Level: Warn}, day + oddLine + failedLine + crashLine},
		{"a node", Options{Tail: -1, Select: []string{"n2"}}, day + oddLine + wakeLine},
		{"a container", Options{Tail: -1, Select: []string{"ovnkube-controller"}}, day + readyLine + failedLine + crashLine},
		{"a container of another node", Options{Tail: -1, Select: []string{"node/n1", "ovn-controller"}}, ""},
		{"since", Options{Tail: -1, Since: time.Date(2026, 1, 2, 3, 4, 7, 0, time.UTC)}, day + failedLine + crashLine},
		{"a word", Options{Tail: -1, Match: regexp.MustCompile("wake|ready")}, day + readyLine + wakeLine},
		{"before", Options{Tail: 5, Previous: true, Select: []string{"n2"}}, "2026-01-01 UTC\n23:00:00.000 n2/ovn-controller (before) ERROR fatal_signal: bye\n" + day + oddLine + wakeLine},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			if d := cmp.Diff(c.want, told(t, c.o)); d != "" {
				t.Error(d)
			}
		})
	}
}

// TestPart: no more is read than is wanted, and all where it is not known before which lines are.
func TestPart(t *testing.T) {
	t.Parallel()
	since := time.Date(2026, 1, 2, 0, 0, 0, 0, time.UTC)
	for _, c := range []struct {
		o    Options
		want inspect.LogPart
	}{
		{Options{Tail: 5, Since: since}, inspect.LogPart{Since: since, Lines: 5}},
		{Options{Tail: -1}, inspect.LogPart{}},
		{Options{Tail: 5, Level: Warn}, inspect.LogPart{}},
		{Options{Tail: 5, Match: regexp.MustCompile("x")}, inspect.LogPart{}},
	} {
		if got := c.o.part(); got != c.want {
			t.Errorf("%+v: %+v, want %+v", c.o, got, c.want)
		}
	}
}

func TestUnknownName(t *testing.T) {
	t.Parallel()
	_, err := Read(t.Context(), newCluster(), &Options{Select: []string{"ovn-contoller"}})
	var unknown *UnknownError
	if !errors.As(err, &unknown) || !strings.Contains(unknown.Hint(), "n1, n2, n3") || !strings.Contains(unknown.Hint(), "ovn-controller, ovnkube-controller") {
		t.Errorf("%v", err)
	}
}

// TestForms: for programs each line is an object; as they are they are as the node has them.
func TestForms(t *testing.T) {
	t.Parallel()
	c := newCluster()
	lines, err := Read(t.Context(), c, &Options{Tail: 3})
	if err != nil {
		t.Fatal(err)
	}
	forms := NewDocument(inspect.Origin{}, lines, nil).Formats()
	var b bytes.Buffer
	if err := forms[NDJSON](&b); err != nil {
		t.Fatal(err)
	}
	first, _, _ := strings.Cut(b.String(), "\n")
	if want := `{"time":"2026-01-02T03:04:06.5Z","node":"n2","pod":"node-2","container":"ovn-controller","level":"debug","module":"poll_loop(urcu1)","message":"wakeup"}`; first != want {
		t.Errorf("%s\nwant %s", first, want)
	}
	b.Reset()
	if err := forms[Raw](&b); err != nil || !strings.HasSuffix(b.String(), "2026-01-02T03:04:07.000000001Z goroutine 1 [running]:\n") {
		t.Errorf("%v\n%s", err, b.String())
	}
}

// TestFollow: what is there is said once, then what comes, also of a container that starts
// again or anew; Ctrl-C ends it.
func TestFollow(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := newCluster()
		ctx, interrupt := context.WithCancel(t.Context())
		var mu sync.Mutex
		var said []string
		say := func(l Line) error {
			mu.Lock()
			defer mu.Unlock()
			said = append(said, l.Node+" "+l.Message)
			return nil
		}
		check := func(when string, want ...string) {
			t.Helper()
			time.Sleep(3 * Patience) // of the bubble: it takes no time
			synctest.Wait()
			mu.Lock()
			defer mu.Unlock()
			if d := cmp.Diff(want, said); d != "" {
				t.Errorf("%s: %s", when, d)
			}
			said = nil
		}
		ended := make(chan error)
		var opened, closed atomic.Int32
		go func() {
			ended <- Follow(ctx, &Options{Tail: -1, Select: []string{"ovnkube-controller"}}, &Following{
				Open:  func(context.Context) (Source, func(), error) { opened.Add(1); return c, func() { closed.Add(1) }, nil },
				Again: Patience, Say: say, Lost: func(string, string, error) {},
			})
		}()
		check("at once", "n1 ready", "n1 failed", "n1 goroutine 1 [running]:")
		other := inspect.Log{Pod: "node-3", Container: "ovnkube-controller"}
		c.mu.Lock()
		c.logs["n2"][other] = "2026-01-02T03:05:00.000000000Z hello\n2026-01-02T03:05:01.000000000Z bye\n"
		c.mu.Unlock()
		check("a new pod", "n2 hello", "n2 bye")
		c.mu.Lock()
		c.streams = map[inspect.Log]string{other: "2026-01-02T03:05:01.000000000Z bye\n2026-01-02T03:05:02.000000000Z again\n"}
		c.mu.Unlock()
		check("started again", "n2 again")
		interrupt()
		if err := <-ended; !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
		synctest.Wait()
		if opened.Load() != closed.Load() {
			t.Errorf("%d sources opened, %d closed", opened.Load(), closed.Load())
		}
	})
}

// TestBrokenPipe: who does not listen any more ends it.
func TestBrokenPipe(t *testing.T) {
	t.Parallel()
	err := Follow(t.Context(), &Options{Tail: -1}, &Following{
		Open:  func(context.Context) (Source, func(), error) { return newCluster(), func() {}, nil },
		Again: time.Millisecond, Say: func(Line) error { return io.ErrClosedPipe }, Lost: func(string, string, error) {},
	})
	if !errors.Is(err, io.ErrClosedPipe) {
		t.Error(err)
	}
}

func FuzzParse(f *testing.F) {
	for _, logs := range newCluster().logs {
		for _, text := range logs {
			for line := range strings.Lines(text) {
				f.Add(strings.TrimSpace(line))
			}
		}
	}
	f.Add(`2026-01-02T03:04:05Z {"level":1,"msg":{},"x"`)
	f.Fuzz(func(t *testing.T, text string) {
		l, dated := parse(text)
		if l.raw != text || dated == l.Time.IsZero() && !strings.HasPrefix(text, "0001") {
			t.Errorf("%q: %+v, %v", text, l, dated)
		}
	})
}
