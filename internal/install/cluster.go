package install

import (
	"errors"
	"fmt"

	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/cli-runtime/pkg/genericclioptions"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
)

// Limits of the client: some dozens of objects are read and applied in one go.
const (
	requestsPerSecond = 50
	requestBurst      = 100
)

// cluster is the API that an installation goes to.
type cluster struct {
	kube    kubernetes.Interface
	dynamic dynamic.Interface
	mapper  meta.RESTMapper
}

// getter gives Helm the same client that this package uses.
type getter struct {
	genericclioptions.RESTClientGetter
}

// ToRESTConfig raises the limits and keeps warnings of the API server off the output.
func (g getter) ToRESTConfig() (*rest.Config, error) {
	c, err := g.RESTClientGetter.ToRESTConfig()
	if err != nil {
		return nil, err
	}
	c = rest.CopyConfig(c)
	c.QPS, c.Burst = requestsPerSecond, requestBurst
	c.WarningHandler = rest.NoWarnings{}
	return c, nil
}

// connect does not call the API server yet.
func connect(g genericclioptions.RESTClientGetter) (*cluster, error) {
	if g == nil {
		return nil, errors.New("no cluster is configured")
	}
	config, err := g.ToRESTConfig()
	if err != nil {
		return nil, &Problem{What: "kubeconfig", Why: err, Next: "name one with --kubeconfig and --context"}
	}
	c := &cluster{}
	if c.kube, err = kubernetes.NewForConfig(config); err != nil {
		return nil, fmt.Errorf("client: %w", err)
	}
	if c.dynamic, err = dynamic.NewForConfig(config); err != nil {
		return nil, fmt.Errorf("client: %w", err)
	}
	if c.mapper, err = g.ToRESTMapper(); err != nil {
		return nil, fmt.Errorf("client: %w", err)
	}
	return c, nil
}
