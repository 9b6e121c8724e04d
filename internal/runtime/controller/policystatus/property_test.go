package policystatus

import (
	"fmt"
	"testing"
	"testing/synctest"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"pgregory.net/rapid"
	"sigs.k8s.io/network-policy-api/apis/v1alpha1"
	"sigs.k8s.io/network-policy-api/apis/v1alpha2"

	egressfirewallv1 "github.com/ovnkctl/ovnkctl/api/egressfirewall/v1"
	"github.com/ovnkctl/ovnkctl/internal/annotation"
	"github.com/ovnkctl/ovnkctl/internal/runtime/kube/kubetest"
)

// step is something that happens: an object comes, changes or goes, or a node has problems.
type step struct {
	object runtime.Object
	gone   bool
	node   string
	says   string
}

func (s step) name() string {
	if s.object == nil {
		return "node " + s.node
	}
	m := s.object.(metav1.Object)
	return fmt.Sprintf("%T %s/%s", s.object, m.GetNamespace(), m.GetName())
}

func drawStep(t *rapid.T) step {
	name := rapid.SampledFrom([]string{"a", "b", "c"})
	priority := rapid.Int32Range(0, 2)
	from := rapid.SampledFrom([]*metav1.LabelSelector{all(), broken()})
	s := step{gone: rapid.IntRange(0, 3).Draw(t, "gone") == 0}
	switch rapid.IntRange(0, 4).Draw(t, "kind") {
	case 0:
		s.object = admin(name.Draw(t, "name"), priority.Draw(t, "priority"), from.Draw(t, "from"))
	case 1:
		tier := rapid.SampledFrom([]v1alpha2.Tier{"Admin", "Baseline", "Other"}).Draw(t, "tier")
		s.object = cluster(name.Draw(t, "name"), tier, priority.Draw(t, "priority"))
	case 2:
		s.object = baseline()
	case 3:
		cidr := rapid.SampledFrom([]string{"192.0.2.0/24", "nonsense"})
		s.object = firewall(name.Draw(t, "namespace"), rapid.SampledFrom([]string{"default", "other"}).Draw(t, "name"), cidr.Draw(t, "first"), cidr.Draw(t, "second"))
	default:
		s.node = name.Draw(t, "node")
		about := annotation.ZoneProblem{Kind: "EgressFirewall", Namespace: name.Draw(t, "about"), Name: "default"}
		about.Reason, about.Message = rapid.SampledFrom([]string{"R", "S"}).Draw(t, "reason"), "m"
		s.says = annotation.ZoneProblems.Encode([]annotation.ZoneProblem{about})
		if rapid.Bool().Draw(t, "well") {
			s.says = ""
		}
	}
	return s
}

// do has it happen; changes keep the status, as the API server does.
func (r *rig) do(s step, generation int64) {
	switch {
	case s.object == nil && s.gone:
		r.keeper.RemoveNode(s.node)
	case s.object == nil:
		r.keeper.SetNode(s.node, s.says)
	case s.gone:
		r.Delete(s.object)
	default:
		o := s.object.DeepCopyObject()
		o.(metav1.Object).SetGeneration(generation)
		for _, there := range r.List(resourceOf(o)) {
			if is(there, o) {
				takeStatus(o, there)
			}
		}
		r.Put(o)
	}
}

func is(a, b runtime.Object) bool {
	return a.(metav1.Object).GetName() == b.(metav1.Object).GetName() && a.(metav1.Object).GetNamespace() == b.(metav1.Object).GetNamespace()
}

func takeStatus(to, from runtime.Object) {
	switch to := to.(type) {
	case *v1alpha1.AdminNetworkPolicy:
		to.Status = from.(*v1alpha1.AdminNetworkPolicy).Status
	case *v1alpha1.BaselineAdminNetworkPolicy:
		to.Status = from.(*v1alpha1.BaselineAdminNetworkPolicy).Status
	case *v1alpha2.ClusterNetworkPolicy:
		to.Status = from.(*v1alpha2.ClusterNetworkPolicy).Status
	case *egressfirewallv1.EgressFirewall:
		to.Status = from.(*egressfirewallv1.EgressFirewall).Status
	}
}

var resources = []string{"adminnetworkpolicies", "baselineadminnetworkpolicies", "clusternetworkpolicies", "egressfirewalls"}

func resourceOf(o runtime.Object) string {
	switch o.(type) {
	case *v1alpha1.AdminNetworkPolicy:
		return resources[0]
	case *v1alpha1.BaselineAdminNetworkPolicy:
		return resources[1]
	case *v1alpha2.ClusterNetworkPolicy:
		return resources[2]
	}
	return resources[3]
}

// statuses are all that is said, but for times.
func (r *rig) statuses() map[string]string {
	out := map[string]string{}
	for _, resource := range resources {
		for _, o := range r.List(resource) {
			said := newSaid(o)
			said.since = 0
			m := o.(metav1.Object)
			out[resource+" "+m.GetNamespace()+"/"+m.GetName()] = fmt.Sprintf("%+v", said)
		}
	}
	return out
}

func newSaid(o runtime.Object) status {
	switch o := o.(type) {
	case *v1alpha1.AdminNetworkPolicy:
		return newObject(o, nothing).said
	case *v1alpha1.BaselineAdminNetworkPolicy:
		return newObject(o, nothing).said
	case *v1alpha2.ClusterNetworkPolicy:
		return newObject(o, nothing).said
	case *egressfirewallv1.EgressFirewall:
		return newObject(o, nothing).said
	}
	return status{}
}

// TestAnyOrder: whatever happens in whatever order, before and after the start, the statuses in
// the end are those of what there is then.
func TestAnyOrder(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(rt *rapid.T) {
		early := rapid.SliceOfN(rapid.Custom(drawStep), 0, 8).Draw(rt, "early")
		late := rapid.SliceOfN(rapid.Custom(drawStep), 0, 12).Draw(rt, "late")
		pauses := rapid.SliceOfN(rapid.Bool(), len(late), len(late)).Draw(rt, "pauses")
		last := map[string]step{}
		generations := map[string]int64{}
		var got, want map[string]string
		synctest.Test(t, func(t *testing.T) {
			r := prepare(t, kubetest.New())
			for i, s := range append(early, late...) {
				if i == len(early) {
					r.keeper.NodesKnown()
				}
				last[s.name()], generations[s.name()] = s, int64(i+1)
				r.do(s, int64(i+1))
				if i >= len(early) && pauses[i-len(early)] {
					synctest.Wait()
				}
			}
			if len(late) == 0 {
				r.keeper.NodesKnown()
			}
			r.settleDown()
			got = r.statuses()
		})
		synctest.Test(t, func(t *testing.T) {
			r := prepare(t, kubetest.New())
			for name, s := range last {
				if !s.gone {
					r.do(s, generations[name])
				}
			}
			synctest.Wait()
			r.keeper.NodesKnown()
			r.settleDown()
			want = r.statuses()
		})
		if diff := cmp.Diff(want, got); diff != "" {
			rt.Fatalf("statuses (-at once +one after the other):\n%s", diff)
		}
	})
}
