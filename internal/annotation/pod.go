package annotation

import (
	"errors"
	"fmt"
	"net/netip"
)

// PodNetworks are the attachments of a pod by network: "default", or "<namespace>/<name>"
// of a NetworkAttachmentDefinition.
var PodNetworks = &Codec[map[string]PodNetwork]{"k8s.ovn.org/pod-networks", byPod, encodePodNetworks, decodePodNetworks}

// Roles of a network in a pod.
const (
	RolePrimary        = "primary"
	RoleSecondary      = "secondary"
	RoleInfrastructure = "infrastructure-locked"
)

// PodNetwork is one attachment of a pod.
type PodNetwork struct {
	Addresses []netip.Prefix // with the prefix length of the node's subnet; none in a layer-2 network without subnets
	MAC       string         // six bytes, lower case, colons
	Gateways  []netip.Addr   // next hops of the default routes
	Routes    []Route
	// LLAGateway is the link-local address of the IPv6 gateway in layer-2 primary networks.
	LLAGateway netip.Addr
	TunnelID   int // of the pod's port in layer-2 and localnet networks, else 0
	Role       string
}

// Route is one route inside a pod, never a default route: those are Gateways.
type Route struct {
	Dest    netip.Prefix
	NextHop netip.Addr // zero for a route on the link
}

// podNetworkJSON has the fields in OVN-Kubernetes' order. The singular forms are there
// for old readers, and only when there is exactly one address.
type podNetworkJSON struct {
	Addresses  []string    `json:"ip_addresses"`
	MAC        string      `json:"mac_address"`
	Gateways   []string    `json:"gateway_ips,omitempty"`
	Routes     []routeJSON `json:"routes,omitempty"`
	Address    string      `json:"ip_address,omitempty"`
	Gateway    string      `json:"gateway_ip,omitempty"`
	LLAGateway string      `json:"ipv6_lla_gateway_ip,omitempty"`
	TunnelID   int         `json:"tunnel_id,omitempty"`
	Role       string      `json:"role,omitempty"`
}

type routeJSON struct {
	Dest    string `json:"dest"`
	NextHop string `json:"nextHop"`
}

func encodePodNetworks(networks map[string]PodNetwork) string {
	all := make(map[string]podNetworkJSON, len(networks))
	for name, n := range networks {
		j := podNetworkJSON{MAC: n.MAC, TunnelID: n.TunnelID, Role: n.Role, LLAGateway: addrText(n.LLAGateway)}
		j.Addresses, j.Address = textsAndOnly(n.Addresses)
		j.Gateways, j.Gateway = textsAndOnly(n.Gateways)
		if len(n.Addresses) != 1 {
			j.Gateway = "" // dual stack with one gateway: the old form has no room for it
		}
		for _, r := range n.Routes {
			j.Routes = append(j.Routes, routeJSON{Dest: r.Dest.String(), NextHop: addrText(r.NextHop)})
		}
		all[name] = j
	}
	return encodeJSON(all)
}

func decodePodNetworks(text string) (map[string]PodNetwork, error) {
	var all map[string]*podNetworkJSON
	if err := decodeJSON(text, &all, `a JSON object such as {"default":{"ip_addresses":["10.244.1.5/24"],…}}`); err != nil {
		return nil, err
	}
	networks := make(map[string]PodNetwork, len(all))
	for name, j := range all {
		if j == nil {
			return nil, fmt.Errorf("network %q: want a JSON object", name)
		}
		n, err := j.podNetwork()
		if err != nil {
			return nil, fmt.Errorf("network %q: %w", name, err)
		}
		networks[name] = n
	}
	return networks, nil
}

func (j *podNetworkJSON) podNetwork() (PodNetwork, error) {
	n := PodNetwork{TunnelID: j.TunnelID, Role: j.Role}
	var err error
	if n.MAC, err = parseMAC(j.MAC); err != nil {
		return n, fmt.Errorf("mac_address: %w", err)
	}
	if n.Addresses, err = parseWithOnly(j.Addresses, j.Address, parseInterfaceAddr); err != nil {
		return n, fmt.Errorf("ip_addresses: %w", err)
	}
	if n.Gateways, err = parseWithOnly(j.Gateways, j.Gateway, parseAddr); err != nil {
		return n, fmt.Errorf("gateway_ips: %w", err)
	}
	if j.LLAGateway != "" {
		if n.LLAGateway, err = parseAddr(j.LLAGateway); err != nil {
			return n, fmt.Errorf("ipv6_lla_gateway_ip: %w", err)
		}
	}
	if j.TunnelID < 0 {
		return n, fmt.Errorf("tunnel_id %d is negative", j.TunnelID)
	}
	switch j.Role {
	case "", RolePrimary, RoleSecondary, RoleInfrastructure:
	default:
		return n, fmt.Errorf("role %q is none of %s, %s and %s", j.Role, RolePrimary, RoleSecondary, RoleInfrastructure)
	}
	for _, r := range j.Routes {
		route, err := r.route()
		if err != nil {
			return n, fmt.Errorf("routes: %w", err)
		}
		n.Routes = append(n.Routes, route)
	}
	return n, nil
}

func (j routeJSON) route() (Route, error) {
	dest, err := parseSubnet(j.Dest)
	if err != nil {
		return Route{}, err
	}
	if dest.Bits() == 0 {
		return Route{}, errors.New("a default route belongs into gateway_ips")
	}
	if j.NextHop == "" {
		return Route{Dest: dest}, nil
	}
	hop, err := parseAddr(j.NextHop)
	if err != nil {
		return Route{}, err
	}
	if hop.Is4() != dest.Addr().Is4() {
		return Route{}, fmt.Errorf("%s via %s mixes IPv4 and IPv6", dest, hop)
	}
	return Route{Dest: dest, NextHop: hop}, nil
}
