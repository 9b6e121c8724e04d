package host

import (
	"net/netip"

	"github.com/ovnkctl/ovnkctl/internal/world"
)

func ap(list ...string) []netip.AddrPort {
	var out []netip.AddrPort
	for _, s := range list {
		out = append(out, netip.MustParseAddrPort(s))
	}
	return out
}

// noServices is a cluster without any service that is served outside.
func noServices() Services { return Services{Ranges: parse("10.96.0.0/16", "fd00:10:96::/112")} }

// testServices has one of each kind.
func testServices() Services {
	s := noServices()
	s.Ranges = append(s.Ranges, netip.MustParsePrefix("10.97.0.0/16"))
	add := func(owner, at string, p world.Protocol, to []netip.AddrPort, change ...func(*Outside)) {
		a := netip.MustParseAddrPort(at)
		o := &Outside{Owner: owner, Addr: a.Addr(), Port: a.Port(), Protocol: p, To: to}
		for _, f := range change {
			f(o)
		}
		s.Outside = append(s.Outside, o)
	}
	local := func(to ...string) func(*Outside) {
		return func(o *Outside) { o.Local, o.ToLocal = true, ap(to...) }
	}
	from := func(list ...string) func(*Outside) {
		return func(o *Outside) { o.Restricted, o.Sources = true, parse(list...) }
	}
	sticky := func(o *Outside) { o.Sticky = true }
	byHost := func(o *Outside) { o.ByHost = true }
	add("web/plain", "0.0.0.0:30080", world.TCP, ap("10.96.0.80:80"))
	add("web/plain", "[::]:30080", world.TCP, ap("[fd00:10:96::80]:80"))
	add("web/plain", "192.0.2.80:80", world.TCP, ap("10.96.0.80:80"))
	add("web/plain", "[2001:db8::80]:80", world.TCP, ap("[fd00:10:96::80]:80"))
	add("web/on-second-nic", "10.9.0.11:80", world.TCP, ap("10.96.0.81:80"))
	add("web/on-node", "172.30.0.11:81", world.TCP, ap("10.96.0.82:80"))
	add("dns/udp", "0.0.0.0:30053", world.UDP, ap("10.96.0.53:53"))
	add("dns/udp", "[::]:30053", world.UDP, ap("[fd00:10:96::53]:53"))
	add("tel/sctp", "0.0.0.0:30038", world.SCTP, ap("10.96.0.38:38"))
	add("web/local", "0.0.0.0:30081", world.TCP, ap("10.96.0.83:80"), local("10.244.1.5:8080"))
	add("web/local", "192.0.2.81:80", world.TCP, ap("10.96.0.83:80"), local("10.244.1.5:8080", "10.244.1.6:8080"))
	add("web/nobody-here", "0.0.0.0:30082", world.TCP, ap("10.96.0.84:80"), local())
	add("web/sticky", "0.0.0.0:30083", world.TCP, ap("10.96.0.85:80"), local("10.244.1.5:8080", "10.244.1.6:8080"), sticky)
	add("web/host", "0.0.0.0:30084", world.TCP, ap("10.96.0.86:80"), local("172.30.0.11:8080"), byHost)
	add("web/some", "192.0.2.82:80", world.TCP, ap("10.96.0.87:80"), from("172.30.0.0/24", "198.51.100.7/32"))
	add("web/some-local", "192.0.2.83:80", world.TCP, ap("10.96.0.88:80"), from("172.30.0.0/24"), local("10.244.1.5:8080"))
	add("web/other-family", "[2001:db8::83]:80", world.TCP, ap("[fd00:10:96::88]:80"), from())
	add("dns/some", "192.0.2.82:53", world.UDP, ap("10.96.0.87:53"), from("172.30.0.0/24"))
	add("web/inside-local", "0.0.0.0:30085", world.TCP, ap("10.244.1.5:8080", "10.244.2.5:8080"))
	add("web/inside-local", "[::]:30085", world.TCP, ap("[fd00:10:244:1::5]:8080"))
	add("pods/all", "0.0.0.0:8000", world.TCP, ap("10.244.1.7:80"))
	add("pods/all", "127.0.0.1:8000", world.TCP, ap("10.244.1.7:80"))
	add("pods/one", "172.30.0.11:8001", world.UDP, ap("10.244.1.8:80"))
	add("pods/loopback", "127.0.0.1:8001", world.TCP, ap("10.244.1.9:80"))
	return s
}
