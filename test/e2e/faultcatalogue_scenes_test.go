//go:build e2e

package e2e

import (
	"fmt"
	"strings"
	"testing"

	autoscalingv1 "k8s.io/api/autoscaling/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// faultRig is what faults are made on: a pod of label app=web on each node.
type faultRig struct {
	*cluster
	ns    string
	nodes []string
	pods  []*corev1.Pod
	addrs map[string]string // of nodes
	// router is the next hop of the nodes.
	router string
}

// hosts are faults of nodes that the node's program cannot heal.
func (r *faultRig) hosts() *scene {
	one, two, three := r.nodes[0], r.nodes[1], r.nodes[2]
	s := &scene{name: "hosts"}
	add := func(f fault) { s.faults = append(s.faults, f) }
	add(fault{name: "rules of kube-proxy in nftables", code: "OVNK-HOST-003", node: two,
		inject: func(t *testing.T) { r.onNode(t, two, "nft", "add", "table", "ip", "kube-proxy") },
		remedy: func(t *testing.T) { r.onNode(t, two, "nft", "delete", "table", "ip", "kube-proxy") }})
	add(fault{name: "rules of kube-proxy in iptables", code: "OVNK-HOST-003", node: three,
		inject: func(t *testing.T) {
			r.onNode(t, three, "nft", "add table ip e2e; add chain ip e2e KUBE-SERVICES")
		},
		remedy: func(t *testing.T) { r.onNode(t, three, "nft", "delete", "table", "ip", "e2e") }})
	add(fault{name: "pod unplugged", code: "OVNK-POD-004", node: two, object: "Pod web-2",
		inject: func(t *testing.T) { r.vsctl(t, two, "del-port", r.plug(t, two, "web-2")) },
		remedy: func(t *testing.T) { r.again(t, 1) }})
	add(fault{name: "device of a pod deleted", code: "OVNK-POD-004", node: one, object: "Pod web-1",
		inject: func(t *testing.T) { r.onNode(t, one, "ip", "link", "del", r.plug(t, one, "web-1")) },
		remedy: func(t *testing.T) { r.again(t, 0) }})
	tunnel := "udp,nw_src=" + r.addrs[one] + ",tp_dst=6081"
	flow := func(t *testing.T, verb, what string) {
		t.Helper()
		r.inSystem(t, "ovs-node", two, "ovs-daemons", "ovs-ofctl", "-O", "OpenFlow13", verb, "br-ex", what)
	}
	add(fault{name: "tunnel swallowed on the way", code: "OVNK-TUN-004", node: one, object: "Node " + two,
		inject: func(t *testing.T) { flow(t, "add-flow", "priority=65000,"+tunnel+",actions=drop") },
		remedy: func(t *testing.T) { flow(t, "del-flows", tunnel) }})
	return s
}

// plug is the name of the interface of a pod in Open vSwitch.
func (r *faultRig) plug(t *testing.T, node, pod string) string {
	t.Helper()
	return strings.TrimSpace(r.vsctl(t, node, "--bare", "--columns=name", "find", "Interface", "external_ids:iface-id="+r.ns+"_"+pod))
}

// again deletes a pod and makes its successor.
func (r *faultRig) again(t *testing.T, i int) {
	t.Helper()
	old := r.pods[i]
	r.deletePod(t, r.ns, old.Name)
	p := podOn(r.ns, old.Name+"-again", old.Spec.NodeName)
	p.Labels = map[string]string{"app": "web"}
	r.pods[i] = r.start(t, p)[0]
}

// rows are faults that the node's program would heal within a second: it is stopped, and the
// remedy of all of them is that it starts anew.
func (r *faultRig) rows() *scene {
	one, two, three := r.nodes[0], r.nodes[1], r.nodes[2]
	pod := r.pods[2].Name
	s := &scene{name: "rows", holder: "OVNK-NODE-001"}
	s.before = func(t *testing.T) {
		r.service(t, "rows", nil)
		r.apply(t, `{"apiVersion":"networking.k8s.io/v1","kind":"NetworkPolicy","metadata":{"name":"rows","namespace":%q},
"spec":{"podSelector":{"matchLabels":{"app":"web"}},"ingress":[{"from":[{"podSelector":{}}]}]}}`, r.ns)
		r.healthy(t)
		r.signal(t, three, "STOP", "node")
	}
	s.remedy = func(t *testing.T) { r.replace(t, "ovnkube-node", three) }
	ovs := func(args ...string) func(t *testing.T) {
		return func(t *testing.T) { r.vsctl(t, three, args...) }
	}
	north := func(args ...string) func(t *testing.T) {
		return func(t *testing.T) { r.nbctl(t, three, args...) }
	}
	host := func(args ...string) func(t *testing.T) {
		return func(t *testing.T) { r.onNode(t, three, args...) }
	}
	s.faults = []fault{
		{name: "port of a pod deleted", code: "OVNK-POD-003", node: three, object: "Pod " + pod, inject: north("lsp-del", r.ns+"_"+pod)},
		{name: "load balancer deleted", code: "OVNK-SVC-002", node: three, object: "Service rows", inject: func(t *testing.T) {
			r.nbctl(t, three, "lb-del", "Service_"+r.ns+"/rows_TCP_cluster")
		}},
		{name: "chassis of another node deleted", code: "OVNK-TUN-002", node: three, object: "Node " + one, inject: func(t *testing.T) {
			sb := func(args ...string) string {
				return r.inSystem(t, "ovnkube-node", three, "sb-ovsdb", append([]string{"ovn-sbctl", "--no-leader-only"}, args...)...)
			}
			sb("chassis-del", strings.TrimSpace(sb("--bare", "--columns=name", "find", "Chassis", "hostname="+one)))
		}},
		{name: "route to another node deleted", code: "OVNK-DRIFT-001", node: three, object: "Node " + two, inject: func(t *testing.T) {
			n, err := r.CoreV1().Nodes().Get(t.Context(), two, metav1.GetOptions{})
			if err != nil {
				t.Fatal(err)
			}
			subnet := strings.FieldsFunc(n.Annotations["k8s.ovn.org/node-subnets"], func(c rune) bool { return strings.ContainsRune(`{}[]",`, c) })[2]
			r.nbctl(t, three, "lr-route-del", "ovn_cluster_router", subnet)
		}},
		{name: "translation of sources deleted", code: "OVNK-DRIFT-001", node: three, object: "Node " + three, inject: north("lr-nat-del", "GR_"+three, "snat")},
		{name: "port left of a pod that is gone", code: "OVNK-POD-008", node: three, object: "Pod gone", inject: north(
			"lsp-add", three, r.ns+"_gone", "--", "set", "Logical_Switch_Port", r.ns+"_gone", "external_ids:ovnkctl.io/owner=\"pods/"+r.ns+"/gone\"", "external_ids:ovnkctl.io/row=port")},
		{name: "interface of a pod that is gone", code: "OVNK-POD-009", node: three, object: "Pod left", inject: ovs(
			"add-port", "br-int", "vgone", "--", "set", "interface", "vgone", "type=internal", "external_ids:iface-id="+r.ns+"_left", "external_ids:sandbox=gone")},
		{name: "ACL and route made by hand", code: "OVNK-DB-004", node: three, says: "203.0.113.77", inject: func(t *testing.T) {
			r.nbctl(t, three, "acl-add", three, "from-lport", "32000", "ip4.dst == 203.0.113.77", "drop")
			r.nbctl(t, three, "lr-route-add", "ovn_cluster_router", "203.0.113.78/32", "100.64.0.1")
		}},
		{name: "nftables flushed", code: "OVNK-HOST-002", node: three, inject: host("nft", "flush", "ruleset")},
		{name: "forwarding switched off", code: "OVNK-HOST-004", node: three, says: "forwarding", inject: host("sysctl", "-qw", "net.ipv4.conf.br-ex.forwarding=0")},
		{name: "tunnel end point wrong", code: "OVNK-TUN-001", node: three, inject: ovs("set", "Open_vSwitch", ".", "external_ids:ovn-encap-ip=172.30.250.99")},
		{name: "bridge mapping removed", code: "OVNK-BR-002", node: three, inject: ovs("remove", "Open_vSwitch", ".", "external_ids", "ovn-bridge-mappings")},
	}
	return s
}

// service makes a service for the pods of the rig.
func (r *faultRig) service(t *testing.T, name string, change func(*corev1.Service)) {
	t.Helper()
	s := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: r.ns, Name: name}}
	s.Spec.Selector = map[string]string{"app": "web"}
	s.Spec.Ports = []corev1.ServicePort{{Port: 80, TargetPort: intstr.FromInt32(webPort)}}
	if change != nil {
		change(s)
	}
	if _, err := r.CoreV1().Services(r.ns).Create(t.Context(), s, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
}

