// Package kerneltest is a network stack for tests: a table that changes as the kernel's
// does, with the side effects that an order of changes has to reckon with.
package kerneltest

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync"

	"github.com/ovnkctl/ovnkctl/internal/runtime/host/kernel"
)

// Fake is a network stack in memory. Addresses bring and take their connected route, the
// first IPv4 address of a subnet takes the others of it, the last one of a link takes all
// IPv4 routes of the link, disable_ipv6 takes the IPv6 addresses, and a route needs a next
// hop that is on the link.
type Fake struct {
	mu       sync.Mutex
	state    kernel.State
	sysctls  map[string]string
	writes   []kernel.Change
	notify   map[int]func()
	watchers int
	// forgotten are the arguments of ForgetUDP.
	forgotten []map[netip.AddrPort][]netip.AddrPort
	forgetErr error
}

// New makes an empty network stack.
func New() *Fake { return &Fake{sysctls: map[string]string{}, notify: map[int]func(){}} }

// AddLink plugs in a device, as a driver does.
func (f *Fake) AddLink(l kernel.Link) {
	defer f.tell()
	f.mu.Lock()
	defer f.mu.Unlock()
	l.Index = len(f.state.Links) + 1
	f.state.Links = append(f.state.Links, l)
	for _, family := range []string{"ipv4", "ipv6"} {
		f.sysctls["net/"+family+"/conf/"+l.Name+"/forwarding"] = "0"
	}
	for key, value := range map[string]string{
		"net/ipv4/conf/%s/rp_filter": "0", "net/ipv4/conf/%s/route_localnet": "0", "net/ipv4/conf/%s/arp_ignore": "0", "net/ipv6/conf/%s/accept_ra": "1",
		"net/ipv6/conf/%s/disable_ipv6": "0", "net/ipv6/conf/%s/keep_addr_on_down": "0",
	} {
		f.sysctls[fmt.Sprintf(key, l.Name)] = value
	}
}

// RemoveLink unplugs a device with all it has.
func (f *Fake) RemoveLink(name string) {
	defer f.tell()
	f.mu.Lock()
	defer f.mu.Unlock()
	f.removeLink(name)
}

func (f *Fake) removeLink(name string) {
	s := &f.state
	s.Links = slices.DeleteFunc(s.Links, func(l kernel.Link) bool { return l.Name == name })
	s.Addrs = slices.DeleteFunc(s.Addrs, func(a kernel.Addr) bool { return a.Dev == name })
	s.Routes = slices.DeleteFunc(s.Routes, func(r kernel.Route) bool { return r.Uses(name) })
	s.Neighbors = slices.DeleteFunc(s.Neighbors, func(n kernel.Neighbor) bool { return n.Dev == name })
	for key := range f.sysctls {
		if strings.Contains(key, "/"+name+"/") {
			delete(f.sysctls, key)
		}
	}
}

// ChangeLink lets a test change a device.
func (f *Fake) ChangeLink(name string, change func(*kernel.Link)) {
	defer f.tell()
	f.mu.Lock()
	defer f.mu.Unlock()
	for i := range f.state.Links {
		if f.state.Links[i].Name == name {
			change(&f.state.Links[i])
		}
	}
}

// Down sets a device down, which takes its routes.
func (f *Fake) Down(name string) {
	defer f.tell()
	f.mu.Lock()
	defer f.mu.Unlock()
	if l, err := f.link(name); err == nil {
		l.Up = false
	}
	f.state.Routes = slices.DeleteFunc(f.state.Routes, func(r kernel.Route) bool { return r.Uses(name) })
}

// PutSysctl sets what a sysctl was before.
func (f *Fake) PutSysctl(key, value string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.sysctls[key] = value
}

// Do makes changes as somebody else.
func (f *Fake) Do(changes ...kernel.Change) error {
	defer f.tell()
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, c := range changes {
		if err := f.apply(c); err != nil {
			return fmt.Errorf("%s: %w", c, err)
		}
	}
	return nil
}

// Writes returns the changes made through Apply since it was last called.
func (f *Fake) Writes() []kernel.Change {
	f.mu.Lock()
	defer f.mu.Unlock()
	w := f.writes
	f.writes = nil
	return w
}

// Snapshot is everything there is.
func (f *Fake) Snapshot() *kernel.State {
	f.mu.Lock()
	defer f.mu.Unlock()
	s := kernel.State{
		Links: slices.Clone(f.state.Links), Addrs: slices.Clone(f.state.Addrs),
		Routes: slices.Clone(f.state.Routes), Neighbors: slices.Clone(f.state.Neighbors),
	}
	return &s
}

