package annotation

import (
	"errors"
	"fmt"
	"net/netip"
	"strconv"
)

// L3Gateway is how a node is attached to its external network (default network).
var L3Gateway = &Codec[Gateway]{"k8s.ovn.org/l3-gateway-config", byNode, encodeGateway, decodeGateway}

// The gateway modes of the annotation; empty for a node without a gateway, whose other
// fields are then empty too.
const (
	ModeShared   = "shared"
	ModeLocal    = "local"
	ModeDisabled = ""
)

// maxVLAN is the greatest tag_request of a logical switch port in the NB schema.
const maxVLAN = 4095

// Gateway is the value of k8s.ovn.org/l3-gateway-config.
type Gateway struct {
	Mode        string // ModeShared, ModeLocal or ModeDisabled
	BridgeID    string // external bridge, e.g. "br-ex"; empty before OVN-Kubernetes 1.1
	InterfaceID string // name of the localnet port, "<bridge>_<node>"
	MAC         string // six bytes, lower case, colons
	Addresses   []netip.Prefix
	NextHops    []netip.Addr
	VLAN        int // 0 for none
	NodePort    bool
}

// gatewayJSON has the fields in OVN-Kubernetes' order. The singular forms are there for
// old readers, and only when there is exactly one value.
type gatewayJSON struct {
	Mode        string   `json:"mode"`
	BridgeID    string   `json:"bridge-id,omitempty"`
	InterfaceID string   `json:"interface-id,omitempty"`
	MAC         string   `json:"mac-address,omitempty"`
	Addresses   []string `json:"ip-addresses,omitempty"`
	Address     string   `json:"ip-address,omitempty"`
	NextHops    []string `json:"next-hops,omitempty"`
	NextHop     string   `json:"next-hop,omitempty"`
	NodePort    string   `json:"node-port-enable,omitempty"`
	VLAN        string   `json:"vlan-id,omitempty"`
}

func encodeGateway(g Gateway) string {
	j := gatewayJSON{Mode: g.Mode}
	if g.Mode != ModeDisabled {
		j.BridgeID, j.InterfaceID, j.MAC = g.BridgeID, g.InterfaceID, g.MAC
		j.Addresses, j.Address = textsAndOnly(g.Addresses)
		j.NextHops, j.NextHop = textsAndOnly(g.NextHops)
		j.NodePort = strconv.FormatBool(g.NodePort)
		j.VLAN = strconv.Itoa(g.VLAN)
	}
	return encodeJSON(map[string]gatewayJSON{DefaultNetwork: j})
}

func decodeGateway(text string) (Gateway, error) {
	var networks map[string]*gatewayJSON
	if err := decodeJSON(text, &networks, `a JSON object such as {"default":{"mode":"shared",…}}`); err != nil {
		return Gateway{}, err
	}
	j := networks[DefaultNetwork]
	if j == nil {
		return Gateway{}, fmt.Errorf("there is no network %q in it", DefaultNetwork)
	}
	switch j.Mode {
	case ModeDisabled:
		return Gateway{}, nil
	case ModeShared, ModeLocal:
		return j.gateway()
	}
	return Gateway{}, fmt.Errorf("mode %q is none of %q, %q and %q (no gateway)", j.Mode, ModeShared, ModeLocal, ModeDisabled)
}

func (j *gatewayJSON) gateway() (Gateway, error) {
	g := Gateway{Mode: j.Mode, BridgeID: j.BridgeID, InterfaceID: j.InterfaceID}
	if g.InterfaceID == "" {
		return Gateway{}, errors.New("interface-id is missing")
	}
	var err error
	if g.MAC, err = parseMAC(j.MAC); err != nil {
		return Gateway{}, fmt.Errorf("mac-address: %w", err)
	}
	if g.Addresses, err = parseWithOnly(j.Addresses, j.Address, parseInterfaceAddr); err != nil {
		return Gateway{}, fmt.Errorf("ip-addresses: %w", err)
	}
	if len(g.Addresses) == 0 {
		return Gateway{}, errors.New("ip-addresses is missing")
	}
	if g.NextHops, err = parseWithOnly(j.NextHops, j.NextHop, parseAddr); err != nil {
		return Gateway{}, fmt.Errorf("next-hops: %w", err)
	}
	if j.VLAN != "" {
		g.VLAN, err = strconv.Atoi(j.VLAN)
		if err != nil || g.VLAN < 0 || g.VLAN > maxVLAN {
			return Gateway{}, fmt.Errorf("vlan-id %q is not a number from 0 to %d", j.VLAN, maxVLAN)
		}
	}
	switch j.NodePort {
	case "true":
		g.NodePort = true
	case "false", "":
	default:
		return Gateway{}, fmt.Errorf(`node-port-enable %q is neither "true" nor "false"`, j.NodePort)
	}
	return g, nil
}