func (r *faultRig) deleteService(t *testing.T, name string) {
	t.Helper()
	if err := r.CoreV1().Services(r.ns).Delete(t.Context(), name, metav1.DeleteOptions{}); err != nil {
		t.Error(err)
	}
}

// scale scales the network's controller.
func (r *faultRig) scale(t *testing.T, namespace, name string, replicas int32) {
	t.Helper()
	to := &autoscalingv1.Scale{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name}, Spec: autoscalingv1.ScaleSpec{Replicas: replicas}}
	if _, err := r.AppsV1().Deployments(namespace).UpdateScale(t.Context(), to.Name, to, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
}

// objects are objects of the cluster that ask for what they cannot have, or lack something.
func (r *faultRig) objects() *scene {
	s := &scene{name: "objects"}
	add := func(f fault) { s.faults = append(s.faults, f) }
	gone := func(name string) func(t *testing.T) { return func(t *testing.T) { r.deleteService(t, name) } }
	add(fault{name: "address of a service taken", code: "OVNK-SVC-001", object: "Service taken",
		inject: func(t *testing.T) {
			for _, name := range []string{"owner", "taken"} {
				r.service(t, name, func(s *corev1.Service) { s.Spec.ExternalIPs = []string{"203.0.113.200"} })
			}
		},
		remedy: func(t *testing.T) { r.deleteService(t, "taken"); r.deleteService(t, "owner") }})
	add(fault{name: "port that no pod has", code: "OVNK-SVC-003", object: "Service portless",
		inject: func(t *testing.T) {
			r.service(t, "portless", func(s *corev1.Service) { s.Spec.Ports[0].TargetPort = intstr.FromString("htpt") })
		},
		remedy: gone("portless")})
	policy := func(name, text string, object string, code string) {
		var remove func()
		add(fault{name: name, code: code, object: object,
			inject: func(t *testing.T) { remove = r.apply(t, text, r.ns) },
			remedy: func(*testing.T) { remove() }})
	}
	policy("policy for a port by a name that no pod has", `{"apiVersion":"networking.k8s.io/v1","kind":"NetworkPolicy","metadata":{"name":"named","namespace":%q},
"spec":{"podSelector":{"matchLabels":{"app":"web"}},"ingress":[{"ports":[{"port":"htpt"}]}]}}`, "NetworkPolicy named", "OVNK-POL-002")
	policy("policy that selects nothing", `{"apiVersion":"networking.k8s.io/v1","kind":"NetworkPolicy","metadata":{"name":"nobody","namespace":%q},
"spec":{"podSelector":{"matchLabels":{"app":"wbe"}}}}`, "NetworkPolicy nobody", "OVNK-POL-003")
	add(fault{name: "kube-proxy runs", code: "OVNK-HOST-001", object: "Pod kube-proxy-e2e",
		inject: func(t *testing.T) {
			p := podOn(r.ns, "kube-proxy-e2e", r.nodes[2], "pause")
			p.Labels["k8s-app"] = "kube-proxy"
			r.start(t, p)
		},
		remedy: func(t *testing.T) { r.deletePod(t, r.ns, "kube-proxy-e2e") }})
	add(fault{name: "controller scaled to nothing", code: "OVNK-CTL-001", object: "Deployment ovnkube-control-plane",
		inject: func(t *testing.T) { r.scale(t, system, "ovnkube-control-plane", 0) },
		remedy: func(t *testing.T) { r.scale(t, system, "ovnkube-control-plane", 1) }})
	return s
}

