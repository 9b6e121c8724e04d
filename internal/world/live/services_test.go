package live

import (
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/ovnkctl/ovnkctl/internal/runtime/kube/kubetest"
	"github.com/ovnkctl/ovnkctl/internal/world"
)

func service(name, clusterIP string, labels ...string) *corev1.Service {
	s := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: name, Labels: map[string]string{}}}
	for _, l := range labels {
		s.Labels[l] = ""
	}
	s.Spec.ClusterIP = clusterIP
	return s
}

func slice(name, service string, labels ...string) *discoveryv1.EndpointSlice {
	s := &discoveryv1.EndpointSlice{
		ObjectMeta:  metav1.ObjectMeta{Namespace: "ns", Name: name, Labels: map[string]string{discoveryv1.LabelServiceName: service}},
		AddressType: discoveryv1.AddressTypeIPv4,
	}
	for _, l := range labels {
		s.Labels[l] = ""
	}
	return s
}

func cidr(name, prefix string) *networkingv1.ServiceCIDR {
	return &networkingv1.ServiceCIDR{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: networkingv1.ServiceCIDRSpec{CIDRs: []string{prefix}}}
}

const (
	otherProxy = "service.kubernetes.io/service-proxy-name"
	headless   = "service.kubernetes.io/headless"
)

func TestFollowsServices(t *testing.T) {
	t.Parallel()
	servers := map[string]func(*kubetest.Server){
		"streaming lists": func(*kubetest.Server) {},
		"plain lists":     (*kubetest.Server).NoStreamingLists,
	}
	for name, prepare := range servers {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				r := startWith(t, Config{Services: true}, func(s *kubetest.Server) {
					prepare(s)
					s.Put(
						service("web", "10.96.0.9"), service("theirs", "10.96.0.10", otherProxy), service("odd", "10.96.0.11", headless),
						slice("web-1", "web"), slice("theirs-1", "theirs", otherProxy), slice("dns-only-1", "dns-only", headless),
						cidr("kubernetes", "10.96.0.0/16"),
					)
				})
				r.expect(t, "start: what another proxy serves stays out, and end points of headless services",
					"Service ns/web new initial", "Service ns/odd new initial", "EndpointSlice ns/web-1 new initial", "ServiceCIDR /kubernetes new initial")
				if !r.store.Synced() {
					t.Error("not synced after the first lists")
				}

				r.server.Put(service("web", "10.96.0.9", otherProxy), slice("web-1", "web", otherProxy))
				r.expect(t, "another proxy takes the service over", "Service ns/web gone", "EndpointSlice ns/web-1 gone")
				r.server.Put(service("web", "10.96.0.9", otherProxy, "more"))
				r.expect(t, "its changes there")
				r.server.Put(service("web", "10.96.0.9"), slice("web-1", "web"))
				r.expect(t, "we have it back", "Service ns/web new", "EndpointSlice ns/web-1 new")

				external := service("web", "")
				external.Spec.Type, external.Spec.ExternalName = corev1.ServiceTypeExternalName, "example.com"
				r.server.Put(external)
				r.expect(t, "it becomes a name", "Service ns/web changed")
				r.store.Read(func(v world.View) {
					if s, ok := v.Service(world.ServiceKey{Namespace: "ns", Name: "web"}); !ok || len(s.ClusterIPs) != 0 {
						t.Errorf("a service that is a name has addresses: %+v", s)
					}
				})

				r.server.Put(slice("web-1", "odd"))
				r.expect(t, "a slice moves", "EndpointSlice ns/web-1 changed")
				r.store.Read(func(v world.View) {
					for service, want := range map[string]int{"web": 0, "odd": 1} {
						if got := len(v.Slices(world.ServiceKey{Namespace: "ns", Name: service})); got != want {
							t.Errorf("service %s has %d slices, want %d", service, got, want)
						}
					}
				})

				r.server.Disconnect(true)
				r.server.Delete(slice("web-1", ""))
				r.server.Delete(service("odd", ""))
				r.server.Put(cidr("more", "10.97.0.0/16"))
				r.server.Delete(cidr("kubernetes", ""))
				time.Sleep(longerThanBackOff)
				r.expect(t, "after listing again", "EndpointSlice ns/web-1 gone", "Service ns/odd gone", "ServiceCIDR /more new", "ServiceCIDR /kubernetes gone")
			})
		})
	}
}

// TestServerWithoutServiceCIDRs: one before Kubernetes 1.33 must not hold up the rest, nor be
// asked all the time; and once it is upgraded its ranges count.
func TestServerWithoutServiceCIDRs(t *testing.T) {
	t.Parallel()
	for _, streaming := range []bool{true, false} {
		synctest.Test(t, func(t *testing.T) {
			r := startWith(t, Config{Services: true}, func(s *kubetest.Server) {
				if !streaming {
					s.NoStreamingLists()
				}
				s.Put(service("web", "10.96.0.9"), cidr("kubernetes", "10.96.0.0/16"))
				s.Intercept(func(r *http.Request) *metav1.Status {
					if !strings.HasSuffix(r.URL.Path, "/servicecidrs") {
						return nil
					}
					return &metav1.Status{Status: metav1.StatusFailure, Code: http.StatusNotFound, Reason: metav1.StatusReasonNotFound}
				})
			})
			r.expect(t, "start", "Service ns/web new initial")
			if !r.store.Synced() {
				t.Error("not synced without ServiceCIDRs")
			}
			const path = "GET /apis/networking.k8s.io/v1/servicecidrs"
			asked := r.server.Requests(path)
			time.Sleep(askAgain - time.Second)
			if now := r.server.Requests(path); now != asked {
				t.Errorf("asked %d times for what the server does not have", now-asked)
			}
			r.server.Intercept(nil)
			time.Sleep(askAgain)
			r.expect(t, "after the upgrade", "ServiceCIDR /kubernetes new")
			r.store.Read(func(v world.View) {
				got := v.ServiceCIDRs()
				if len(got) != 1 || !slices.Equal(got[0].Prefixes, []netip.Prefix{netip.MustParsePrefix("10.96.0.0/16")}) {
					t.Errorf("got ranges %+v", got)
				}
			})
			r.server.Put(cidr("more", "10.97.0.0/16"))
			r.expect(t, "live from then on", "ServiceCIDR /more new")
		})
	}
}

// TestServicesAreAChoice: programs that do not need services do not ask for them.
func TestServicesAreAChoice(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := start(t, "a", func(s *kubetest.Server) {
			s.Put([]runtime.Object{service("web", "10.96.0.9"), slice("web-1", "web"), cidr("kubernetes", "10.96.0.0/16")}...)
		})
		r.expect(t, "start")
		for _, path := range []string{"/api/v1/services", "/apis/"} {
			if n := r.server.Requests("GET " + path); n != 0 {
				t.Errorf("%d requests for %s", n, path)
			}
		}
	})
}
