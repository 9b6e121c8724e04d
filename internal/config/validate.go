package config

import (
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"k8s.io/apimachinery/pkg/util/validation"

	"github.com/ovnkctl/ovnkctl/internal/world"
)

// maxInterfaceName is the longest name of a network interface (IFNAMSIZ less the end).
const maxInterfaceName = 15

// maxSocketPath is the longest path of a unix socket in bytes (sun_path less the end).
const maxSocketPath = 107

// Validate reports everything that is wrong, as an *InvalidError.
func (c *Config) Validate() error { return invalid("", c.problems()) }

func (c *Config) problems() []Problem {
	p := &plan{}
	if c.APIVersion != APIVersion {
		p.add("apiVersion", c.APIVersion, "is not a version that this program knows", "write "+APIVersion)
	}
	if c.Kind != Kind {
		p.add("kind", c.Kind, "is not a configuration", "write "+Kind)
	}
	n := p.network(c)
	p.families(&n)
	p.sizes(&n)
	p.overlaps(&n)
	p.packets(c, &n)
	p.gateway(c, &n)
	p.places(c)
	p.serving(c)
	p.leader(&c.Leader)
	return p.problems
}

// families checks that every subnet that a family needs is there.
func (p *plan) families(n *world.Network) {
	if len(n.ClusterSubnets) == 0 {
		if !p.has("network.clusterSubnets") {
			p.add("network.clusterSubnets", "", "is empty", "name the block that pods get addresses from, for example 10.244.0.0/16/24")
		}
		return // nothing to compare with
	}
	v4 := slices.ContainsFunc(n.ClusterSubnets, func(s world.ClusterSubnet) bool { return s.Prefix.Addr().Is4() })
	v6 := slices.ContainsFunc(n.ClusterSubnets, func(s world.ClusterSubnet) bool { return s.Prefix.Addr().Is6() })
	for _, s := range subnetFields(n) {
		if p.has(s.field) || s.field == "network.clusterSubnets" {
			continue
		}
		has4 := slices.ContainsFunc(s.prefixes, func(x netip.Prefix) bool { return x.Addr().Is4() })
		has6 := slices.ContainsFunc(s.prefixes, func(x netip.Prefix) bool { return x.Addr().Is6() })
		service := s.field == "network.serviceSubnets"
		p.familyPresence(s, "IPv4", v4, has4, service)
		p.familyPresence(s, "IPv6", v6, has6, service)
	}
}

// familyPresence: a subnet of an unused family does no harm, but Services of a family
// that pods lack would have no back ends.
func (p *plan) familyPresence(s subnetField, name string, pods, has, service bool) {
	text := joinPrefixes(s.prefixes)
	switch {
	case pods && !has:
		p.add(s.field, text, "has no "+name+" subnet, but network.clusterSubnets has", "add one, or take "+name+" from network.clusterSubnets")
	case has && !pods && service:
		p.add(s.field, text, "has an "+name+" subnet, but network.clusterSubnets has none", "add one to network.clusterSubnets, or take it away here")
	}
}

// sizes checks that the subnets between routers hold the addresses that are counted from
// their bases.
func (p *plan) sizes(n *world.Network) {
	check := func(field string, prefixes []netip.Prefix, need int, why string) {
		for _, x := range prefixes {
			if host := x.Addr().BitLen() - x.Bits(); host < need {
				p.add(field, x.String(), why, fmt.Sprintf("choose a prefix length of at most %d", x.Addr().BitLen()-need))
			}
		}
	}
	// Address base+1 is the cluster router's, base+<node id> a node's; ids start at 2.
	check("network.joinSubnets", n.JoinSubnets, 3, "is too small for a gateway router per node")
	check("network.transitSubnets", n.TransitSubnets, 3, "is too small for a port per node")
	// base+1 to base+5 have meanings, base+6 to base+9 are kept for more.
	check("network.masqueradeSubnets", n.Masquerade, 3, "is too small for the addresses that a host and its OVN meet on")
}

type subnetField struct {
	field    string
	prefixes []netip.Prefix
}

func subnetFields(n *world.Network) []subnetField {
	var cluster []netip.Prefix
	for _, s := range n.ClusterSubnets {
		cluster = append(cluster, s.Prefix)
	}
	return []subnetField{
		{"network.clusterSubnets", cluster},
		{"network.serviceSubnets", n.ServiceSubnets},
		{"network.joinSubnets", n.JoinSubnets},
		{"network.transitSubnets", n.TransitSubnets},
		{"network.masqueradeSubnets", n.Masquerade},
	}
}

// overlaps compares every subnet with those before it.
func (p *plan) overlaps(n *world.Network) {
	type named struct {
		field  string
		prefix netip.Prefix
	}
	var seen []named
	for _, s := range subnetFields(n) {
		for _, x := range s.prefixes {
			for _, other := range seen {
				if x.Overlaps(other.prefix) {
					p.add(s.field, x.String(), fmt.Sprintf("overlaps %s of %s", other.prefix, other.field), "choose blocks that do not overlap")
				}
			}
			seen = append(seen, named{s.field, x})
		}
	}
}

