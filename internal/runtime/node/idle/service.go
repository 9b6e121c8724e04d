package idle

import (
	"fmt"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/ovnkctl/ovnkctl/internal/ovn"
	"github.com/ovnkctl/ovnkctl/internal/ovn/names"
	"github.com/ovnkctl/ovnkctl/internal/ovn/nb"
	"github.com/ovnkctl/ovnkctl/internal/world"
)

// NeedPods is the reason of the events, which those that wake services look for.
const NeedPods = "NeedPods"

// ByRow is the Lookup that asks the load balancer's row whose it is, and the world whether
// that service still sleeps: VIPs are not unique while services change, rows are.
func ByRow(north *ovn.DB, store *world.Store) func(Event) (world.ObjectRef, bool) {
	return func(e Event) (ref world.ObjectRef, asleep bool) {
		row, ok := ovn.Get[nb.LoadBalancer](north, e.LoadBalancer)
		if !ok || row.ExternalIDs[names.KeyKind] != string(world.KindService) {
			return ref, false
		}
		namespace, name, ok := strings.Cut(row.ExternalIDs[names.KeyOwner], "/")
		if !ok {
			return ref, false
		}
		store.Read(func(v world.View) {
			if s, ok := v.Service(world.ServiceKey{Namespace: namespace, Name: name}); ok && s.Idled {
				ref, asleep = s.Ref(), true
			}
		})
		return ref, asleep
	}
}

// NewEvent makes the event that a service needs pods. It is one of core/v1, and a new one
// each time: those that wake services compare lastTimestamp, which events.k8s.io/v1 does not
// let anybody set, with the time when the service was put to sleep.
func NewEvent(service world.ObjectRef, component, node string, now time.Time) *corev1.Event {
	at := metav1.NewTime(now)
	return &corev1.Event{
		ObjectMeta: metav1.ObjectMeta{Namespace: service.Namespace, Name: fmt.Sprintf("%s.%x", service.Name, now.UnixNano())},
		InvolvedObject: corev1.ObjectReference{
			APIVersion: "v1", Kind: string(service.Kind), Namespace: service.Namespace, Name: service.Name, UID: types.UID(service.UID),
		},
		Type: corev1.EventTypeNormal, Reason: NeedPods,
		Message:        fmt.Sprintf("The service %s needs pods", service.Name),
		FirstTimestamp: at, LastTimestamp: at, Count: 1,
		Source:              corev1.EventSource{Component: component, Host: node},
		ReportingController: component, ReportingInstance: node,
	}
}
