// Package port keeps the ports of pods on the integration bridge: rows of the local
// Open_vSwitch database, one transaction for each pod that comes or goes.
//
//	Bridge br-int ── Port ──── Interface    name: the node's end of the veth
//	                  │        external_ids: iface-id = logical switch port <namespace>_<pod>,
//	                  │                      iface-id-ver = pod UID, sandbox = container id
//	                  │        ingress_policing_*: limit on what the pod sends
//	                  └── QoS ── Queue 0      limit on what the pod receives (linux-htb)
//
// ovn-controller binds the logical port to the Interface and sets its
// external_ids:ovn-installed once the pod's flows are in place.
package port

import (
	"maps"
	"net/netip"
	"strings"

	"github.com/ovnkctl/ovnkctl/internal/ovn/vswitch"
)

// Keys of external_ids of an Interface.
const (
	idIfaceID    = "iface-id"
	idIfaceIDVer = "iface-id-ver"
	idSandbox    = "sandbox"
	idMAC        = "attached_mac"
	idAddresses  = "ip_addresses"
	idPodIfName  = "pod-if-name" // only if it is not eth0
	idInstalled  = "ovn-installed"
)

const defaultIfName = "eth0"

// Port is the port of one pod's interface.
type Port struct {
	Name      string // of the node's end of the veth
	Sandbox   string
	IfName    string // in the pod
	Namespace string
	Pod       string
	UID       string
	MAC       string
	Addresses []netip.Prefix
	// IngressRate and EgressRate limit what the pod receives and sends, bits per second,
	// 0 for no limit.
	IngressRate, EgressRate int64
}

// IfaceID is the name of the logical switch port. Names of namespaces hold no "_".
func (p Port) IfaceID() string { return p.Namespace + "_" + p.Pod }

// Ref names one interface of one sandbox, as a container runtime does.
type Ref struct{ Sandbox, IfName string }

// Ref names the port's interface.
func (p Port) Ref() Ref { return Ref{Sandbox: p.Sandbox, IfName: p.IfName} }

// refOf reads a Ref from external_ids; rows that are not ours have no sandbox.
func refOf(ids map[string]string) Ref {
	r := Ref{Sandbox: ids[idSandbox], IfName: ids[idPodIfName]}
	if r.IfName == "" {
		r.IfName = defaultIfName
	}
	return r
}

func (r Ref) externalIDs() map[string]string {
	ids := map[string]string{idSandbox: r.Sandbox}
	if r.IfName != defaultIfName {
		ids[idPodIfName] = r.IfName
	}
	return ids
}

// of reads a port back from its Interface.
func of(i *vswitch.Interface) Port {
	ref := refOf(i.ExternalIDs)
	p := Port{
		Name:    i.Name,
		Sandbox: ref.Sandbox,
		IfName:  ref.IfName,
		UID:     i.ExternalIDs[idIfaceIDVer],
		MAC:     i.ExternalIDs[idMAC],
	}
	p.Namespace, p.Pod, _ = strings.Cut(i.ExternalIDs[idIfaceID], "_")
	for text := range strings.SplitSeq(i.ExternalIDs[idAddresses], ",") {
		if a, err := netip.ParsePrefix(text); err == nil {
			p.Addresses = append(p.Addresses, a)
		}
	}
	return p
}

// ours tells whether a CNI ADD made the Interface. The management port and patch ports
// have an iface-id, too, but no sandbox.
func ours(i *vswitch.Interface) bool {
	return i.ExternalIDs[idSandbox] != "" && i.ExternalIDs[idIfaceID] != ""
}

func (p Port) externalIDs() map[string]string {
	texts := make([]string, len(p.Addresses))
	for n, a := range p.Addresses {
		texts[n] = a.String()
	}
	ids := p.Ref().externalIDs()
	ids[idIfaceID] = p.IfaceID()
	ids[idIfaceIDVer] = p.UID
	ids[idMAC] = p.MAC
	ids[idAddresses] = strings.Join(texts, ",")
	return ids
}

// policing are the rate (kbit/s) and burst (kbit) that limit what the pod sends.
func (p Port) policing() (rate, burst int) {
	if p.EgressRate <= 0 {
		return 0, 0
	}
	rate = int(max(p.EgressRate/1000, 1))
	// A tenth of a second, but no less than one segmentation-offload packet of 64 KiB,
	// which would otherwise never pass.
	return rate, max(rate/10, 64*1024*8/1000)
}

// matches tells whether the Interface is what p wants. Keys that others add are theirs.
func (p Port) matches(i *vswitch.Interface) bool {
	rate, burst := p.policing()
	if i.IngressPolicingRate != rate || i.IngressPolicingBurst != burst {
		return false
	}
	have := maps.Clone(i.ExternalIDs)
	want := p.externalIDs()
	maps.DeleteFunc(have, func(k, _ string) bool { _, ok := want[k]; return !ok && k != idPodIfName })
	return maps.Equal(have, want)
}
