package world

import (
	"fmt"
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func endpointSlice(family discoveryv1.AddressType, endpoints ...discoveryv1.Endpoint) *discoveryv1.EndpointSlice {
	return &discoveryv1.EndpointSlice{
		ObjectMeta:  metav1.ObjectMeta{Namespace: "ns", Name: "web-1", UID: "u", Labels: map[string]string{"kubernetes.io/service-name": "web"}},
		AddressType: family, Endpoints: endpoints,
	}
}

func TestFromEndpointSlice(t *testing.T) {
	t.Parallel()
	base := Endpoint{Addrs: []netip.Addr{addr("10.244.0.5")}, Ready: true, Serving: true}
	with := func(change func(*Endpoint)) Endpoint {
		e := base
		change(&e)
		return e
	}
	conditions := func(ready, serving, terminating *bool) discoveryv1.Endpoint {
		return discoveryv1.Endpoint{Addresses: []string{"10.244.0.5"}, Conditions: discoveryv1.EndpointConditions{Ready: ready, Serving: serving, Terminating: terminating}}
	}
	yes, no := ptr(true), ptr(false)
	endpoints := []struct {
		name string
		in   discoveryv1.Endpoint
		want Endpoint
	}{
		{"conditions not given", conditions(nil, nil, nil), base},
		{"ready", conditions(yes, yes, no), base},
		{"not ready, the rest not given", conditions(no, nil, nil), with(func(e *Endpoint) { e.Ready = false })},
		{"ends, serving not given", conditions(no, nil, yes), with(func(e *Endpoint) { e.Ready, e.Terminating = false, true })},
		{"ends and serves no more", conditions(no, no, yes), with(func(e *Endpoint) { e.Ready, e.Serving, e.Terminating = false, false, true })},
		{"ready while it ends, as with publishNotReadyAddresses", conditions(yes, no, yes), with(func(e *Endpoint) { e.Serving, e.Terminating = false, true })},
		{"placed", discoveryv1.Endpoint{Addresses: []string{"10.244.0.5"}, NodeName: ptr("n1"), Zone: ptr("z1")}, with(func(e *Endpoint) { e.Node = "n1" })},
		{"hints", discoveryv1.Endpoint{Addresses: []string{"10.244.0.5"}, Hints: &discoveryv1.EndpointHints{
			ForZones: []discoveryv1.ForZone{{Name: "z1"}, {Name: "z2"}}, ForNodes: []discoveryv1.ForNode{{Name: "n1"}},
		}}, with(func(e *Endpoint) { e.ForNodes, e.ForZones = []string{"n1"}, []string{"z1", "z2"} })},
		{"the first address counts", discoveryv1.Endpoint{Addresses: []string{"10.244.0.5", "10.244.0.6"}}, base},
		{"leading zeros", discoveryv1.Endpoint{Addresses: []string{"10.244.000.005"}}, base},
	}
	for _, c := range endpoints {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			want := &EndpointSlice{Namespace: "ns", Name: "web-1", UID: "u", Service: "web", Endpoints: []Endpoint{c.want}}
			if diff := cmp.Diff(want, FromEndpointSlice(endpointSlice(discoveryv1.AddressTypeIPv4, c.in)), opaque, cmpopts.EquateEmpty()); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestFromEndpointSliceRefuses(t *testing.T) {
	t.Parallel()
	const v4, v6 = discoveryv1.AddressTypeIPv4, discoveryv1.AddressTypeIPv6
	cases := []struct {
		family    discoveryv1.AddressType
		addr, why string
	}{
		{v4, "here", "is not an IP address"},
		{v4, "fd00::5", "is not of the slice's family IPv4"},
		{v6, "10.0.0.1", "is not of the slice's family IPv6"},
		{v6, "::ffff:10.0.0.1", "is not of the slice's family IPv6"},
		{v4, "127.0.0.7", "is a loopback address"},
		{v6, "::1", "is a loopback address"},
		{v4, "0.0.0.0", "is not one that other nodes can reach"},
		{v4, "169.254.7.7", "is not one that other nodes can reach"},
		{v6, "fe80::1", "is not one that other nodes can reach"},
		{v6, "fe80::1%eth0", "is not one that other nodes can reach"},
		{v6, "ff02::1", "is not one that other nodes can reach"},
	}
	for _, c := range cases {
		good := map[discoveryv1.AddressType]string{v4: "10.244.0.5", v6: "fd00::5"}[c.family]
		got := FromEndpointSlice(endpointSlice(c.family, discoveryv1.Endpoint{Addresses: []string{c.addr, good}}, discoveryv1.Endpoint{}, discoveryv1.Endpoint{Addresses: []string{good}}))
		want := []Problem{{"endpoints", fmt.Sprintf("address %q %s; it is left out", c.addr, c.why), "correct the address, or what writes the EndpointSlice"}}
		if diff := cmp.Diff(want, got.Problems); diff != "" {
			t.Errorf("%s (-want +got):\n%s", c.addr, diff)
		}
		if len(got.Endpoints) != 1 || got.Endpoints[0].Addrs[0] != addr(good) {
			t.Errorf("%s: the end points beside it are %+v", c.addr, got.Endpoints)
		}
	}
}

func TestFromEndpointSlicePorts(t *testing.T) {
	t.Parallel()
	o := endpointSlice(discoveryv1.AddressTypeIPv4)
	o.Ports = []discoveryv1.EndpointPort{
		{Name: ptr("http"), Port: ptr(int32(8080)), Protocol: ptr(corev1.ProtocolTCP)}, {Port: ptr(int32(53)), Protocol: ptr(corev1.ProtocolUDP)},
		{Name: ptr("plain"), Port: ptr(int32(1))}, {Name: ptr("any")}, {Name: ptr("zero"), Port: ptr(int32(0))},
	}
	got := FromEndpointSlice(o)
	want := []EndpointPort{{"http", TCP, 8080}, {"", UDP, 53}, {"plain", TCP, 1}}
	if diff := cmp.Diff(want, got.Ports); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if len(got.Problems) != 1 || got.Problems[0].Field != "ports" {
		t.Errorf("problems %+v, want one for port 0", got.Problems)
	}
}

// TestFromEndpointSliceOfNames: names are for those who resolve them; the slice remains, with
// nothing in it.
func TestFromEndpointSliceOfNames(t *testing.T) {
	t.Parallel()
	got := FromEndpointSlice(endpointSlice(discoveryv1.AddressTypeFQDN, discoveryv1.Endpoint{Addresses: []string{"example.com"}}))
	if diff := cmp.Diff(&EndpointSlice{Namespace: "ns", Name: "web-1", UID: "u", Service: "web"}, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// TestHintsAreShared: a hundred end points hold the names of their few zones once.
func TestHintsAreShared(t *testing.T) {
	t.Parallel()
	var in []discoveryv1.Endpoint
	for i := range 100 {
		in = append(in, discoveryv1.Endpoint{
			Addresses: []string{fmt.Sprintf("10.244.0.%d", i)}, Hints: &discoveryv1.EndpointHints{ForZones: []discoveryv1.ForZone{{Name: fmt.Sprint("z", i%3)}}},
		})
	}
	lists := map[*string]bool{}
	for i, e := range FromEndpointSlice(endpointSlice(discoveryv1.AddressTypeIPv4, in...)).Endpoints {
		if e.Addrs[0] != addr(fmt.Sprintf("10.244.0.%d", i)) || len(e.ForZones) != 1 || e.ForZones[0] != fmt.Sprint("z", i%3) {
			t.Fatalf("end point %d is %+v", i, e)
		}
		lists[&e.ForZones[0]] = true
	}
	if len(lists) != 3 {
		t.Errorf("%d lists of zones, want 3", len(lists))
	}
}
