//go:build linux

package node

import (
	"context"
	"net/netip"
	"path/filepath"
	"strings"

	"github.com/ovnkctl/ovnkctl/internal/config"
	"github.com/ovnkctl/ovnkctl/internal/ovn/barrier"
	"github.com/ovnkctl/ovnkctl/internal/ovn/names"
	"github.com/ovnkctl/ovnkctl/internal/runtime/host/kernel/conntrack"
	"github.com/ovnkctl/ovnkctl/internal/runtime/host/vswitchd"
	"github.com/ovnkctl/ovnkctl/internal/runtime/node/udpflush"
)

// cheapPairs is how many backends' connections ovs-vswitchd ends for less than it takes to
// list them all. Of 120,000 in userspace it looks through all in 37 ms for each backend, and
// lists them in 390 ms (Open vSwitch 3.5).
const cheapPairs = 8

// startUDPFlush ends UDP connections in OVN that lead to backends which are gone. It must
// hear of every change of rows, and begins when they are in order: one round then does all
// that changed while the program was not there.
func (a *agent) startUDPFlush(ctx context.Context) {
	c := udpflush.Config{
		NB: a.nb, InForce: a.inForce().Wait, Logger: a.Log,
		Switch: vswitchd.Client{RunDir: ovsRunDir(a.o.Config), Bridge: names.IntegrationBridge}, MaxPairs: cheapPairs,
	}
	if a.o.Config.Datapath != config.DatapathNetdev {
		// The kernel lists its connections without the daemon, which has packets to see to.
		c.Switch, c.MaxPairs = kernelConnections{c.Switch}, 0
	}
	f := udpflush.New(c)
	a.Go(ctx, func(ctx context.Context) error {
		select {
		case <-a.engine.Synced():
		case <-ctx.Done():
		}
		return f.Run(ctx)
	})
}

// inForce waits until what is in the Northbound database is in the flows of this node.
func (a *agent) inForce() barrier.Barrier {
	return barrier.Barrier{NB: a.nb, OVS: a.ovs, Bridge: integrationBridge}
}

func ovsRunDir(c *config.Config) string { return filepath.Dir(strings.TrimPrefix(c.OVN.OVS, "unix:")) }

// kernelConnections are those of a datapath in the kernel.
type kernelConnections struct{ udpflush.Switch }

// SweepUDP implements udpflush.Switch.
func (kernelConnections) SweepUDP(ctx context.Context, backends map[netip.AddrPort][]netip.AddrPort) (int, error) {
	return conntrack.ForgetUDP(ctx, conntrack.Others, backends)
}
