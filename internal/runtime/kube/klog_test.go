package kube

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"
)

func TestNoticesOfClientGoAreDebug(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	info := slog.New(lowered{slog.NewTextHandler(&out, &slog.HandlerOptions{Level: slog.LevelInfo})}.WithAttrs([]slog.Attr{slog.String("component", "client-go")}))
	info.Info("notice")
	info.Warn("warning")
	info.Error("failure")
	if s := out.String(); strings.Contains(s, "notice") || !strings.Contains(s, "level=WARN msg=warning component=client-go") || !strings.Contains(s, "level=ERROR") {
		t.Errorf("at level info:\n%s", s)
	}
	out.Reset()
	debug := slog.New(lowered{slog.NewTextHandler(&out, &slog.HandlerOptions{Level: slog.LevelDebug})})
	debug.Info("notice")
	debug.Log(t.Context(), slog.LevelDebug-4, "detail")
	if s := out.String(); !strings.Contains(s, "level=DEBUG msg=notice") || strings.Contains(s, "detail") {
		t.Errorf("at level debug:\n%s", s)
	}
}
