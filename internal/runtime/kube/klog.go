package kube

import (
	"context"
	"log/slog"

	"github.com/go-logr/logr"
	"k8s.io/klog/v2"
)

// LogTo sends what client-go logs by klog to a logger. klog is one for the whole process,
// so this is for main to call, once.
//
// client-go's notices are debug to us: by our rule, info is a change of state of the
// network.
func LogTo(logger *slog.Logger) { klog.SetSlogLogger(slog.New(clientGo(logger))) }

// WithLogger is the context in which client-go logs to a logger, by the same rule.
func WithLogger(ctx context.Context, logger *slog.Logger) context.Context {
	return logr.NewContext(ctx, logr.FromSlogHandler(clientGo(logger)))
}

func clientGo(logger *slog.Logger) slog.Handler {
	return lowered{logger.With("component", "client-go").Handler()}
}

// lowered makes info debug, and leaves warnings and errors.
type lowered struct{ slog.Handler }

func lower(level slog.Level) slog.Level {
	if level < slog.LevelWarn {
		return min(level, slog.LevelDebug)
	}
	return level
}

// Enabled implements slog.Handler.
func (h lowered) Enabled(ctx context.Context, level slog.Level) bool {
	return h.Handler.Enabled(ctx, lower(level))
}

// Handle implements slog.Handler.
func (h lowered) Handle(ctx context.Context, r slog.Record) error {
	r.Level = lower(r.Level)
	return h.Handler.Handle(ctx, r)
}

// WithAttrs implements slog.Handler.
func (h lowered) WithAttrs(attrs []slog.Attr) slog.Handler {
	return lowered{h.Handler.WithAttrs(attrs)}
}

// WithGroup implements slog.Handler.
func (h lowered) WithGroup(name string) slog.Handler { return lowered{h.Handler.WithGroup(name)} }
