package dns

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"os/exec"
	"slices"
	"strings"
	"time"

	"github.com/ovnkctl/ovnkctl/internal/world/proxy"
)

const (
	// table is the nftables table, of family inet.
	table = "ovnkctl-dns"
	// beat is how often the program says that it serves, and lease how long the kernel
	// believes it: a program that was killed keeps no pod from its DNS for longer.
	beat      = 4 * time.Second
	gateLease = 12 * time.Second
	// stopLimit is for the last words of a program that ends.
	stopLimit = 2 * time.Second
	// Priorities of the base chains (nft(8)): before the host's translation of services,
	// and after what makes packets leave with the host's own addresses.
	priorityPrerouting  = -101
	priorityInput       = 0
	priorityPostrouting = 110
)

// Lead is which queries the host hands to the proxy.
type Lead struct {
	// Device is where they arrive.
	Device string
	// Proxy are the proxy's addresses, which are the device's.
	Proxy []netip.AddrPort
	// Subnets are those of the node's pods.
	Subnets []netip.Prefix
	// Servers are whom the queries are sent to.
	Servers []proxy.DNSServer
}

func (l Lead) equal(o Lead) bool {
	return l.Device == o.Device && slices.Equal(l.Proxy, o.Proxy) && slices.Equal(l.Subnets, o.Subnets) && slices.Equal(l.Servers, o.Servers)
}

// Redirect keeps the host's table that hands queries to the proxy. The router brings
// packets that are still for a DNS server:
//
//	prerouting   while the program serves: to the proxy's address and port
//	             else: the host routes them on to the server
//	input        the proxy is for queries that came this way, and for nobody else
//	postrouting  those routed on to servers outside of the pod network leave with the
//	             host's address; those into it get that of the management port anyway
//
// That the program serves is an element with a time limit, which it puts there again and
// again.
type Redirect struct {
	// Nft is the program nft.
	Nft string
	// Forget ends the UDP connections to servers that are led elsewhere than to backends:
	// the kernel translates later packets of a connection as the first one.
	Forget func(ctx context.Context, backends map[netip.AddrPort][]netip.AddrPort) error
	Log    *slog.Logger
}

// state is what Run knows of the table.
type state uint8

const (
	unknown state = iota
	absent
	present
)

// Run keeps the table until ctx ends. want returns ok false when no table is needed;
// changed tells that it returns something else than before.
func (r Redirect) Run(ctx context.Context, want func() (l Lead, ok bool), changed <-chan struct{}) error {
	var have Lead
	now, failing := unknown, false
	ticker := time.NewTicker(beat)
	defer ticker.Stop()
	for ctx.Err() == nil {
		l, ok := want()
		next, err := r.step(ctx, now, have, l, ok)
		if err != nil && ctx.Err() == nil && !failing {
			r.Log.Warn("DNS queries of pods are not handed to the proxy; policies with domain names learn addresses by the node's own queries only", "error", err)
		}
		now, have, failing = next, l, err != nil
		if now == unknown && err == nil {
			continue
		}
		select {
		case <-ticker.C:
		case <-changed:
		case <-ctx.Done():
		}
	}
	if now == present {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopLimit)
		defer cancel()
		if err := r.apply(ctx, fmt.Sprintf("flush set inet %s serving\n", table)); err != nil {
			r.Log.Warn("DNS queries of pods come to this program for some seconds after its end", "error", err)
		}
		r.forget(ctx, have, false)
	}
	return nil
}

// step makes the table what it should be.
func (r Redirect) step(ctx context.Context, now state, have, want Lead, ok bool) (state, error) {
	switch {
	case !ok && now == absent:
		return absent, nil
	case !ok:
		err := r.Remove(ctx)
		if err != nil {
			return unknown, err
		}
		r.forget(ctx, have, false)
		return absent, nil
	case now == present && have.equal(want):
		if r.apply(ctx, want.serving()) == nil {
			return present, nil
		}
		return unknown, nil // somebody took the table away: it is made anew at once
	}
	if err := r.apply(ctx, want.script()); err != nil {
		return unknown, err
	}
	r.forget(ctx, want, true)
	return present, nil
}

// Remove takes the table away.
func (r Redirect) Remove(ctx context.Context) error { return r.apply(ctx, emptyTable()) }

// emptyTable is the script that leaves no table, whether there was one or not.
func emptyTable() string { return fmt.Sprintf("table inet %[1]s\ndelete table inet %[1]s\n", table) }

