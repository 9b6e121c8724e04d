package host

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"

	"github.com/ovnkctl/ovnkctl/internal/runtime/host/nft"
	"github.com/ovnkctl/ovnkctl/internal/world"
	"github.com/ovnkctl/ovnkctl/internal/world/plan"
)

// priorityDNAT is before routing, as the kernel's own dstnat.
const priorityDNAT = -100

// priorityRaw is before conntrack, where packets have the addresses of the wire.
const priorityRaw = -300

// serviceTable leads to services what reaches the host's own stack: what the host itself
// sends, what comes in by other NICs than the bridge's, and in local gateway mode all that
// comes from outside.
//
//	prerouting ─> outside-*: this node's backends alone ┐
//	output ─────────────────────────────────────────────┴> limited-*: more than one rule ─> *: one destination
//
// The maps "external" have an address, a protocol and a port for a key, the maps
// "nodeports" no address: they are for all addresses of the host. The kernel asks them for
// the first packet of a connection only; conntrack does the rest, the way back included.
func serviceTable(in input, t *nft.Table) {
	prerouting := nft.Chain{Name: "services-prerouting", Base: base("nat", "prerouting", priorityDNAT)}
	output := nft.Chain{Name: "services-output", Base: base("nat", "output", priorityDNAT)}
	services := nft.Chain{Name: "services"}
	loopback := false
	for _, f := range in.families() {
		s := newServiceMaps(f)
		for _, o := range in.outside(f) {
			s.add(o)
			loopback = loopback || o.loopback()
		}
		for _, m := range s.all {
			t.Maps = append(t.Maps, *m)
		}
		t.Chains = append(t.Chains, s.chains...)
		prerouting.Rules = append(prerouting.Rules, s.verdicts(kindOutside, "of this node's backends alone")...)
		services.Rules = append(services.Rules, s.verdicts(kindLimited, "for some sources, or of several backends")...)
		services.Rules = append(services.Rules, s.translations()...)
	}
	prerouting.Rules = append(prerouting.Rules, nft.Rule{Text: "jump services", Comment: "the same as for the host"})
	output.Rules = append(output.Rules, nft.Rule{Text: "jump services", Comment: "the host's own connections"})
	t.Chains = append(t.Chains, services, prerouting, output)
	if loopback {
		t.Chains = append(t.Chains, loopbackGuard())
	}
}

// loopbackGuard keeps others away from what the host serves on its loopback addresses:
// the management port lets them through for the answers of host ports, which have another
// address on the wire.
func loopbackGuard() nft.Chain {
	return nft.Chain{Name: "loopback-guard", Base: base("filter", "prerouting", priorityRaw), Rules: []nft.Rule{
		{Text: fmt.Sprintf("iifname %q ip daddr 127.0.0.0/8 counter drop", ManagementPort), Comment: "loopback addresses are the host's alone"},
		{Text: fmt.Sprintf("iifname %q ip saddr 127.0.0.0/8 counter drop", ManagementPort), Comment: "loopback addresses are the host's alone"},
	}}
}

// serviceMaps are the maps and chains of one family.
type serviceMaps struct {
	family family
	all    []*nft.Map
	chains []nft.Chain
	// made are the chains by name.
	made map[string]bool
}

// Of the names of maps.
const (
	placeExternal  = "external"
	placeNodePorts = "nodeports"

	kindOutside = "outside"
	kindLimited = "limited"
	kindPlain   = ""
)

func newServiceMaps(f family) *serviceMaps {
	s := &serviceMaps{family: f, made: map[string]bool{}}
	addr := "ipv4_addr"
	if f == ipv6 {
		addr = "ipv6_addr"
	}
	for _, place := range []string{placeExternal, placeNodePorts} {
		key := "inet_proto . inet_service"
		if place == placeExternal {
			key = addr + " . " + key
		}
		for _, kind := range []string{kindOutside, kindLimited, kindPlain} {
			value := nft.Verdict
			if kind == kindPlain {
				value = addr + " . inet_service"
			}
			s.all = append(s.all, &nft.Map{Name: s.name(place, kind), Type: key, Value: value, Elements: map[string]string{}})
		}
	}
	return s
}

// name is that of a map: "nodeports-outside-v4".
func (s *serviceMaps) name(place, kind string) string {
	if kind != "" {
		place += "-" + kind
	}
	return place + "-" + s.version()
}

func (s *serviceMaps) version() string {
	if s.family == ipv6 {
		return "v6"
	}
	return "v4"
}

// put adds an element to one of the maps.
func (s *serviceMaps) put(o *Outside, kind, value string) {
	place, key := placeNodePorts, string(o.Protocol)+" . "+strconv.Itoa(int(o.Port))
	if !o.everywhere() {
		place, key = placeExternal, o.Addr.String()+" . "+key
	}
	name := s.name(place, kind)
	for _, m := range s.all {
		if m.Name == name {
			m.Elements[key] = value
		}
	}
}

