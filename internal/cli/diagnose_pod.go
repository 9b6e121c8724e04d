package cli

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	corev1 "k8s.io/api/core/v1"

	"github.com/ovnkctl/ovnkctl/internal/diagnose"
	"github.com/ovnkctl/ovnkctl/internal/install"
	"github.com/ovnkctl/ovnkctl/internal/output"
)

// podWords are how a pod may be announced.
var podWords = []string{"pod", "pods", "po"}

// podName is a pod on the command line; the namespace may be left out.
type podName struct{ namespace, name string }

// podOf is the pod that the command line asks for, if it does: pod/NAME, pod/NAMESPACE/NAME,
// NAMESPACE/NAME, or one of the words behind which the name stands. The words alone, and those
// that are areas or codes of checks, select checks.
func podOf(args []string) (p podName, ok bool) {
	switch {
	case len(args) == 1 && strings.Contains(args[0], "/"):
		p.name = args[0]
		if word, rest, _ := strings.Cut(p.name, "/"); slices.Contains(podWords, word) {
			p.name = rest
		}
	case len(args) == 2 && slices.Contains(podWords, strings.ToLower(args[0])):
		if _, err := diagnose.Select(args[1:]); err == nil {
			return p, false
		}
		p.name = args[1]
	default:
		return p, false
	}
	if before, after, both := strings.Cut(p.name, "/"); both {
		p = podName{before, after}
	}
	return p, true
}

// addNetworkNamespace adds the flag for the case that --namespace is the pod's.
func (f *diagnoseFlags) addNetworkNamespace(fs *pflag.FlagSet) {
	fs.StringVar(&f.network, "network-namespace", "", "`namespace` of the network; --namespace, or "+install.DefaultNamespace+", when empty")
}

// timeline prints the time line of a pod.
func (f *diagnoseFlags) timeline(cmd *cobra.Command, p podName, failOn diagnose.Severity) error {
	if p.namespace == "" {
		p.namespace = f.podNamespace()
		if f.network == "" {
			f.network = install.DefaultNamespace
		}
	}
	if p.name == "" || strings.Contains(p.name, "/") {
		return usageError{cmd.CommandPath(), errors.New("that is no pod: want pod/NAME with --namespace, or NAMESPACE/NAME")}
	}
	if f.list {
		return usageError{cmd.CommandPath(), errors.New("--list lists checks; a pod's time line has none")}
	}
	if slices.Contains(diagnose.Forms(), f.output.Output) {
		return usageError{cmd.CommandPath(), fmt.Errorf("--output=%s is for findings; a pod's time line is a table, json or yaml", f.output.Output)}
	}
	s, err := f.open()
	if err != nil {
		return err
	}
	defer s.Close() //nolint:errcheck // only read
	t, err := diagnose.PodTimeline(cmd.Context(), s, diagnose.TimelineOptions{Namespace: p.namespace, Name: p.name, FailOn: failOn, Now: time.Now})
	if err != nil {
		return because(err, s)
	}
	return output.Print(f.streams, t, &f.output)
}

// podNamespace is the namespace of the pod: that of --namespace, else the context's.
func (f *diagnoseFlags) podNamespace() string {
	if namespace, _, err := f.kube.ToRawKubeConfigLoader().Namespace(); err == nil {
		return namespace
	}
	return corev1.NamespaceDefault
}
