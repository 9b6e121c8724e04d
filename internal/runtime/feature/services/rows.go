package services

import (
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/ovnkctl/ovnkctl/internal/ovn/balance"
	"github.com/ovnkctl/ovnkctl/internal/ovn/names"
	"github.com/ovnkctl/ovnkctl/internal/ovn/nb"
	"github.com/ovnkctl/ovnkctl/internal/ovn/rows"
	"github.com/ovnkctl/ovnkctl/internal/runtime/feature"
	"github.com/ovnkctl/ovnkctl/internal/world"
	"github.com/ovnkctl/ovnkctl/internal/world/proxy"
)

const (
	// maxAffinityS is how long OVN can remember a client, in seconds (ovn-nb(5),
	// affinity_timeout).
	maxAffinityS = 65535
	// rangesPriority is the priority of ACLs that protect load balancers. Tier 0 is before
	// all policies, and has nothing but drops for what no policy can allow.
	rangesPriority = 1100
	rangesTier     = 0
)

// builder makes the rows of one service.
type builder struct {
	here      *place
	service   *proxy.Service
	out       *rows.Set
	balancers []balancer
}

type balancerKey struct {
	protocol world.Protocol
	scope    scope
}

// balancer is the VIPs of one load balancer, or of two that differ in what happens to
// packets without backends.
type balancer struct {
	balancerKey
	vips []vip
}

func (b *builder) build() {
	for i := range b.service.Ports {
		b.portVIPs(&b.service.Ports[i])
	}
	for _, l := range b.balancers {
		b.rows(l)
	}
	if b.service.AffinitySeconds > 0 && b.here.network.UserspaceDatapath {
		b.through()
	}
	b.sourceRanges()
}

// rows makes the load balancer, and another for VIPs without backends where others have
// some, because options are of a whole load balancer.
func (b *builder) rows(l balancer) {
	first := true
	for _, k := range []struct {
		fate   fate
		suffix string
	}{{served, ""}, {answered, "_refuse"}, {discarded, "_drop"}} {
		part := balancer{balancerKey: l.balancerKey}
		for _, v := range l.vips {
			if v.fate() == k.fate {
				part.vips = append(part.vips, v)
			}
		}
		switch {
		case len(part.vips) == 0:
		case first:
			b.row(part, k.fate, "")
			first = false
		default:
			b.row(part, k.fate, k.suffix)
		}
	}
}

func (b *builder) row(l balancer, f fate, suffix string) {
	n := names.Of(b.here.network.Name)
	where, group := names.ScopeCluster(), n.ClusterGroup()
	switch l.scope {
	case onSwitch:
		where, group = names.ScopeSwitch(b.here.name), n.SwitchGroup()
	case onRouter:
		where, group = names.ScopeRouter(b.here.name), n.RouterGroup()
	case onRouterKept:
		where, group = names.ScopeLocalRouter(b.here.name), n.RouterGroup()
	}
	vips := make(map[string]string, len(l.vips))
	for _, v := range l.vips {
		vips[v.at.String()] = join(v.backends)
	}
	protocol := string(l.protocol)
	b.out.AddTo(rows.Target{Table: nb.LoadBalancerGroupTable, Name: group}, "load_balancer", protocol+"/"+where+suffix, &nb.LoadBalancer{
		Name: n.Service(b.service.Namespace, b.service.Name, protocol, where+suffix), Protocol: &protocol, Vips: vips,
		Options: b.options(l, f), ExternalIDs: b.externalIDs(),
	})
}

func (b *builder) externalIDs() map[string]string {
	return map[string]string{names.KeyKind: string(world.KindService), names.KeyOwner: b.service.Key().String()}
}

// event tells whether OVN reports first packets instead of refusing them.
func (b *builder) event() bool {
	return (b.service.Idled || b.service.Waking) && b.here.network.EmptyLoadBalancerEvents
}

// options of a load balancer. A refusal must come from the VIP: the gateway router would
// force its own address upon it, and no client would believe it.
func (b *builder) options(l balancer, f fate) map[string]string {
	o := balance.Options(b.here.network, l.protocol, balance.Flavour{
		KeepSource: l.scope == onRouterKept || f == answered,
		Reject:     f != discarded && !b.event(), Event: f != discarded && b.event(),
	})
	if b.service.AffinitySeconds > 0 {
		o["affinity_timeout"] = strconv.Itoa(min(b.service.AffinitySeconds, maxAffinityS))
	}
	return o
}

func (b *builder) affinityShortened() (feature.Reason, bool) {
	s := b.service
	if s.AffinitySeconds <= maxAffinityS || len(b.balancers) == 0 {
		return feature.Reason{}, false
	}
	return feature.Reason{
		Code: AffinityShortened, Object: s.Ref(),
		Message: fmt.Sprintf("its session affinity of %d s lasts %d s only, the longest that OVN knows", s.AffinitySeconds, maxAffinityS),
		Remedy:  fmt.Sprintf("set sessionAffinityConfig.clientIP.timeoutSeconds to %d or less", maxAffinityS),
	}, true
}

// sourceRanges keeps pods that have no access from the addresses of the service's load
// balancer.
func (b *builder) sourceRanges() {
	if len(b.service.SourceRanges) == 0 || !b.here.hasSwitch {
		return
	}
	type guarded struct {
		addr     netip.Addr
		protocol world.Protocol
	}
	var order []guarded
	ports := map[guarded][]string{}
	for i := range b.service.Ports {
		p := &b.service.Ports[i]
		for _, e := range p.External {
			g := guarded{e.Addr, p.Protocol}
			if _, restricted := b.service.RangesFor(e.Addr); restricted && e.LoadBalancer {
				if ports[g] == nil {
					order = append(order, g)
				}
				ports[g] = append(ports[g], strconv.Itoa(int(p.Port)))
			}
		}
	}
	sw := rows.Target{Table: nb.LogicalSwitchTable, Name: names.Of(b.here.network.Name).NodeSwitch(b.here.name)}
	for _, g := range order {
		slices.Sort(ports[g])
		b.out.AddTo(sw, "acls", fmt.Sprintf("ranges/%s/%s", g.addr, g.protocol), &nb.ACL{
			Action: nb.ACLActionDrop, Direction: nb.ACLDirectionFromLport, Priority: rangesPriority, Tier: rangesTier,
			ExternalIDs: b.externalIDs(),
			Match: fmt.Sprintf("%s.dst == %s && %s.dst == {%s}%s",
				family(g.addr), g.addr, g.protocol, strings.Join(ports[g], ", "), b.notFrom(g.addr)),
		})
	}
}

// notFrom matches all clients but those that have access to a.
func (b *builder) notFrom(a netip.Addr) string {
	ranges, _ := b.service.RangesFor(a)
	if len(ranges) == 0 {
		return ""
	}
	list := make([]string, 0, len(ranges))
	for _, p := range ranges {
		list = append(list, p.String())
	}
	return fmt.Sprintf(" && %s.src != {%s}", family(a), strings.Join(list, ", "))
}

// family is how OVN's matches call an address family.
func family(a netip.Addr) string {
	if a.Is4() {
		return "ip4"
	}
	return "ip6"
}

func join(backends []netip.AddrPort) string {
	var b []byte
	for i, e := range backends {
		if i > 0 {
			b = append(b, ',')
		}
		b = e.AppendTo(b)
	}
	return string(b)
}
