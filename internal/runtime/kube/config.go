// Package kube is how the runtime talks to Kubernetes: the client's configuration, patches
// of the annotations and conditions that are ours, events, and client-go's log.
package kube

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/ovnkctl/ovnkctl/internal/config"
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

// ClientConfig is what RESTConfig needs.
type ClientConfig struct {
	config.Kubernetes
	// Component is part of the user agent, which API server logs and audit show:
	// "controller" or "node".
	Component string
	// Getenv and ServiceAccountDir are the process's own when left out.
	Getenv            func(string) string
	ServiceAccountDir string
}

// RESTConfig is how to reach the API server: by a kubeconfig if one is named, else with
// the pod's ServiceAccount, at the named address or at that of the Service `kubernetes`.
// Tokens are read again as the kubelet renews them.
func RESTConfig(c ClientConfig) (*rest.Config, error) {
	r, err := c.access()
	if err != nil {
		return nil, fmt.Errorf("client of the API server: %w", err)
	}
	r.UserAgent = fmt.Sprintf("ovnkctl/%s (%s)", version.Version, c.Component)
	r.QPS, r.Burst = requestsPerSecond, requestBurst
	r.ContentType = runtime.ContentTypeProtobuf
	r.AcceptContentTypes = runtime.ContentTypeProtobuf + "," + runtime.ContentTypeJSON
	return r, nil
}

func (c ClientConfig) access() (*rest.Config, error) {
	if c.Kubeconfig != "" {
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
	host, err := c.host()
	if err != nil {
		return nil, err
	}
	return &rest.Config{
		Host:            host,
		BearerTokenFile: token,
		TLSClientConfig: rest.TLSClientConfig{CAFile: ca},
	}, nil
}

// host is the named address of the API server or that of its Service, which the kubelet
// puts into every pod's environment.
func (c ClientConfig) host() (string, error) {
	if c.APIServer != "" {
		return c.APIServer, nil
	}
	getenv := c.Getenv
	if getenv == nil {
		getenv = os.Getenv
	}
	host, port := getenv("KUBERNETES_SERVICE_HOST"), getenv("KUBERNETES_SERVICE_PORT")
	if host == "" || port == "" {
		return "", errors.New("no address: KUBERNETES_SERVICE_HOST and KUBERNETES_SERVICE_PORT are not set; " +
			"set kubernetes.apiServer to https://<host>:<port>")
	}
	return "https://" + net.JoinHostPort(host, port), nil
}
