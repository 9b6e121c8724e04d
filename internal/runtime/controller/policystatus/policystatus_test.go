package policystatus

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/network-policy-api/apis/v1alpha1"

	egressfirewallv1 "github.com/ovnkctl/ovnkctl/api/egressfirewall/v1"
	"github.com/ovnkctl/ovnkctl/internal/annotation"
	"github.com/ovnkctl/ovnkctl/internal/runtime/kube/kubetest"
)

// several is policies of all kinds, some of which are wrong.
func several() []runtime.Object {
	return []runtime.Object{
		admin("good", 1, all()), admin("bad", 2, broken()), admin("same", 7, all()),
		baseline(), cluster("rival", "Admin", 7), cluster("apart", "Baseline", 7),
		firewall("ns", "default", "192.0.2.0/24"), firewall("other", "default", "192.0.2.0/24", "nonsense", "10.0.0.0/33"), firewall("ns", "mine"),
		network("ns", "fine", "192.0.2.0/24", "192.0.2.1/32"), network("ns", "wide", "192.0.2.0/24", "198.51.100.0/24"),
		namespace("ns", ""), namespace("loud", `{"deny":"very"}`),
	}
}

const (
	saysBad   = "spec.ingress[0].from[0].namespaces: "
	saysEqual = "it has priority 7 as has "
)

// checkSeveral compares what is said of several.
func checkSeveral(t *testing.T, r *rig) {
	t.Helper()
	for _, name := range []string{"good", "default"} {
		resource := map[string]string{"good": "adminnetworkpolicies", "default": "baselineadminnetworkpolicies"}[name]
		r.expect(t, resource, name, ready)
	}
	r.expect(t, "clusternetworkpolicies", "apart", ready)
	for _, c := range []struct{ resource, name, want string }{
		{"adminnetworkpolicies", "bad", "False InvalidPolicy " + saysBad},
		{"adminnetworkpolicies", "same", "False EqualPriority " + saysEqual + "ClusterNetworkPolicy rival"},
		{"clusternetworkpolicies", "rival", "False EqualPriority " + saysEqual + "AdminNetworkPolicy same"},
		{"egressfirewalls", "mine", `False InvalidPolicy metadata.name: "mine" is not "default"`},
	} {
		if got, _ := r.condition(t, c.resource, c.name); !strings.HasPrefix(got, c.want) {
			t.Errorf("%s %s says %q, want %q…", c.resource, c.name, got, c.want)
		}
	}
	for _, o := range r.List("egressfirewalls") {
		f := o.(*egressfirewallv1.EgressFirewall)
		want := map[string]int{"ns/default": 0, "other/default": 2, "ns/mine": 1}[f.Namespace+"/"+f.Name]
		summary := "EgressFirewall Rules applied"
		if want > 0 {
			summary = "EgressFirewall Rules not correctly applied"
		}
		if f.Status.Status != summary || len(f.Status.Messages) != want {
			t.Errorf("%s/%s: %+v", f.Namespace, f.Name, f.Status)
		}
	}
}

func TestStatuses(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := kubetest.New()
		s.Put(several()...)
		r := start(t, s)
		checkSeveral(t, r)
		var about []string
		for _, e := range r.events() {
			about = append(about, strings.Join(strings.Fields(e)[:3], " "))
		}
		want := []string{
			"AdminNetworkPolicy bad InvalidPolicy", "AdminNetworkPolicy same EqualPriority", "ClusterNetworkPolicy rival EqualPriority",
			"EgressFirewall default InvalidPolicy", "EgressFirewall mine InvalidPolicy", "Namespace loud InvalidLogging", "NetworkPolicy wide InvalidPolicy",
		}
		if diff := cmp.Diff(want, about); diff != "" {
			t.Errorf("events (-want +got):\n%s", diff)
		}
		if n := r.writes(); n != 9 {
			t.Errorf("%d writes for 9 policies with a status", n)
		}
		// The rule is named by its name, too.
		if got, _ := r.condition(t, "adminnetworkpolicies", "bad"); !strings.Contains(got, "from-friends") {
			t.Errorf("no name of the rule in %q", got)
		}
	})
}

