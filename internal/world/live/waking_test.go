package live

import (
	"testing"
	"testing/synctest"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/ovnkctl/ovnkctl/internal/runtime/kube/kubetest"
	"github.com/ovnkctl/ovnkctl/internal/world"
)

func sleeping() *corev1.Service {
	s := service("web", "10.96.0.9")
	s.UID, s.Annotations = "u", map[string]string{"k8s.ovn.org/idled-at": "2000-01-01T00:00:00Z"}
	return s
}

// awake is a service that woke up, if so at some time from now; 0 for one that does not say.
func awake(woke time.Duration, labels ...string) *corev1.Service {
	s := service("web", "10.96.0.9", labels...)
	s.UID = "u"
	if woke != 0 {
		s.Annotations = map[string]string{"k8s.ovn.org/unidled-at": time.Now().Add(woke).UTC().Format(time.RFC3339)}
	}
	return s
}

// state is "asleep", "waking", "awake" or "gone".
func state(r *rig) (state string) {
	synctest.Wait()
	state = "gone"
	r.store.Read(func(v world.View) {
		if s, ok := v.Service(world.ServiceKey{Namespace: "ns", Name: "web"}); ok {
			switch state = "awake"; {
			case s.Idled && s.Waking:
				state = "asleep and waking"
			case s.Idled:
				state = "asleep"
			case s.Waking:
				state = "waking"
			}
		}
	})
	return state
}

func TestServicesWakeUp(t *testing.T) {
	t.Parallel()
	type step struct {
		after time.Duration // of the step before
		put   func(*kubetest.Server)
		want  string
	}
	put := func(s func() *corev1.Service) func(*kubetest.Server) {
		return func(server *kubetest.Server) { server.Put(s()) }
	}
	woken := put(func() *corev1.Service { return awake(0) })
	asleep := put(sleeping)
	for name, steps := range map[string][]step{
		"it never slept":             {{0, woken, "awake"}},
		"seen, until the grace ends": {{0, asleep, "asleep"}, {time.Hour, woken, "waking"}, {grace - 1, nil, "waking"}, {1, nil, "awake"}},
		"the time goes on when it changes": {{0, asleep, "asleep"}, {time.Hour, woken, "waking"},
			{grace / 2, put(func() *corev1.Service { return awake(0, "other") }), "waking"},
			{0, put(func() *corev1.Service { return awake(-grace/2, "other") }), "waking"},
			{grace/2 - 1, nil, "waking"}, {1, nil, "awake"}},
		"asleep again":        {{0, asleep, "asleep"}, {0, woken, "waking"}, {grace / 2, asleep, "asleep"}, {grace, nil, "asleep"}, {0, woken, "waking"}, {grace - 1, nil, "waking"}},
		"another of its name": {{0, asleep, "asleep"}, {0, func(s *kubetest.Server) { s.Delete(sleeping()) }, "gone"}, {0, woken, "awake"}},
		"written down by others": {{0, put(func() *corev1.Service { return awake(-10 * time.Second) }), "waking"},
			{grace - 10*time.Second - 1, nil, "waking"}, {1, nil, "awake"}},
		"written down long ago":           {{0, put(func() *corev1.Service { return awake(-grace) }), "awake"}},
		"written down by another's clock": {{0, put(func() *corev1.Service { return awake(time.Hour) }), "waking"}, {grace, nil, "awake"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				r := startWith(t, Config{Services: true}, func(*kubetest.Server) {})
				for i, s := range steps {
					time.Sleep(s.after)
					if s.put != nil {
						s.put(r.server)
					}
					if got := state(r); got != s.want {
						t.Errorf("step %d: %s, want %s", i, got, s.want)
					}
				}
			})
		})
	}
}
