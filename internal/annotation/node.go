package annotation

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
)

// The bounds of node ids; package plan, which cannot be imported from here, has the
// reasons and the same numbers.
const (
	MinNodeID = 2
	MaxNodeID = 1<<15 - 1
)

// Annotations of Nodes that the controller writes.
var (
	// NodeID is the node's cluster-wide number; addresses on the join and transit
	// switches follow from it.
	NodeID = &Codec[int]{"k8s.ovn.org/node-id", byController, strconv.Itoa, decodeNodeID}
	// NodeSubnets are the pod subnets of the node by network, at most one per family.
	NodeSubnets = &Codec[map[string][]netip.Prefix]{"k8s.ovn.org/node-subnets", byController, encodeSubnets, decodeSubnets}
	// NodeTransit are the node's addresses on the transit switch, IPv4 first.
	NodeTransit = &Codec[[]netip.Prefix]{"k8s.ovn.org/node-transit-switch-port-ifaddr", byController, encodeFamilies, decodeFamilies}
	// NetworkIDs are the ids of the networks; the default network has 0.
	NetworkIDs = &Codec[map[string]int]{"k8s.ovn.org/network-ids", byController, encodeNetworkIDs, decodeNetworkIDs}
)

// Annotations of Nodes that the node's own agent writes.
var (
	// NodeChassisID is the OVS system-id of the node.
	NodeChassisID = &Codec[string]{"k8s.ovn.org/node-chassis-id", byNode, func(id string) string { return id }, decodeChassisID}
	// NodePrimaryAddrs are the addresses of the node's primary NIC with the prefix
	// length of its network, IPv4 first.
	NodePrimaryAddrs = &Codec[[]netip.Prefix]{"k8s.ovn.org/node-primary-ifaddr", byNode, encodeFamilies, decodeFamilies}
	// NodeHostAddrs are all addresses of the host with their prefix lengths.
	NodeHostAddrs = &Codec[[]netip.Prefix]{"k8s.ovn.org/host-cidrs", byNode, encodeList[netip.Prefix], decodeHostAddrs}
	// NodeEncapIPs are the tunnel end points of the node.
	NodeEncapIPs = &Codec[[]netip.Addr]{"k8s.ovn.org/node-encap-ips", byNode, encodeList[netip.Addr], decodeEncapIPs}
	// NodeMasquerade are the masquerade subnets that the node uses, IPv4 first.
	NodeMasquerade = &Codec[[]netip.Prefix]{"k8s.ovn.org/node-masquerade-subnet", byNode, encodeFamilies, decodeMasquerade}
	// GatewayMTUSupport is false when the node's datapath cannot check packet lengths;
	// true is said by the annotation's absence.
	GatewayMTUSupport = &Codec[bool]{"k8s.ovn.org/gateway-mtu-support", byNode, encodeMTUSupport, decodeMTUSupport}
)

func decodeNodeID(text string) (int, error) {
	id, err := strconv.Atoi(text)
	if err != nil || id < MinNodeID || id > MaxNodeID || strconv.Itoa(id) != text {
		return 0, fmt.Errorf("want a decimal number from %d to %d", MinNodeID, MaxNodeID)
	}
	return id, nil
}

func encodeSubnets(networks map[string][]netip.Prefix) string { return encodeJSON(networks) }

func decodeSubnets(text string) (map[string][]netip.Prefix, error) {
	raw := map[string]json.RawMessage{}
	if err := decodeJSON(text, &raw, `a JSON object such as {"default":["10.244.1.0/24"]}`); err != nil {
		return nil, err
	}
	networks := make(map[string][]netip.Prefix, len(raw))
	for name, value := range raw {
		var list []string
		var single string
		// The first versions wrote one string where now there is a list.
		if err := json.Unmarshal(value, &single); err == nil && single != "" {
			list = []string{single}
		} else if err := json.Unmarshal(value, &list); err != nil {
			return nil, fmt.Errorf("network %q: want a list of subnets", name)
		}
		subnets, err := parseEach(list, parseSubnet)
		if err != nil {
			return nil, fmt.Errorf("network %q: %w", name, err)
		}
		if err := onePerFamily(subnets); err != nil {
			return nil, fmt.Errorf("network %q: %w", name, err)
		}
		networks[name] = subnets
	}
	return networks, nil
}

func encodeNetworkIDs(ids map[string]int) string {
	texts := make(map[string]string, len(ids))
	for name, id := range ids {
		texts[name] = strconv.Itoa(id)
	}
	return encodeJSON(texts)
}

func decodeNetworkIDs(text string) (map[string]int, error) {
	var texts map[string]string
	if err := decodeJSON(text, &texts, `a JSON object such as {"default":"0"}`); err != nil {
		return nil, err
	}
	ids := make(map[string]int, len(texts))
	for name, value := range texts {
		id, err := strconv.Atoi(value)
		if err != nil || id < 0 {
			return nil, fmt.Errorf("network %q: %q is not an id", name, value)
		}
		ids[name] = id
	}
	return ids, nil
}

// decodeChassisID accepts what OVS does as a system-id, usually a UUID, less what would
// break the places it is copied to: requested-chassis is a comma-separated list.
func decodeChassisID(text string) (string, error) {
	if strings.ContainsFunc(text, func(r rune) bool { return r <= ' ' || r == ',' || r == 0x7f }) {
		return "", errors.New("a chassis id has no spaces and commas")
	}
	return text, nil
}

func decodeHostAddrs(text string) ([]netip.Prefix, error) {
	return decodeList(text, parseInterfaceAddr, `a JSON list such as ["172.18.0.3/16"]`)
}

func decodeEncapIPs(text string) ([]netip.Addr, error) {
	addrs, err := decodeList(text, parseAddr, `a JSON list such as ["172.18.0.3"]`)
	if err == nil && len(addrs) == 0 {
		return nil, errors.New("a node has at least one tunnel end point")
	}
	return addrs, err
}

func decodeMasquerade(text string) ([]netip.Prefix, error) {
	subnets, err := decodeFamilies(text)
	for _, p := range subnets {
		if p != p.Masked() {
			return nil, fmt.Errorf("%s is not a subnet: its first address is %s", p, p.Masked())
		}
	}
	return subnets, err
}

func encodeMTUSupport(supported bool) string {
	if supported {
		return ""
	}
	return "false"
}

func decodeMTUSupport(text string) (bool, error) {
	switch text {
	case "false":
		return false, nil
	case "true":
		return true, nil
	}
	return false, errors.New(`want "false", or no annotation`)
}
