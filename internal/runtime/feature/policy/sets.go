package policy

import (
	"fmt"
	"net/netip"
	"strings"

	"github.com/ovnkctl/ovnkctl/internal/ovn/names"
	"github.com/ovnkctl/ovnkctl/internal/ovn/nb"
	"github.com/ovnkctl/ovnkctl/internal/ovn/rows"
	"github.com/ovnkctl/ovnkctl/internal/world"
)

// keySelector is the external_ids key with what a set has been selected by.
const keySelector = "k8s.ovn.org/selector"

// selector makes the sets of a selector. Pods put themselves in.
func (c *compiler) selector(id string) {
	s, sets, ok := c.view.Selector(id)
	if !ok {
		return
	}
	for _, k := range sets {
		for _, g := range c.groups(s, k, nil) {
			about := s.String()
			if k.Port.Name != "" {
				about += fmt.Sprintf(" with %s port %s", k.Port.Protocol, k.Port.Name)
			}
			if k.Subject {
				c.group(g, about)
			} else {
				c.addressSets(g, about)
			}
		}
	}
}

// groups are the names of a set's groups: one, or of named ports one for each number that p
// has, or any pod for nil.
func (c *compiler) groups(s *world.PodSelector, k world.SetKey, p *world.Pod) []string {
	if k.Port.Name == "" {
		return []string{c.names.Pods(s.ID)}
	}
	var out []string
	for _, n := range c.view.Numbers(s, k) {
		if p == nil || hasPort(p, k.Port, n) {
			out = append(out, c.names.NamedPort(s.ID, k.Port, n))
		}
	}
	return out
}

func hasPort(p *world.Pod, n world.NamedPort, number uint16) bool {
	for _, o := range p.Ports {
		if o.Name == n.Name && o.Protocol == n.Protocol && o.Port == number {
			return true
		}
	}
	return false
}

func (c *compiler) group(name, about string) {
	c.out.Add("group/"+name, &nb.PortGroup{Name: name, ExternalIDs: map[string]string{keySelector: about}})
}

func (c *compiler) addressSets(group, about string) {
	for _, is4 := range c.families() {
		name := names.AddressSet(group, is4)
		c.out.Add("set/"+name, &nb.AddressSet{Name: name, ExternalIDs: map[string]string{keySelector: about}})
	}
}

// pod puts a pod into the sets of the selectors that select it.
func (c *compiler) pod(key world.PodKey) {
	p, ok := c.view.Pod(key)
	if !ok {
		return
	}
	local := p.Networked() && p.Node == c.view.LocalNode()
	var isolated [2]bool
	for _, s := range c.view.Selections(p) {
		for _, k := range s.Sets {
			if k.Subject && !local {
				continue
			}
			for _, g := range c.groups(s.Selector, k, p) {
				if k.Subject {
					c.join(g, p)
				} else {
					c.addresses(g, p.Addrs())
				}
			}
		}
		if local {
			for d, is := range s.Isolated {
				isolated[d] = isolated[d] || is
			}
		}
	}
	for _, d := range world.Directions {
		if isolated[d] {
			c.join(c.names.Isolated(p.Namespace, d), p)
		}
	}
}

// join makes the pod's port a member of a port group.
func (c *compiler) join(group string, p *world.Pod) {
	c.out.Members = append(c.out.Members, rows.Member{
		Parent: rows.Target{Table: nb.PortGroupTable, Name: group}, Column: "ports",
		Value: rows.Named(nb.LogicalSwitchPortTable, names.Pod(p.Namespace, p.Name)),
	})
}

// addresses puts addresses into the address sets of a group.
func (c *compiler) addresses(group string, addrs []netip.Addr) {
	for _, a := range addrs {
		if c.network.HasFamily(a) {
			c.out.Members = append(c.out.Members, rows.Member{
				Parent: rows.Target{Table: nb.AddressSetTable, Name: names.AddressSet(group, a.Is4())}, Column: "addresses", Value: a.String(),
			})
		}
	}
}

// nodeSelector makes the address sets of a selector of nodes.
func (c *compiler) nodeSelector(id string) {
	if s, ok := c.view.NodeSelector(id); ok {
		c.addressSets(c.names.Nodes(id), s.String())
	}
}

// node puts a node's addresses into the sets of the selectors that select it.
func (c *compiler) node(name string) {
	n, ok := c.view.Node(name)
	if !ok {
		return
	}
	for _, s := range c.view.NodeSelectors() {
		addrs := s.Addrs(n)
		if s.HostAddrs {
			addrs = c.outside(addrs)
		}
		c.addresses(c.names.Nodes(s.ID), addrs)
	}
}

// outside are the addresses that are not the cluster's own, which firewalls are not about.
func (c *compiler) outside(addrs []netip.Addr) []netip.Addr {
	var out []netip.Addr
	for _, a := range addrs {
		if !c.network.HasSubnet(netip.PrefixFrom(a, a.BitLen())) {
			out = append(out, a)
		}
	}
	return out
}

// domain makes the address sets of a domain name.
func (c *compiler) domain(text string) {
	d := world.DomainName{Name: text}
	if rest, deep := strings.CutPrefix(text, "**."); deep {
		d = world.DomainName{Name: "*." + rest, Deep: true}
	}
	if c.view.DomainInUse(d) {
		c.addressSets(c.names.Domain(d), text)
		c.addresses(c.names.Domain(d), c.view.DomainAddrs(d))
	}
}
