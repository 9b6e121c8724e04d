package status_test

import (
	"bytes"
	"context"
	"errors"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/ovnkctl/ovnkctl/internal/inspect"
	"github.com/ovnkctl/ovnkctl/internal/inspect/inspecttest"
	"github.com/ovnkctl/ovnkctl/internal/output"
	"github.com/ovnkctl/ovnkctl/internal/status"
)

// Kinds that a status does not look at are not read: who may not list them has a status
// that is whole.
func TestReadsWhatItUses(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	if s := c.look(); s.ExitCode() != output.OK {
		t.Fatalf("exit code %d, notes %v", s.ExitCode(), notes(s))
	}
	for _, path := range []string{"/apis/networking", "/apis/policy", "/apis/discovery", "/apis/k8s.ovn.org", "/api/v1/services", "/api/v1/namespaces?", "/api/v1/configmaps"} {
		if n := c.API.Requests("GET " + path); n > 0 {
			t.Errorf("%s was asked for %d times", path, n)
		}
	}
}

// Who may look at the network's namespace alone sees what runs there, and the nodes.
func TestFewRights(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	c.API.Intercept(func(r *http.Request) *metav1.Status {
		if strings.Contains(r.URL.Path, "/namespaces/"+inspecttest.Namespace) {
			return nil
		}
		plural := r.URL.Path[strings.LastIndex(r.URL.Path, "/")+1:]
		return &metav1.Status{
			Status: metav1.StatusFailure, Code: http.StatusForbidden, Reason: metav1.StatusReasonForbidden,
			Message: plural + ` is forbidden: User "jane" cannot list resource "` + plural + `" in API group "" at the cluster scope`,
		}
	})
	s := c.look()
	if s.ExitCode() != output.Partial || len(s.Nodes) != 2 || len(s.Components) != 3 || s.Components[1].Ready != 2 || s.Nodes[0].Zone == nil {
		t.Errorf("exit code %d, components %+v, nodes %+v", s.ExitCode(), s.Components, s.Nodes)
	}
	var hints []string
	for _, p := range s.Problems {
		hints = append(hints, p.Hint())
	}
	if !slices.ContainsFunc(hints, func(h string) bool {
		return strings.Contains(h, "--verb=list --resource=nodes,pods --dry-run=client -o yaml | kubectl auth reconcile -f - && kubectl create clusterrolebinding ovnkctl-list --clusterrole=ovnkctl-list --user=jane")
	}) {
		t.Errorf("hints %q", hints)
	}
}

func TestFindings(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	c.Stop("ovnkube-node-b", "ovn-northd")
	asked := 0
	o := c.options()
	o.Findings = func(ctx context.Context, from *inspect.Snapshot) *status.Findings {
		asked++
		if _, err := from.Node("a").Text(ctx, inspect.TextNFT); err != nil {
			t.Errorf("the source is closed: %v", err)
		}
		return &status.Findings{Errors: 2, Infos: 1}
	}
	s, err := status.Run(t.Context(), o)
	if err != nil || asked != 1 {
		t.Fatalf("asked %d times, %v", asked, err)
	}
	for _, test := range []struct {
		findings status.Findings
		kind     inspect.Kind
		want     string
	}{
		{*s.Findings, inspect.Live, "findings: 2 errors, 1 info; 'ovnkctl diagnose' says what and why"},
		{status.Findings{Warnings: 1, Unknown: "x"}, inspect.Live, "findings: 1 warning, and maybe more; 'ovnkctl diagnose' says"},
		{status.Findings{Warnings: 1}, inspect.Bundle, "'ovnkctl diagnose --from b.tar.gz' says"},
		{status.Findings{}, inspect.Live, "findings: none\n"},
		{status.Findings{Unknown: "no objects"}, inspect.Live, "findings: not known: no objects\n"},
	} {
		s.Findings, s.Source = &test.findings, inspect.Origin{Kind: test.kind, Name: "b.tar.gz"}
		var b bytes.Buffer
		if err := s.Text(&b, output.Style{}, false); err != nil || !strings.Contains(b.String(), test.want) {
			t.Errorf("%+v: %v\n%s\nwant %s", test.findings, err, b.String(), test.want)
		}
	}
	o.Wait = 1
	if _, err := status.Run(t.Context(), o); err == nil || asked != 1 {
		t.Errorf("while it is waited: asked %d times, %v", asked, err)
	}
}

// Who waits for what he may not read is told what he lacks.
func TestWaitWithoutRights(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	c.API.Intercept(func(*http.Request) *metav1.Status {
		return &metav1.Status{Status: metav1.StatusFailure, Code: http.StatusForbidden, Reason: metav1.StatusReasonForbidden, Message: `pods is forbidden: User "eve" cannot list resource "pods"`}
	})
	o := c.options()
	o.Wait = 200 * time.Millisecond
	_, err := status.Run(t.Context(), o)
	var hint interface {
		Hint() string
		ExitCode() int
	}
	if !errors.As(err, &hint) || hint.ExitCode() != output.Timeout || !strings.Contains(hint.Hint(), "--user=eve") {
		t.Errorf("error %v", err)
	}
}