func (r Redirect) apply(ctx context.Context, script string) error {
	var stderr bytes.Buffer
	cmd := exec.CommandContext(ctx, r.Nft, "-f", "-")
	cmd.Stdin, cmd.Stderr = strings.NewReader(script), &stderr
	if err := cmd.Run(); err != nil {
		first, _, _ := strings.Cut(strings.TrimSpace(stderr.String()), "\n")
		return fmt.Errorf("nftables table inet %s: %w: %s", table, err, first)
	}
	return nil
}

// forget ends connections of which the kernel has decided otherwise.
func (r Redirect) forget(ctx context.Context, l Lead, serving bool) {
	backends := map[netip.AddrPort][]netip.AddrPort{}
	for _, s := range l.Servers {
		to := []netip.AddrPort{s.At}
		if serving {
			// The program's own connections lead to the server itself, and may.
			to = append(to, l.Proxy...)
		}
		backends[s.At] = to
	}
	if r.Forget == nil || len(backends) == 0 {
		return
	}
	if err := r.Forget(ctx, backends); err != nil {
		r.Log.Warn("clients that use one UDP port for all their DNS queries go on by the way they were led before until they pause", "error", err)
	}
}

// serving is the script that says that the program serves.
func (l Lead) serving() string {
	element := fmt.Sprintf("element inet %s serving { %q", table, l.Device)
	// To add what is there would not begin its time anew.
	return fmt.Sprintf("add %[1]s timeout %[2]ds }\ndelete %[1]s }\nadd %[1]s timeout %[2]ds }\n", element, int(gateLease.Seconds()))
}

// script makes the table anew, in one transaction.
func (l Lead) script() string {
	var b strings.Builder
	line := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	b.WriteString(emptyTable())
	line("table inet %s {", table)
	line("set serving { type ifname; flags timeout; }")
	for _, f := range families {
		line("set servers-v%s { type %s . inet_proto . inet_service;", f.number, f.kind)
		if servers := l.servers(f); len(servers) > 0 {
			line("elements = { %s }", strings.Join(servers, ", "))
		}
		line("}")
	}
	line("chain prerouting { type nat hook prerouting priority %d; policy accept;", priorityPrerouting)
	l.each(func(f family, proxy netip.AddrPort, _ netip.Prefix) {
		line("meta l4proto { tcp, udp } iifname @serving %[1]s daddr . meta l4proto . th dport @servers-v%[2]s counter dnat %[1]s to %[3]s", f.ip, f.number, proxy)
	})
	line("}")
	line("chain input { type filter hook input priority %d; policy accept;", priorityInput)
	l.each(func(f family, proxy netip.AddrPort, _ netip.Prefix) {
		line("%s daddr %s meta l4proto { tcp, udp } th dport %d ct status & dnat != dnat counter drop", f.ip, proxy.Addr(), proxy.Port())
	})
	line("}")
	line("chain postrouting { type nat hook postrouting priority %d; policy accept;", priorityPostrouting)
	l.each(func(f family, proxy netip.AddrPort, subnet netip.Prefix) {
		line("oifname != %[1]q %[2]s saddr %[3]s %[2]s saddr != %[4]s %[2]s daddr . meta l4proto . th dport @servers-v%[5]s counter masquerade",
			l.Device, f.ip, subnet, proxy.Addr(), f.number)
	})
	line("}")
	line("}")
	b.WriteString(l.serving())
	return b.String()
}

// family is how nft speaks of an address family.
type family struct {
	is4              bool
	ip, number, kind string
}

var families = []family{{true, "ip", "4", "ipv4_addr"}, {false, "ip6", "6", "ipv6_addr"}}

// each calls f for the families that the proxy has, with the subnet of it.
func (l Lead) each(f func(family, netip.AddrPort, netip.Prefix)) {
	for _, o := range families {
		for _, p := range l.Proxy {
			for _, s := range l.Subnets {
				if p.Addr().Is4() == o.is4 && s.Addr().Is4() == o.is4 {
					f(o, p, s)
				}
			}
		}
	}
}

func (l Lead) servers(f family) []string {
	var out []string
	for _, s := range l.Servers {
		if s.At.Addr().Is4() == f.is4 {
			out = append(out, fmt.Sprintf("%s . %s . %d", s.At.Addr(), s.Protocol, s.At.Port()))
		}
	}
	return out
}
