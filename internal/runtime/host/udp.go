package host

import (
	"maps"
	"net/netip"
	"slices"

	"github.com/ovnkctl/ovnkctl/internal/world"
)

// udpBackends are the UDP ports that the host's own stack serves, by their addresses, and
// where their connections may lead.
func udpBackends(in input) map[netip.AddrPort][]netip.AddrPort {
	out := map[netip.AddrPort][]netip.AddrPort{}
	if in.services == nil {
		return out
	}
	for _, o := range in.services.Outside {
		if o.Protocol != world.UDP {
			continue
		}
		to := slices.Concat(o.To, o.ToLocal)
		if !o.everywhere() {
			out[netip.AddrPortFrom(o.Addr, o.Port)] = to
			continue
		}
		for _, p := range inFamily(o.family(), in.facts.HostAddrs, netip.Prefix.Addr) {
			// A service that has the port of one address goes before.
			if at := netip.AddrPortFrom(p.Addr(), o.Port); out[at] == nil {
				out[at] = to
			}
		}
	}
	return out
}

// forget ends the UDP connections that lead where they no longer should, once the table is
// what it should be. It does so for what changed, and at a start for all.
func (a *applier) forget(in input) {
	w := &a.r.wanted
	if in.services == nil || len(in.subnets()) == 0 || len(a.reasons) > 0 ||
		w.udpOf.services == in.services && w.udpOf.facts.Equal(in.facts) && len(w.udpTodo) == 0 {
		return
	}
	now := udpBackends(in)
	changed := maps.Clone(now)
	for at, to := range w.udp {
		if want, ok := now[at]; !ok {
			changed[at] = nil
		} else if slices.Equal(to, want) {
			delete(changed, at)
		}
	}
	for at := range w.udpTodo {
		changed[at] = now[at]
	}
	w.udp, w.udpOf, w.udpTodo = now, flowsOf{services: in.services, facts: in.facts}, nil
	if len(changed) == 0 {
		return
	}
	n, err := a.r.cfg.Host.Kernel.ForgetUDP(a.ctx, changed)
	if err != nil {
		// The host is in order for all others: the next pass tries again.
		w.udpTodo = changed
		a.r.cfg.Log.Warn("UDP clients that never pause may go on to backends that are gone; it is tried again", "err", err)
	}
	if n > 0 {
		a.wrote = a.wrote || err == nil
		a.r.cfg.Log.Info("UDP connections ended that led to other backends", "connections", n)
	}
}
