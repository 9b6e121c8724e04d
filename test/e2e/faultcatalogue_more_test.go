//go:build e2e

package e2e

import (
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// moreHosts are a node that is cut off, and daemons that hang.
func (r *faultRig) moreHosts() *scene {
	one, two, three := r.nodes[0], r.nodes[1], r.nodes[2]
	s := &scene{name: "more hosts"}
	flow := func(t *testing.T, verb, what string) {
		t.Helper()
		r.inSystem(t, "ovs-node", three, "ovs-daemons", "ovs-ofctl", "-O", "OpenFlow13", verb, "br-ex", what)
	}
	s.faults = []fault{
		{name: "node cut off from all tunnels", code: "OVNK-TUN-004", node: three, object: "Node " + three, says: "likewise",
			inject: func(t *testing.T) {
				for _, n := range []string{one, two} {
					flow(t, "add-flow", "priority=65000,udp,nw_src="+r.addrs[n]+",tp_dst=6081,actions=drop")
				}
			},
			remedy: func(t *testing.T) {
				for _, n := range []string{one, two} {
					flow(t, "del-flows", "udp,nw_src="+r.addrs[n]+",tp_dst=6081")
				}
			}},
		{name: "device of a pod is down", code: "OVNK-POD-004", node: three, object: "Pod " + r.pods[2].Name, says: "down",
			inject: func(t *testing.T) {
				r.onNode(t, three, "ip", "link", "set", r.plug(t, three, r.pods[2].Name), "down")
			},
			remedy: func(t *testing.T) { r.again(t, 2) }},
	}
	return s
}

// moreDaemons is a database that hangs.
func (r *faultRig) moreDaemons() *scene {
	one := r.nodes[0]
	return &scene{name: "more daemons", faults: []fault{
		{name: "nb-ovsdb hangs", code: "OVNK-NODE-005", node: one, says: "nb-ovsdb",
			inject: func(t *testing.T) { r.signal(t, one, "STOP", "nb-ovsdb") },
			remedy: func(t *testing.T) { r.replace(t, "ovnkube-node", one) }},
	}}
}

// moreRows are rows and settings with wrong values, while the node's program is stopped.
func (r *faultRig) moreRows() *scene {
	two := r.nodes[1]
	pod := r.pods[1].Name
	s := &scene{name: "more rows", holder: "OVNK-NODE-001"}
	s.before = func(t *testing.T) { r.signal(t, two, "STOP", "node") }
	s.remedy = func(t *testing.T) { r.replace(t, "ovnkube-node", two) }
	s.faults = []fault{
		{name: "address of a pod changed", code: "OVNK-DRIFT-001", node: two, object: "Pod " + pod, inject: func(t *testing.T) {
			r.nbctl(t, two, "lsp-set-addresses", r.ns+"_"+pod, "0a:58:0a:f4:01:63 10.244.1.99")
		}},
		{name: "gateway router elsewhere", code: "OVNK-DRIFT-001", node: two, object: "Node " + two, inject: func(t *testing.T) {
			r.nbctl(t, two, "set", "Logical_Router", "GR_"+two, "options:chassis=nowhere")
		}},
		{name: "address of a service removed", code: "OVNK-SVC-002", node: two, object: "Service rows", inject: func(t *testing.T) {
			s, err := r.CoreV1().Services(r.ns).Get(t.Context(), "rows", metav1.GetOptions{})
			if err != nil {
				t.Fatal(err)
			}
			r.nbctl(t, two, "lb-del", "Service_"+r.ns+"/rows_TCP_cluster", s.Spec.ClusterIP+":80")
		}},
		{name: "reverse path filter strict", code: "OVNK-HOST-004", node: two, says: "rp_filter", inject: func(t *testing.T) {
			r.onNode(t, two, "sysctl", "-qw", "net.ipv4.conf.ovn-k8s-mp0.rp_filter=1")
		}},
		{name: "flows and a route of the host deleted", code: "OVNK-DRIFT-002", node: two, inject: func(t *testing.T) {
			r.inSystem(t, "ovs-node", two, "ovs-daemons", "ovs-ofctl", "-O", "OpenFlow13", "del-flows", "br-ex", "table=5")
			r.onNode(t, two, "ip", "route", "del", "100.64.0.0/16", "dev", "ovn-k8s-mp0")
		}},
		{name: "bridge mapping wrong", code: "OVNK-BR-002", node: two, says: "mappings", inject: func(t *testing.T) {
			r.vsctl(t, two, "set", "Open_vSwitch", ".", "external_ids:ovn-bridge-mappings=physnet:br-nowhere")
		}},
	}
	return s
}

// moreObjects are a service whose pods are not ready, and two policies of one priority.
func (r *faultRig) moreObjects() *scene {
	s := &scene{name: "more objects"}
	var remove []func()
	admin := `{"apiVersion":"policy.networking.k8s.io/v1alpha1","kind":"AdminNetworkPolicy","metadata":{"name":%q},"spec":{"priority":77,
"subject":{"namespaces":{"matchLabels":{"kubernetes.io/metadata.name":%q}}},"ingress":[{"name":"x","action":%q,"from":[{"namespaces":{}}]}]}}`
	s.faults = []fault{
		{name: "pods of a service not ready", code: "OVNK-SVC-003", object: "Service unready",
			inject: func(t *testing.T) {
				p := podOn(r.ns, "unready", r.nodes[0], "pause")
				p.Labels = map[string]string{"app": "unready"}
				p.Spec.Containers[0].ReadinessProbe = &corev1.Probe{
					ProbeHandler: corev1.ProbeHandler{TCPSocket: &corev1.TCPSocketAction{Port: intstr.FromInt32(1)}},
				}
				if _, err := r.CoreV1().Pods(r.ns).Create(t.Context(), p, metav1.CreateOptions{}); err != nil {
					t.Fatal(err)
				}
				r.service(t, "unready", func(s *corev1.Service) { s.Spec.Selector = p.Labels })
			},
			remedy: func(t *testing.T) { r.deletePod(t, r.ns, "unready") }},
		{name: "two policies of one priority", code: "OVNK-POL-001",
			inject: func(t *testing.T) {
				for i, action := range []string{"Allow", "Deny"} {
					remove = append(remove, r.apply(t, admin, "e2e-"+strings.Repeat("x", i+1), r.ns, action))
				}
			},
			remedy: func(*testing.T) {
				for _, f := range remove {
					f()
				}
			}},
	}
	return s
}
