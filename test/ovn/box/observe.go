//go:build linux

package box

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"time"

	"github.com/ovnkctl/ovnkctl/test/sandbox/netspace"
)

// logStep is how often a log is looked at.
const logStep = 20 * time.Millisecond

// AwaitLog waits until a daemon has logged a line with a text.
func (z *Zone) AwaitLog(ctx context.Context, daemon, text string) error {
	z.box.t.Helper()
	ctx, cancel := context.WithTimeout(ctx, packetPatience)
	defer cancel()
	step := time.NewTicker(logStep)
	defer step.Stop()
	for !strings.Contains(z.Log(daemon), text) {
		select {
		case <-step.C:
		case <-ctx.Done():
			return fmt.Errorf("%s of %s has not logged %q", daemon, z.Name, text)
		}
	}
	return nil
}

// Flood sends UDP packets as fast as it can.
func Flood(ctx context.Context, from string, to netip.AddrPort, packets int) error {
	var dialer net.Dialer
	var c net.Conn
	if err := netspace.Do(from, func() (err error) {
		c, err = dialer.DialContext(ctx, "udp", to.String())
		return err
	}); err != nil {
		return err
	}
	defer c.Close() //nolint:errcheck // nothing is expected
	for range packets {
		if _, err := c.Write([]byte("flood")); err != nil {
			return err
		}
	}
	return nil
}

// FlushConntrack has the zone's datapath forget all connections.
func (z *Zone) FlushConntrack() {
	z.box.t.Helper()
	z.Run("ovs-appctl", "-t", "ovs-vswitchd", "dpctl/flush-conntrack")
}

// Tracked is how many connections the datapath follows at a pod's port.
func (z *Zone) Tracked(p *Pod) int {
	z.box.t.Helper()
	for line := range strings.Lines(z.Run("ovn-appctl", "-t", "ovn-controller", "ct-zone-list")) {
		if f := strings.Fields(line); len(f) == 2 && f[0] == p.LogicalPort() {
			return strings.Count(z.Run("ovs-appctl", "-t", "ovs-vswitchd", "dpctl/dump-conntrack", "zone="+f[1]), "\n")
		}
	}
	z.box.t.Fatalf("ovn-controller of %s has no zone of connections for %s", z.Name, p.LogicalPort())
	return 0
}
