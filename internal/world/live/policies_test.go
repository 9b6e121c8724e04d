package live

import (
	"bytes"
	"log/slog"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/network-policy-api/apis/v1alpha1"
	"sigs.k8s.io/network-policy-api/apis/v1alpha2"

	egressfirewallv1 "github.com/ovnkctl/ovnkctl/api/egressfirewall/v1"
	"github.com/ovnkctl/ovnkctl/internal/runtime/kube/kubetest"
	"github.com/ovnkctl/ovnkctl/internal/world"
)

// allPolicies is one of each kind.
func allPolicies() []runtime.Object {
	return []runtime.Object{
		&networkingv1.NetworkPolicy{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "np"}},
		&v1alpha1.AdminNetworkPolicy{ObjectMeta: metav1.ObjectMeta{Name: "anp"}},
		&v1alpha1.BaselineAdminNetworkPolicy{ObjectMeta: metav1.ObjectMeta{Name: "default"}},
		&v1alpha2.ClusterNetworkPolicy{ObjectMeta: metav1.ObjectMeta{Name: "cnp"}},
		firewall("ns"),
	}
}

func firewall(namespace string) *egressfirewallv1.EgressFirewall {
	return &egressfirewallv1.EgressFirewall{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "default"}}
}

func custom(path string) bool {
	return strings.HasPrefix(path, "/apis/policy.networking.k8s.io/") || strings.HasPrefix(path, "/apis/k8s.ovn.org/")
}

// policyRig also keeps what is logged.
func policyRig(t *testing.T, prepare func(*kubetest.Server)) (r *rig, log *bytes.Buffer) {
	log = &bytes.Buffer{}
	return startWith(t, Config{Logger: slog.New(slog.NewTextHandler(log, nil)), Policies: &PolicyClient{}}, prepare), log
}

// expectPolicies compares the policies in the store, as "Kind namespace/name".
func (r *rig) expectPolicies(t *testing.T, what string, want ...string) {
	t.Helper()
	synctest.Wait()
	r.seen = nil
	got := map[string]bool{}
	r.store.Read(func(v world.View) {
		for p := range v.Policies {
			got[string(p.Kind)+" "+p.Namespace+"/"+p.Name] = true
		}
	})
	for _, w := range want {
		if !got[w] {
			t.Errorf("%s: no %s", what, w)
		}
		delete(got, w)
	}
	for g := range got {
		t.Errorf("%s: unexpected %s", what, g)
	}
}

func TestFollowsPolicies(t *testing.T) {
	t.Parallel()
	for _, streaming := range []bool{true, false} {
		synctest.Test(t, func(t *testing.T) {
			r, _ := policyRig(t, func(s *kubetest.Server) {
				if !streaming {
					s.NoStreamingLists()
				}
				s.Put(allPolicies()...)
			})
			all := []string{"NetworkPolicy ns/np", "AdminNetworkPolicy /anp", "BaselineAdminNetworkPolicy /default", "ClusterNetworkPolicy /cnp", "EgressFirewall ns/default"}
			r.expectPolicies(t, "start", all...)
			if !r.store.Synced() {
				t.Error("not synced after the first lists")
			}
			r.server.Put(firewall("more"))
			r.expectPolicies(t, "live", append(all, "EgressFirewall more/default")...)
			r.server.Disconnect(true)
			for _, o := range allPolicies() {
				r.server.Delete(o)
			}
			time.Sleep(longerThanBackOff)
			r.expectPolicies(t, "after listing again", "EgressFirewall more/default")
		})
	}
}

// TestSyncedNeedsPolicies: the world is not complete before all kinds of policies are there, or
// what protects pods would be removed for a moment.
func TestSyncedNeedsPolicies(t *testing.T) {
	t.Parallel()
	for _, resource := range []string{"networkpolicies", admins, baselines, clusters, firewalls} {
		synctest.Test(t, func(t *testing.T) {
			r, _ := policyRig(t, func(s *kubetest.Server) {
				s.Put(allPolicies()...)
				s.Intercept(func(r *http.Request) *metav1.Status {
					if strings.HasSuffix(r.URL.Path, "/"+resource) {
						return &unavailable
					}
					return nil
				})
			})
			time.Sleep(longerThanBackOff)
			if r.store.Synced() {
				t.Errorf("synced without %s", resource)
			}
			r.server.Intercept(nil)
			time.Sleep(longerThanBackOff)
			if !r.store.Synced() {
				t.Errorf("not synced with %s", resource)
			}
		})
	}
}

