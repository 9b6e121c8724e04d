// Package desired computes what the features want in a zone's databases, as the node's own
// program does: for the tools that compare it with what is there, or with what they would
// want if there were other objects.
package desired

import (
	"net/netip"
	"slices"
	"strings"

	"github.com/ovnkctl/ovnkctl/internal/ovn/names"
	"github.com/ovnkctl/ovnkctl/internal/ovn/nb"
	"github.com/ovnkctl/ovnkctl/internal/runtime/feature"
	"github.com/ovnkctl/ovnkctl/internal/world"
)

// Wish is what one key of a feature wants on a node.
type Wish struct {
	Feature string
	Key     feature.Key
	Output  feature.Output
	Reasons []feature.Reason
}

// Zone is a node, and what its rows follow from.
type Zone struct {
	Node string
	// World is the objects, whatever node it takes for the local one.
	World    *world.Store
	Features []feature.Feature
	// Sets are the address sets that the node has: what it learned from DNS is in no object.
	Sets []*nb.AddressSet
}

// Wishes are what the features want in the databases of the zone, in order of features and
// keys; seen is the world that they follow from, in which the node is the local one.
func (z Zone) Wishes() (wishes []*Wish, seen *world.Store) {
	keys := make([]map[feature.Key]bool, len(z.Features))
	for i := range keys {
		keys[i] = map[feature.Key]bool{}
	}
	store := z.seen(func(v world.View, change world.Change) {
		for i, f := range z.Features {
			for _, k := range f.Keys(v, change) {
				keys[i][k] = true
			}
		}
	})
	out := []*Wish{}
	store.Read(func(v world.View) {
		for i, f := range z.Features {
			for _, k := range ordered(keys[i]) {
				w := &Wish{Feature: f.Name(), Key: k}
				w.Output, w.Reasons = f.Desired(v, k)
				out = append(out, w)
			}
		}
	})
	return out, store
}

func ordered(keys map[feature.Key]bool) []feature.Key {
	out := make([]feature.Key, 0, len(keys))
	for k := range keys {
		out = append(out, k)
	}
	slices.SortFunc(out, func(a, b feature.Key) int { return strings.Compare(a.String(), b.String()) })
	return out
}

// seen is the world as the node sees it: the same objects, another local node. Changes are
// told to f as to the node's engine.
func (z Zone) seen(f func(world.View, world.Change)) *world.Store {
	var network world.Network
	z.World.Read(func(v world.View) {
		if of, ok := v.Network(world.DefaultNetwork); ok {
			network = *of
		}
	})
	out := world.New(world.Config{LocalNode: z.Node, Networks: []world.Network{network}})
	out.Subscribe(f)
	z.Fill(out)
	return out
}

// Fill adds all objects to another store.
func (z Zone) Fill(out *world.Store) {
	z.World.Read(func(v world.View) {
		for _, o := range v.Nodes() {
			out.SetNode(o)
		}
		for o := range v.Namespaces {
			out.SetNamespace(o)
		}
		for o := range v.Pods {
			out.SetPod(o)
		}
		for _, o := range v.ServiceCIDRs() {
			out.SetServiceCIDR(o)
		}
		for o := range v.Services {
			out.SetService(o)
		}
		for o := range v.EndpointSlices {
			out.SetSlice(o)
		}
		for o := range v.Policies {
			out.SetPolicy(o)
		}
		for name, addrs := range Domains(v, z.Sets) {
			out.SetDomain(name, addrs)
		}
	})
}

// anyName is a name below a wildcard: the node knows the wildcard's addresses, not of which
// names they are.
const anyName = "ovnkctl-any"

// Domains are the addresses that a node with these address sets knows of the domain names in
// policies.
func Domains(v world.View, list []*nb.AddressSet) map[string][]netip.Addr {
	sets := map[string]*nb.AddressSet{}
	for _, s := range list {
		sets[s.Name] = s
	}
	out := map[string][]netip.Addr{}
	for _, d := range v.DomainNames() {
		name := d.Name
		if d.Wild() {
			name = anyName + strings.TrimPrefix(name, "*")
		}
		for _, is4 := range []bool{true, false} {
			set := sets[names.AddressSet(names.Of("").Domain(d), is4)]
			if set == nil {
				continue
			}
			for _, text := range set.Addresses {
				if a, err := netip.ParseAddr(text); err == nil && !slices.Contains(out[name], a) {
					out[name] = append(out[name], a)
				}
			}
		}
	}
	return out
}
