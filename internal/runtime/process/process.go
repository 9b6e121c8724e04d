// Package process is the frame that the long-running programs share: configuration, log,
// metrics and health, and the Kubernetes client.
package process

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"golang.org/x/sync/errgroup"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"github.com/ovnkctl/ovnkctl/internal/config"
	"github.com/ovnkctl/ovnkctl/internal/runtime/kube"
	"github.com/ovnkctl/ovnkctl/internal/runtime/kube/dialer"
	"github.com/ovnkctl/ovnkctl/internal/serving"
)

// Options say what program it is.
type Options struct {
	Config *config.Config
	// Component is "controller" or "node".
	Component string
	// Metrics is the address of metrics and health.
	Metrics string
	Stderr  io.Writer
}

// Process is a running program's frame. Its parts run in Group, and the first that fails
// ends the others.
type Process struct {
	Log      *slog.Logger
	Registry *prometheus.Registry
	Serving  *serving.Server
	Client   kubernetes.Interface
	// Access and HTTP are what Client is made of, for clients of kinds that it does not know.
	Access *rest.Config
	HTTP   *http.Client
	// Servers connects to the API servers, and wants to know their endpoints; nil when the
	// configuration names one.
	Servers *dialer.Dialer
	Group   *errgroup.Group
}

// Start makes the frame and sets it running; the context it returns ends with the first
// part that fails. The program is not ready before it calls Started.
func Start(ctx context.Context, o Options) (context.Context, *Process, error) {
	log, level, err := serving.NewLogger(o.Stderr, o.Config.Log)
	if err != nil {
		return nil, nil, err
	}
	kube.LogTo(log)
	access, servers, err := kube.RESTConfig(kube.ClientConfig{
		Kubernetes: o.Config.Kubernetes, Component: o.Component, Remember: o.Component == "node", Log: log,
	})
	if err != nil {
		return nil, nil, err
	}
	p := &Process{Log: log, Servers: servers, Access: access, Registry: prometheus.NewRegistry()}
	p.Registry.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	if p.HTTP, err = rest.HTTPClientFor(access); err != nil {
		return nil, nil, fmt.Errorf("client of the API server: %w", err)
	}
	if p.Client, err = kubernetes.NewForConfigAndClient(access, p.HTTP); err != nil {
		return nil, nil, fmt.Errorf("client of the API server: %w", err)
	}
	p.Serving, err = serving.New(ctx, serving.Config{
		Address: o.Metrics, Pprof: o.Config.Serving.Pprof, Metrics: p.Registry, Log: log, Level: level,
	})
	if err != nil {
		return nil, nil, err
	}
	p.Serving.Ready.Add(startCheck, func(context.Context) error { return errors.New("the program is starting") })
	p.Group, ctx = errgroup.WithContext(ctx)
	p.Go(ctx, p.Serving.Run)
	return ctx, p, nil
}

// startCheck is the readiness check that fails until the program's own checks are there:
// health is served from the first moment, and without checks all would be well.
const startCheck = "start"

// Started says that the program's own checks have been added.
func (p *Process) Started() {
	p.Serving.Ready.Add(startCheck, func(context.Context) error { return nil })
}

// Go runs a part. An error that only says that the context ended is no failure.
func (p *Process) Go(ctx context.Context, f func(context.Context) error) {
	p.Group.Go(func() error {
		if err := f(ctx); err != nil && ctx.Err() == nil {
			return err
		}
		return nil
	})
}