// TestRestart: a new leader writes nothing, and tells nobody again.
func TestRestart(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := kubetest.New()
		s.Put(several()...)
		s.Put(firewall("far", "default", "192.0.2.0/24"))
		r := start(t, s)
		r.keeper.SetNode("a", annotation.ZoneProblems.Encode([]annotation.ZoneProblem{{Kind: "EgressFirewall", Namespace: "far", Name: "default", Reason: "R", Message: "m"}}))
		synctest.Wait()
		r.stop()
		writes, events := r.writes(), r.events()
		time.Sleep(time.Hour)
		r = prepare(t, s)
		r.keeper.SetNode("a", annotation.ZoneProblems.Encode([]annotation.ZoneProblem{{Kind: "EgressFirewall", Namespace: "far", Name: "default", Reason: "R", Message: "m"}}))
		r.keeper.SetNode("b", "")
		r.keeper.NodesKnown()
		time.Sleep(time.Hour)
		synctest.Wait()
		if n := r.writes(); n != writes {
			t.Errorf("%d writes by a restart", n-writes)
		}
		if diff := cmp.Diff(events, r.events()); diff != "" {
			t.Errorf("events (-before +after):\n%s", diff)
		}
	})
}

// TestMended: a status follows its policy, with the generation that it is about, and the time
// of a condition is that of its last change between True and False.
func TestMended(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := kubetest.New()
		bad := admin("a", 5, broken())
		s.Put(bad)
		r := start(t, s)
		_, before := r.condition(t, "adminnetworkpolicies", "a")
		update := func(generation int64, change func(*v1alpha1.AdminNetworkPolicy)) metav1.Condition {
			time.Sleep(time.Minute)
			o := s.List("adminnetworkpolicies")[0].(*v1alpha1.AdminNetworkPolicy)
			o.Generation = generation
			change(o)
			s.Put(o)
			_, c := r.condition(t, "adminnetworkpolicies", "a")
			if c.ObservedGeneration != generation {
				t.Errorf("generation %d, want %d", c.ObservedGeneration, generation)
			}
			return c
		}
		still := update(2, func(o *v1alpha1.AdminNetworkPolicy) { o.Spec.Priority = 6 })
		if !still.LastTransitionTime.Equal(&before.LastTransitionTime) || still.Status != metav1.ConditionFalse {
			t.Errorf("it became %+v from %+v", still, before)
		}
		fine := update(3, func(o *v1alpha1.AdminNetworkPolicy) { o.Spec.Ingress[0].From[0].Namespaces = all() })
		if !before.LastTransitionTime.Before(&fine.LastTransitionTime) || fine.Status != metav1.ConditionTrue {
			t.Errorf("it became %+v from %+v", fine, before)
		}
		// Neither a label nor what others say is a reason to write.
		writes := r.writes()
		update(3, func(o *v1alpha1.AdminNetworkPolicy) {
			o.Labels = map[string]string{"a": "b"}
			o.Status.Conditions = append(o.Status.Conditions, metav1.Condition{Type: "Theirs", Status: metav1.ConditionTrue, Reason: "R"})
		})
		if n := r.writes(); n != writes {
			t.Errorf("%d writes for a label", n-writes)
		}
		// What is spoilt is put back; what others say stays, but for the zones of OVN-Kubernetes.
		update(3, func(o *v1alpha1.AdminNetworkPolicy) {
			o.Status.Conditions = []metav1.Condition{
				{Type: "Theirs", Status: metav1.ConditionTrue, Reason: "R"}, {Type: "Ready-In-Zone-a", Status: metav1.ConditionTrue, Reason: "SetupSucceeded"},
			}
		})
		var types []string
		for _, c := range s.List("adminnetworkpolicies")[0].(*v1alpha1.AdminNetworkPolicy).Status.Conditions {
			types = append(types, c.Type)
		}
		if diff := cmp.Diff([]string{"Theirs", "Ready"}, types); diff != "" {
			t.Errorf("conditions (-want +got):\n%s", diff)
		}
		if n := len(r.events()); n != 1 {
			t.Errorf("%d events, want 1: %v", n, r.events())
		}
	})
}

// TestRival: a policy's status follows another one that comes and goes.
func TestRival(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := kubetest.New()
		s.Put(admin("a", 5, all()))
		r := start(t, s)
		r.expect(t, "adminnetworkpolicies", "a", ready)
		s.Put(admin("b", 5, all()))
		for _, name := range []string{"a", "b"} {
			if got, _ := r.condition(t, "adminnetworkpolicies", name); !strings.HasPrefix(got, "False EqualPriority") {
				t.Errorf("%s says %q", name, got)
			}
		}
		s.Delete(admin("a", 5, all()))
		r.expect(t, "adminnetworkpolicies", "b", ready)
	})
}

