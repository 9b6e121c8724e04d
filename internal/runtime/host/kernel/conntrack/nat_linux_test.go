package conntrack

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// TestClientsFollowTheRules has a UDP client that keeps its port, and rules of nftables that
// leave it alone, lead it to one server, then to another.
func TestClientsFollowTheRules(t *testing.T) {
	t.Parallel()
	if _, err := exec.LookPath("nft"); err != nil {
		t.Skip("needs nft")
	}
	for _, f := range []struct{ name, family, to, one, two string }{
		{"IPv4", "ip", "127.0.0.9:53", "127.0.0.1:9001", "127.0.0.1:9002"},
		{"IPv6", "ip6", "[fd00::9]:53", "[::1]:9001", "[::1]:9002"},
	} {
		t.Run(f.name, func(t *testing.T) {
			t.Parallel()
			inNamespace(t, func() {
				if err := followRules(f.family, netip.MustParseAddrPort(f.to), netip.MustParseAddrPort(f.one), netip.MustParseAddrPort(f.two)); err != nil {
					t.Error(err)
				}
			})
		})
	}
}

// own makes an address the namespace's own.
func own(a netip.Addr) error {
	lo, err := netlink.LinkByName("lo")
	if err != nil {
		return err
	}
	whole := &net.IPNet{IP: a.AsSlice(), Mask: net.CIDRMask(a.BitLen(), a.BitLen())}
	if err := errors.Join(netlink.AddrReplace(lo, &netlink.Addr{IPNet: whole, Flags: unix.IFA_F_NODAD}), netlink.LinkSetUp(lo)); err != nil {
		return err
	}
	// The kernel adds the route of an IPv6 address a little later, and a socket that connects
	// before finds nobody for ever.
	return netlink.RouteReplace(&netlink.Route{LinkIndex: lo.Attrs().Index, Dst: whole, Type: unix.RTN_LOCAL, Table: unix.RT_TABLE_LOCAL, Scope: netlink.SCOPE_HOST})
}

func followRules(family string, to, one, two netip.AddrPort) error {
	for _, at := range []netip.AddrPort{to, one, two} {
		if err := own(at.Addr()); err != nil {
			return err
		}
		s, err := net.ListenPacket("udp", at.String())
		if err != nil {
			return err
		}
		defer s.Close()
		go answer(s, at.String())
	}
	c, err := net.Dial("udp", to.String())
	if err != nil {
		return err
	}
	defer c.Close()
	self := to.String() // who answers when nothing is translated
	for _, step := range []struct {
		backend       netip.AddrPort
		before, after string // it is forgotten
	}{
		{netip.AddrPort{}, self, self},
		{one, self, one.String()},
		{two, one.String(), two.String()},
		{netip.AddrPort{}, two.String(), self},
	} {
		if err := lead(family, to, step.backend); err != nil {
			return err
		}
		if got := ask(c); got != step.before {
			return fmt.Errorf("led to %s: %s before old connections are forgotten, want %s", step.backend, got, step.before)
		}
		want := Backends{to: nil}
		if step.backend.IsValid() {
			want[to] = []netip.AddrPort{step.backend}
		}
		if _, err := ForgetUDP(context.Background(), Own, want); err != nil {
			return err
		}
		if got := ask(c); got != step.after {
			return fmt.Errorf("led to %s: %s, want %s", step.backend, got, step.after)
		}
	}
	return nil
}

// lead makes the rules lead to a backend, if there is one. A rule asks conntrack in any case:
// the kernel tracks connections for those that ask only.
func lead(family string, to, backend netip.AddrPort) error {
	action := "accept"
	if backend.IsValid() {
		action = "dnat to " + backend.String()
	}
	cmd := exec.Command("nft", "-f", "-")
	cmd.Stdin = strings.NewReader(fmt.Sprintf(`
		table %[1]s t {}
		delete table %[1]s t
		table %[1]s t { chain c { type nat hook output priority -100; ct state new counter; %[1]s daddr %[2]s udp dport %[3]d %[4]s; }; }
		`, family, to.Addr(), to.Port(), action))
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("nft: %w\n%s", err, out)
	}
	return nil
}

// answer repeats datagrams with a name before them.
func answer(s net.PacketConn, name string) {
	for buffer := make([]byte, 100); ; {
		n, from, err := s.ReadFrom(buffer)
		if err != nil {
			return
		}
		s.WriteTo(fmt.Appendf(nil, "%s %s", name, buffer[:n]), from) //nolint:errcheck // the client sees it
	}
}

// ask sends until it is answered, as datagrams may be lost, and tells by whom. Answers to
// earlier questions do not count.
func ask(c net.Conn) string {
	const patience, again = 5 * time.Second, 200 * time.Millisecond
	question := time.Now().Format(time.RFC3339Nano)
	buffer := make([]byte, 100)
	for start := time.Now(); time.Since(start) < patience; {
		if _, err := c.Write([]byte(question)); err != nil {
			return err.Error()
		}
		c.SetReadDeadline(time.Now().Add(again)) //nolint:errcheck // the read fails then, too
		for {
			n, err := c.Read(buffer)
			if errors.Is(err, os.ErrDeadlineExceeded) {
				break
			}
			if err != nil {
				return err.Error()
			}
			if name, ok := strings.CutSuffix(string(buffer[:n]), " "+question); ok {
				return name
			}
		}
	}
	return "nobody"
}
