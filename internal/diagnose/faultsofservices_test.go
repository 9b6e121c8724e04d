package diagnose

import (
	"encoding/json"
	"net/netip"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/ovnkctl/ovnkctl/internal/inspect"
	"github.com/ovnkctl/ovnkctl/internal/nodecheck"
	"github.com/ovnkctl/ovnkctl/internal/ovn/nb"
)

func init() { faults = append(faults, checkFaults...) }

// checked is what a node found when it tried itself out, as it prints it.
func checked(t *testing.T, n *Node, change func(*nodecheck.Report)) {
	t.Helper()
	r := &nodecheck.Report{
		Daemons: []nodecheck.Daemon{{Name: "ovs"}, {Name: "northd"}},
		Sysctls: map[string]string{
			"ipv4/conf/all/rp_filter": "0", "ipv4/conf/br-ex/forwarding": "1", "ipv4/conf/br-ex/rp_filter": "2",
			"ipv4/conf/ovn-k8s-mp0/forwarding": "1", "ipv4/conf/ovn-k8s-mp0/rp_filter": "2",
		},
	}
	peer := "10.244.2.1"
	if n.Name == "n2" {
		peer = "10.244.1.1"
	}
	r.Peers = []nodecheck.Peer{{Address: netip.MustParseAddr(peer), Small: true, Large: true, Bytes: 1400}}
	if change != nil {
		change(r)
	}
	text, err := json.Marshal(r)
	if err != nil {
		t.Fatal(err)
	}
	n.Texts[inspect.TextNodeCheck] = string(text)
}

func onNodeCheck(change func(*nodecheck.Report)) func(*testing.T, *Cluster) {
	return func(t *testing.T, c *Cluster) {
		t.Helper()
		checked(t, c.Nodes[0], change)
		checked(t, c.Nodes[1], nil)
	}
}

func ready(o *inspect.Objects, node string, status corev1.ConditionStatus, message string) {
	for i := range o.Nodes {
		if o.Nodes[i].Name == node {
			o.Nodes[i].Status.Conditions = []corev1.NodeCondition{{Type: corev1.NodeReady, Status: status, Message: message}}
		}
	}
}

func isolating(name string, selected map[string]string, port *intstr.IntOrString) networkingv1.NetworkPolicy {
	p := networkingv1.NetworkPolicy{ObjectMeta: meta("shop", name)}
	p.Spec.PodSelector.MatchLabels = selected
	p.Spec.PolicyTypes = []networkingv1.PolicyType{networkingv1.PolicyTypeIngress}
	if port != nil {
		p.Spec.Ingress = []networkingv1.NetworkPolicyIngressRule{{Ports: []networkingv1.NetworkPolicyPort{{Port: port}}}}
	}
	return p
}

