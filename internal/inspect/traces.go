package inspect

import (
	"context"

	"github.com/ovnkctl/ovnkctl/internal/inspect/tracer"
)

// manyTracer is a node where many packets are traced in one go.
type manyTracer interface {
	traces(ctx context.Context, same []string, calls [][]string) ([]tracer.Answer, error)
}

// Traces traces many packets by one ovn-trace where the node's OVN is: same and calls are as
// tracer.Run takes them. An error may be that the program there is an older one, and that Exec
// can do it one by one.
func (n *Node) Traces(ctx context.Context, same []string, calls [][]string) ([]tracer.Answer, error) {
	t, ok := n.source.(manyTracer)
	if !ok {
		return nil, ErrAbsent
	}
	ctx, cancel := context.WithTimeout(ctx, n.snapshot.timeout)
	defer cancel()
	answers, err := t.traces(ctx, same, calls)
	return answers, timely(ctx, err, ovnTrace, n.name)
}

func (n *liveNode) traces(ctx context.Context, same []string, calls [][]string) ([]tracer.Answer, error) {
	client, err := n.reach(ctx, needOVN)
	if err != nil {
		return nil, err
	}
	return client.Traces(ctx, same, calls)
}

func (n *bundleNode) traces(ctx context.Context, same []string, calls [][]string) ([]tracer.Answer, error) {
	return n.bundle.programs.traces(ctx, n.name, tracing{same, calls}, n.southbound)
}

func (n *fileNode) traces(ctx context.Context, same []string, calls [][]string) ([]tracer.Answer, error) {
	return n.files.programs.traces(ctx, n.name, tracing{same, calls}, n.southbound)
}

// tracing is what is traced at once.
type tracing struct {
	same  []string
	calls [][]string
}

// traces traces on this machine.
func (p *programs) traces(ctx context.Context, node string, t tracing, southbound func() ([]byte, error)) ([]tracer.Answer, error) {
	program, err := p.look(ovnTrace)
	if err != nil {
		return nil, err
	}
	socket, err := p.serve(ctx, node, southbound)
	if err != nil {
		return nil, err
	}
	dir, err := p.folder()
	if err != nil {
		return nil, err
	}
	return tracer.Run(ctx, tracer.Config{Argv: []string{program, "--db=unix:" + socket}, Dir: dir}, t.same, t.calls)
}