func (s *serviceMaps) add(o *Outside) {
	if o.Local {
		s.put(o, kindOutside, "goto "+s.chain(o, "local", o.ToLocal))
	}
	if o.Restricted || len(o.To) != 1 {
		s.put(o, kindLimited, "goto "+s.chain(o, "any", o.To))
		return
	}
	s.put(o, kindPlain, o.To[0].Addr().String()+" . "+strconv.Itoa(int(o.To[0].Port())))
}

// chain makes a chain that leads to some backends and returns its name. The places of a
// service's port share it.
func (s *serviceMaps) chain(o *Outside, what string, to []netip.AddrPort) string {
	at := "nodeport"
	if !o.everywhere() {
		at = "external"
	}
	if o.Restricted {
		at = "restricted"
	}
	name := fmt.Sprintf("%s-%s/%s/%s/%d-%s", what, at, o.Owner, o.Protocol, o.Port, s.version())
	if s.made[name] {
		return name
	}
	s.made[name] = true
	c := nft.Chain{Name: name}
	if o.Restricted {
		c.Rules = append(c.Rules, s.sources(o))
	}
	switch {
	case len(to) > 0:
		c.Rules = append(c.Rules, s.balance(o, to)...)
	default:
		c.Rules = append(c.Rules, nft.Rule{Text: "counter drop", Comment: "no backend on this node"})
	}
	s.chains = append(s.chains, c)
	return name
}

func (s *serviceMaps) sources(o *Outside) nft.Rule {
	text := "counter drop"
	if len(o.Sources) > 0 {
		var list []string
		for _, p := range o.Sources {
			list = append(list, p.String())
		}
		text = fmt.Sprintf("%s saddr != { %s } counter drop", s.ip(), strings.Join(list, ", "))
	}
	return nft.Rule{Text: text, Comment: "source ranges"}
}

// jhashSeed makes all rules of a chain, and those that take their place, hash a client
// alike; without one each rule has its own. Any number but 0 does.
const jhashSeed = 1

// balance leads each connection, or each client, to one of several backends: a rule for
// each, of which the last takes what the others leave. (A map without a name would do it in
// one, but older versions of nft crash when they list one that a newer one made.)
func (s *serviceMaps) balance(o *Outside, to []netip.AddrPort) []nft.Rule {
	var out []nft.Rule
	for i, b := range to {
		choice, comment := "", "the backend"
		switch left := len(to) - i; {
		case o.Sticky && len(to) > 1:
			choice, comment = fmt.Sprintf("jhash %s saddr mod %d seed %#x %d ", s.ip(), len(to), jhashSeed, i), "the client's backend"
		case len(to) > 1:
			choice, comment = fmt.Sprintf("numgen random mod %d 0 ", left), "one of the backends"
		}
		if i == len(to)-1 {
			choice = ""
		}
		text := fmt.Sprintf("meta l4proto %s %scounter dnat %s to %s", o.Protocol, choice, s.ip(), b)
		out = append(out, nft.Rule{Text: text, Comment: comment})
	}
	return out
}

func (s *serviceMaps) ip() string {
	if s.family == ipv6 {
		return "ip6"
	}
	return "ip"
}

// own matches the addresses that node ports are served at.
func (s *serviceMaps) own() string {
	loopback := "127.0.0.0/8"
	if s.family == ipv6 {
		loopback = "::1"
	}
	return fmt.Sprintf("fib daddr type local %s daddr != %s", s.ip(), loopback)
}

// verdicts look for what needs rules of its own.
func (s *serviceMaps) verdicts(kind, why string) []nft.Rule {
	return []nft.Rule{
		{Text: s.ip() + " daddr . meta l4proto . th dport vmap @" + s.name(placeExternal, kind), Comment: why},
		{Text: s.own() + " meta l4proto . th dport vmap @" + s.name(placeNodePorts, kind), Comment: why},
	}
}

// translations look for what has one destination.
func (s *serviceMaps) translations() []nft.Rule {
	const why = "to the service, or to the host port's pod"
	dnat := "dnat " + s.ip() + " addr . port to "
	return []nft.Rule{
		{Text: dnat + s.ip() + " daddr . meta l4proto . th dport map @" + s.name(placeExternal, kindPlain), Comment: why},
		{Text: s.own() + " " + dnat + "meta l4proto . th dport map @" + s.name(placeNodePorts, kindPlain), Comment: why},
	}
}

// keepSource are the rules for what came from outside to a backend on this node by the
// host's own stack. In local gateway mode the answer comes back to the host, so that the
// client's address can stay; in shared mode the gateway router would send it out by
// itself, past the translation that has to be undone.
func keepSource(in input) []nft.Rule {
	if in.Network.GatewayMode != world.GatewayLocal {
		return nil
	}
	var out []nft.Rule
	for _, s := range in.subnets() {
		out = append(out, nft.Rule{
			Text:    fmt.Sprintf("ct status dnat fib saddr type != local %s daddr %s counter return", nftProto(plan.Management(s)), s),
			Comment: "backends see who comes from outside",
		})
	}
	return out
}
