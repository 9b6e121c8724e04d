package diagnose

import (
	"fmt"
	"net/netip"

	"github.com/ovnkctl/ovnkctl/internal/ovn/vswitch"
)

// Bytes that GENEVE with OVN's option adds to a packet: outer IP 20 or 40, UDP 8, GENEVE
// 8+8, inner Ethernet 14.
const (
	overhead4 = 58
	overhead6 = 78
)

var podMTU = &Check{
	Code: "OVNK-MTU-001", Severity: Error,
	Title: "packets of pods are too large for the tunnels",
	Meaning: "The largest packet of a pod, in GENEVE, is longer than the MTU of the NIC that the tunnels leave by. Between nodes, small packets arrive " +
		"and large ones vanish: connections are made and then hang.",
	Remedy: "Raise the MTU of the NIC and of the network that it is on, or set network.mtu to what fits and restart the pods: " +
		"an interface keeps the MTU that it was made with.",
	find: func(c *Cluster, found func(Finding)) {
		for _, n := range c.Nodes {
			o, ok := c.node(n.Name)
			if !ok || o.Gateway == nil || n.OVS == nil || len(o.EncapIPs) == 0 || !onBridge(o.EncapIPs[0], o.Gateway.Addresses) {
				continue // tunnels leave by a NIC that Open vSwitch does not know
			}
			overhead := overhead4
			if o.EncapIPs[0].Is6() {
				overhead = overhead6
			}
			nic := n.nic(o.Gateway.BridgeID)
			if nic == nil || value(nic.MTU) == 0 {
				continue
			}
			var first *vswitch.Interface
			more := 0
			for _, i := range all[vswitch.Interface](n.OVS) {
				if i.ExternalIDs["iface-id"] == "" || value(i.MTU)+overhead <= *nic.MTU {
					continue
				}
				if first == nil {
					first = i
				} else {
					more++
				}
			}
			if first == nil {
				continue
			}
			f := Finding{Node: n.Name, Object: nodeObject(n.Name)}
			f.Message = fmt.Sprintf("port %s on node %s has MTU %d; with %d bytes of GENEVE it does not fit into the %d of %s",
				first.ExternalIDs["iface-id"], n.Name, *first.MTU, overhead, *nic.MTU, nic.Name)
			if more > 0 {
				f.Message += fmt.Sprintf("; likewise %d more ports", more)
			}
			found(f)
		}
	},
}

func onBridge(a netip.Addr, addresses []netip.Prefix) bool {
	for _, p := range addresses {
		if p.Addr() == a {
			return true
		}
	}
	return false
}

// nic is the NIC in a bridge; nil for none.
func (n *Node) nic(bridge string) *vswitch.Interface {
	b := n.bridge(bridge)
	if b == nil {
		return nil
	}
	for _, i := range n.interfaces(b) {
		if nicInterface(i) {
			return i
		}
	}
	return nil
}