// packets checks the sizes and ports of packets.
func (p *plan) packets(c *Config, n *world.Network) {
	mtu := strconv.Itoa(n.MTU)
	v6 := slices.ContainsFunc(n.ClusterSubnets, func(s world.ClusterSubnet) bool { return s.Prefix.Addr().Is6() })
	switch {
	case n.MTU == 0: // detected
	case v6 && n.MTU < MinMTUv6:
		p.add("network.mtu", mtu, fmt.Sprintf("IPv6 needs at least %d bytes", MinMTUv6), "raise it, or use 0 to detect it")
	case n.MTU < MinMTUv4 || n.MTU > MaxMTU:
		p.add("network.mtu", mtu, fmt.Sprintf("is not from %d to %d bytes", MinMTUv4, MaxMTU), "use the underlay's MTU less 100, or 0 to detect it")
	}
	if n.EncapPort < 1 || n.EncapPort > 65535 {
		p.add("network.encapPort", strconv.Itoa(n.EncapPort), "is not a UDP port", fmt.Sprintf("use %d, the port of GENEVE", GenevePort))
	}
	if ip := c.Network.EncapIP; ip != "" {
		if a, err := netip.ParseAddr(ip); err != nil || a.IsUnspecified() || a.IsMulticast() || a.IsLoopback() {
			p.add("network.encapIP", ip, "is not an address that other nodes can reach", "leave it empty for the node's primary address")
		}
	}
	p.oneOf("datapath", string(c.Datapath), string(DatapathSystem), string(DatapathNetdev))
	if ns, name, ok := strings.Cut(c.Policy.DNSService, "/"); !ok || len(validation.IsDNS1123Label(ns))+len(validation.IsDNS1123Label(name)) > 0 {
		p.add("policy.dnsService", c.Policy.DNSService, "is not NAMESPACE/NAME of a Service", "use kube-system/kube-dns, or see `kubectl get service -A`")
	}
	if r := c.Policy.DNSProxyPort; r < 1 || r > 65535 {
		p.add("policy.dnsProxyPort", strconv.Itoa(r), "is not a port", "use 9412, or another that nothing on the nodes listens on")
	}
	if r := c.Policy.ACLLoggingRateLimit; r < 1 || r > MaxLoggingRate {
		p.add("policy.aclLoggingRateLimit", strconv.Itoa(r), fmt.Sprintf("is not from 1 to %d packets per second", MaxLoggingRate), "use 20, or leave the annotation out where nothing is to be logged")
	}
}

func (p *plan) gateway(c *Config, n *world.Network) {
	g := &c.Gateway
	p.oneOf("gateway.mode", g.Mode, string(world.GatewayShared), string(world.GatewayLocal))
	p.interfaceName("gateway.bridge", g.Bridge, false)
	p.interfaceName("gateway.interface", g.Interface, true)
	if g.Bridge != "" && g.Bridge == g.Interface {
		p.add("gateway.interface", g.Interface, "is the bridge that it should be a port of", "name the NIC, or leave it empty for that of the default route")
	}
	if g.VLAN < 0 || g.VLAN > 4094 {
		p.add("gateway.vlan", strconv.Itoa(g.VLAN), "is not a VLAN id", "use 1 to 4094, or 0 for none")
	}
	var seen []netip.Addr
	for _, entry := range split(g.NextHops) {
		a, err := netip.ParseAddr(entry)
		if err != nil {
			p.add("gateway.nextHops", entry, "is not an address", "write one address per family, for example 192.0.2.1,fd00::1")
			continue
		}
		if slices.ContainsFunc(seen, func(b netip.Addr) bool { return a.Is4() == b.Is4() }) {
			p.add("gateway.nextHops", entry, "is the second of its family", "keep one per family")
		}
		for _, s := range n.ClusterSubnets {
			if s.Prefix.Contains(a) {
				p.add("gateway.nextHops", entry, "is an address of pods", "name a router of the external network")
			}
		}
		seen = append(seen, a)
	}
}

