package host

import (
	"net/netip"
	"slices"

	"github.com/ovnkctl/ovnkctl/internal/world"
)

// Services is what the host does for services and for host ports of pods. It says nothing
// of their backends where OVN balances, so that an end point that comes or goes changes
// nothing here.
type Services struct {
	// Ranges are the ranges of service addresses.
	Ranges []netip.Prefix
	// Outside are the ports that the node serves to others, each address, protocol and
	// port once.
	Outside []*Outside
}

// Outside is one port that the node serves to others, in one family. It is not modified
// once it is made.
type Outside struct {
	// Owner is the service or pod, "namespace/name".
	Owner string
	// Addr is where it is served; the unspecified address of the family stands for all of
	// the node's but the loopback ones.
	Addr     netip.Addr
	Protocol world.Protocol
	Port     uint16
	// To is where connections go that may end anywhere: the service's address, behind which
	// OVN balances, a host port's pod, or all backends of a service whose own address leads
	// only to some of them.
	To []netip.AddrPort
	// Local says that connections from outside may end on this node only, with the source
	// that they came with; ToLocal is where. Without any they are dropped.
	Local   bool
	ToLocal []netip.AddrPort
	// ByHost says that one of ToLocal is the host itself: then OVN cannot serve the port
	// and keep the source.
	ByHost bool
	// Restricted says that only Sources may connect.
	Restricted bool
	Sources    []netip.Prefix
	// Sticky says that a client is led to the same backend again and again.
	Sticky bool
}

func (o *Outside) equal(p *Outside) bool {
	return o == p || o.Owner == p.Owner && o.at() == p.at() &&
		o.Local == p.Local && o.ByHost == p.ByHost && o.Restricted == p.Restricted && o.Sticky == p.Sticky &&
		slices.Equal(o.To, p.To) && slices.Equal(o.ToLocal, p.ToLocal) && slices.Equal(o.Sources, p.Sources)
}

func (s *Services) equal(o *Services) bool {
	return slices.Equal(s.Ranges, o.Ranges) && slices.EqualFunc(s.Outside, o.Outside, (*Outside).equal)
}

// place is what only one service can have.
type place struct {
	addr     netip.Addr
	protocol world.Protocol
	port     uint16
}

func (o *Outside) at() place { return place{o.Addr, o.Protocol, o.Port} }

func (o *Outside) family() family { return family(o.Addr.Is6()) }

// everywhere tells whether the port is served at all addresses of the node.
func (o *Outside) everywhere() bool { return o.Addr.IsUnspecified() }

// SetServices says which services the node serves. Until it is called, what follows from
// them is left as it is. The value must not be modified afterwards.
func (r *Reconciler) SetServices(s Services) {
	r.mu.Lock()
	same := r.services != nil && r.services.equal(&s)
	if !same {
		r.services = &s
	}
	r.mu.Unlock()
	if !same {
		r.kick(scopeState)
	}
}

// ranges are the ranges of service addresses of a family; those of the configuration until
// the cluster has named all.
func (in input) ranges(f family) []netip.Prefix {
	all := in.Network.ServiceSubnets
	if in.services != nil {
		all = in.services.Ranges
	}
	return inFamily(f, all, netip.Prefix.Addr)
}

// outside are the ports of a family that the node serves to others.
func (in input) outside(f family) []*Outside {
	if in.services == nil {
		return nil
	}
	var out []*Outside
	for _, o := range in.services.Outside {
		if o.family() == f {
			out = append(out, o)
		}
	}
	return out
}
