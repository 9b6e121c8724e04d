package trace

import (
	"net/netip"
	"testing"

	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/ovnkctl/ovnkctl/internal/inspect"
	"github.com/ovnkctl/ovnkctl/internal/world"
)

func TestNodeOfService(t *testing.T) {
	t.Parallel()
	no := false
	point := func(node, address string, ready *bool) discoveryv1.Endpoint {
		return discoveryv1.Endpoint{NodeName: &node, Addresses: []string{address}, Conditions: discoveryv1.EndpointConditions{Ready: ready}}
	}
	slice := func(service string, points ...discoveryv1.Endpoint) discoveryv1.EndpointSlice {
		return discoveryv1.EndpointSlice{
			ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Labels: map[string]string{discoveryv1.LabelServiceName: service}}, Endpoints: points,
		}
	}
	o := &inspect.Objects{EndpointSlices: []discoveryv1.EndpointSlice{
		slice("other", point("x", "10.0.0.1", nil)),
		slice("web", point("c", "10.0.0.10", nil), point("b", "10.0.0.9", nil), point("off", "10.0.0.2", &no), point("odd", "none", nil), discoveryv1.Endpoint{}),
	}}
	web := world.ServiceKey{Namespace: "shop", Name: "web"}
	if n := nodeOf(o, web, netip.Addr{}); n != "b" {
		t.Errorf("the first: %q", n)
	}
	if n := nodeOf(o, web, netip.MustParseAddr("10.0.0.10")); n != "c" {
		t.Errorf("the one that was chosen: %q", n)
	}
	if n := nodeOf(o, world.ServiceKey{Namespace: "shop", Name: "none"}, netip.Addr{}); n != "" {
		t.Errorf("a service without end points: %q", n)
	}
}
