package vswitchd

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// userspace is the datapath of all bridges that forward in userspace (dpctl(8)).
const userspace = "netdev@ovs-netdev"

// Settle returns when all packets meet the flows that are in the tables now. The datapath
// remembers what became of packets like the ones it gets, and the daemon looks through that
// again after flows changed: within half a second, and long after the flows are in place.
func (c Client) Settle(ctx context.Context) error {
	// The look that ends first may have begun before the flows changed.
	for range 2 {
		if _, err := c.call(ctx, "revalidator/wait"); err != nil {
			return err
		}
	}
	return nil
}

// SweepUDP ends, of the UDP connections in userspace with the given destinations, those
// that lead elsewhere than to the destination's backends, and returns to how many backends
// they led. It costs a look through all connections, and another for each of those backends.
func (c Client) SweepUDP(ctx context.Context, backends map[netip.AddrPort][]netip.AddrPort) (int, error) {
	text, err := c.call(ctx, "dpctl/dump-conntrack", userspace)
	if err != nil {
		return 0, err
	}
	stale := map[Pair]bool{}
	for line := range strings.Lines(text) {
		p, ok := parseUDP(line)
		if !ok {
			continue
		}
		if to, ours := backends[p.To]; ours && !slices.Contains(to, p.Backend) {
			stale[p] = true
		}
	}
	pairs := make([]Pair, 0, len(stale))
	for p := range stale {
		pairs = append(pairs, p)
	}
	return len(pairs), c.ForgetUDP(ctx, pairs)
}

// parseUDP reads a line of the list of connections:
//
//	udp,orig=(src=10.128.0.3,dst=10.96.0.1,sport=40000,dport=53),reply=(src=10.128.0.5,dst=10.128.0.3,sport=5353,dport=40000),zone=3
func parseUDP(line string) (Pair, bool) {
	rest, ok := strings.CutPrefix(line, "udp,orig=(")
	if !ok {
		return Pair{}, false
	}
	orig, rest, ok := strings.Cut(rest, "),reply=(")
	if !ok {
		return Pair{}, false
	}
	reply, _, ok := strings.Cut(rest, ")")
	to, toOK := endOf(orig, "dst=", "dport=")
	backend, backendOK := endOf(reply, "src=", "sport=")
	return Pair{to, backend}, ok && toOK && backendOK
}

var errMissing = errors.New("missing")

// endOf is one end of a connection's direction.
func endOf(tuple, addrKey, portKey string) (netip.AddrPort, bool) {
	var addr netip.Addr
	port, addrErr, portErr := uint64(0), errMissing, errMissing
	for field := range strings.SplitSeq(tuple, ",") {
		if v, ok := strings.CutPrefix(field, addrKey); ok {
			addr, addrErr = netip.ParseAddr(v)
		} else if v, ok := strings.CutPrefix(field, portKey); ok {
			port, portErr = strconv.ParseUint(v, 10, 16)
		}
	}
	return netip.AddrPortFrom(addr, uint16(port)), addrErr == nil && portErr == nil
}

// call has the daemon run a command, as ovs-appctl does (ovs-vswitchd(8)).
func (c Client) call(ctx context.Context, method string, params ...string) (string, error) {
	pid, err := os.ReadFile(filepath.Join(c.RunDir, "ovs-vswitchd.pid"))
	if err != nil {
		return "", fmt.Errorf("ovs-vswitchd is not there: %w; see whether ovs-node runs on this node", err)
	}
	conn, closeConn, err := dial(ctx, filepath.Join(c.RunDir, "ovs-vswitchd."+strings.TrimSpace(string(pid))+".ctl"))
	if err != nil {
		return "", err
	}
	defer closeConn()
	request, err := json.Marshal(map[string]any{"id": 0, "method": method, "params": append([]string{}, params...)})
	if err != nil {
		return "", fmt.Errorf("ovs-vswitchd, %s: %w", method, err)
	}
	if _, err := conn.Write(request); err != nil {
		return "", fmt.Errorf("ovs-vswitchd, %s: %w", method, err)
	}
	var reply struct {
		Result string
		Error  *string
	}
	if err := json.NewDecoder(conn).Decode(&reply); err != nil {
		return "", fmt.Errorf("ovs-vswitchd, %s: %w", method, err)
	}
	if reply.Error != nil {
		return "", fmt.Errorf("ovs-vswitchd, %s: %s", method, strings.TrimSpace(*reply.Error))
	}
	return reply.Result, nil
}
