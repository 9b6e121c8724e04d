package diagnose

import (
	"maps"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/ovnkctl/ovnkctl/internal/inspect"
	"github.com/ovnkctl/ovnkctl/internal/ovn/nb"
	"github.com/ovnkctl/ovnkctl/internal/ovn/sb"
	"github.com/ovnkctl/ovnkctl/internal/ovn/vswitch"
)

func init() { faults = append(faults, podFaults...) }

const networks = "k8s.ovn.org/pod-networks"

func isWeb1(p *nb.LogicalSwitchPort) bool { return p.Name == "shop_web-1" }

func plugOfWeb1(i *vswitch.Interface) bool { return i.ExternalIDs["iface-id"] == "shop_web-1" }

var podFaults = []faulty{
	{code: "OVNK-POD-001", name: "subnet", objects: func(o *inspect.Objects, _ *inspect.Installation) {
		pod(o, "web-1").Annotations[networks] = `{"default":{"ip_addresses":["10.244.9.3/24"],"mac_address":"0a:58:0a:f4:09:03","gateway_ips":["10.244.9.1"],"role":"primary"}}`
		pod(o, "web-1").Status.PodIPs = []corev1.PodIP{{IP: "10.244.9.3"}}
	}},
	{code: "OVNK-POD-002", objects: func(o *inspect.Objects, _ *inspect.Installation) { delete(pod(o, "web-1").Annotations, networks) }},
	{code: "OVNK-POD-003", state: func(t *testing.T, c *Cluster) {
		remove(t, c.Nodes[0].NB, isWeb1)
		remove(t, c.Nodes[0].SB, func(b *sb.PortBinding) bool { return b.LogicalPort == "shop_web-1" })
	}},
	{code: "OVNK-POD-004", name: "missing", state: func(t *testing.T, c *Cluster) {
		remove(t, c.Nodes[0].OVS, plugOfWeb1)
		must(t, c.Nodes[0].SB, func(b *sb.PortBinding) bool { return b.LogicalPort == "shop_web-1" }).Chassis = nil
	}},
	{code: "OVNK-POD-004", name: "error", state: func(t *testing.T, c *Cluster) {
		i := onOVS(t, c, plugOfWeb1)
		i.Ofport, i.Error = ptr(-1), ptr("could not open network device veth-web-1 (No such device)")
	}},
	{code: "OVNK-POD-005", name: "unclaimed", state: func(t *testing.T, c *Cluster) {
		must(t, c.Nodes[0].SB, func(b *sb.PortBinding) bool { return b.LogicalPort == "shop_web-1" }).Chassis = nil
	}},
	{code: "OVNK-POD-005", name: "down", state: func(t *testing.T, c *Cluster) {
		must(t, c.Nodes[0].SB, func(b *sb.PortBinding) bool { return b.LogicalPort == "shop_web-1" }).Up = ptr(false)
	}},
	{code: "OVNK-POD-006", objects: func(o *inspect.Objects, _ *inspect.Installation) {
		pod(o, "web-1").Status.PodIPs = []corev1.PodIP{{IP: "10.88.0.17"}}
	}},
	{code: "OVNK-POD-001", name: "twice", objects: func(o *inspect.Objects, _ *inspect.Installation) {
		p := appPod(1)
		p.Name, p.UID, p.CreationTimestamp = "twin", "twin-uid", metav1.NewTime(long.Add(time.Minute))
		o.Pods = append(o.Pods, p)
	}},
	{code: "OVNK-POD-007", objects: func(o *inspect.Objects, in *inspect.Installation) {
		p := appPod(1)
		p.Name, p.UID, p.Annotations = "late", "late-uid", nil
		p.Status = corev1.PodStatus{Phase: corev1.PodPending, StartTime: &long}
		o.Pods = append(o.Pods, p)
		event := func(name string, minutes int, message string) corev1.Event {
			return corev1.Event{
				ObjectMeta: metav1.ObjectMeta{Name: name}, InvolvedObject: corev1.ObjectReference{Kind: "Pod", UID: "late-uid"},
				Reason: "FailedCreatePodSandBox", Message: message, LastTimestamp: metav1.NewTime(long.Add(time.Duration(minutes) * time.Minute)),
			}
		}
		in.Events = []corev1.Event{event("b", 9, "no address: subnet 10.244.1.0/24 is full\n"), event("c", 2, "an older one")}
	}},
	{code: "OVNK-POD-008", state: func(t *testing.T, c *Cluster) {
		port := *must(t, c.Nodes[0].NB, isWeb1)
		port.Name = "shop_gone"
		port.ExternalIDs = maps.Clone(port.ExternalIDs)
		port.ExternalIDs["ovnkctl.io/owner"] = "pods/shop/gone"
		c.Nodes[0].NB.(*memory).add(&port)
	}},
	{code: "OVNK-POD-009", state: func(t *testing.T, c *Cluster) {
		i := *onOVS(t, c, plugOfWeb1)
		i.Name, i.ExternalIDs = "veth-gone", map[string]string{"iface-id": "shop_gone", "sandbox": "s-gone"}
		c.Nodes[0].OVS.(*memory).add(&i)
	}},
	{code: "OVNK-SVC-001", objects: func(o *inspect.Objects, _ *inspect.Installation) {
		s := *o.Services[0].DeepCopy()
		s.Name, s.UID, s.CreationTimestamp = "rival", "rival-uid", metav1.NewTime(long.Add(time.Minute))
		o.Services[0].Spec.ExternalIPs, s.Spec.ExternalIPs = []string{"192.0.2.1"}, []string{"192.0.2.1"}
		s.Spec.ClusterIP, s.Spec.ClusterIPs = "10.96.0.8", []string{"10.96.0.8"}
		o.Services = append(o.Services, s)
	}},
	{code: "OVNK-SVC-002", name: "backend", state: func(t *testing.T, c *Cluster) {
		lb := must(t, c.Nodes[0].NB, func(*nb.LoadBalancer) bool { return true })
		lb.Vips = map[string]string{"10.96.0.7:80": "10.244.1.3:8080"}
	}},
	{code: "OVNK-SVC-002", name: "missing", state: func(t *testing.T, c *Cluster) {
		remove(t, c.Nodes[1].NB, func(*nb.LoadBalancer) bool { return true })
	}},
	{code: "OVNK-POL-001", objects: func(o *inspect.Objects, _ *inspect.Installation) {
		p := networkingv1.NetworkPolicy{ObjectMeta: meta("shop", "odd")}
		p.Spec.Ingress = []networkingv1.NetworkPolicyIngressRule{{From: []networkingv1.NetworkPolicyPeer{{IPBlock: &networkingv1.IPBlock{CIDR: "10.0.0/8"}}}}}
		o.NetworkPolicies = append(o.NetworkPolicies, p)
	}},
	{code: "OVNK-DRIFT-001", name: "route", state: func(t *testing.T, c *Cluster) {
		remove(t, c.Nodes[0].NB, func(r *nb.LogicalRouterStaticRoute) bool { return r.IPPrefix == "10.244.2.0/24" })
	}},
	{code: "OVNK-DRIFT-001", name: "value", state: func(t *testing.T, c *Cluster) {
		must(t, c.Nodes[0].NB, func(r *nb.LogicalRouterStaticRoute) bool { return r.IPPrefix == "10.244.2.0/24" }).Nexthop = "100.88.0.99"
	}},
	{code: "OVNK-DRIFT-001", name: "membership", state: func(t *testing.T, c *Cluster) {
		must(t, c.Nodes[0].NB, func(s *nb.LogicalSwitch) bool { return s.Name == "n1" }).LoadBalancerGroup = nil
	}},
	{code: "OVNK-DRIFT-001", name: "chassis", state: func(t *testing.T, c *Cluster) {
		must(t, c.Nodes[0].NB, func(r *nb.LogicalRouter) bool { return r.Name == "GR_n1" }).Options["chassis"] = "another"
		must(t, c.Nodes[0].SB, func(b *sb.PortBinding) bool { return b.LogicalPort == "rtoe-GR_n1" }).Chassis = nil
	}},
	{code: "OVNK-DRIFT-001", name: "option", state: func(t *testing.T, c *Cluster) {
		delete(must(t, c.Nodes[0].NB, func(r *nb.LogicalRouter) bool { return r.Name == "GR_n1" }).Options, "chassis")
	}},
	{code: "OVNK-DRIFT-001", name: "leftover", state: func(_ *testing.T, c *Cluster) {
		c.Nodes[0].NB.(*memory).add(&nb.LogicalRouterStaticRoute{
			IPPrefix: "10.244.7.0/24", Nexthop: "100.88.0.8", ExternalIDs: map[string]string{"ovnkctl.io/owner": "topology/n7", "ovnkctl.io/row": "route"},
		})
	}},
}