// TestZones: what nodes cannot put in force is one message, however many they are.
func TestZones(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := kubetest.New()
		s.Put(firewall("ns", "default", "192.0.2.0/24"))
		r := start(t, s)
		says := annotation.ZoneProblems.Encode([]annotation.ZoneProblem{{Kind: "EgressFirewall", Namespace: "ns", Name: "default", Reason: "UnknownDomain", Message: "no address of x"}})
		r.keeper.SetNode("a", says)
		r.expect(t, "egressfirewalls", "default", "False UnknownDomain 1 of 2 nodes (a): no address of x")
		for _, n := range []string{"b", "c", "d", "e"} {
			r.keeper.SetNode(n, says)
		}
		r.expect(t, "egressfirewalls", "default", "False UnknownDomain 5 of 5 nodes (a, b, c, …): no address of x")
		r.keeper.SetNode("f", "")
		r.expect(t, "egressfirewalls", "default", "False UnknownDomain 5 of 6 nodes (a, b, c, …): no address of x")
		r.keeper.RemoveNode("a")
		r.keeper.SetNode("b", "")
		r.expect(t, "egressfirewalls", "default", "False UnknownDomain 3 of 5 nodes (c, d, e): no address of x")
		r.keeper.SetNode("c", "not JSON")
		r.keeper.SetNode("d", "")
		r.keeper.RemoveNode("e")
		r.expect(t, "egressfirewalls", "default", ready)
	})
}

// TestDefinedLater: a cluster without the definitions loses nothing, and what comes with them
// is reported on.
func TestDefinedLater(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := kubetest.New()
		s.Put(network("ns", "wide", "192.0.2.0/24", "198.51.100.0/24"))
		s.Intercept(func(r *http.Request) *metav1.Status {
			if strings.HasPrefix(r.URL.Path, "/apis/policy.networking.k8s.io/") || strings.HasPrefix(r.URL.Path, "/apis/k8s.ovn.org/") {
				return kubetest.Undefined()
			}
			return nil
		})
		r := start(t, s)
		if n := len(r.events()); n != 1 {
			t.Errorf("%d events of NetworkPolicies, want 1", n)
		}
		s.Intercept(nil)
		s.Put(admin("bad", 1, broken()), firewall("ns", "default"))
		s.Put(kubetest.Definition("adminnetworkpolicies.policy.networking.k8s.io"), kubetest.Definition("egressfirewalls.k8s.ovn.org"))
		time.Sleep(time.Minute)
		r.expect(t, "egressfirewalls", "default", ready)
		if got, _ := r.condition(t, "adminnetworkpolicies", "bad"); !strings.HasPrefix(got, "False InvalidPolicy") {
			t.Errorf("it says %q", got)
		}
	})
}

// TestTriesAgain: also when the API server refuses for a while.
func TestTriesAgain(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := kubetest.New()
		s.Put(admin("a", 1, all()))
		s.Intercept(func(r *http.Request) *metav1.Status {
			if r.Method == http.MethodPatch {
				return &metav1.Status{Status: metav1.StatusFailure, Code: 503, Reason: metav1.StatusReasonServiceUnavailable}
			}
			return nil
		})
		r := start(t, s)
		time.Sleep(5 * time.Minute)
		r.expect(t, "adminnetworkpolicies", "a", "")
		s.Intercept(nil)
		time.Sleep(2 * lastRetry)
		r.expect(t, "adminnetworkpolicies", "a", ready)
	})
}

// TestUnknownFields: a definition of EgressFirewalls from elsewhere may have no conditions. What
// the API server leaves out is not written again and again.
func TestUnknownFields(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := kubetest.New()
		s.Put(firewall("ns", "default", "192.0.2.0/24"))
		s.Intercept(func(r *http.Request) *metav1.Status {
			if r.Method == http.MethodPatch && strings.Contains(r.URL.Path, "egressfirewalls") {
				body, err := io.ReadAll(r.Body)
				if err != nil {
					t.Error(err)
				}
				var patch struct {
					Metadata map[string]any `json:"metadata"`
					Status   map[string]any `json:"status"`
				}
				if err := json.Unmarshal(body, &patch); err != nil {
					t.Error(err)
				}
				delete(patch.Status, "conditions")
				body, err = json.Marshal(patch)
				if err != nil {
					t.Error(err)
				}
				r.Body = io.NopCloser(bytes.NewReader(body))
			}
			return nil
		})
		r := start(t, s)
		r.settleDown()
		f := s.List("egressfirewalls")[0].(*egressfirewallv1.EgressFirewall)
		if f.Status.Status != "EgressFirewall Rules applied" || r.writes() != 1 {
			t.Errorf("after %d writes it says %+v", r.writes(), f.Status)
		}
	})
}
