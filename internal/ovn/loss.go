package ovn

import (
	"context"
	"log/slog"
	"strings"
	"sync"

	"github.com/go-logr/logr"
)

// lossDetector listens to libovsdb's log for the one message that matters to us: that it
// threw an event away because its buffer was full. Our cache would be wrong for ever, so
// the connection is made anew.
type lossDetector struct {
	log      *slog.Logger
	once     *sync.Once
	detected chan struct{}
}

const lossMessage = "dropping event"

func newLossDetector(log *slog.Logger) *lossDetector {
	return &lossDetector{log: log, once: &sync.Once{}, detected: make(chan struct{})}
}

func (d *lossDetector) logger() *logr.Logger {
	l := logr.FromSlogHandler(d)
	return &l
}

// Enabled implements slog.Handler: libovsdb's words are for debugging, but the loss of an
// event has its highest level.
func (d *lossDetector) Enabled(ctx context.Context, level slog.Level) bool {
	return level >= slog.LevelInfo || level >= slog.LevelDebug && d.log.Enabled(ctx, slog.LevelDebug)
}

// Handle implements slog.Handler.
func (d *lossDetector) Handle(ctx context.Context, r slog.Record) error {
	if strings.HasPrefix(r.Message, lossMessage) {
		d.once.Do(func() {
			d.log.Error("libovsdb lost an event, the connection is made anew")
			close(d.detected)
		})
		return nil
	}
	if !d.log.Enabled(ctx, slog.LevelDebug) {
		return nil
	}
	r.Level = slog.LevelDebug
	return d.log.Handler().Handle(ctx, r)
}

// WithAttrs implements slog.Handler.
func (d *lossDetector) WithAttrs(attrs []slog.Attr) slog.Handler {
	return &lossDetector{log: slog.New(d.log.Handler().WithAttrs(attrs)), once: d.once, detected: d.detected}
}

// WithGroup implements slog.Handler.
func (d *lossDetector) WithGroup(string) slog.Handler { return d }
