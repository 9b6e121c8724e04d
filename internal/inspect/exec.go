package inspect

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/tools/remotecommand"
	"k8s.io/client-go/util/exec"
	"k8s.io/streaming/pkg/httpstream"

	"github.com/ovnkctl/ovnkctl/internal/inspect/relay"
)

// program is the relay, where the image has it.
var program = []string{"/usr/bin/ovnkctl", "run", "relay", "--config=/etc/ovnkctl/config.yaml"}

// maxOutput is how much a program may print, in bytes. The flows of a node with 500 pods
// are about 60 MB.
const maxOutput = 256 << 20

// podsExec runs a program in a container by the API server.
func (l *live) podsExec(ctx context.Context, at Container, argv []string, streams remotecommand.StreamOptions) error {
	request := l.client.CoreV1().RESTClient().Post().
		Namespace(l.config.Namespace).Resource("pods").Name(at.Pod).SubResource("exec").
		VersionedParams(&corev1.PodExecOptions{
			Container: at.Name, Command: argv,
			Stdin: streams.Stdin != nil, Stdout: streams.Stdout != nil, Stderr: streams.Stderr != nil,
		}, scheme.ParameterCodec)
	socket, err := remotecommand.NewWebSocketExecutor(l.access, "GET", request.URL().String())
	if err != nil {
		return err
	}
	spdy, err := remotecommand.NewSPDYExecutor(l.access, "POST", request.URL())
	if err != nil {
		return err
	}
	// API servers before 1.29, and proxies, may know SPDY alone.
	either, err := remotecommand.NewFallbackExecutor(socket, spdy, func(err error) bool {
		return httpstream.IsUpgradeFailure(err) || httpstream.IsHTTPSProxyError(err)
	})
	if err != nil {
		return err
	}
	return either.StreamWithContext(ctx, streams)
}

// run runs a program in a container without a relay.
func (l *live) run(ctx context.Context, at Container, argv []string) (Output, error) {
	stdout, stderr := &bounded{limit: maxOutput}, &bounded{limit: maxOutput}
	err := l.config.Exec(ctx, at, argv, remotecommand.StreamOptions{Stdout: stdout, Stderr: stderr})
	out := Output{Stdout: stdout.Bytes(), Stderr: stderr.Bytes()}
	var exited exec.CodeExitError
	if errors.As(err, &exited) {
		out.Code, err = exited.Code, nil
	}
	if err != nil {
		return out, l.refused(err, fmt.Sprintf("%s in container %s of pod %s", argv[0], at.Name, at.Pod))
	}
	return out, nil
}

// bounded keeps what is written, up to a limit.
type bounded struct {
	bytes.Buffer
	limit int
}

func (b *bounded) Write(data []byte) (int, error) {
	if b.Len()+len(data) > b.limit {
		return 0, relay.ErrTooMuch
	}
	return b.Buffer.Write(data)
}

// connectTimeout bounds the start of a relay: a node that is off must not hold up the others
// for as long as a large database may take. A kubelet under load was seen to take 3 s.
const connectTimeout = 10 * time.Second

// agent is the relay in one container, opened when it is first needed and again when it was
// lost.
type agent struct {
	live *live
	at   Container

	mu     sync.Mutex
	client *relay.Client
}

func (l *live) agent(at Container) *agent {
	l.mu.Lock()
	defer l.mu.Unlock()
	a := l.agents[at]
	if a == nil {
		a = &agent{live: l, at: at}
		l.agents[at] = a
	}
	return a
}

// close ends the relay. One that is being started ends with the stream that starts it.
func (a *agent) close() {
	if !a.mu.TryLock() {
		return
	}
	defer a.mu.Unlock()
	if a.client != nil {
		a.client.Close()
	}
}

// connect is the relay's client.
func (a *agent) connect(ctx context.Context, n *liveNode) (*relay.Client, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if err := n.silence(); err != nil { // found out by whoever was here before
		return nil, err
	}
	if a.client != nil && !a.client.Lost() {
		return a.client, nil
	}
	client, err := n.dial(ctx, a.at, program)
	if err == nil {
		a.client = client
	}
	return client, err
}

// dial starts a program in a container that speaks as a relay does.
func (n *liveNode) dial(ctx context.Context, at Container, argv []string) (*relay.Client, error) {
	toPod, stdin := io.Pipe()
	stdout, fromPod := io.Pipe()
	running, cancel := context.WithCancel(n.live.ctx)
	said := &relay.Tail{}
	ended := make(chan error, 1)
	n.live.streams.Go(func() {
		err := n.live.config.Exec(running, at, argv, remotecommand.StreamOptions{Stdin: toPod, Stdout: fromPod, Stderr: said})
		ended <- err // before the client hears of the end
		toPod.CloseWithError(io.ErrClosedPipe)
		fromPod.CloseWithError(io.EOF)
	})
	ctx, stop := context.WithTimeout(ctx, connectTimeout)
	defer stop()
	client, err := relay.Dial(ctx, stdout, stdin, func() error {
		cancel()
		return errors.Join(stdin.Close(), stdout.Close())
	})
	if err == nil {
		return client, nil
	}
	if ctx.Err() != nil {
		if errors.Is(ctx.Err(), context.DeadlineExceeded) {
			return nil, n.silent(ctx.Err())
		}
		return nil, ctx.Err()
	}
	select {
	case why := <-ended:
		return nil, n.live.failure(at, why, said.String())
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// failure says why there is no relay.
func (l *live) failure(at Container, err error, stderr string) *Problem {
	what := fmt.Sprintf("container %s of pod %s", at.Name, at.Pod)
	var exited exec.CodeExitError
	switch {
	case err == nil || errors.As(err, &exited):
		if strings.Contains(stderr, "unknown") || stderr == "" {
			return &Problem{
				What: what, Why: strings.TrimSpace("its ovnkctl has no relay for this: it is older than this program. " + relay.LastLine(stderr)), err: err,
				Next: "upgrade the network with 'ovnkctl upgrade', or use the ovnkctl of its version",
			}
		}
		return &Problem{What: what, Why: relay.LastLine(stderr), err: err}
	}
	return l.refused(err, what)
}

// refused is the problem of programs that could not be started.
func (l *live) refused(err error, what string) *Problem {
	p := refusal(err, what, right{verbs: "create,get", resource: "pods/exec", namespace: l.config.Namespace})
	if p.everywhere {
		p.What = "programs in the pods of namespace " + l.config.Namespace
	}
	return p
}