// TestKindsComeAndGo: a cluster without the definitions is neither held up nor asked all the
// time; once they come their objects count, soon, and no longer when they go.
func TestKindsComeAndGo(t *testing.T) {
	t.Parallel()
	const soon = 10 * time.Second // the server's settling, and the reflector's pauses
	for _, streaming := range []bool{true, false} {
		synctest.Test(t, func(t *testing.T) {
			absent := func(r *http.Request) *metav1.Status {
				if custom(r.URL.Path) {
					return kubetest.Undefined()
				}
				return nil
			}
			r, log := policyRig(t, func(s *kubetest.Server) {
				if !streaming {
					s.NoStreamingLists()
				}
				s.Put(allPolicies()...)
				s.Intercept(absent)
			})
			r.expectPolicies(t, "start", "NetworkPolicy ns/np")
			if !r.store.Synced() {
				t.Error("not synced without the kinds")
			}
			asked, lines := r.server.Requests("GET /apis/policy"), strings.Count(log.String(), "\n")
			time.Sleep(2*askAgain - time.Minute)
			synctest.Wait()
			if more := r.server.Requests("GET /apis/policy") - asked; more > 9 { // a watch, a list and a watch of each kind
				t.Errorf("asked %d times for what the server does not have, in two periods", more)
			}
			if more := strings.Count(log.String(), "\n") - lines; more != 0 || lines != 4 {
				t.Errorf("%d lines of log and %d more, want one of each kind:\n%s", lines, more, log)
			}

			// The definition is there a moment before the kind is.
			r.server.Put(kubetest.Definition(definitionOf[world.KindEgressFirewall]))
			time.Sleep(5 * settling)
			r.expectPolicies(t, "defined, not served", "NetworkPolicy ns/np")
			r.server.Intercept(func(q *http.Request) *metav1.Status {
				if strings.HasSuffix(q.URL.Path, "/"+firewalls) {
					return nil
				}
				return absent(q)
			})
			time.Sleep(soon)
			r.expectPolicies(t, "served", "NetworkPolicy ns/np", "EgressFirewall ns/default")
			r.server.Put(firewall("more"))
			r.expectPolicies(t, "live from then on", "NetworkPolicy ns/np", "EgressFirewall ns/default", "EgressFirewall more/default")

			r.server.Delete(kubetest.Definition(definitionOf[world.KindEgressFirewall]))
			r.server.Intercept(absent)
			r.server.Disconnect(false)
			time.Sleep(longerThanBackOff)
			r.expectPolicies(t, "the definition is gone", "NetworkPolicy ns/np")
			r.server.Intercept(nil)
			r.server.Put(kubetest.Definition(definitionOf[world.KindEgressFirewall]))
			time.Sleep(soon)
			r.expectPolicies(t, "it is back", "NetworkPolicy ns/np", "EgressFirewall ns/default", "EgressFirewall more/default")
		})
	}
}

// TestDefinitionOfAnotherVersion: where the definition is there but never our version of it, the
// server is asked less and less often.
func TestDefinitionOfAnotherVersion(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r, _ := policyRig(t, func(s *kubetest.Server) {
			s.Put(kubetest.Definition(definitionOf[world.KindClusterNetworkPolicy]))
			s.Intercept(func(r *http.Request) *metav1.Status {
				if strings.HasSuffix(r.URL.Path, "/"+clusters) {
					return kubetest.Undefined()
				}
				return nil
			})
		})
		const path = "GET /apis/policy.networking.k8s.io/v1alpha2"
		time.Sleep(time.Hour)
		synctest.Wait()
		if n := r.server.Requests(path); n > 60 {
			t.Errorf("%d requests in an hour", n)
		}
		r.server.Intercept(nil)
		r.server.Put(allPolicies()...)
		r.server.Put(&metav1.PartialObjectMetadata{ObjectMeta: metav1.ObjectMeta{
			Name: definitionOf[world.KindClusterNetworkPolicy], Labels: map[string]string{"upgraded": ""},
		}})
		time.Sleep(10 * time.Second)
		synctest.Wait()
		r.store.Read(func(v world.View) {
			if _, ok := v.Policy(world.PolicyKey{Kind: world.KindClusterNetworkPolicy, Name: "cnp"}); !ok {
				t.Error("not seen soon after the upgrade")
			}
		})
	})
}
