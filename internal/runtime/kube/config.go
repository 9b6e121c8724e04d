// Package kube is how the runtime talks to Kubernetes: the client's configuration, patches
// of the annotations and conditions that are ours, events, and client-go's log.
package kube

import (
	"crypto/tls"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"path/filepath"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/ovnkctl/ovnkctl/internal/config"
	"github.com/ovnkctl/ovnkctl/internal/runtime/kube/dialer"
	"github.com/ovnkctl/ovnkctl/internal/version"
)

// serviceAccountDir is where the kubelet mounts a pod's token and the cluster's CA.
const serviceAccountDir = "/var/run/secrets/kubernetes.io/serviceaccount"

// Limits of a client; requests beyond them wait. The API server's priority and fairness
// would stop a runaway client too, but at the cost of others at the same level.
const (
	requestsPerSecond = 100
	requestBurst      = 200
)

// stateFile is where a node remembers the API servers, in kubernetes.stateDir.
const stateFile = "api-servers.json"

// kubernetesService is a name of the Service that every API server's certificate has, for
// a pod whose environment does not tell its address.
const kubernetesService = "kubernetes.default.svc"

// ClientConfig is what RESTConfig needs.
type ClientConfig struct {
	config.Kubernetes
	// Component is part of the user agent, which API server logs and audit show:
	// "controller" or "node".
	Component string
	// Remember keeps the endpoints of the API server in StateDir, for the node that makes
	// the Service `kubernetes` itself.
	Remember bool
	Log      *slog.Logger // nil for none
	// Getenv and ServiceAccountDir are the process's own when left out.
	Getenv            func(string) string
	ServiceAccountDir string
}

// RESTConfig is how to reach the API server: by a kubeconfig if one is named, else with
// the pod's ServiceAccount, at the named address or, through the dialer, at whichever of
// its addresses answers. Tokens are read again as the kubelet renews them. There is no
// dialer when a kubeconfig or an address is named.
func RESTConfig(c ClientConfig) (*rest.Config, *dialer.Dialer, error) {
	r, d, err := c.access()
	if err != nil {
		return nil, nil, fmt.Errorf("client of the API server: %w", err)
	}
	r.UserAgent = fmt.Sprintf("ovnkctl/%s (%s)", version.Version, c.Component)
	r.QPS, r.Burst = requestsPerSecond, requestBurst
	r.ContentType = runtime.ContentTypeProtobuf
	r.AcceptContentTypes = runtime.ContentTypeProtobuf + "," + runtime.ContentTypeJSON
	return r, d, nil
}

func (c ClientConfig) access() (*rest.Config, *dialer.Dialer, error) {
	if c.Kubeconfig != "" {
		r, err := c.fromFile()
		return r, nil, err
	}
	r, err := c.serviceAccount()
	if err != nil {
		return nil, nil, err
	}
	if c.APIServer != "" {
		r.Host = c.APIServer
		return r, nil, nil
	}
	d, err := c.dialer(r)
	return r, d, err
}

func (c ClientConfig) fromFile() (*rest.Config, error) {
	r, err := clientcmd.NewNonInteractiveDeferredLoadingClientConfig(
		&clientcmd.ClientConfigLoadingRules{ExplicitPath: c.Kubeconfig},
		&clientcmd.ConfigOverrides{},
	).ClientConfig()
	if err != nil {
		return nil, fmt.Errorf("kubeconfig %s: %w", c.Kubeconfig, err)
	}
	if c.APIServer != "" {
		r.Host = c.APIServer
	}
	return r, nil
}

// serviceAccount is the pod's own access, without an address.
func (c ClientConfig) serviceAccount() (*rest.Config, error) {
	dir := c.ServiceAccountDir
	if dir == "" {
		dir = serviceAccountDir
	}
	token, ca := filepath.Join(dir, "token"), filepath.Join(dir, "ca.crt")
	for _, file := range []string{token, ca} {
		if _, err := os.Stat(file); errors.Is(err, fs.ErrNotExist) {
			return nil, fmt.Errorf("%s is missing: run in a pod with a ServiceAccount, or set kubernetes.kubeconfig", file)
		} else if err != nil {
			return nil, err
		}
	}
	return &rest.Config{BearerTokenFile: token, TLSClientConfig: rest.TLSClientConfig{CAFile: ca}}, nil
}

// dialer lets a client connect to whichever address answers. The certificate is checked
// for the address of the Service, as every client in a pod does: all API servers have it.
func (c ClientConfig) dialer(r *rest.Config) (*dialer.Dialer, error) {
	getenv := c.Getenv
	if getenv == nil {
		getenv = os.Getenv
	}
	servers, err := c.Servers()
	if err != nil {
		return nil, fmt.Errorf("kubernetes.bootstrapServers: %w", err)
	}
	dc := dialer.Config{Bootstrap: servers, Log: c.Log}
	host, port := getenv("KUBERNETES_SERVICE_HOST"), getenv("KUBERNETES_SERVICE_PORT")
	switch {
	case host != "" && port != "":
		dc.Service = net.JoinHostPort(host, port)
		r.Host, r.ServerName = "https://"+dc.Service, host
	case len(servers) > 0:
		r.Host, r.ServerName = "https://"+kubernetesService, kubernetesService
	default:
		return nil, errors.New("no address: KUBERNETES_SERVICE_HOST and KUBERNETES_SERVICE_PORT are not set; " +
			"set kubernetes.bootstrapServers to https://<host>:<port>")
	}
	if c.Remember && c.StateDir != "" {
		dc.File = filepath.Join(c.StateDir, stateFile)
	}
	verified := rest.CopyConfig(r)
	dc.TLS = func() (*tls.Config, error) { return rest.TLSConfigFor(verified) }
	d := dialer.New(dc)
	r.Dial = d.Dial
	return d, nil
}

// Forget removes what a node remembers.
func Forget(k config.Kubernetes) error {
	if k.StateDir == "" {
		return nil
	}
	if err := os.Remove(filepath.Join(k.StateDir, stateFile)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("remembered API servers: %w", err)
	}
	return nil
}
