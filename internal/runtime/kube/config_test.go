package kube

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"k8s.io/client-go/rest"

	"github.com/ovnkctl/ovnkctl/internal/config"
)

const kubeconfig = `apiVersion: v1
kind: Config
clusters: [{name: c, cluster: {server: "https://from.kubeconfig:6443"}}]
users: [{name: u, user: {token: t}}]
contexts: [{name: x, context: {cluster: c, user: u}}]
current-context: x
`

func TestRESTConfig(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	write := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	account := filepath.Dir(write("token", "secret"))
	write("ca.crt", "certificate")
	file := write("kubeconfig", kubeconfig)
	service := map[string]string{"KUBERNETES_SERVICE_HOST": "fd00:10:96::1", "KUBERNETES_SERVICE_PORT": "443"}

	cases := []struct {
		name  string
		c     config.Kubernetes
		env   map[string]string
		dir   string
		host  string
		fails string
	}{
		{name: "service", env: service, dir: account, host: "https://[fd00:10:96::1]:443"},
		{name: "named API server", c: config.Kubernetes{APIServer: "https://10.0.0.1:6443"}, env: service, dir: account, host: "https://10.0.0.1:6443"},
		{name: "kubeconfig", c: config.Kubernetes{Kubeconfig: file}, host: "https://from.kubeconfig:6443"},
		{name: "kubeconfig and API server", c: config.Kubernetes{Kubeconfig: file, APIServer: "https://10.0.0.1:6443"}, host: "https://10.0.0.1:6443"},
		{name: "no token", dir: filepath.Join(dir, "nothing"), env: service, fails: "token is missing: run in a pod with a ServiceAccount, or set kubernetes.kubeconfig"},
		{name: "no address", dir: account, fails: "set kubernetes.apiServer to https://<host>:<port>"},
		{name: "no kubeconfig", c: config.Kubernetes{Kubeconfig: filepath.Join(dir, "nothing")}, fails: "kubeconfig " + filepath.Join(dir, "nothing")},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			r, err := RESTConfig(ClientConfig{
				Kubernetes: c.c, Component: "node", ServiceAccountDir: c.dir,
				Getenv: func(k string) string { return c.env[k] },
			})
			if c.fails != "" {
				if err == nil || !strings.Contains(err.Error(), c.fails) {
					t.Fatalf("error %v, want one with %q", err, c.fails)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			checkREST(t, r, c.host, c.dir)
		})
	}
}

func checkREST(t *testing.T, r *rest.Config, host, account string) {
	if r.Host != host {
		t.Errorf("host %s, want %s", r.Host, host)
	}
	if account != "" && (r.BearerTokenFile != filepath.Join(account, "token") || r.CAFile != filepath.Join(account, "ca.crt")) {
		t.Errorf("token file %q, CA file %q", r.BearerTokenFile, r.CAFile)
	}
	if r.ContentType != "application/vnd.kubernetes.protobuf" || r.QPS <= 0 || r.Burst <= 0 || !strings.HasSuffix(r.UserAgent, "(node)") {
		t.Errorf("content type %q, %v requests/s, burst %d, user agent %q", r.ContentType, r.QPS, r.Burst, r.UserAgent)
	}
}
