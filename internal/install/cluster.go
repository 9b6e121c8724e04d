package install

import (
	"context"
	"errors"
	"fmt"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
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
	// server is the URL by which the operator reaches the API server.
	server string
}

// answerTime is how long the API server has for its first answer. Nothing else ends the requests
// that follow: some of them wait for what happens.
const answerTime = 10 * time.Second

// answers tells whether the API server does, in a time of at most what the operation has.
func (c *cluster) answers(ctx context.Context, most time.Duration) error {
	if most <= 0 || most > answerTime {
		most = answerTime
	}
	bounded, cancel := context.WithTimeout(ctx, most)
	defer cancel()
	err := c.kube.Discovery().RESTClient().Get().AbsPath("/version").Do(bounded).Error()
	p := &Problem{What: "the API server does not answer", Why: err, Next: "try `kubectl get nodes` with the same --kubeconfig and --context"}
	switch {
	case err == nil:
		return nil
	case ctx.Err() != nil:
		return ctx.Err()
	case bounded.Err() != nil:
		p.Why, p.Code = fmt.Errorf("nothing came from %s in %s", c.server, most), exitTimeout
	case apierrors.IsUnauthorized(err):
		p.What, p.Why, p.Next = "the API server does not know who you are", nil, "log in again, or look at the user of the kubeconfig's context"
	case apierrors.IsForbidden(err):
		p.What, p.Next = "the API server refuses to answer", "an installation needs the rights of a cluster administrator"
	}
	return p
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
	c := &cluster{server: config.Host}
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
