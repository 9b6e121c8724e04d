//go:build linux

package server

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/ovnkctl/ovnkctl/internal/cni/history"
	"github.com/ovnkctl/ovnkctl/internal/cni/plumb"
	"github.com/ovnkctl/ovnkctl/internal/cni/wire"
)

// absent is a node process that knows no pod, or no address, ever.
type absent struct{ why error }

func (a absent) Attachment(ctx context.Context, _ Pod) (Attachment, error) {
	<-ctx.Done()
	return Attachment{}, a.why
}
func (a absent) Programmed(ctx context.Context, _ Pod) error { <-ctx.Done(); return a.why }
func (absent) OnGone(Pod, func(error)) func()                { return func() {} }
func (absent) Exists(Pod) (bool, bool)                       { return false, false }

// noLinks has no interfaces and makes none.
type noLinks struct{ Links }

func (noLinks) Connect(string, plumb.Interface) (bool, error) { return true, nil }
func (noLinks) Disconnect(string, string, string) error       { return nil }

func TestAddressLimit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		why := errors.New("the pod has no address: subnet 10.244.1.0/24 is full")
		s := New(Config{Networks: absent{why}, Links: noLinks{}})
		start := time.Now()
		r := s.handle(t.Context(), wire.Request{
			Command: wire.Add, ContainerID: "sandbox", Netns: "/run/netns/x", IfName: "eth0",
			Args: "K8S_POD_NAMESPACE=default;K8S_POD_NAME=web-0", Config: []byte(`{"cniVersion":"1.0.0"}`),
		})
		if took := time.Since(start); took != limits[stageAddress] {
			t.Errorf("gave up after %s, want %s", took, limits[stageAddress])
		}
		want := "pod default/web-0 is not attached to the network: at stage address: not done within 20s: the pod has no address: subnet 10.244.1.0/24 is full; stages: turn 0s, veth 0s, address 20s (total 20s)"
		if r.Error == nil || r.Error.Error() != want {
			t.Errorf("got  %v\nwant %s", r.Error, want)
		}
	})
}

// The limits of the stages that follow each other fit the limit of the whole, in which a
// runtime waits.
func TestLimitsFit(t *testing.T) {
	t.Parallel()
	longest := limits[stageAddress] + max(limits[stageInterface], limits[stageNB], limits[stagePort]+limits[stageFlows])
	if longest >= wire.Limit {
		t.Errorf("an ADD may take %s, longer than the whole may: %s", longest, wire.Limit)
	}
}

func TestStageErrors(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStages(nil)
		broken := errors.New("broken")
		if err := s.run(t.Context(), stageVeth, func(context.Context) error { return broken }); !errors.Is(err, broken) || err.Error() != "at stage veth: broken" {
			t.Errorf("failed: %v", err)
		}
		given, cancel := context.WithCancelCause(t.Context())
		cancel(errClientGone)
		err := s.run(given, stageNB, func(ctx context.Context) error { <-ctx.Done(); return errors.New("port not bound") })
		if !errors.Is(err, errClientGone) || strings.Contains(err.Error(), "port not bound") {
			t.Errorf("given up: %v", err)
		}
		err = s.run(t.Context(), stageFlows, func(ctx context.Context) error {
			<-ctx.Done()
			return fmt.Errorf("port not bound: check ovn-controller: %w", ctx.Err())
		})
		if err == nil || !strings.HasPrefix(err.Error(), "at stage flows: not done within 1m0s: port not bound: check ovn-controller") {
			t.Errorf("too late: %v", err)
		}
		if got := s.String(); got != "veth 0s, nb 0s, flows 1m0s (total 1m0s)" {
			t.Errorf("stages: %s", got)
		}
	})
}

func TestMetrics(t *testing.T) {
	t.Parallel()
	registry := prometheus.NewRegistry()
	m, err := NewMetrics(registry)
	if err != nil {
		t.Fatal(err)
	}
	s := New(Config{Metrics: m, Ready: func() error { return errors.New("starting") }})
	s.handle(t.Context(), wire.Request{Command: wire.Status, Config: []byte("{}")})
	s.handle(t.Context(), wire.Request{Command: strings.Repeat("x", 1000), Config: []byte("{}")})
	m.stage(stageVeth, time.Millisecond)
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, f := range families {
		for _, metric := range f.Metric {
			labels := ""
			for _, l := range metric.Label {
				labels += " " + l.GetName() + "=" + l.GetValue()
			}
			got = append(got, fmt.Sprintf("%s%s %d", f.GetName(), labels, metric.GetHistogram().GetSampleCount()))
		}
	}
	want := []string{
		"ovnk_cni_request_duration_seconds command=STATUS result=error 1",
		"ovnk_cni_request_duration_seconds command=invalid result=error 1",
		"ovnk_pod_stage_duration_seconds stage=veth 1",
	}
	if strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	if _, err := NewMetrics(registry); err == nil {
		t.Error("registered twice")
	}
}

// broken panics when it is asked whether the pod is still there.
type broken struct{ absent }

func (broken) Attachment(context.Context, Pod) (Attachment, error) {
	return Attachment{UID: "uid"}, nil
}
func (broken) OnGone(Pod, func(error)) func() { panic("oh") }

// An ADD that ended by a defect is remembered as failed.
func TestPanicIsRemembered(t *testing.T) {
	t.Parallel()
	l := history.New(nil)
	s := New(Config{Networks: broken{}, Links: noLinks{}, History: l})
	r := s.handle(t.Context(), wire.Request{
		Command: wire.Add, ContainerID: "sandbox", Netns: "/run/netns/x", IfName: "eth0",
		Args: "K8S_POD_NAMESPACE=default;K8S_POD_NAME=web-0", Config: []byte(`{"cniVersion":"1.0.0"}`),
	})
	adds := l.Document().Adds
	if r.Error == nil || len(adds) != 1 || !adds[0].Failed || !strings.Contains(adds[0].Error, "defect") || adds[0].UID != "uid" {
		t.Errorf("%v, %+v", r.Error, adds)
	}
}

func TestPanicIsAnError(t *testing.T) {
	t.Parallel()
	s := New(Config{Ready: func() error { panic("oh") }})
	r := s.handle(t.Context(), wire.Request{Command: wire.Status, Config: []byte("{}")})
	if r.Error == nil || !strings.Contains(r.Error.Msg, "has a defect: oh") {
		t.Errorf("got %v", r.Error)
	}
}
