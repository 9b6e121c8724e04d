package world

import (
	"fmt"
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func ptr[T any](v T) *T { return &v }

func TestFromService(t *testing.T) {
	t.Parallel()
	base := func() (*corev1.Service, *Service) {
		o := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "web", UID: "u", CreationTimestamp: metav1.Unix(7, 0)}}
		o.Spec.Type = corev1.ServiceTypeClusterIP
		o.Spec.ClusterIP, o.Spec.ClusterIPs = "10.96.0.9", []string{"10.96.0.9"}
		o.Spec.Ports = []corev1.ServicePort{{Name: "http", Protocol: corev1.ProtocolTCP, Port: 80}}
		return o, &Service{
			Namespace: "ns", Name: "web", UID: "u", Created: 7, ClusterIPs: []netip.Addr{addr("10.96.0.9")},
			Ports: []ServicePort{{Name: "http", Protocol: TCP, Port: 80}},
		}
	}
	none := func(w *Service) { *w = Service{Namespace: w.Namespace, Name: w.Name, UID: w.UID, Created: w.Created} }
	balanced := func(o *corev1.Service, w *Service) {
		o.Spec.Type = corev1.ServiceTypeLoadBalancer
		o.Status.LoadBalancer.Ingress = []corev1.LoadBalancerIngress{{IP: "192.0.2.1"}}
		w.LoadBalancer, w.Ingress = true, []netip.Addr{addr("192.0.2.1")}
	}
	badRange := func(text string) Problem {
		return Problem{"spec.loadBalancerSourceRanges", `"` + text + `" is not a range of addresses; nobody in it has access`, "write a range such as 192.0.2.0/24"}
	}
	cases := map[string]func(*corev1.Service, *Service){
		"plain": func(*corev1.Service, *Service) {},
		"dual stack": func(o *corev1.Service, w *Service) {
			o.Spec.ClusterIPs = []string{"10.96.0.9", "fd00:10:96::9"}
			w.ClusterIPs = []netip.Addr{addr("10.96.0.9"), addr("fd00:10:96::9")}
		},
		"an old object with clusterIP alone": func(o *corev1.Service, _ *Service) { o.Spec.ClusterIPs = nil },
		"headless": func(o *corev1.Service, w *Service) {
			o.Spec.ClusterIP, o.Spec.ClusterIPs = "None", []string{"None"}
			none(w)
		},
		"no cluster IP yet": func(o *corev1.Service, w *Service) {
			o.Spec.ClusterIP, o.Spec.ClusterIPs = "", nil
			none(w)
		},
		"turned into a name, with addresses left over": func(o *corev1.Service, w *Service) {
			o.Spec.Type, o.Spec.ExternalName, o.Spec.ExternalIPs = corev1.ServiceTypeExternalName, "example.com", []string{"192.0.2.7"}
			none(w)
		},
		"of another proxy": func(o *corev1.Service, w *Service) {
			o.Labels = map[string]string{"service.kubernetes.io/service-proxy-name": "theirs"}
			none(w)
		},
		"of another proxy without a name": func(o *corev1.Service, w *Service) {
			o.Labels = map[string]string{"service.kubernetes.io/service-proxy-name": ""}
			none(w)
		},
		"the label for headless means nothing on a service": func(o *corev1.Service, _ *Service) {
			o.Labels = map[string]string{"service.kubernetes.io/headless": ""}
		},
		"ports of all protocols": func(o *corev1.Service, w *Service) {
			o.Spec.Type = corev1.ServiceTypeNodePort
			o.Spec.Ports = []corev1.ServicePort{
				{Name: "a", Port: 53, Protocol: corev1.ProtocolUDP, NodePort: 30053}, {Name: "b", Port: 53, NodePort: 30053},
				{Name: "c", Port: 65535, Protocol: corev1.ProtocolSCTP},
			}
			w.Ports = []ServicePort{{"a", UDP, 53, 30053}, {"b", TCP, 53, 30053}, {"c", SCTP, 65535, 0}}
		},
		"ports that cannot be": func(o *corev1.Service, w *Service) {
			o.Spec.Ports = append(o.Spec.Ports, corev1.ServicePort{Name: "zero"}, corev1.ServicePort{Name: "high", Port: 65536},
				corev1.ServicePort{Name: "odd", Port: 1, Protocol: "ICMP"}, corev1.ServicePort{Name: "node", Port: 1, NodePort: -1})
			for _, what := range []string{`0/ of "zero"`, `65536/ of "high"`, `1/ICMP of "odd"`, `1/ of "node"`} {
				w.Problems = append(w.Problems, Problem{"spec.ports", "port " + what + " is none that can be served; it is left out", "use a port from 1 to 65535 of TCP, UDP or SCTP"})
			}
		},
		"internal policy": func(o *corev1.Service, w *Service) {
			o.Spec.InternalTrafficPolicy = ptr(corev1.ServiceInternalTrafficPolicyLocal)
			w.InternalLocal = true
		},
		"external policy of a node port": func(o *corev1.Service, w *Service) {
			o.Spec.Type, o.Spec.ExternalTrafficPolicy, o.Spec.HealthCheckNodePort = corev1.ServiceTypeNodePort, corev1.ServiceExternalTrafficPolicyLocal, 30099
			w.ExternalLocal = true // and no health check: nobody balances
		},
		"external policy without anything external": func(o *corev1.Service, _ *Service) {
			o.Spec.ExternalTrafficPolicy = corev1.ServiceExternalTrafficPolicyLocal
		},
		"external policy with external addresses": func(o *corev1.Service, w *Service) {
			o.Spec.ExternalTrafficPolicy, o.Spec.ExternalIPs = corev1.ServiceExternalTrafficPolicyLocal, []string{"192.0.2.7", "2001:db8::7"}
			w.ExternalLocal, w.ExternalIPs = true, []netip.Addr{addr("192.0.2.7"), addr("2001:db8::7")}
		},
		"addresses as old API servers let them in": func(o *corev1.Service, w *Service) {
			o.Spec.ExternalIPs = []string{"192.0.002.007", "::ffff:192.0.2.8", "", " ", "here"}
			w.ExternalIPs = []netip.Addr{addr("192.0.2.7"), addr("192.0.2.8")}
			w.Problems = []Problem{{"spec.externalIPs", `"here" is not an IP address; it is left out`, "correct the address"}}
		},
		"affinity": func(o *corev1.Service, w *Service) {
			o.Spec.SessionAffinity = corev1.ServiceAffinityClientIP
			o.Spec.SessionAffinityConfig = &corev1.SessionAffinityConfig{ClientIP: &corev1.ClientIPConfig{TimeoutSeconds: ptr(int32(86400))}}
			w.AffinitySeconds = 86400
		},
		"affinity without a time": func(o *corev1.Service, w *Service) {
			o.Spec.SessionAffinity = corev1.ServiceAffinityClientIP
			w.AffinitySeconds = 10800
		},
		"a time without affinity": func(o *corev1.Service, _ *Service) {
			o.Spec.SessionAffinity = corev1.ServiceAffinityNone
			o.Spec.SessionAffinityConfig = &corev1.SessionAffinityConfig{ClientIP: &corev1.ClientIPConfig{TimeoutSeconds: ptr(int32(60))}}
		},
		"load balancer of any class": func(o *corev1.Service, w *Service) {
			balanced(o, w)
			o.Spec.LoadBalancerClass = ptr("example.com/theirs")
		},
		"load balancer with a health check": func(o *corev1.Service, w *Service) {
			balanced(o, w)
			o.Spec.ExternalTrafficPolicy, o.Spec.HealthCheckNodePort = corev1.ServiceExternalTrafficPolicyLocal, 30099
			w.ExternalLocal, w.HealthCheckPort = true, 30099
		},
		"no health check under policy Cluster": func(o *corev1.Service, w *Service) {
			balanced(o, w)
			o.Spec.HealthCheckNodePort = 30099
		},
		"modes of ingress": func(o *corev1.Service, w *Service) {
			balanced(o, w)
			o.Status.LoadBalancer.Ingress = []corev1.LoadBalancerIngress{
				{IP: "192.0.2.1", IPMode: ptr(corev1.LoadBalancerIPModeVIP)}, {IP: "192.0.2.2", IPMode: ptr(corev1.LoadBalancerIPModeProxy)},
				{IP: "2001:db8::1"}, {Hostname: "lb.example.com"}, {IP: "there"},
			}
			w.Ingress = []netip.Addr{addr("192.0.2.1"), addr("2001:db8::1")}
			w.Problems = []Problem{{"status.loadBalancer.ingress", `"there" is not an IP address; it is left out`, "correct the address"}}
		},
		"a node port service that was a load balancer": func(o *corev1.Service, _ *Service) {
			o.Spec.Type = corev1.ServiceTypeNodePort
			o.Spec.LoadBalancerSourceRanges = []string{"10.0.0.0/8"}
			o.Status.LoadBalancer.Ingress = []corev1.LoadBalancerIngress{{IP: "192.0.2.1"}}
		},
		"source ranges": func(o *corev1.Service, w *Service) {
			balanced(o, w)
			o.Spec.LoadBalancerSourceRanges = []string{" 10.1.2.3/8 ", "2001:db8::/32", "010.011.0.0/16", "::ffff:192.0.2.0/120", " "}
			w.SourceRanges = []netip.Prefix{prefix("10.0.0.0/8"), prefix("2001:db8::/32"), prefix("10.11.0.0/16"), prefix("192.0.2.0/24")}
		},
		"source ranges for everybody of a family": func(o *corev1.Service, w *Service) {
			balanced(o, w)
			o.Spec.LoadBalancerSourceRanges = []string{"10.0.0.0/8", "0.0.0.0/0", "2001:db8::/32"}
			w.SourceRanges = []netip.Prefix{prefix("2001:db8::/32"), prefix("0.0.0.0/0")}
		},
		"source ranges for everybody as most write it": func(o *corev1.Service, w *Service) {
			balanced(o, w)
			o.Spec.LoadBalancerSourceRanges = []string{"0.0.0.0/0", "10.0.0.0/8"}
		},
		"everybody of a family and a slip of the pen": func(o *corev1.Service, w *Service) {
			balanced(o, w)
			o.Spec.LoadBalancerSourceRanges = []string{"0.0.0.0/0", "2001:db8::/320"}
			w.SourceRanges = []netip.Prefix{prefix("0.0.0.0/0")}
			w.Problems = []Problem{badRange("2001:db8::/320")}
		},
		"source ranges for everybody": func(o *corev1.Service, w *Service) {
			balanced(o, w)
			o.Spec.LoadBalancerSourceRanges = []string{"::/0", "0.0.0.0/0"}
		},
		"one source range that does not parse": func(o *corev1.Service, w *Service) {
			balanced(o, w)
			o.Spec.LoadBalancerSourceRanges = []string{"10.0.0.0/8", "all"}
			w.SourceRanges = []netip.Prefix{prefix("10.0.0.0/8")}
			w.Problems = []Problem{badRange("all")}
		},
		"no source range that parses": func(o *corev1.Service, w *Service) {
			balanced(o, w)
			o.Spec.LoadBalancerSourceRanges = []string{"10.0.0.1"}
			w.SourceRanges = []netip.Prefix{prefix("0.0.0.0/32"), prefix("::/128")}
			w.Problems = []Problem{badRange("10.0.0.1")}
		},
		"the old annotation for source ranges is for load balancers": func(o *corev1.Service, w *Service) {
			balanced(o, w)
			o.Annotations = map[string]string{"service.beta.kubernetes.io/load-balancer-source-ranges": "10.0.0.0/8"}
		},
		"asleep": func(o *corev1.Service, w *Service) {
			o.Annotations = map[string]string{"k8s.ovn.org/idled-at": "2026-01-01T00:00:00Z"}
			w.Idled = true
		},
		"asleep in OpenShift": func(o *corev1.Service, w *Service) {
			o.Annotations = map[string]string{"idling.alpha.openshift.io/idled-at": "2026-01-01T00:00:00Z"}
			w.Idled = true
		},
		"asleep, nobody says since when": func(o *corev1.Service, w *Service) {
			o.Annotations = map[string]string{"example.com/idled-at": ""}
			w.Idled = true
		},
		"woke up": func(o *corev1.Service, w *Service) {
			o.Annotations = map[string]string{"k8s.ovn.org/unidled-at": "2026-01-01T00:00:00Z"}
			w.WokeAt = 1767225600
		},
		"woke up at no time": func(o *corev1.Service, w *Service) {
			o.Annotations = map[string]string{"k8s.ovn.org/unidled-at": "soon", "idled-at": "now"}
		},
	}
	for name, change := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			o, want := base()
			change(o, want)
			before := o.DeepCopy()
			if diff := cmp.Diff(want, FromService(o), opaque, cmpopts.EquateEmpty()); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(before, o); diff != "" {
				t.Errorf("the object was modified: %s", diff)
			}
		})
	}
}

