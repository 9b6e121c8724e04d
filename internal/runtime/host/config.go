package host

import (
	"context"
	"log/slog"
	"net/netip"
	"slices"
	"time"

	"github.com/google/uuid"

	"github.com/ovnkctl/ovnkctl/internal/config"
	"github.com/ovnkctl/ovnkctl/internal/runtime/host/kernel"
	"github.com/ovnkctl/ovnkctl/internal/runtime/host/nft"
	"github.com/ovnkctl/ovnkctl/internal/runtime/host/openflow"
	"github.com/ovnkctl/ovnkctl/internal/runtime/host/ovs"
	"github.com/ovnkctl/ovnkctl/internal/world"
)

// ManagementPort is the host's own port on the pod network.
const ManagementPort = "ovn-k8s-mp0"

// Config is what a Reconciler is made of; it does not change while the program runs.
type Config struct {
	Node    string
	Config  *config.Config
	Network world.Network // the default network
	Host    Host
	Log     *slog.Logger // nil for none
	// OnFacts is called with what the cluster should know of this host, at first and after
	// each change. It must not block.
	OnFacts func(Facts)
	// Now is the clock, time.Now unless a test says otherwise.
	Now func() time.Time
	// NewChassisID makes the id of a chassis that never had one; a random UUID if nil.
	NewChassisID func() string
}

// Host is the machine.
type Host struct {
	Switch   Switch
	Kernel   Kernel
	Firewall Firewall
	Flows    Flows
}

// Switch is the Open vSwitch database (ovs.Client).
type Switch interface {
	State(context.Context) (*ovs.State, error)
	// Apply makes all the changes in one transaction.
	Apply(ctx context.Context, comment string, changes []ovs.Change) error
	// Watch calls notify after each change, until ctx ends.
	Watch(ctx context.Context, notify func()) error
}

// Kernel is the network stack (kernel.Netlink).
type Kernel interface {
	// State reads all links and addresses, the default routes, and the routes and
	// permanent neighbours of devs.
	State(ctx context.Context, devs []string) (*kernel.State, error)
	Sysctl(key string) (value string, ok bool, err error)
	Apply(context.Context, kernel.Change) error
	// ForgetUDP ends the connections with these destinations that lead to none of their
	// backends, and returns how many there were.
	ForgetUDP(ctx context.Context, backends map[netip.AddrPort][]netip.AddrPort) (int, error)
	Watch(ctx context.Context, interest func() kernel.Interest, notify func()) error
}

// Firewall is nftables (nft.Exec).
type Firewall interface {
	// List reads a table; it is nil when there is none.
	List(ctx context.Context, family, name string) (*nft.Table, error)
	// Digest is that of the table as List would read it, empty when there is none.
	Digest(ctx context.Context, family, name string) (string, error)
	// Apply makes all the changes in one transaction.
	Apply(context.Context, []nft.Op) error
	Watch(ctx context.Context, tables []string, notify func()) error
}

// Flows are the OpenFlow tables of the bridges (openflow.Ofctl).
type Flows interface {
	// Diff is empty when our live flows are those wanted.
	Diff(ctx context.Context, bridge, flows string) (openflow.Changes, error)
	// Apply makes all the changes at once.
	Apply(ctx context.Context, bridge string, c openflow.Changes) error
	Watch(ctx context.Context, bridge string, notify func()) error
}

// Zone is what the cluster says of this node and of the others.
type Zone struct {
	// Subnets are the pod subnets of this node; none until they are allocated.
	Subnets []netip.Prefix
	// InternalIPs are this node's addresses of type InternalIP.
	InternalIPs []netip.Addr
	// ChassisID is what the Node's annotation remembers.
	ChassisID string
	// RemoteNodes are the addresses of the other nodes.
	RemoteNodes []netip.Addr
}

func (z Zone) equal(o Zone) bool {
	return z.ChassisID == o.ChassisID && slices.Equal(z.Subnets, o.Subnets) &&
		slices.Equal(z.InternalIPs, o.InternalIPs) && slices.Equal(z.RemoteNodes, o.RemoteNodes)
}

func (c Config) withDefaults() Config {
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.OnFacts == nil {
		c.OnFacts = func(Facts) {}
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.NewChassisID == nil {
		c.NewChassisID = uuid.NewString
	}
	return c
}

// netdev tells whether the switch forwards in userspace. It then gets only a copy of each
// frame from a NIC, which the host's own stack has to be kept from acting on.
func (c Config) netdev() bool { return c.Config.Datapath == config.DatapathNetdev }

func (c Config) bridge() string { return c.Config.Gateway.Bridge }

// families are the address families of the pod network, IPv4 first if both.
func (c Config) families() []family {
	var out []family
	for _, f := range []family{ipv4, ipv6} {
		for _, s := range c.Network.ClusterSubnets {
			if f.of(s.Prefix.Addr()) {
				out = append(out, f)
				break
			}
		}
	}
	return out
}

// family is an address family.
type family bool

const (
	ipv4 family = false
	ipv6 family = true
)

func (f family) of(a netip.Addr) bool { return a.Is6() == bool(f) }

func (f family) String() string {
	if f == ipv6 {
		return "IPv6"
	}
	return "IPv4"
}

// inFamily are the addresses or prefixes of one family.
func inFamily[T any](f family, all []T, addr func(T) netip.Addr) []T {
	var out []T
	for _, v := range all {
		if f.of(addr(v)) {
			out = append(out, v)
		}
	}
	return out
}

func self(a netip.Addr) netip.Addr { return a }