// State is what Netlink.State reports.
func (f *Fake) State(_ context.Context, devs []string) (*kernel.State, error) {
	s := f.Snapshot()
	wanted := func(r kernel.Route) bool {
		return r.Default() || slices.ContainsFunc(devs, r.Uses)
	}
	s.Routes = slices.DeleteFunc(s.Routes, func(r kernel.Route) bool { return !wanted(r) })
	s.Neighbors = slices.DeleteFunc(s.Neighbors, func(n kernel.Neighbor) bool { return !slices.Contains(devs, n.Dev) })
	return s, nil
}

// Sysctl reads one sysctl.
func (f *Fake) Sysctl(key string) (string, bool, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	v, ok := f.sysctls[key]
	return v, ok, nil
}

// Apply makes one change and keeps it for Writes.
func (f *Fake) Apply(_ context.Context, c kernel.Change) error {
	defer f.tell()
	f.mu.Lock()
	defer f.mu.Unlock()
	f.writes = append(f.writes, c)
	if err := f.apply(c); err != nil {
		return fmt.Errorf("%s: %w", c, err)
	}
	return nil
}

// Watch calls notify after each change.
func (f *Fake) Watch(ctx context.Context, _ func() kernel.Interest, notify func()) error {
	f.mu.Lock()
	id := f.watchers
	f.watchers++
	f.notify[id] = notify
	f.mu.Unlock()
	notify()
	<-ctx.Done()
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.notify, id)
	return ctx.Err()
}

func (f *Fake) tell() {
	f.mu.Lock()
	var all []func()
	for _, n := range f.notify {
		all = append(all, n)
	}
	f.mu.Unlock()
	for _, n := range all {
		n()
	}
}

var (
	errNoLink        = errors.New("no such device")
	errUnreachable   = errors.New("network is unreachable")
	errNotSupported  = errors.New("IPv6 is disabled on this device")
	errNotAssignable = errors.New("cannot assign requested address")
)

func (f *Fake) link(name string) (*kernel.Link, error) {
	for i := range f.state.Links {
		if f.state.Links[i].Name == name {
			return &f.state.Links[i], nil
		}
	}
	return nil, errNoLink
}

func (f *Fake) apply(c kernel.Change) error {
	switch c := c.(type) {
	case kernel.SetSysctl:
		return f.setSysctl(c.Key, c.Value)
	case kernel.SetMTU:
		l, err := f.link(c.Dev)
		if err == nil {
			l.MTU = c.MTU
		}
		return err
	case kernel.SetUp:
		return f.setUp(c.Dev)
	case kernel.DeleteLink:
		f.removeLink(c.Dev)
	case kernel.PutAddr:
		return f.putAddr(c.Addr)
	case kernel.DeleteAddr:
		f.deleteAddr(c.Addr)
	case kernel.AppendRoute:
		return f.appendRoute(c.Route)
	case kernel.DeleteRoute:
		f.state.Routes = slices.DeleteFunc(f.state.Routes, c.Route.Is)
	case kernel.PutNeighbor:
		if _, err := f.link(c.Neighbor.Dev); err != nil {
			return err
		}
		f.deleteNeighbor(c.Neighbor)
		f.state.Neighbors = append(f.state.Neighbors, c.Neighbor)
	case kernel.DeleteNeighbor:
		f.deleteNeighbor(c.Neighbor)
	default:
		return fmt.Errorf("unknown change %T", c)
	}
	return nil
}

func (f *Fake) setUp(dev string) error {
	l, err := f.link(dev)
	if err != nil || l.Up {
		return err
	}
	l.Up = true
	for _, a := range f.state.Addrs {
		if a.Dev == dev {
			f.connect(a)
		}
	}
	return nil
}

// connect adds the route that follows from an address.
func (f *Fake) connect(a kernel.Addr) {
	if r, ok := a.ConnectedRoute(); ok && !slices.ContainsFunc(f.state.Routes, func(o kernel.Route) bool {
		return o.Dst == r.Dst && o.Protocol == kernel.ProtocolKernel && o.Uses(a.Dev)
	}) {
		f.state.Routes = append(f.state.Routes, r)
	}
}

func (f *Fake) deleteNeighbor(n kernel.Neighbor) {
	f.state.Neighbors = slices.DeleteFunc(f.state.Neighbors, func(m kernel.Neighbor) bool { return m.Dev == n.Dev && m.Addr == n.Addr })
}

