// Package nodecheck is what a node finds when it tries itself out: whether its daemons answer,
// whether packets reach the other nodes through the tunnels, and kernel settings that it
// needs. No database tells these.
//
//	ovnkctl diagnose ── pods/exec ──> ovnkctl run check ── Look ──> Report, as JSON
package nodecheck

import (
	"bytes"
	"context"
	"encoding/json"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/ovnkctl/ovnkctl/internal/config"
	"github.com/ovnkctl/ovnkctl/internal/ovn"
	"github.com/ovnkctl/ovnkctl/internal/ovn/names"
	"github.com/ovnkctl/ovnkctl/internal/ovn/nb"
	"github.com/ovnkctl/ovnkctl/internal/ovn/query"
	"github.com/ovnkctl/ovnkctl/internal/runtime/daemon"
	"github.com/ovnkctl/ovnkctl/internal/world/plan"
)

// Report is what was found.
type Report struct {
	Daemons []Daemon `json:"daemons"`
	// Peers are routers of other nodes, in order of their addresses: see Peer.
	Peers []Peer `json:"peers,omitempty"`
	// Silent says why peers were not asked; empty if they were.
	Silent string `json:"silent,omitempty"`
	// Hops are the routers that the node sends to what is for the outside, in order of their
	// addresses; HopsUnknown says why they are not there.
	Hops        []Hop  `json:"hops,omitempty"`
	HopsUnknown string `json:"hopsUnknown,omitempty"`
	// Sysctls are kernel settings by their path below net/. Those that the kernel does not
	// have are not there.
	Sysctls map[string]string `json:"sysctls,omitempty"`
}

// Daemon is a daemon of the node.
type Daemon struct {
	Name string `json:"name"` // as for `ovnkctl run`
	// Error is why it does not answer; empty if it does.
	Error string `json:"error,omitempty"`
}

// Peer is the router of another node, which OVN answers for: neither that node's host nor a
// pod there takes part.
type Peer struct {
	Address netip.Addr `json:"address"`
	// Small and Large tell whether an echo came back: of a small packet, and of the largest
	// one that a pod may send, which is of Bytes bytes.
	Small bool `json:"small"`
	Large bool `json:"large"`
	Bytes int  `json:"bytes"`
}

// Config says how to look.
type Config struct {
	Config *config.Config
	// Device is the management port.
	Device string
	// Proc is the folder of the kernel's settings of networks.
	Proc string
}

const (
	// answerTime is how long a daemon may take for an answer. vswitchd was seen to stand
	// still for 3 s while it added many ports.
	answerTime = 4 * time.Second
	// echoTime is how long an echo may take, in which it is asked for several times.
	echoTime = 900 * time.Millisecond
	// mostPeers is how many other nodes one node asks: those that follow it in order of
	// addresses, so that each node is asked by as many, too.
	mostPeers = 32
)

// Look tries the node out.
func Look(ctx context.Context, c Config) *Report {
	r := &Report{}
	var g errgroup.Group
	g.Go(func() error { r.Daemons = daemons(ctx, c.Config); return nil })
	g.Go(func() error { r.routers(ctx, c); return nil })
	r.Sysctls = sysctls(c)
	g.Wait() //nolint:errcheck // none has one
	return r
}

// Parse reads a report; ok is false if it is none.
func Parse(text string) (r *Report, ok bool) {
	r = &Report{}
	d := json.NewDecoder(bytes.NewReader([]byte(text)))
	return r, d.Decode(r) == nil
}

func daemons(ctx context.Context, c *config.Config) []Daemon {
	all := daemon.All()
	out := make([]Daemon, len(all))
	var wg sync.WaitGroup
	for i, d := range all {
		out[i].Name = d.Name
		wg.Go(func() {
			ctx, cancel := context.WithTimeout(ctx, answerTime)
			defer cancel()
			if err := d.Probe(ctx, c, true); err != nil {
				out[i].Error = err.Error()
			}
		})
	}
	wg.Wait()
	return out
}

