// Package vswitchd talks with ovs-vswitchd about connections: it ends some, and waits
// until all packets meet the flows that are in the tables. It speaks to the daemon's own
// sockets and starts no programs, so that it may do so every second.
package vswitchd

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"time"
)

// Client is an ovs-vswitchd.
type Client struct {
	RunDir string // /var/run/openvswitch
	Bridge string // one that the daemon serves, whose datapath's connections are meant
}

// answerTime bounds a conversation. To list 360,000 connections takes a daemon that has
// nothing else to do a second.
const answerTime = 30 * time.Second

// Pair names the connections to one address that lead to another.
type Pair struct{ To, Backend netip.AddrPort }

func (p Pair) String() string { return fmt.Sprintf("%s → %s", p.To, p.Backend) }

// dial connects to a socket for one conversation, which ends with ctx.
func dial(ctx context.Context, socket string) (net.Conn, func(), error) {
	var d net.Dialer
	c, err := d.DialContext(ctx, "unix", socket)
	if err != nil {
		return nil, nil, fmt.Errorf("ovs-vswitchd is not there: %w; see whether ovs-node runs on this node", err)
	}
	c.SetDeadline(time.Now().Add(answerTime)) //nolint:errcheck // a unix socket has deadlines
	stop := context.AfterFunc(ctx, func() { c.Close() })
	return c, func() { stop(); c.Close() }, nil
}