func (f *Fake) setSysctl(key, value string) error {
	if _, ok := f.sysctls[key]; !ok {
		return errors.New("no such file or directory")
	}
	f.sysctls[key] = value
	if dev, ok := strings.CutSuffix(strings.TrimPrefix(key, "net/ipv6/conf/"), "/disable_ipv6"); ok && value == "1" {
		for _, a := range slices.Clone(f.state.Addrs) {
			if a.Dev == dev && a.Prefix.Addr().Is6() {
				f.deleteAddr(a)
			}
		}
		f.state.Routes = slices.DeleteFunc(f.state.Routes, func(r kernel.Route) bool { return r.Uses(dev) && r.Dst.Addr().Is6() })
	}
	return nil
}

func (f *Fake) putAddr(a kernel.Addr) error {
	l, err := f.link(a.Dev)
	if err != nil {
		return err
	}
	if a.Prefix.Addr().Is6() && f.sysctls["net/ipv6/conf/"+a.Dev+"/disable_ipv6"] == "1" {
		return errNotSupported
	}
	if i := slices.IndexFunc(f.state.Addrs, a.Is); i >= 0 {
		f.state.Addrs[i] = a
		return nil
	}
	f.state.Addrs = append(f.state.Addrs, a)
	if l.Up {
		f.connect(a)
	}
	return nil
}

func (f *Fake) deleteAddr(a kernel.Addr) {
	i := slices.IndexFunc(f.state.Addrs, a.Is)
	if i < 0 {
		return
	}
	a = f.state.Addrs[i]
	is4 := a.Prefix.Addr().Is4()
	subnet := func(b kernel.Addr) bool { return b.Dev == a.Dev && b.Connected() == a.Connected() }
	primary := slices.IndexFunc(f.state.Addrs, subnet) == i
	f.state.Addrs = slices.Delete(f.state.Addrs, i, i+1)
	if is4 && primary { // as without promote_secondaries
		f.state.Addrs = slices.DeleteFunc(f.state.Addrs, subnet)
	}
	if r, ok := a.ConnectedRoute(); ok && !slices.ContainsFunc(f.state.Addrs, subnet) {
		f.state.Routes = slices.DeleteFunc(f.state.Routes, r.Is)
	}
	last := !slices.ContainsFunc(f.state.Addrs, func(b kernel.Addr) bool { return b.Dev == a.Dev && b.Prefix.Addr().Is4() })
	f.state.Routes = slices.DeleteFunc(f.state.Routes, func(r kernel.Route) bool {
		others := slices.ContainsFunc(r.Hops, func(h kernel.Hop) bool { return h.Dev != a.Dev })
		return is4 && last && r.Uses(a.Dev) && !others && r.Dst.Addr().Is4() || r.Src == a.Prefix.Addr() && !f.local(r.Src)
	})
}

func (f *Fake) local(ip netip.Addr) bool {
	return slices.ContainsFunc(f.state.Addrs, func(a kernel.Addr) bool { return a.Prefix.Addr() == ip })
}

func (f *Fake) appendRoute(r kernel.Route) error {
	if r.Src.IsValid() && !f.local(r.Src) {
		return errNotAssignable
	}
	for _, h := range r.Hops {
		l, err := f.link(h.Dev)
		if err != nil {
			return err
		}
		if !l.Up {
			return errors.New("network is down")
		}
		if !h.Via.IsValid() || h.Onlink || h.Via.IsLinkLocalUnicast() && h.Via.Is6() {
			continue
		}
		if !slices.ContainsFunc(f.state.Routes, func(o kernel.Route) bool {
			return o.Uses(h.Dev) && !o.Hops[0].Via.IsValid() && o.Dst.Contains(h.Via)
		}) {
			return errUnreachable
		}
	}
	if slices.ContainsFunc(f.state.Routes, r.Is) {
		return nil
	}
	f.state.Routes = append(f.state.Routes, r)
	return nil
}

// ForgetUDP notes what was asked for; there are no connections here.
func (f *Fake) ForgetUDP(_ context.Context, backends map[netip.AddrPort][]netip.AddrPort) (int, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.forgotten = append(f.forgotten, backends)
	return 0, f.forgetErr
}

// FailToForget has ForgetUDP fail from now on, or no more if err is nil.
func (f *Fake) FailToForget(err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.forgetErr = err
}

// Forgotten are the arguments of ForgetUDP since it was last called.
func (f *Fake) Forgotten() []map[netip.AddrPort][]netip.AddrPort {
	f.mu.Lock()
	defer f.mu.Unlock()
	out := f.forgotten
	f.forgotten = nil
	return out
}
