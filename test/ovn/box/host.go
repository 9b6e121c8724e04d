//go:build linux

package box

import (
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"

	"github.com/ovnkctl/ovnkctl/internal/ovn/names"
	"github.com/ovnkctl/ovnkctl/internal/world"
	"github.com/ovnkctl/ovnkctl/internal/world/plan"
)

// The zones of conntrack on the external bridge and its marks: whose a connection is.
const (
	externalZone        = 64000
	markOVN, markHost   = 1, 2
	genevePort          = 6081
	managementInterface = "ovn-k8s-mp0"
)

// ConnectHost makes what a node's host has: the flows of the external bridge, on which the
// host and the gateway router share the node's address and MAC, and the management port.
func (z *Zone) ConnectHost() {
	z.box.t.Helper()
	z.externalFlows()
	z.managementPort()
	if z.box.options.Mode == world.GatewayLocal {
		z.localGateway()
	}
}

func (z *Zone) externalFlows() {
	z.box.t.Helper()
	patch := z.Port(names.PatchToIntegration(z.localnet()))
	nic := z.Port("eth0")
	var flows []string
	add := func(format string, args ...any) { flows = append(flows, fmt.Sprintf(format, args...)) }
	for _, l3 := range []string{"ip", "ipv6"} {
		udp := map[string]string{"ip": "udp", "ipv6": "udp6"}[l3]
		add("priority=205,in_port=%d,%s,udp_dst=%d,actions=LOCAL", nic, udp, genevePort)
		add("priority=200,in_port=LOCAL,%s,udp_dst=%d,actions=output:%d", udp, genevePort, nic)
		add("priority=100,in_port=%d,dl_src=%s,%s,actions=ct(commit,zone=%d,exec(set_field:%d->ct_mark)),output:%d", patch, z.MAC, l3, externalZone, markOVN, nic)
		add("priority=100,in_port=LOCAL,%s,actions=ct(commit,zone=%d,exec(set_field:%d->ct_mark)),output:%d", l3, externalZone, markHost, nic)
		add("priority=50,in_port=%d,%s,actions=ct(zone=%d,nat,table=1)", nic, l3, externalZone)
		for _, state := range []string{"+trk+est", "+trk+rel"} {
			add("table=1,priority=100,ct_state=%s,ct_mark=%d,%s,actions=output:%d", state, markOVN, l3, patch)
			add("table=1,priority=100,ct_state=%s,ct_mark=%d,%s,actions=LOCAL", state, markHost, l3)
		}
	}
	for _, kind := range []int{135, 136} { // neighbour solicitation and advertisement
		add("priority=110,in_port=LOCAL,icmp6,icmp_type=%d,actions=NORMAL", kind)
		add("priority=110,in_port=%d,icmp6,icmp_type=%d,actions=output:%d", patch, kind, nic)
		add("priority=60,in_port=%d,icmp6,icmp_type=%d,actions=output:%d,LOCAL", nic, kind, patch)
	}
	add("priority=10,in_port=%d,dl_src=%s,actions=NORMAL", patch, z.MAC)
	add("priority=9,in_port=%d,actions=drop", patch)
	add("priority=10,in_port=%d,dl_dst=%s,actions=output:%d,LOCAL", nic, z.MAC, patch)
	add("priority=0,actions=NORMAL")
	add("table=1,priority=10,dl_dst=%s,actions=LOCAL", z.MAC)
	add("table=1,priority=0,actions=NORMAL")
	file := filepath.Join(z.dir, "br-ex.flows")
	if err := os.WriteFile(file, []byte(strings.Join(flows, "\n")+"\n"), 0o600); err != nil {
		z.box.t.Fatal(err)
	}
	z.Run("ovs-ofctl", "-O", "OpenFlow13", "--bundle", "replace-flows", "br-ex", file)
}

// managementPort lets the host reach pods and be reached by them.
func (z *Zone) managementPort() {
	z.box.t.Helper()
	var addrs []netip.Addr
	for _, s := range z.Subnets {
		addrs = append(addrs, plan.Management(s))
	}
	mac := plan.MACOf(addrs...)
	z.addInterface(managementInterface, names.Network{}.Management(z.Name), mac, "type=internal", fmt.Sprintf("mac=%q", mac))
	ip := func(command string) { z.box.t.Helper(); z.box.ip(z.NS, command) }
	ip("link set " + managementInterface + " mtu 1400 up")
	for i, s := range z.Subnets {
		ip("addr add " + plan.With(addrs[i], s).String() + " dev " + managementInterface + nodad(addrs[i]))
	}
	for _, c := range z.box.Network.ClusterSubnets {
		for _, s := range z.Subnets {
			if s.Addr().Is4() == c.Prefix.Addr().Is4() {
				ip(fmt.Sprintf("route add %s via %s dev %s", c.Prefix, plan.Gateway(s), managementInterface))
			}
		}
	}
	z.waitInstalled(managementInterface)
}

// localGateway lets pods' traffic leave by the host's routing.
func (z *Zone) localGateway() {
	z.box.t.Helper()
	rules := "table inet box {\n\tchain egress {\n\t\ttype nat hook postrouting priority srcnat;\n"
	for _, c := range z.box.Network.ClusterSubnets {
		l3 := "ip6"
		if c.Prefix.Addr().Is4() {
			l3 = "ip"
		}
		rules += fmt.Sprintf("\t\t%s saddr %s oifname \"br-ex\" masquerade\n", l3, c.Prefix)
	}
	z.box.in(z.NS, rules+"\t}\n}\n", "nft", "-f", "-")
}

// addInterface adds an interface to the integration bridge for a logical port.
func (z *Zone) addInterface(name, logical, mac string, settings ...string) {
	z.box.t.Helper()
	args := []string{"add-port", names.IntegrationBridge, name, "--", "set", "Interface", name,
		fmt.Sprintf("external_ids:iface-id=%q", logical), fmt.Sprintf("external_ids:attached_mac=%q", mac)}
	z.vsctl(append(args, settings...)...)
}

// waitInstalled waits until ovn-controller has made the flows of an interface.
func (z *Zone) waitInstalled(name string) {
	z.box.t.Helper()
	z.vsctl("wait-until", "Interface", name, "external_ids:ovn-installed=true")
}
