package trace

import (
	"context"
	"errors"
	"strings"
	"testing"

	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/ovnkctl/ovnkctl/internal/explain"
	"github.com/ovnkctl/ovnkctl/internal/ovn"
	"github.com/ovnkctl/ovnkctl/internal/ovn/nb"
	"github.com/ovnkctl/ovnkctl/internal/ovn/sb"
	"github.com/ovnkctl/ovnkctl/internal/policy"
	"github.com/ovnkctl/ovnkctl/internal/world"
)

// told is a small cluster whose ovn-trace says what the test wants, by node.
type told struct {
	world    *world.Store
	says     map[string]string
	err      error
	policies []networkingv1.NetworkPolicy
	acl      *nb.ACL
}

func (s *told) World(context.Context) (*world.Store, error) { return s.world, nil }

func (s *told) Policies(context.Context, string) (policy.Cluster, error) {
	c := ClusterOf(s.world)
	c.NetworkPolicies = s.policies
	return c, nil
}

func (s *told) Zone(_ context.Context, node string) (Zone, error) { return &toldZone{s, node}, nil }

type toldZone struct {
	*told
	node string
}

func (z *toldZone) OVNTrace(context.Context, Request) (string, error) { return z.says[z.node], z.err }

func (z *toldZone) OFProtoTrace(context.Context, string, string) (string, error) { return "", nil }

func (z *toldZone) LogicalFlows(context.Context, []string) ([]*sb.LogicalFlow, error) {
	if z.acl == nil {
		return nil, nil
	}
	return []*sb.LogicalFlow{{UUID: "0000000a-0000-4000-8000-000000000000", ExternalIDs: map[string]string{"stage-hint": z.acl.UUID[:8]}}}, nil
}

func (z *toldZone) Rows(context.Context) (*explain.Index, error) {
	x := explain.NewIndex(z.node)
	if z.acl != nil {
		t, _ := ovn.Northbound().Table(nb.ACLTable)
		x.Add(t, z.acl)
	}
	return x, nil
}

// dropped is a packet that an ACL drops in the first switch.
const dropped = `# tcp
# Detailed trace.

ingress(dp="n1", inport="shop_a")
---------------------------------
18. ls_in_acl_after_lb_eval (northd.c:1): ip4, priority 2000, uuid 0000000a
    reg8[17] = 1;
    next;
20. ls_in_acl_after_lb_action (northd.c:1): reg8[17] == 1, priority 1000, uuid 0000000b
    reg8[17] = 0;
# Minimal trace.
`

// delivered is a packet that comes to the pod beside it.
const delivered = `# tcp
# Detailed trace.

ingress(dp="n1", inport="shop_a")
---------------------------------
28. ls_in_l2_lkup (northd.c:1): eth.dst == 0a:58:0a:f4:01:06, priority 50, uuid 0000000c
    outport = "shop_same";
    output;

egress(dp="n1", inport="shop_a", outport="shop_same")
-----------------------------------------------------
12. ls_out_apply_port_sec (northd.c:1): 1, priority 0, uuid 0000000d
    output;
    /* output to "shop_same", type "" */
# Minimal trace.
output("shop_same");
`

// denying is a policy that isolates all pods of the namespace and lets nobody out.
func denying() networkingv1.NetworkPolicy {
	return networkingv1.NetworkPolicy{
		ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "deny"},
		Spec:       networkingv1.NetworkPolicySpec{PolicyTypes: []networkingv1.PolicyType{networkingv1.PolicyTypeEgress}},
	}
}

func isolation() *nb.ACL {
	name := "NP:shop:Egress"
	return &nb.ACL{UUID: "0000abcd-0000-4000-8000-000000000000", Name: &name, ExternalIDs: map[string]string{
		"ovnkctl.io/owner": "policy/namespace:shop", "ovnkctl.io/row": "egress/deny",
	}}
}

// TestRunSaysWhatDisagrees: what OVN does is the verdict, and where the policies say another
// thing the operator hears of it.
func TestRunSaysWhatDisagrees(t *testing.T) {
	t.Parallel()
	foreign := &nb.ACL{UUID: "0000abcd-0000-4000-8000-000000000000"}
	for _, c := range []struct {
		name, says string
		policies   []networkingv1.NetworkPolicy
		acl        *nb.ACL
		verdict    Verdict
		problem    string
	}{
		{"dropped as it should", dropped, []networkingv1.NetworkPolicy{denying()}, isolation(), Dropped, ""},
		{"dropped by nobody", dropped, nil, foreign, Dropped, "the policies as they are allow the packet, and OVN drops it"},
		{"dropped by another", dropped, []networkingv1.NetworkPolicy{denying()}, foreign, Dropped, "the policies as they are name another"},
		{"dropped by no row", dropped, []networkingv1.NetworkPolicy{denying()}, nil, Dropped, "the ACL that decided is not known"},
		{"passes as it should", delivered, nil, nil, Allowed, ""},
		{"passes", delivered, []networkingv1.NetworkPolicy{denying()}, nil, Allowed, "the policies as they are deny the packet"},
		{"a new line", strings.Replace(delivered, "    output;\n", "    output;\n    hello\n", 1), nil, nil, Allowed, `line 9: "    hello": neither a flow nor an action`},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			s := &told{world: smallWorld(), says: map[string]string{"n1": c.says}, policies: c.policies, acl: c.acl}
			r, err := Run(t.Context(), s, Options{Source: "a", Destination: "pod/same:80", Namespace: "shop"})
			if err != nil {
				t.Fatal(err)
			}
			p := r.Paths[0]
			if r.Verdict != c.verdict || (c.problem == "") != (len(p.Problems) == 0) || !strings.Contains(strings.Join(p.Problems, "\n"), c.problem) {
				t.Errorf("%s (%s), problems %q; want %s, %q", r.Verdict, p.Decision.Text, p.Problems, c.verdict, c.problem)
			}
		})
	}
}

// TestRunFails: what ovn-trace refuses is an error that says where.
func TestRunFails(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		says string
		err  error
		want string
	}{
		{"", nil, "ovn-trace on node n1 printed no trace"},
		{"error parsing flow: Syntax error\n", nil, "ovn-trace on node n1: error parsing flow: Syntax error"},
		{"", errors.New("no such container"), "ovn-trace on node n1: no such container"},
	} {
		s := &told{world: smallWorld(), says: map[string]string{"n1": c.says}, err: c.err}
		_, err := Run(t.Context(), s, Options{Source: "a", Destination: "pod/same:80", Namespace: "shop"})
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%q: %v, want %q", c.says, err, c.want)
		}
	}
}