// places checks paths and sockets.
func (p *plan) places(c *Config) {
	p.socket("ovn.nb", c.OVN.NB, "unix:")
	p.socket("ovn.sb", c.OVN.SB, "unix:")
	p.socket("ovn.ovs", c.OVN.OVS, "unix:")
	p.socket("cni.socket", c.CNI.Socket, "")
	for _, x := range []struct{ field, path string }{
		{"cni.confDir", c.CNI.ConfDir}, {"cni.binDir", c.CNI.BinDir}, {"ovn.runDir", c.OVN.RunDir},
		{"ovn.nbDatabase", c.OVN.NBDatabase}, {"ovn.sbDatabase", c.OVN.SBDatabase}, {"ovn.ovsDatabase", c.OVN.OVSDatabase},
	} {
		if !filepath.IsAbs(x.path) {
			p.add(x.field, x.path, "is not an absolute path", "write it from the root, /…")
		}
	}
	p.threads("ovn.handlerThreads", c.OVN.HandlerThreads)
	p.threads("ovn.revalidatorThreads", c.OVN.RevalidatorThreads)
	p.oneOf("cni.cniVersion", c.CNI.CNIVersion, "0.4.0", "1.0.0", "1.1.0")
	if s := c.Kubernetes.APIServer; s != "" {
		if u, err := url.Parse(s); err != nil || (u.Scheme != "https" && u.Scheme != "http") || u.Host == "" {
			p.add("kubernetes.apiServer", s, "is not the URL of an API server", "write https://HOST:PORT")
		}
	}
	if _, err := c.Kubernetes.Servers(); err != nil {
		p.add("kubernetes.bootstrapServers", c.Kubernetes.BootstrapServers, "does not name API servers: "+err.Error(), "write https://HOST:PORT, with commas between them")
	}
	if d := c.Kubernetes.StateDir; d != "" && !filepath.IsAbs(d) {
		p.add("kubernetes.stateDir", d, "is not an absolute path", "write it from the root, /…")
	}
	if k := c.Kubernetes.Kubeconfig; k != "" && !filepath.IsAbs(k) {
		p.add("kubernetes.kubeconfig", k, "is not an absolute path", "write it from the root, /…")
	}
}

func (p *plan) serving(c *Config) {
	p.listen("serving.controllerMetrics", c.Serving.ControllerMetrics, false)
	p.listen("serving.nodeMetrics", c.Serving.NodeMetrics, false)
	p.listen("serving.pprof", c.Serving.Pprof, true)
	p.oneOf("log.level", c.Log.Level, "debug", "info", "warn", "error")
	p.oneOf("log.format", c.Log.Format, "json", "text")
}

// leader checks what leader election asks: lease > renew > 1.2 × retry, the jitter of
// client-go included.
func (p *plan) leader(l *Leader) {
	if l.RetrySeconds < 1 {
		p.add("leaderElection.retrySeconds", strconv.Itoa(l.RetrySeconds), "is not a positive number of seconds", "use 26, the default")
		return
	}
	if 10*l.RenewSeconds <= 12*l.RetrySeconds {
		p.add("leaderElection.renewSeconds", strconv.Itoa(l.RenewSeconds),
			fmt.Sprintf("is not more than 1.2 × retrySeconds (%d)", l.RetrySeconds), "raise it, so that the leader can try more than once")
	}
	if l.LeaseSeconds <= l.RenewSeconds {
		p.add("leaderElection.leaseSeconds", strconv.Itoa(l.LeaseSeconds),
			fmt.Sprintf("is not more than renewSeconds (%d)", l.RenewSeconds), "raise it, so that the leader gives up before another takes over")
	}
}

func (p *plan) has(field string) bool {
	return slices.ContainsFunc(p.problems, func(x Problem) bool { return x.Field == field })
}

func (p *plan) oneOf(field, value string, allowed ...string) {
	if !slices.Contains(allowed, value) {
		p.add(field, value, "is not a known value", "use one of "+strings.Join(allowed, ", "))
	}
}

func (p *plan) interfaceName(field, name string, optional bool) {
	if name == "" && optional {
		return
	}
	if name == "" || len(name) > maxInterfaceName || strings.ContainsAny(name, "/ \t\n") {
		p.add(field, name, "is not a name of a network interface", fmt.Sprintf("use 1 to %d characters without blanks and slashes", maxInterfaceName))
	}
}

func (p *plan) socket(field, value, scheme string) {
	path, ok := strings.CutPrefix(value, scheme)
	if !ok || !filepath.IsAbs(path) {
		p.add(field, value, "is not a local socket: databases are not reached over the network", "write "+scheme+"/PATH")
		return
	}
	if len(path) > maxSocketPath {
		p.add(field, value, fmt.Sprintf("is longer than the %d bytes that a socket's path may have", maxSocketPath), "choose a shorter path")
	}
}

func (p *plan) threads(field string, n int) {
	if n < 0 || n > 1024 {
		p.add(field, strconv.Itoa(n), "is not a number of threads", "use 1 or more, or 0 to let vswitchd choose")
	}
}

func (p *plan) listen(field, address string, loopback bool) {
	if address == "" {
		return
	}
	host, port, err := net.SplitHostPort(address)
	if n, e := strconv.Atoi(port); err != nil || e != nil || n < 0 || n > 65535 {
		p.add(field, address, "is not an address to listen on", "write HOST:PORT or :PORT")
		return
	}
	a, err := netip.ParseAddr(host)
	switch {
	case loopback && host != "localhost" && (err != nil || !a.IsLoopback()):
		p.add(field, address, "would show the program's memory to the network", "use a loopback address, for example 127.0.0.1:"+port)
	case host != "" && host != "localhost" && err != nil:
		p.add(field, address, "does not begin with an IP address", "write HOST:PORT with an IP address, or :PORT for all")
	}
}

func joinPrefixes(prefixes []netip.Prefix) string {
	s := make([]string, len(prefixes))
	for i, x := range prefixes {
		s[i] = x.String()
	}
	return strings.Join(s, ",")
}