// routers asks those of other nodes and the next hops.
func (r *Report) routers(ctx context.Context, c Config) {
	ctx, cancel := context.WithTimeout(ctx, answerTime)
	defer cancel()
	content, err := northbound(ctx, c.Config)
	if err != nil {
		r.Silent, r.HopsUnknown = err.Error(), err.Error()
		return
	}
	routes := ovn.RowsOf[nb.LogicalRouterStaticRoute](content)
	var wg sync.WaitGroup
	wg.Go(func() {
		var err error
		if r.Hops, err = hops(ctx, c, gatewayHops(routes)); err != nil {
			r.HopsUnknown = err.Error()
		}
	})
	wg.Go(func() {
		var err error
		if r.Peers, err = peers(ctx, c, routers(routes)); err != nil {
			r.Silent = err.Error()
		}
	})
	wg.Wait()
}

func peers(ctx context.Context, c Config, targets []netip.Addr) ([]Peer, error) {
	device, err := net.InterfaceByName(c.Device)
	if err != nil {
		return nil, err
	}
	return echoes(ctx, targets, device.MTU)
}

func northbound(ctx context.Context, c *config.Config) (*ovn.Content, error) {
	conn, err := (&net.Dialer{}).DialContext(ctx, "unix", strings.TrimPrefix(c.OVN.NB, "unix:"))
	if err != nil {
		return nil, err
	}
	defer conn.Close() //nolint:errcheck // only read
	answer, err := query.Read(ctx, conn, query.Request{Database: ovn.Northbound(), Tables: []string{nb.LogicalRouterStaticRouteTable}})
	if err != nil {
		return nil, err
	}
	return answer.Content(ovn.Northbound())
}

// routers are the addresses of other nodes' routers in their pod subnets, to which the cluster
// router has routes that name the node. The node's own subnet has one by source.
func routers(routes []*nb.LogicalRouterStaticRoute) []netip.Addr {
	var own, others []netip.Addr
	for _, r := range routes {
		subnet, err := netip.ParsePrefix(r.IPPrefix)
		if err != nil || plan.CheckNodeSubnet(subnet) != nil {
			continue
		}
		switch {
		case r.Policy != nil && *r.Policy == nb.LogicalRouterStaticRoutePolicySrcIP:
			own = append(own, plan.Gateway(subnet))
		case r.ExternalIDs[names.KeyRouteNode] != "":
			others = append(others, plan.Gateway(subnet))
		}
	}
	others = unique(others)
	var out []netip.Addr
	for _, v4 := range []bool{true, false} {
		mine := slices.IndexFunc(own, func(a netip.Addr) bool { return a.Is4() == v4 })
		family := slices.DeleteFunc(slices.Clone(others), func(a netip.Addr) bool { return a.Is4() != v4 })
		if mine < 0 {
			continue // no pods of this family here
		}
		first, _ := slices.BinarySearchFunc(family, own[mine], netip.Addr.Compare)
		family = append(family[first:len(family):len(family)], family[:first]...)
		out = append(out, family[:min(len(family), mostPeers)]...)
	}
	return out
}

func unique(list []netip.Addr) []netip.Addr {
	list = slices.Clone(list)
	slices.SortFunc(list, netip.Addr.Compare)
	return slices.Compact(list)
}

// The folders of the kernel's settings: a container's own is read-only, and the chart mounts
// the host's.
var procs = []string{"/host/proc/sys/net", "/proc/sys/net"}

// Proc is the one that is there.
func Proc() string {
	for _, p := range procs {
		if stat, err := os.Stat(p); err == nil && stat.IsDir() {
			return p
		}
	}
	return ""
}

// sysctls are the forwarding and reverse path settings of all devices, and those that hold
// for all.
func sysctls(c Config) map[string]string {
	out := map[string]string{}
	for _, pattern := range []string{"ipv4/conf/*/forwarding", "ipv4/conf/*/rp_filter", "ipv6/conf/all/forwarding"} {
		files, _ := filepath.Glob(filepath.Join(c.Proc, pattern))
		for _, f := range files {
			device := filepath.Base(filepath.Dir(f))
			if device != "all" && device != c.Device && !strings.HasPrefix(device, "br") {
				continue // of pods there are many
			}
			if data, err := os.ReadFile(f); err == nil {
				key, _ := filepath.Rel(c.Proc, f)
				out[key] = strings.TrimSpace(string(data))
			}
		}
	}
	return out
}
