// Package ipam gives the pods of one node their addresses. A Pool is the book of one
// network's subnets; the Agent decides for the pods that the world shows and tells the
// world, so that a pod's port is programmed without a round trip to the API server, whose
// annotation is written beside it.
package ipam

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"slices"

	"github.com/ovnkctl/ovnkctl/internal/world"
	"github.com/ovnkctl/ovnkctl/internal/world/plan"
)

// maxHosts bounds how far into a subnet addresses are handed out: an IPv6 subnet is never
// searched beyond its first 2^16 addresses, which no node's pods exhaust.
const maxHosts = 1 << 16

// Owner is one incarnation of a pod.
type Owner struct {
	Pod world.PodKey
	UID string
}

// Pool is the addresses of one network on one node. It is not safe for concurrent use.
type Pool struct {
	blocks []*block
	held   map[netip.Addr]Owner
}

// block is the subnet of one family.
type block struct {
	subnet   netip.Prefix
	size     uint64 // addresses that are handed out: those with offsets below it
	reserved map[netip.Addr]bool
	used     int
	// cursor is the offset after the last address handed out. Going on from there leaves a
	// released address alone for as long as possible: peers may still remember it.
	cursor uint64
}

// FullError says that a subnet has no free address.
type FullError struct {
	Subnet netip.Prefix
	Pods   int
}

func (e *FullError) Error() string {
	return fmt.Sprintf("node subnet %s is full: %d addresses are in use", e.Subnet, e.Pods)
}

// NewPool makes a pool with every address free but those that plan reserves.
func NewPool(subnets []netip.Prefix) *Pool {
	p := &Pool{held: map[netip.Addr]Owner{}}
	for _, s := range subnets {
		b := &block{subnet: s, size: maxHosts, reserved: map[netip.Addr]bool{}}
		if hostBits := s.Addr().BitLen() - s.Bits(); hostBits < 16 {
			b.size = 1 << hostBits
		}
		for _, a := range plan.Reserved(s) {
			b.reserved[a] = true
		}
		p.blocks = append(p.blocks, b)
	}
	return p
}

// Subnets are the pool's subnets.
func (p *Pool) Subnets() []netip.Prefix {
	var out []netip.Prefix
	for _, b := range p.blocks {
		out = append(out, b.subnet)
	}
	return out
}

// Allocate takes one address of each family, with the subnet's prefix length.
func (p *Pool) Allocate(o Owner) ([]netip.Prefix, error) {
	var out []netip.Prefix
	offsets := make([]uint64, len(p.blocks))
	for i, b := range p.blocks {
		a, offset, ok := p.free(b)
		if !ok {
			return nil, &FullError{b.subnet, b.used}
		}
		offsets[i] = offset
		out = append(out, plan.With(a, b.subnet))
	}
	for i, b := range p.blocks {
		b.cursor = offsets[i] + 1
		b.used++
		p.held[out[i].Addr()] = o
	}
	return out, nil
}

// free finds the next free address from the cursor on.
func (p *Pool) free(b *block) (netip.Addr, uint64, bool) {
	if uint64(b.used+len(b.reserved)) >= b.size && b.size < maxHosts {
		return netip.Addr{}, 0, false
	}
	for i := range b.size {
		offset := (b.cursor + i) % b.size
		a, ok := plan.Nth(b.subnet, offset)
		if _, taken := p.held[a]; ok && !taken && !b.reserved[a] {
			return a, offset, true
		}
	}
	return netip.Addr{}, 0, false
}

// Reserve takes the given addresses, all or none. The error says which cannot be had and
// why.
func (p *Pool) Reserve(o Owner, addresses []netip.Prefix) error {
	if err := p.fits(addresses); err != nil {
		return err
	}
	for _, a := range addresses {
		if other, taken := p.held[a.Addr()]; taken && other != o {
			return fmt.Errorf("%s belongs to pod %s", a.Addr(), other.Pod)
		}
	}
	for i, a := range addresses {
		if p.held[a.Addr()] == o {
			continue
		}
		b := p.blocks[p.blockOf(addresses[i])]
		b.used++
		b.cursor = max(b.cursor, offset(b.subnet, a.Addr())+1)
		p.held[a.Addr()] = o
	}
	return nil
}

// fits tells why addresses are not ones that this pool could have handed out.
func (p *Pool) fits(addresses []netip.Prefix) error {
	if len(addresses) != len(p.blocks) {
		return fmt.Errorf("%d addresses where the node has %d subnets", len(addresses), len(p.blocks))
	}
	seen := map[int]bool{}
	for _, a := range addresses {
		i := p.blockOf(a)
		switch {
		case i < 0:
			return fmt.Errorf("%s is not in the node's subnets %v", a, p.Subnets())
		case seen[i]:
			return fmt.Errorf("two addresses in %s", p.blocks[i].subnet)
		case p.blocks[i].reserved[a.Addr()]:
			return fmt.Errorf("%s is reserved: it is the subnet's own, the gateway's or the management port's", a.Addr())
		}
		seen[i] = true
	}
	return nil
}

func (p *Pool) blockOf(a netip.Prefix) int {
	return slices.IndexFunc(p.blocks, func(b *block) bool { return a.Masked() == b.subnet.Masked() })
}

// Release frees everything that the owner holds and tells whether that was anything.
func (p *Pool) Release(o Owner, addresses []netip.Prefix) bool {
	freed := false
	for _, a := range addresses {
		if held, ok := p.held[a.Addr()]; ok && held == o {
			delete(p.held, a.Addr())
			p.blocks[p.blockOf(a)].used--
			freed = true
		}
	}
	return freed
}

// Usage is how many addresses of each subnet are in use, and of how many.
func (p *Pool) Usage() map[netip.Prefix][2]int {
	out := map[netip.Prefix][2]int{}
	for _, b := range p.blocks {
		out[b.subnet] = [2]int{b.used, int(b.size) - len(b.reserved)}
	}
	return out
}

// offset is an address's place in its subnet, as far as the last 64 bits tell.
func offset(subnet netip.Prefix, a netip.Addr) uint64 {
	first, this := subnet.Masked().Addr().As16(), a.As16()
	return binary.BigEndian.Uint64(this[8:]) - binary.BigEndian.Uint64(first[8:])
}