// daemons are daemons of Open vSwitch and OVN that run, and do not answer.
func (r *faultRig) daemons() *scene {
	s := &scene{name: "daemons"}
	for i, d := range []struct{ process, container string }{{"sb-ovsdb", "sb-ovsdb"}, {"northd", "ovn-northd"}, {"ovn-controller", "ovn-controller"}} {
		node := r.nodes[i]
		s.faults = append(s.faults, fault{name: fmt.Sprintf("%s hangs", d.process), code: "OVNK-NODE-005", node: node, says: d.container,
			inject: func(t *testing.T) { r.signal(t, node, "STOP", d.process) }})
	}
	s.remedy = func(t *testing.T) { r.replace(t, "ovnkube-node", r.nodes...) }
	return s
}

// machines are what makes the node's program not ready. A NIC with a small MTU is found, too
// (OVNK-MTU-001), but breaks the connections that the node's kubelet has already, and so more
// than is to be found.
func (r *faultRig) machines() *scene {
	node := r.nodes[1]
	return &scene{name: "machines", holder: "OVNK-NODE-001", faults: []fault{
		{name: "node's program hangs", code: "OVNK-NODE-001", node: node, says: "ovnkube-controller",
			inject: func(t *testing.T) { r.signal(t, node, "STOP", "node") },
			remedy: func(t *testing.T) { r.replace(t, "ovnkube-node", node) }},
		{name: "addresses of a pod forgotten", code: "OVNK-POD-002", node: node, object: "Pod " + r.pods[1].Name,
			inject: func(t *testing.T) { r.annotatePod(t, r.pods[1], podNetworks, nil) }},
	}}
}