func TestRangesFor(t *testing.T) {
	t.Parallel()
	const nobody, anybody = "nobody", "anybody"
	for _, c := range []struct {
		ranges []netip.Prefix
		v4, v6 string
	}{
		{nil, anybody, anybody},
		{[]netip.Prefix{prefix("10.0.0.0/8"), prefix("192.0.2.0/24")}, "[10.0.0.0/8 192.0.2.0/24]", nobody},
		{[]netip.Prefix{prefix("2001:db8::/32"), prefix("0.0.0.0/0")}, anybody, "[2001:db8::/32]"},
	} {
		s := &Service{SourceRanges: c.ranges}
		for a, want := range map[netip.Addr]string{addr("192.0.2.1"): c.v4, addr("2001:db8::1"): c.v6} {
			ranges, restricted := s.RangesFor(a)
			got := fmt.Sprint(ranges)
			switch {
			case !restricted:
				got = anybody
			case len(ranges) == 0:
				got = nobody
			}
			if got != want {
				t.Errorf("%v lets %s reach %s, want %s", c.ranges, got, a, want)
			}
		}
	}
}

func TestFromServiceCIDR(t *testing.T) {
	t.Parallel()
	got := FromServiceCIDR(&networkingv1.ServiceCIDR{
		ObjectMeta: metav1.ObjectMeta{Name: "more", UID: "u"},
		Spec:       networkingv1.ServiceCIDRSpec{CIDRs: []string{"10.97.1.0/16", "fd00:10:97::/112", "nowhere"}},
	})
	want := &ServiceCIDR{Name: "more", UID: "u", Prefixes: []netip.Prefix{prefix("10.97.0.0/16"), prefix("fd00:10:97::/112")}}
	if diff := cmp.Diff(want, got, opaque); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}
