package inspect

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/ovnkctl/ovnkctl/internal/inspect/relay"
	"github.com/ovnkctl/ovnkctl/internal/ovn"
	"github.com/ovnkctl/ovnkctl/internal/ovn/query"
	"github.com/ovnkctl/ovnkctl/internal/ovn/vswitch"
)

// liveNode is a node of a cluster.
type liveNode struct {
	live *live
	name string
}

// reach finds a relay for a need.
func (n *liveNode) reach(ctx context.Context, what need) (*relay.Client, error) {
	at, err := n.live.place(ctx, n.name, what)
	if err != nil {
		return nil, err
	}
	return n.live.agent(at).connect(ctx, n)
}

// silentFor is how long a node that did not answer is not asked again.
const silentFor = 10 * time.Second

// silence is a node that did not answer.
type silence struct {
	problem *Problem
	until   time.Time
}

// silent notes that the node does not answer: what is asked of it next does not wait again.
func (n *liveNode) silent(err error) *Problem {
	n.live.mu.Lock()
	defer n.live.mu.Unlock()
	p := &Problem{
		Node: n.name, Why: "its pods do not answer", err: err,
		Next: fmt.Sprintf("look whether the node is up: kubectl get node %s; --timeout waits longer, up to %s", n.name, connectTimeout),
	}
	n.live.silent[n.name] = silence{p, time.Now().Add(silentFor)}
	return p
}

func (n *liveNode) silence() error {
	n.live.mu.Lock()
	defer n.live.mu.Unlock()
	if s, ok := n.live.silent[n.name]; ok && time.Now().Before(s.until) {
		return s.problem
	}
	return nil
}

func (n *liveNode) database(ctx context.Context, d *ovn.Database, tables []string) (*ovn.Content, error) {
	a, err := n.answer(ctx, query.Request{Database: d, Tables: tables})
	if err != nil {
		return nil, err
	}
	return a.Content(d)
}

func (n *liveNode) answer(ctx context.Context, r query.Request) (*query.Answer, error) {
	what := needOVN
	if r.Database == ovn.OpenVSwitch() {
		what = needOVS
	}
	client, err := n.reach(ctx, what)
	if err != nil {
		return nil, err
	}
	conn, err := client.Open(ctx, r.Database.Short)
	if err != nil {
		return nil, &Problem{
			Node: n.name, What: "database " + r.Database.Name, Why: err.Error(), err: err,
			Next: fmt.Sprintf("kubectl -n %s get pods -o wide --field-selector spec.nodeName=%s", n.live.config.Namespace, n.name),
		}
	}
	defer conn.Close()
	return query.Read(ctx, conn, r)
}

func (n *liveNode) exec(ctx context.Context, container string, argv []string) (Output, error) {
	if container != "" {
		pods, err := n.live.pods(ctx)
		if err != nil {
			return Output{}, err
		}
		pod := runningIn(pods, n.name, "", container)
		if pod == nil {
			return Output{}, &Problem{Node: n.name, What: "container " + container, Why: "it is not running", err: ErrAbsent}
		}
		return n.live.run(ctx, Container{pod.Name, container}, argv)
	}
	return n.ask(ctx, needOf(argv[0]), argv)
}

// needOf is what a program needs.
func needOf(name string) need {
	switch base := path.Base(name); {
	case strings.HasPrefix(base, "ovn"):
		return needOVN
	case strings.HasPrefix(base, "ovs"):
		return needOVS
	}
	return needHost
}

// ask runs a program by a relay.
func (n *liveNode) ask(ctx context.Context, what need, argv []string) (Output, error) {
	client, err := n.reach(ctx, what)
	if err != nil {
		return Output{}, err
	}
	r, err := client.Run(ctx, maxOutput, argv...)
	out := Output{Stdout: r.Stdout, Stderr: r.Stderr, Code: r.Code}
	if err != nil {
		return out, fmt.Errorf("%s: %w", argv[0], err)
	}
	return out, nil
}

func (n *liveNode) text(ctx context.Context, name string) ([]byte, error) {
	if pod, container, previous, ok := logName(name); ok {
		return n.log(ctx, Log{pod, container, previous}, LogPart{})
	}
	argv, ok := command(name)
	if !ok {
		return nil, fmt.Errorf("%w: no text is called %q", ErrAbsent, name)
	}
	out, err := n.ask(ctx, needOf(argv[0]), argv)
	if err != nil && !errors.Is(err, relay.ErrTooMuch) {
		return nil, err
	}
	if out.Code != 0 && path.Base(argv[0]) == "ovnkctl" && strings.Contains(string(out.Stderr)+string(out.Stdout), "unknown command") {
		return nil, &Problem{
			Node: n.name, What: name, Why: "the node's ovnkctl does not tell it: it is older than this program", err: ErrAbsent,
			Next: "upgrade the network with 'ovnkctl upgrade', or use the ovnkctl of its version",
		}
	}
	if out.Code != 0 {
		why := relay.LastLine(string(out.Stderr))
		if why == "" {
			why = fmt.Sprintf("exit code %d", out.Code)
		}
		return nil, &Problem{Node: n.name, What: strings.Join(argv, " "), Why: why}
	}
	return out.Stdout, nil
}

// maxLog bounds the log of one container, in bytes, and maxLogLines in lines: enough for an
// hour of trouble.
const (
	maxLog      = int64(4 << 20)
	maxLogLines = int64(20000)
)

func (n *liveNode) log(ctx context.Context, l Log, part LogPart) ([]byte, error) {
	if err := n.silence(); err != nil {
		return nil, err
	}
	bytes, lines := maxLog, maxLogLines
	if part.Lines > 0 {
		lines = min(lines, int64(part.Lines))
	}
	o := &corev1.PodLogOptions{Container: l.Container, Previous: l.Previous, Timestamps: true, TailLines: &lines, LimitBytes: &bytes}
	if !part.Since.IsZero() {
		since := metav1.NewTime(part.Since)
		o.SinceTime = &since
	}
	stream, err := n.stream(ctx, l.Pod, o)
	if err != nil {
		return nil, err
	}
	defer stream.Close()
	return io.ReadAll(io.LimitReader(stream, maxLog))
}

// texts are the texts that the node has now.
func (n *liveNode) texts(ctx context.Context) ([]string, error) {
	logs, err := n.logs(ctx)
	if err != nil {
		return nil, err
	}
	names := fixedTexts()
	for _, l := range logs {
		names = append(names, logText(l.Pod, l.Container, l.Previous))
	}
	c, err := n.database(ctx, ovn.OpenVSwitch(), []string{vswitch.BridgeTable})
	if err == nil {
		for _, b := range ovn.RowsOf[vswitch.Bridge](c) {
			names = append(names, bridgeTexts(b.Name)...)
		}
	}
	slices.Sort(names)
	return names, err
}
