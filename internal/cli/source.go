package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/pflag"
	"k8s.io/cli-runtime/pkg/genericclioptions"
	"k8s.io/client-go/rest"

	"github.com/ovnkctl/ovnkctl/internal/inspect"
	"github.com/ovnkctl/ovnkctl/internal/install"
	"github.com/ovnkctl/ovnkctl/internal/output"
)

// sourceFlags are those of every command that reads a cluster, or a record of one.
type sourceFlags struct {
	kube    *genericclioptions.ConfigFlags
	from    []string
	timeout time.Duration
	// network is the namespace of the network, for commands whose --namespace is another.
	network string
}

// look is the inspector of commands whose --namespace is that of the objects they are about.
func look(kube *genericclioptions.ConfigFlags) inspector {
	return func(fs *pflag.FlagSet) func(context.Context) (*inspect.Snapshot, error) {
		f := &sourceFlags{kube: kube}
		f.addFrom(fs)
		f.addTimeout(fs)
		fs.StringVar(&f.network, "network-namespace", install.DefaultNamespace, "`namespace` of the network")
		return func(context.Context) (*inspect.Snapshot, error) { return f.open() }
	}
}

func (f *sourceFlags) addFrom(fs *pflag.FlagSet) {
	fs.StringSliceVar(&f.from, "from", nil, "read this `record` instead of the cluster: a bundle of 'ovnkctl collect' (file or folder), or database files")
}

func (f *sourceFlags) addTimeout(fs *pflag.FlagSet) {
	fs.DurationVar(&f.timeout, "timeout", inspect.DefaultTimeout, "how `long` to wait for each answer")
}

// namespace is that of the network.
func (f *sourceFlags) namespace() string {
	switch {
	case f.network != "":
		return f.network
	case f.kube.Namespace != nil && *f.kube.Namespace != "":
		return *f.kube.Namespace
	}
	return install.DefaultNamespace
}

// open opens what is to be read; the caller closes it.
func (f *sourceFlags) open() (*inspect.Snapshot, error) {
	if f.timeout <= 0 {
		return nil, badTimeout{}
	}
	if len(f.from) > 0 {
		return inspect.Open(inspect.OpenConfig{Paths: f.from, Timeout: f.timeout})
	}
	access, err := f.kube.ToRESTConfig()
	if err == nil {
		err = f.named()
	}
	if err != nil {
		return nil, noCluster{err}
	}
	return inspect.Connect(inspect.LiveConfig{REST: access, Namespace: f.namespace(), Timeout: f.timeout})
}

// named says so if nothing names a cluster: client-go would try this machine's port 8080.
func (f *sourceFlags) named() error {
	if f.kube.APIServer != nil && *f.kube.APIServer != "" {
		return nil
	}
	if raw, err := f.kube.ToRawKubeConfigLoader().RawConfig(); err != nil || len(raw.Clusters) > 0 {
		return nil //nolint:nilerr // told by ToRESTConfig
	}
	if _, err := rest.InClusterConfig(); err == nil {
		return nil
	}
	files := strings.Join(f.kube.ToRawKubeConfigLoader().ConfigAccess().GetLoadingPrecedence(), ", ")
	return fmt.Errorf("no kubeconfig names a cluster (looked at %s)", files)
}

// because adds to an error what could not be read, which may be why.
func because(err error, s *inspect.Snapshot) error {
	if errors.As(err, new(*inspect.Problem)) {
		return err // it says itself why
	}
	for _, p := range s.Problems() {
		if p.Node == "" && !errors.Is(err, p) {
			err = &lacking{err, p}
		}
	}
	return err
}

// lacking is an error behind which may be that something could not be read.
type lacking struct {
	error
	lacks *inspect.Problem
}

func (e *lacking) Error() string {
	return e.error.Error() + "; it may be that it could not be read: " + e.lacks.Error()
}
func (e *lacking) Hint() string  { return e.lacks.Hint() }
func (e *lacking) Unwrap() error { return e.error }

// unread is what could not be read, as a part of documents.
type unread struct {
	Unread []*inspect.Problem `json:"unread,omitempty"`
}

func (u unread) text(w io.Writer) error {
	for _, line := range output.ProblemLines(inspect.Errors(u.Unread)) {
		if _, err := fmt.Fprintln(w, line); err != nil {
			return err
		}
	}
	return nil
}

// badTimeout is a wait that no answer is short enough for.
type badTimeout struct{}

func (badTimeout) Error() string { return "--timeout must be longer than nothing" }
func (badTimeout) ExitCode() int { return ExitUsage }

// noCluster is a kubeconfig that names no cluster.
type noCluster struct{ error }

func (noCluster) Hint() string {
	return "name a kubeconfig with --kubeconfig or KUBECONFIG, or a record with --from"
}
func (e noCluster) Unwrap() error { return e.error }
