package kube

import (
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	eventsv1 "k8s.io/api/events/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/ovnkctl/ovnkctl/internal/runtime/kube/kubetest"
	"github.com/ovnkctl/ovnkctl/internal/world"
)

func recording(t *testing.T) (*Recorder, *kubetest.Server) {
	server := kubetest.New()
	r, err := NewRecorder(RecorderConfig{
		Client: server.Client(t), Component: "ovnkctl-controller", Instance: "pod-1",
		Logger: slog.New(slog.DiscardHandler), Registerer: prometheus.NewRegistry(),
	})
	if err != nil {
		t.Fatal(err)
	}
	run(t, r.Run)
	return r, server
}

func events(s *kubetest.Server) []*eventsv1.Event {
	var list []*eventsv1.Event
	for _, o := range s.List("events") {
		list = append(list, o.(*eventsv1.Event))
	}
	return list
}

func TestRecorder(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r, server := recording(t)
		full := Event{Object: n1, Warning: true, Reason: "SubnetsExhausted", Action: "Allocating", Note: "no subnet is left"}
		for range 3 {
			r.Record(full)
		}
		r.Record(Event{Object: world.ObjectRef{Kind: world.KindPod, Namespace: "ns", Name: "p", UID: "u-2"}, Reason: "Attached", Action: "Attaching", Note: strings.Repeat("ä", 1000)})
		synctest.Wait()

		list := events(server)
		if len(list) != 2 {
			t.Fatalf("%d events, want 2", len(list))
		}
		e := list[0]
		if e.Namespace != "default" || e.Type != "Warning" || e.Reason != full.Reason || e.Action != full.Action || e.Note != full.Note ||
			e.ReportingController != "ovnkctl-controller" || e.ReportingInstance != "pod-1" || e.EventTime.IsZero() ||
			e.Regarding.Name != "n1" || e.Regarding.Kind != "Node" || e.Regarding.UID != "u-1" || e.Series != nil {
			t.Errorf("event %+v", e)
		}
		if e := list[1]; e.Namespace != "ns" || e.Type != "Normal" || len(e.Note) > maxNote || !strings.HasSuffix(e.Note, "ä…") {
			t.Errorf("event %+v", e)
		}

		time.Sleep(seriesEvery)
		synctest.Wait()
		if s := events(server)[0].Series; s == nil || s.Count != 3 {
			t.Errorf("series %v, want 3 occurrences", s)
		}
		time.Sleep(2 * forgetAfter)
		r.Record(full)
		synctest.Wait()
		if n := len(events(server)); n != 3 {
			t.Errorf("%d events, want a new one after a quiet time", n)
		}
	})
}

func TestRecorderIsLimited(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r, server := recording(t)
		for i := range 10 * eventBurst {
			r.Record(Event{Object: n1, Reason: "Flood", Action: "Flooding", Note: fmt.Sprint(i)})
		}
		synctest.Wait()
		if n := len(events(server)); n != eventBurst {
			t.Errorf("%d events at once, want %d", n, eventBurst)
		}
		time.Sleep(time.Second)
		for i := range 10 * eventBurst {
			r.Record(Event{Object: n1, Reason: "Flood", Action: "Flooding", Note: fmt.Sprint("later ", i)})
		}
		synctest.Wait()
		if n := len(events(server)); n != eventBurst+eventsPerSecond {
			t.Errorf("%d events a second later, want %d", n, eventBurst+eventsPerSecond)
		}
		if len(r.seen) > maxRemembered {
			t.Errorf("%d events remembered", len(r.seen))
		}
	})
}

func TestRecorderSurvivesAnAbsentAPIServer(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r, server := recording(t)
		server.Intercept(func(*http.Request) *metav1.Status {
			return failure(http.StatusServiceUnavailable, metav1.StatusReasonServiceUnavailable)
		})
		lost := Event{Object: n1, Reason: "Lost", Action: "Testing"}
		r.Record(lost)
		time.Sleep(time.Hour)
		synctest.Wait()
		if n := server.Requests("POST"); n != eventTries {
			t.Errorf("%d tries, want %d", n, eventTries)
		}
		server.Intercept(nil)
		r.Record(lost) // it was never written, so it is not a repetition
		synctest.Wait()
		if n := len(events(server)); n != 1 {
			t.Errorf("%d events, want 1", n)
		}
	})
}

// TestOnce: an event that tells of a state is there once, whoever tells it.
func TestOnce(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r, server := recording(t)
		policy := world.ObjectRef{Kind: world.KindNetworkPolicy, Namespace: "ns", Name: "p", UID: "u"}
		e := Event{Object: policy, Warning: true, Reason: "InvalidPolicy", Action: "Programming", Note: "bad", Once: "1"}
		r.Record(e)
		synctest.Wait()
		other, err := NewRecorder(RecorderConfig{
			Client: server.Client(t), Component: "ovnkctl-controller", Instance: "pod-2",
			Logger: slog.New(slog.DiscardHandler), Registerer: prometheus.NewRegistry(),
		})
		if err != nil {
			t.Fatal(err)
		}
		run(t, other.Run)
		time.Sleep(time.Hour)
		other.Record(e)
		synctest.Wait()
		list := events(server)
		if len(list) != 1 {
			t.Fatalf("%d events, want 1", len(list))
		}
		if got := list[0].Regarding.APIVersion; got != "networking.k8s.io/v1" {
			t.Errorf("the event is about a NetworkPolicy of %q", got)
		}
		e.Once = "2"
		other.Record(e)
		synctest.Wait()
		if n := len(events(server)); n != 2 {
			t.Errorf("%d events, want 2: the object has changed", n)
		}
	})
}
