package logs

import (
	"context"
	"io"
	"time"

	"github.com/ovnkctl/ovnkctl/internal/inspect"
)

// Snapshot is the Source that a cluster, or a record of one, is.
type Snapshot struct{ *inspect.Snapshot }

var _ Source = Snapshot{}

// Logs implements Source.
func (s Snapshot) Logs(ctx context.Context, node string) ([]inspect.Log, error) {
	return s.Node(node).Logs(ctx)
}

// Log implements Source.
func (s Snapshot) Log(ctx context.Context, node string, l inspect.Log, part inspect.LogPart) (string, error) {
	return s.Node(node).Log(ctx, l, part)
}

// Stream implements Source.
func (s Snapshot) Stream(ctx context.Context, node string, l inspect.Log, since time.Time) (io.ReadCloser, error) {
	return s.Node(node).StreamLog(ctx, l, since)
}
