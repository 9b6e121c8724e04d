package inspect

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Log is the log of a container of the network.
type Log struct {
	Pod       string
	Container string
	// Previous is what the container said before it was started again.
	Previous bool
}

// logger is a node that knows its logs without asking for all texts.
type logger interface {
	logs(ctx context.Context) ([]Log, error)
}

// Logs are the logs that there are of a node, by pod and container.
func (n *Node) Logs(ctx context.Context) ([]Log, error) {
	if l, ok := n.source.(logger); ok {
		ctx, cancel := context.WithTimeout(ctx, n.snapshot.timeout)
		defer cancel()
		list, err := l.logs(ctx)
		return list, timely(ctx, err, "list of logs", n.name)
	}
	names, err := n.Texts(ctx)
	var out []Log
	for _, name := range names {
		if pod, container, previous, ok := logName(name); ok {
			out = append(out, Log{pod, container, previous})
		}
	}
	return out, err
}

// LogPart says which part of a log is wanted.
type LogPart struct {
	// Since leaves out what is older; zero for nothing.
	Since time.Time
	// Lines is how many at the end; 0 for all.
	Lines int
}

// Log is the end of a log, with the time that the node has written each line at before it: at
// most 4 MiB, or 20,000 lines. A cluster is asked for that part alone, and nothing of it is kept;
// of a record there may be more.
func (n *Node) Log(ctx context.Context, l Log, part LogPart) (string, error) {
	name := logText(l.Pod, l.Container, l.Previous)
	live, ok := n.source.(*liveNode)
	if !ok {
		return n.Text(ctx, name)
	}
	ctx, cancel := context.WithTimeout(ctx, n.snapshot.timeout)
	defer cancel()
	data, err := live.log(ctx, l, part)
	return string(data), timely(ctx, err, name, n.name)
}

// StreamLog is a log from a second on, for as long as the container writes it; the caller
// closes it. ErrAbsent where nothing is written any more.
func (n *Node) StreamLog(ctx context.Context, l Log, since time.Time) (io.ReadCloser, error) {
	live, ok := n.source.(*liveNode)
	if !ok {
		return nil, &Problem{Node: n.name, What: "logs", Why: "a record does not change", err: ErrAbsent, Next: "leave out --follow, or look at the live cluster without --from"}
	}
	from := metav1.NewTime(since)
	return live.stream(ctx, l.Pod, &corev1.PodLogOptions{Container: l.Container, Timestamps: true, Follow: true, SinceTime: &from})
}

func (n *liveNode) logs(ctx context.Context) ([]Log, error) {
	pods, err := n.live.pods(ctx)
	if err != nil {
		return nil, err
	}
	var out []Log
	for i := range pods {
		if pods[i].Spec.NodeName != n.name {
			continue
		}
		for _, s := range pods[i].Status.ContainerStatuses {
			if s.RestartCount > 0 {
				out = append(out, Log{pods[i].Name, s.Name, true})
			}
			out = append(out, Log{pods[i].Name, s.Name, false})
		}
	}
	slices.SortStableFunc(out, func(a, b Log) int {
		return strings.Compare(a.Pod+"\x00"+a.Container, b.Pod+"\x00"+b.Container)
	})
	return out, nil
}

// stream asks the API server for the log of a container.
func (n *liveNode) stream(ctx context.Context, pod string, o *corev1.PodLogOptions) (io.ReadCloser, error) {
	s, err := n.live.client.CoreV1().Pods(n.live.config.Namespace).GetLogs(pod, o).Stream(ctx)
	if err == nil {
		return s, nil
	}
	if ctx.Err() != nil && errors.Is(err, context.Canceled) {
		return nil, fmt.Errorf("log of container %s of pod %s: %w", o.Container, pod, err)
	}
	p := refusal(err, "log of container "+o.Container+" of pod "+pod, right{verbs: "get", resource: "pods/log", namespace: n.live.config.Namespace})
	if p.everywhere {
		p.What = "logs of namespace " + n.live.config.Namespace
	}
	return nil, p
}
