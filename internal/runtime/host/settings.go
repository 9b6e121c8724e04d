package host

import (
	"maps"
	"slices"
	"strings"

	"github.com/ovnkctl/ovnkctl/internal/ovn/names"
	"github.com/ovnkctl/ovnkctl/internal/runtime/host/ovs"
	"github.com/ovnkctl/ovnkctl/internal/world/plan"
)

const (
	keyMappings = "ovn-bridge-mappings"
	keySystemID = "system-id"
	// remoteProbe is how often ovn-controller asks a silent Southbound server whether it
	// is there, in milliseconds; OVN-Kubernetes' value.
	remoteProbe = "100000"
)

// settings are what ovn-controller reads from the switch's external_ids.
func settings(in input, have *ovs.State) map[string]string {
	out := map[string]string{
		"hostname":                         in.Node,
		"ovn-remote":                       in.Config.Config.OVN.SB,
		"ovn-encap-type":                   "geneve",
		"ovn-set-local-ip":                 "true",
		"ovn-is-interconn":                 "true",
		"ovn-monitor-all":                  "true",
		keyMappings:                        mergeMappings(have.ExternalIDs[keyMappings], in.bridge()),
		"ovn-remote-probe-interval":        remoteProbe,
		"ovn-enable-lflow-cache":           "true",
		"ovn-ofctrl-wait-before-clear":     "0",
		"ovn-bridge-datapath-type":         string(in.Config.Config.Datapath),
		"ovn-bridge-remote-probe-interval": "0", // br-int is on the same machine
		"ovn-openflow-probe-interval":      "0", // the same, until OVN 24.03
	}
	if in.chassis != "" {
		out[keySystemID] = in.chassis
	}
	if ips := in.facts.EncapIPs; len(ips) > 0 {
		out["ovn-encap-ip"] = ips[0].String()
	}
	return out
}

// identity are the keys of settings that Cleanup leaves: Open vSwitch's own scripts set
// the same, and a chassis that comes back should be the one it was.
var identity = []string{keySystemID, "hostname"}

// settingKeys are the keys of external_ids that Cleanup removes.
func settingKeys(in input, have *ovs.State) []string {
	out := []string{keyMemory}
	for k := range settings(in, have) {
		if k != keyMappings && !slices.Contains(identity, k) {
			out = append(out, k)
		}
	}
	out = append(out, "ovn-encap-ip")
	slices.Sort(out)
	out = slices.Compact(out)
	return slices.DeleteFunc(out, func(k string) bool { _, ok := have.ExternalIDs[k]; return !ok })
}

// mergeMappings puts our mapping among those of others, "network:bridge,…".
func mergeMappings(have, bridge string) string {
	rest := withoutMapping(have)
	return strings.Join(append([]string{names.PhysicalNetwork + ":" + bridge}, rest...), ",")
}

func withoutMapping(have string) []string {
	var rest []string
	for _, m := range strings.Split(have, ",") {
		if network, _, ok := strings.Cut(m, ":"); ok && network != names.PhysicalNetwork {
			rest = append(rest, m)
		}
	}
	return rest
}

// otherConfig is the switch's own configuration. vswitchd reads the first key only when
// it starts, but whoever starts it may not have known the datapath.
func otherConfig(in input) map[string]string {
	if !in.netdev() {
		return nil
	}
	return map[string]string{"userspace-tso-enable": "true"}
}

// desiredSwitch compares what the Open vSwitch database should hold, without the NIC's
// port, with what it holds.
func desiredSwitch(in input, have *ovs.State) []ovs.Change {
	var out []ovs.Change
	root := ovs.SetRoot{
		ExternalIDs: ovs.Lacks(have.ExternalIDs, settings(in, have)),
		OtherConfig: ovs.Lacks(have.OtherConfig, otherConfig(in)),
	}
	if len(root.ExternalIDs)+len(root.OtherConfig) > 0 {
		out = append(out, root)
	}
	out = append(out, putBridge(have, ovs.PutBridge{
		Name: in.bridge(), DatapathType: string(in.Config.Config.Datapath), FailMode: "standalone",
		OtherConfig: map[string]string{"hwaddr": in.facts.MAC},
		ExternalIDs: map[string]string{keyUplink: in.uplink.link.Name},
	})...)
	out = append(out, putBridge(have, ovs.PutBridge{
		// What ovn-controller would give it, but there before ovn-controller is.
		Name: names.IntegrationBridge, DatapathType: string(in.Config.Config.Datapath), FailMode: "secure",
		OtherConfig: map[string]string{"disable-in-band": "true"},
	})...)
	out = append(out, putPort(have, ovs.PutPort{Bridge: in.bridge(), Name: in.bridge(), Type: "internal", MTURequest: in.uplink.link.MTU})...)
	if s := in.subnets(); len(s) > 0 {
		out = append(out, putPort(have, ovs.PutPort{
			Bridge: names.IntegrationBridge, Name: ManagementPort, Type: "internal", MTURequest: in.facts.PodMTU,
			MAC:         managementMAC(in),
			ExternalIDs: map[string]string{"iface-id": names.Of(in.Network.Name).Management(in.Node)},
		})...)
	}
	return out
}

func managementMAC(in input) string {
	addrs := plan.Addrs(in.subnets())
	for i, s := range in.subnets() {
		addrs[i] = plan.Management(s)
	}
	return plan.MACOf(addrs...)
}

// putBridge leaves of a bridge what is not there, nothing if all is.
func putBridge(have *ovs.State, want ovs.PutBridge) []ovs.Change {
	b, ok := have.Bridges[want.Name]
	if !ok {
		want.ExternalIDs = maps.Clone(want.ExternalIDs)
		if want.ExternalIDs == nil {
			want.ExternalIDs = map[string]string{}
		}
		want.ExternalIDs[keyCreated] = "true"
		return []ovs.Change{want}
	}
	want.ExternalIDs, want.OtherConfig = ovs.Lacks(b.ExternalIDs, want.ExternalIDs), ovs.Lacks(b.OtherConfig, want.OtherConfig)
	want.DatapathType, want.FailMode = changed(b.DatapathType, want.DatapathType), changed(b.FailMode, want.FailMode)
	if want.DatapathType == "" && want.FailMode == "" && len(want.ExternalIDs)+len(want.OtherConfig) == 0 {
		return nil
	}
	return []ovs.Change{want}
}

// putPort leaves of a port what is not there, nothing if all is.
func putPort(have *ovs.State, want ovs.PutPort) []ovs.Change {
	p, ok := have.Port(want.Bridge, want.Name)
	if !ok {
		return []ovs.Change{want}
	}
	want.Type, want.MAC = changed(p.Type, want.Type), changed(p.MAC, want.MAC)
	want.MTURequest = changed(p.MTURequest, want.MTURequest)
	want.ExternalIDs = ovs.Lacks(p.ExternalIDs, want.ExternalIDs)
	if want.Type == "" && want.MAC == "" && want.MTURequest == 0 && len(want.ExternalIDs) == 0 {
		return nil
	}
	return []ovs.Change{want}
}

// changed is want if it differs, else nothing.
func changed[T comparable](have, want T) T {
	var zero T
	if have == want {
		return zero
	}
	return want
}
