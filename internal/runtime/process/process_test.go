package process

import (
	"context"
	"io"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"

	"github.com/ovnkctl/ovnkctl/internal/config"
)

const kubeconfig = `apiVersion: v1
kind: Config
clusters: [{name: c, cluster: {server: "https://127.0.0.1:1"}}]
contexts: [{name: c, context: {cluster: c, user: u}}]
users: [{name: u, user: {token: t}}]
current-context: c
`

// A program that has added no check yet must not pass for one that is well.
func TestNotReadyBeforeItHasStarted(t *testing.T) {
	t.Parallel()
	c := config.Default()
	c.Kubernetes.Kubeconfig = filepath.Join(t.TempDir(), "kubeconfig")
	if err := os.WriteFile(c.Kubernetes.Kubeconfig, []byte(kubeconfig), 0o600); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	_, p, err := Start(ctx, Options{Config: c, Component: "node", Metrics: "127.0.0.1:0", Stderr: io.Discard})
	if err != nil {
		t.Fatal(err)
	}
	ready := func() int {
		w := httptest.NewRecorder()
		p.Serving.Ready.ServeHTTP(w, httptest.NewRequest("GET", "/readyz", nil))
		return w.Code
	}
	if got := ready(); got != 503 {
		t.Errorf("ready before it has started: %d", got)
	}
	p.Started()
	if got := ready(); got != 200 {
		t.Errorf("not ready after it has started: %d", got)
	}
	cancel()
	if err := p.Group.Wait(); err != nil {
		t.Error(err)
	}
}
