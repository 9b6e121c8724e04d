package kube

import (
	"encoding/pem"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"k8s.io/client-go/discovery"
	"k8s.io/client-go/rest"

	"github.com/ovnkctl/ovnkctl/internal/config"
	"github.com/ovnkctl/ovnkctl/internal/runtime/kube/dialer"
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
		name    string
		c       config.Kubernetes
		env     map[string]string
		dir     string
		host    string
		verify  string   // the name that certificates are checked for, if not the host's
		servers []string // that the dialer knows
		fails   string
	}{
		{name: "service", env: service, dir: account, host: "https://[fd00:10:96::1]:443", verify: "fd00:10:96::1", servers: []string{"[fd00:10:96::1]:443"}},
		{
			name: "service and bootstrap servers", env: service, dir: account, host: "https://[fd00:10:96::1]:443", verify: "fd00:10:96::1",
			c:       config.Kubernetes{BootstrapServers: "https://lb.example.com, https://[2001:db8::1]:6443"},
			servers: []string{"[fd00:10:96::1]:443", "lb.example.com:443", "[2001:db8::1]:6443"},
		},
		{
			name: "bootstrap servers alone", dir: account, host: "https://kubernetes.default.svc", verify: "kubernetes.default.svc",
			c: config.Kubernetes{BootstrapServers: "https://192.0.2.1:6443"}, servers: []string{"192.0.2.1:6443"},
		},
		{
			name: "named API server", env: service, dir: account, host: "https://10.0.0.1:6443",
			c: config.Kubernetes{APIServer: "https://10.0.0.1:6443", BootstrapServers: "https://192.0.2.1:6443"},
		},
		{name: "kubeconfig", c: config.Kubernetes{Kubeconfig: file}, host: "https://from.kubeconfig:6443"},
		{name: "kubeconfig and API server", c: config.Kubernetes{Kubeconfig: file, APIServer: "https://10.0.0.1:6443"}, host: "https://10.0.0.1:6443"},
		{name: "no token", dir: filepath.Join(dir, "nothing"), env: service, fails: "token is missing: run in a pod with a ServiceAccount, or set kubernetes.kubeconfig"},
		{name: "no address", dir: account, fails: "set kubernetes.bootstrapServers to https://<host>:<port>"},
		{name: "no kubeconfig", c: config.Kubernetes{Kubeconfig: filepath.Join(dir, "nothing")}, fails: "kubeconfig " + filepath.Join(dir, "nothing")},
		{name: "bad bootstrap servers", dir: account, c: config.Kubernetes{BootstrapServers: "192.0.2.1:6443"}, fails: "is not https://HOST:PORT"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			r, d, err := RESTConfig(ClientConfig{
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
			if r.ServerName != c.verify {
				t.Errorf("certificates are checked for %q, want %q", r.ServerName, c.verify)
			}
			if (d != nil) != (r.Dial != nil) {
				t.Errorf("dialer: %v, used: %v", d != nil, r.Dial != nil)
			}
			var servers []string
			if d != nil {
				servers = d.Candidates()
			}
			if !slices.Equal(servers, c.servers) {
				t.Errorf("servers %v, want %v", servers, c.servers)
			}
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

// TestFindsTheServer: nobody listens at the Service's address, a bootstrap address is that
// of the API server, and the node remembers the endpoints that it is told.
func TestFindsTheServer(t *testing.T) {
	t.Parallel()
	server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "Bearer secret" {
			w.WriteHeader(http.StatusUnauthorized)
		}
		w.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(w, `{"gitVersion":"v1.37.2"}`)
	}))
	t.Cleanup(server.Close)
	dir := t.TempDir()
	ca := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})
	for name, text := range map[string][]byte{"token": []byte("secret"), "ca.crt": ca} {
		if err := os.WriteFile(filepath.Join(dir, name), text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	closed := httptest.NewServer(http.NotFoundHandler())
	closed.Close()
	host, port, err := net.SplitHostPort(closed.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	version := func(bootstrap string) (string, *dialer.Dialer) {
		r, d, err := RESTConfig(ClientConfig{
			Kubernetes: config.Kubernetes{BootstrapServers: bootstrap, StateDir: dir}, Component: "node",
			Remember: true, ServiceAccountDir: dir,
			Getenv: func(k string) string {
				return map[string]string{"KUBERNETES_SERVICE_HOST": host, "KUBERNETES_SERVICE_PORT": port}[k]
			},
		})
		if err != nil {
			t.Fatal(err)
		}
		client, err := discovery.NewDiscoveryClientForConfig(r)
		if err != nil {
			t.Fatal(err)
		}
		v, err := client.ServerVersion()
		if err != nil {
			t.Fatal(err)
		}
		return v.GitVersion, d
	}
	got, d := version(server.URL)
	if got != "v1.37.2" {
		t.Errorf("version %q", got)
	}
	if err := d.SetEndpoints([]netip.AddrPort{netip.MustParseAddrPort("192.0.2.7:6443")}); err != nil {
		t.Fatal(err)
	}
	remembered, err := os.ReadFile(filepath.Join(dir, "api-servers.json"))
	if err != nil || !strings.Contains(string(remembered), "192.0.2.7:6443") {
		t.Errorf("remembered %s, %v", remembered, err)
	}
	for range 2 { // the second time there is nothing to forget
		if err := Forget(config.Kubernetes{StateDir: dir}); err != nil {
			t.Error(err)
		}
	}
	if _, err := os.Stat(filepath.Join(dir, "api-servers.json")); !os.IsNotExist(err) {
		t.Errorf("after Forget: %v", err)
	}
}
