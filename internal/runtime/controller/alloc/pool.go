package alloc

import (
	"math"
	"net/netip"
	"slices"
	"strings"

	"github.com/ovnkctl/ovnkctl/internal/world"
	"github.com/ovnkctl/ovnkctl/internal/world/plan"
)

// pool is the node subnets of one family. A cluster subnet may have far more blocks than
// there is memory for, so it remembers those in use, in order, rather than all.
type pool struct {
	clusters []cluster
	used     []lease // by address; they never overlap
}

// cluster is one cluster subnet. Every block before free is in use.
type cluster struct {
	world.ClusterSubnet
	free uint64
}

// lease is a subnet in use.
type lease struct {
	prefix netip.Prefix
	node   string
}

func (p *pool) add(c world.ClusterSubnet) { p.clusters = append(p.clusters, cluster{ClusterSubnet: c}) }

// String lists the cluster subnets.
func (p *pool) String() string {
	var texts []string
	for _, c := range p.clusters {
		texts = append(texts, c.Prefix.String())
	}
	return strings.Join(texts, ", ")
}

// search finds the place of an address among the leases.
func (p *pool) search(a netip.Addr) (int, bool) {
	return slices.BinarySearchFunc(p.used, a, func(l lease, a netip.Addr) int { return l.prefix.Addr().Compare(a) })
}

// overlap finds a lease that overlaps a prefix: only the neighbours of its place can.
func (p *pool) overlap(q netip.Prefix) (lease, bool) {
	i, _ := p.search(q.Addr())
	for _, j := range []int{i - 1, i} {
		if j >= 0 && j < len(p.used) && p.used[j].prefix.Overlaps(q) {
			return p.used[j], true
		}
	}
	return lease{}, false
}

// take adds a lease that overlaps no other.
func (p *pool) take(q netip.Prefix, node string) {
	i, _ := p.search(q.Addr())
	p.used = slices.Insert(p.used, i, lease{q, node})
}

func (p *pool) release(q netip.Prefix) {
	i, ok := p.search(q.Addr())
	if !ok {
		return
	}
	p.used = slices.Delete(p.used, i, i+1)
	for j := range p.clusters {
		c := &p.clusters[j]
		switch {
		case c.Prefix.Contains(q.Addr()):
			c.free = min(c.free, c.index(q.Addr()))
		case c.Prefix.Overlaps(q):
			c.free = 0
		}
	}
}

// next is the first free block of the first cluster subnet that has one.
func (p *pool) next() (netip.Prefix, bool) {
	for i := range p.clusters {
		c := &p.clusters[i]
		for n := c.free; n < c.size(); {
			block := c.block(n)
			other, taken := p.overlap(block)
			if !taken {
				c.free = n
				return block, true
			}
			last := plan.Last(other.prefix)
			if !c.Prefix.Contains(last) {
				n = c.size()
			} else {
				n = c.index(last) + 1
			}
			c.free = n
		}
	}
	return netip.Prefix{}, false
}

// contains tells whether a subnet is part of a cluster subnet.
func (p *pool) contains(q netip.Prefix) bool {
	return slices.ContainsFunc(p.clusters, func(c cluster) bool { return c.Prefix.Contains(q.Addr()) && c.Prefix.Bits() <= q.Bits() })
}

func (p *pool) total() float64 {
	var sum float64
	for _, c := range p.clusters {
		sum += math.Ldexp(1, c.HostLength-c.Prefix.Bits())
	}
	return sum
}

// size is the number of blocks, or all that can be counted.
func (c *cluster) size() uint64 {
	return 1 << min(c.HostLength-c.Prefix.Bits(), 63)
}

// block is the n-th block: the bits of n stand between those of the cluster subnet and
// those of hosts.
func (c *cluster) block(n uint64) netip.Prefix {
	b := c.Prefix.Addr().AsSlice()
	for bit := c.HostLength - 1; bit >= c.Prefix.Bits() && n > 0; bit-- {
		b[bit/8] |= byte(n&1) << (7 - bit%8)
		n >>= 1
	}
	a, _ := netip.AddrFromSlice(b)
	return netip.PrefixFrom(a, c.HostLength)
}

// index is the number of the block that an address of the cluster subnet is in. Blocks
// beyond those that can be counted are the last one.
func (c *cluster) index(a netip.Addr) uint64 {
	b := a.AsSlice()
	var n uint64
	for bit := c.Prefix.Bits(); bit < c.HostLength; bit++ {
		if n >= 1<<62 {
			return c.size() - 1
		}
		n = n<<1 | uint64(b[bit/8]>>(7-bit%8)&1)
	}
	return n
}

// ids are the numbers of nodes.
type ids struct {
	last int
	used map[int]string
	free int // every id below is in use
}

func (s *ids) take(id int, node string) { s.used[id] = node }

func (s *ids) release(id int) {
	delete(s.used, id)
	s.free = min(s.free, id)
}

// next is the least free id.
func (s *ids) next() (int, bool) {
	s.free = max(s.free, plan.FirstNodeID)
	for s.used[s.free] != "" {
		s.free++
	}
	if s.free > s.last {
		return 0, false
	}
	return s.free, true
}