var checkFaults = []faulty{
	{code: "OVNK-NODE-004", objects: func(o *inspect.Objects, _ *inspect.Installation) {
		ready(o, "n2", corev1.ConditionUnknown, "Kubelet stopped posting node status.")
	}, state: func(_ *testing.T, c *Cluster) {
		c.Nodes[1].SB, c.Nodes[1].Unread = nil, []Unread{{"OVN_Southbound", "no answer in time"}}
	}},
	{code: "OVNK-NODE-005", state: onNodeCheck(func(r *nodecheck.Report) { r.Daemons[1].Error = "accepts connections but does not answer" })},
	{code: "OVNK-NODE-006", objects: func(o *inspect.Objects, _ *inspect.Installation) {
		ready(o, "n2", corev1.ConditionFalse, "container runtime network not ready: cni plugin not initialized")
	}},
	{code: "OVNK-HOST-004", name: "forwarding", state: onNodeCheck(func(r *nodecheck.Report) { r.Sysctls["ipv4/conf/br-ex/forwarding"] = "0" })},
	{code: "OVNK-HOST-004", name: "reverse path", state: onNodeCheck(func(r *nodecheck.Report) { r.Sysctls["ipv4/conf/ovn-k8s-mp0/rp_filter"] = "1" })},
	{code: "OVNK-TUN-004", state: onNodeCheck(func(r *nodecheck.Report) { r.Peers[0].Small, r.Peers[0].Large = false, false })},
	{code: "OVNK-MTU-002", state: onNodeCheck(func(r *nodecheck.Report) { r.Peers[0].Large = false })},
	{code: "OVNK-DB-004", state: func(_ *testing.T, c *Cluster) {
		c.Nodes[0].NB.(*memory).add(&nb.ACL{Priority: 32000, Direction: "to-lport", Match: "ip", Action: "drop"})
	}},
	{code: "OVNK-CTL-001", name: "scaled", objects: func(o *inspect.Objects, in *inspect.Installation) {
		removePod(o, controlPlaneName+"-n1")
		in.Deployments[0].Spec.Replicas = ptr(int32(0))
	}},
	{code: "OVNK-SVC-003", name: "unready", objects: func(o *inspect.Objects, _ *inspect.Installation) {
		pod(o, "web-1").Labels = map[string]string{"app": "web"}
		o.Services[0].Spec.Selector = map[string]string{"app": "web"}
		for i := range o.EndpointSlices[0].Endpoints {
			o.EndpointSlices[0].Endpoints[i].Conditions.Ready = ptr(false)
		}
	}},
	{code: "OVNK-SVC-003", name: "port", objects: func(o *inspect.Objects, _ *inspect.Installation) {
		pod(o, "web-1").Labels = map[string]string{"app": "web"}
		o.Services[0].Spec.Selector = map[string]string{"app": "web"}
		o.EndpointSlices[0].Ports = nil
	}},
	{code: "OVNK-SVC-004", objects: func(o *inspect.Objects, _ *inspect.Installation) {
		o.Services = append(o.Services, corev1.Service{
			ObjectMeta: metav1.ObjectMeta{Namespace: "kube-system", Name: "kube-dns", Labels: map[string]string{"k8s-app": "kube-dns"}},
			Spec:       corev1.ServiceSpec{ClusterIP: "None", Selector: map[string]string{"k8s-app": "kube-dns"}, Ports: []corev1.ServicePort{{Port: 53, Protocol: "UDP"}}},
		})
	}},
	{code: "OVNK-POL-002", objects: func(o *inspect.Objects, _ *inspect.Installation) {
		pod(o, "web-1").Labels = map[string]string{"app": "web"}
		port := intstr.FromString("http")
		o.NetworkPolicies = append(o.NetworkPolicies, isolating("named", map[string]string{"app": "web"}, &port))
	}},
	{code: "OVNK-POL-003", objects: func(o *inspect.Objects, _ *inspect.Installation) {
		o.NetworkPolicies = append(o.NetworkPolicies, isolating("misspelt", map[string]string{"app": "wbe"}, nil))
	}},
}

// A node that tried itself out and found nothing has no findings.
func TestCheckedNodesAreHealthy(t *testing.T) {
	t.Parallel()
	c := testCluster(t, nil)
	onNodeCheck(nil)(t, c)
	if r := Run(c, All()); len(r.Findings) > 0 {
		t.Errorf("%+v", r.Findings)
	}
}

// A port that a container has is no fault, whatever the name is for.
func TestNamedPortThatThereIs(t *testing.T) {
	t.Parallel()
	c := testCluster(t, func(o *inspect.Objects, _ *inspect.Installation) {
		p := pod(o, "web-1")
		p.Labels = map[string]string{"app": "web"}
		p.Spec.Containers = []corev1.Container{{Name: "c", Ports: []corev1.ContainerPort{{Name: "http", ContainerPort: 8080}}}}
		port := intstr.FromString("http")
		o.NetworkPolicies = append(o.NetworkPolicies, isolating("named", map[string]string{"app": "web"}, &port))
	})
	if r := Run(c, All()); len(r.Findings) > 0 {
		t.Errorf("%+v", r.Findings)
	}
}

// A node that is cut off from all others is one fault.
func TestCutOffNodeIsOneFinding(t *testing.T) {
	t.Parallel()
	c := testCluster(t, func(o *inspect.Objects, _ *inspect.Installation) { o.Nodes = append(o.Nodes, testNode(3)) })
	c.Installation.DaemonSets = nil // of node 3 no pods are there
	deaf := func(r *nodecheck.Report) {
		r.Peers = nil
		for _, a := range []string{"10.244.1.1", "10.244.3.1"} {
			r.Peers = append(r.Peers, nodecheck.Peer{Address: netip.MustParseAddr(a)})
		}
	}
	checked(t, c.Nodes[1], deaf)
	var got []Finding
	tunnelTraffic.find(c, func(f Finding) { got = append(got, f) })
	if len(got) != 1 || got[0].Node != "n2" || !strings.Contains(got[0].Message, "likewise n3") {
		t.Errorf("%+v", got)
	}
}

// Metadata of objects in tests is an hour old; what is young is not judged.
func TestYoungPodsAreNotMissed(t *testing.T) {
	t.Parallel()
	c := testCluster(t, func(o *inspect.Objects, _ *inspect.Installation) {
		p := pod(o, "web-1")
		p.Labels, p.CreationTimestamp = map[string]string{"app": "web"}, metav1.NewTime(now)
		o.Services[0].Spec.Selector = map[string]string{"app": "web"}
		o.EndpointSlices[0].Ports = nil
	})
	if r := Run(c, All()); len(r.Findings) > 0 {
		t.Errorf("%+v", r.Findings)
	}
}
