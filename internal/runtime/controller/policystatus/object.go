package policystatus

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/network-policy-api/apis/v1alpha1"
	"sigs.k8s.io/network-policy-api/apis/v1alpha2"

	egressfirewallv1 "github.com/ovnkctl/ovnkctl/api/egressfirewall/v1"
	"github.com/ovnkctl/ovnkctl/internal/world"
)

// object is all that is kept of a policy.
type object struct {
	// policy is what the reasons that are the same on every node follow from: no selectors, and
	// of the rules how many there are.
	policy     *world.Policy
	left       int // problems of the policy that are not in it, for there are too many
	version    string
	generation int64
	said       status             // what the object says
	others     []metav1.Condition // what it says beside that

	// Of the same incarnation, what has been said so far.
	bad     bool
	told    string
	wrote   *status // until the watch shows it
	wroteAt string  // the version of the object with it
}

func (o *object) key() world.PolicyKey { return o.policy.Key() }

// keptProblems bounds what is kept of a policy with thousands of wrong rules.
const keptProblems = 16

func newObject(from metav1.Object, p *world.Policy) *object {
	o := &object{policy: slim(p), version: from.GetResourceVersion(), generation: from.GetGeneration()}
	if n := len(o.policy.Problems); n > keptProblems {
		o.left = n - keptProblems
		o.policy.Problems = slices.Clone(o.policy.Problems[:keptProblems])
	}
	var conditions []metav1.Condition
	switch from := from.(type) {
	case *v1alpha1.AdminNetworkPolicy:
		conditions = from.Status.Conditions
	case *v1alpha1.BaselineAdminNetworkPolicy:
		conditions = from.Status.Conditions
	case *v1alpha2.ClusterNetworkPolicy:
		conditions = from.Status.Conditions
	case *egressfirewallv1.EgressFirewall:
		conditions = from.Status.Conditions
		o.said.summary, o.said.messages = shared(from.Status.Status), from.Status.Messages
	}
	for _, c := range conditions {
		switch c.Type {
		case ConditionType:
			o.said.ready, o.said.known = c.Status == metav1.ConditionTrue, true
			o.said.reason, o.said.message = shared(c.Reason), shared(c.Message)
			o.said.generation, o.said.since = c.ObservedGeneration, c.LastTransitionTime.Unix()
		default:
			o.others = append(o.others, c)
		}
	}
	return o
}

// slim is the policy without what only nodes need.
func slim(p *world.Policy) *world.Policy {
	s := &world.Policy{
		Kind: p.Kind, Namespace: p.Namespace, Name: p.Name, UID: p.UID, Created: p.Created,
		Tier: p.Tier, Priority: p.Priority, Logging: p.Logging, Problems: p.Problems,
	}
	last := -1
	for i := range p.Rules {
		last = max(last, p.Rules[i].Index)
	}
	if last >= 0 && p.Tier != world.TierNetworkPolicy {
		s.Rules = []world.PolicyRule{{Index: last}}
	}
	return s
}

// shared is the text without memory of its own if it is one of those that nearly all have.
func shared(text string) string {
	for _, t := range []string{reasonReady, messageReady, firewallReady} {
		if t == text {
			return t
		}
	}
	return text
}

// shows tells whether the object says so, or will as soon as the watch is there: the API
// server may have left something out that it does not know.
func (o *object) shows(want status) bool {
	return o.said.same(want) || o.wrote != nil && o.wroteAt == o.version && o.wrote.same(want)
}

// ofZones begins the conditions that OVN-Kubernetes gave each zone: nobody keeps them up.
const ofZones = "Ready-In-Zone-"

// patch has the object say it.
func (o *object) patch(want status, now time.Time) ([]byte, error) {
	since := metav1.NewTime(now)
	if o.said.known && o.said.ready == want.ready && o.said.since > 0 {
		since = metav1.Unix(o.said.since, 0)
	}
	is := metav1.ConditionFalse
	if want.ready {
		is = metav1.ConditionTrue
	}
	conditions := slices.DeleteFunc(slices.Clone(o.others), func(c metav1.Condition) bool { return strings.HasPrefix(c.Type, ofZones) })
	says := map[string]any{"conditions": append(conditions, metav1.Condition{
		Type: ConditionType, Status: is, Reason: want.reason, Message: want.message,
		ObservedGeneration: want.generation, LastTransitionTime: since,
	})}
	if o.policy.Kind == world.KindEgressFirewall {
		says["status"], says["messages"] = want.summary, want.messages // none is null, which takes them away
	}
	patch, err := json.Marshal(map[string]any{
		// Both are preconditions: the list of conditions is replaced as a whole.
		"metadata": map[string]string{"uid": o.policy.UID, "resourceVersion": o.version},
		"status":   says,
	})
	if err != nil {
		return nil, fmt.Errorf("status as JSON: %w", err)
	}
	return patch, nil
}
