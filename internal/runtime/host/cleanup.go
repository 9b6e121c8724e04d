package host

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/ovnkctl/ovnkctl/internal/ovn/names"
	"github.com/ovnkctl/ovnkctl/internal/runtime/host/kernel"
	"github.com/ovnkctl/ovnkctl/internal/runtime/host/nft"
	"github.com/ovnkctl/ovnkctl/internal/runtime/host/ovs"
)

// The files by which container runtimes find the network.
const (
	CNIConfFile = "10-ovn-kubernetes.conflist"
	CNIShim     = "ovn-k8s-cni-overlay"
)

const (
	// goneTimeout is how long vswitchd may take to remove the devices of deleted bridges.
	goneTimeout  = 5 * time.Second
	goneInterval = 50 * time.Millisecond
)

// LeftoverError lists what Cleanup could not remove, and what to do about it.
type LeftoverError struct{ Left []string }

func (e *LeftoverError) Error() string {
	return "not everything could be removed from the host: " + strings.Join(e.Left, "; ")
}

// Cleanup takes everything off the host that a Reconciler put there, gives the gateway NIC
// its addresses and routes back, and removes the CNI's files. It may be called again, and
// it may be called when Open vSwitch does not run; then it does what can be done and says
// in a LeftoverError what is left. No Reconciler may run meanwhile.
func Cleanup(ctx context.Context, c Config) error {
	k := &cleaner{cfg: c.withDefaults()}
	k.cniFiles() // first, so that no more pods are attached
	k.look(ctx)
	if k.have.kernel == nil {
		return k.result()
	}
	k.giveBack(ctx)
	k.tables(ctx)
	k.bridges(ctx)
	k.devices(ctx)
	k.restoreSysctls(ctx)
	return k.result()
}

// cleaner is one run of Cleanup.
type cleaner struct {
	cfg  Config
	have have
	// ovs is false when the database cannot be reached.
	ovs    bool
	nic    string
	memory memory
	// keep says that the bridge was there before us: only what is ours on it goes.
	keep bool
	left []string
	// stuck says that the NIC did not get all that is its own, or that the bridge could
	// not be removed: then the bridge's device stays.
	stuck bool
}

func (k *cleaner) result() error {
	if len(k.left) > 0 {
		return &LeftoverError{Left: k.left}
	}
	return nil
}

func (k *cleaner) leave(format string, args ...any) {
	k.left = append(k.left, fmt.Sprintf(format, args...))
}

func (k *cleaner) cniFiles() {
	cni := k.cfg.Config.CNI
	for _, f := range []string{filepath.Join(cni.ConfDir, CNIConfFile), filepath.Join(cni.BinDir, CNIShim)} {
		if err := os.Remove(f); err != nil && !errors.Is(err, os.ErrNotExist) {
			k.leave("file %s: %v", f, err)
		}
	}
}

// look finds out what there is.
func (k *cleaner) look(ctx context.Context) {
	k.have = have{ovs: &ovs.State{}, now: k.cfg.Now()}
	if s, err := k.cfg.Host.Switch.State(ctx); err != nil {
		k.leave("Open vSwitch bridges and settings, because the database cannot be reached (%v): start ovsdb-server and repeat", err)
	} else {
		k.have.ovs, k.ovs = s, true
	}
	k.memory = readMemory(k.have.ovs)
	if b, ok := k.have.ovs.Bridges[k.cfg.bridge()]; ok {
		k.keep = b.ExternalIDs[keyCreated] == ""
		k.nic = b.ExternalIDs[keyUplink]
	}
	if k.nic == "" {
		k.nic = k.memory.NIC
	}
	if boot, _, err := k.cfg.Host.Kernel.Sysctl(bootID); k.memory.NIC != k.nic || err != nil || k.memory.Boot != boot {
		k.memory = memory{}
	}
	k.read(ctx)
	if k.nic == "" && k.have.kernel != nil && !k.ovs {
		k.nic = k.twin()
		k.read(ctx)
	}
}

func (k *cleaner) read(ctx context.Context) {
	devs := []string{k.cfg.bridge(), ManagementPort}
	if k.nic != "" {
		devs = append(devs, k.nic)
	}
	s, err := k.cfg.Host.Kernel.State(ctx, devs)
	if err != nil {
		k.leave("addresses, routes and rules: %v", err)
		return
	}
	k.have.kernel = s
}

// twin is the device that has the bridge's MAC: without the database, that is the NIC.
func (k *cleaner) twin() string {
	bridge, ok := k.have.kernel.Link(k.cfg.bridge())
	if !ok {
		return ""
	}
	for _, l := range k.have.kernel.Links {
		if l.Name != bridge.Name && l.MAC == bridge.MAC {
			return l.Name
		}
	}
	return ""
}

func (k *cleaner) apply(ctx context.Context, c kernel.Change) {
	if err := k.cfg.Host.Kernel.Apply(ctx, c); err != nil {
		k.leave("%v", err)
		return
	}
	k.cfg.Log.Info("host changed", "change", c.String())
}

// giveBack moves addresses and routes from the bridge to the NIC: first the NIC gets them,
// then its stack may listen again, and only then they go from the bridge.
func (k *cleaner) giveBack(ctx context.Context) {
	bridge := k.cfg.bridge()
	if k.keep || k.nic == "" {
		k.ownOffBridge(ctx)
		return
	}
	if _, ok := k.have.kernel.Link(k.nic); !ok {
		k.leave("addresses of %s stay on %s, because it has gone", k.nic, bridge)
		return
	}
	before := len(k.left)
	k.nicSysctls(ctx)
	addrs, routes := k.taken()
	for _, a := range addrs {
		if !k.have.kernel.HasAddr(a) {
			k.apply(ctx, kernel.PutAddr{Addr: a})
		}
	}
	for _, r := range routes {
		if !k.have.kernel.HasRoute(r) {
			k.apply(ctx, kernel.AppendRoute{Route: r})
		}
	}
	if len(k.left) > before {
		k.stuck = true
		return
	}
	k.table(ctx, guardFamily, guardName)
	for _, r := range k.have.kernel.RoutesOf(bridge) {
		if r.Protocol != kernel.ProtocolKernel {
			k.apply(ctx, kernel.DeleteRoute{Route: r})
		}
	}
	for _, a := range k.have.kernel.AddrsOf(bridge) {
		if a.Global() {
			k.apply(ctx, kernel.DeleteAddr{Addr: a})
		}
	}
}

// nicSysctls switch the NIC's stack on again; IPv6 addresses need it.
func (k *cleaner) nicSysctls(ctx context.Context) {
	in := input{Config: k.cfg, uplink: uplink{link: kernel.Link{Name: k.nic}}}
	for _, s := range nicSysctls(in) {
		was, ok := k.memory.Sysctls[s.key]
		if !ok {
			was = "0" // the kernel's own default for both
		}
		k.setSysctl(ctx, s, was)
	}
}

// setSysctl puts back what a sysctl was, if it still is what we made it.
func (k *cleaner) setSysctl(ctx context.Context, s sysctl, was string) {
	if now, ok, err := k.cfg.Host.Kernel.Sysctl(s.key); err == nil && ok && now == s.value && now != was {
		k.apply(ctx, kernel.SetSysctl{Key: s.key, Value: was})
	}
}

// taken is what belongs to the NIC: what is on the bridge now, which may be newer than
// what is remembered, and what is remembered but was lost.
func (k *cleaner) taken() ([]kernel.Addr, []kernel.Route) {
	bridge := k.cfg.bridge()
	h := k.have
	var addrs []kernel.Addr
	for _, m := range k.memory.Addrs {
		if a, ok := m.on(k.nic, k.nic, h.now); ok {
			a.Label = m.Label
			addrs = append(addrs, a)
		}
	}
	on := func(a kernel.Addr) kernel.Addr {
		a.Dev, a.Label, a.NoDAD = k.nic, relabel(a.Label, bridge, k.nic), false
		return a
	}
	implied := map[string]bool{}
	for _, a := range h.kernel.AddrsOf(bridge) {
		if !a.NoPrefixRoute {
			implied[a.Connected().String()] = true
		}
		if !a.Global() || k.own(a) {
			continue
		}
		i := slices.IndexFunc(addrs, on(a).Is)
		if i < 0 {
			addrs = append(addrs, on(a))
			continue
		}
		addrs[i].Valid, addrs[i].Preferred = a.Valid, a.Preferred
	}
	var routes []kernel.Route
	for _, r := range k.memory.Routes {
		routes = append(routes, r.Moved("", k.nic))
	}
	for _, r := range h.kernel.RoutesOf(bridge) {
		linkLocal := r.Dst.Addr().Is6() && r.Dst.Addr().IsLinkLocalUnicast()
		connected := r.Protocol == kernel.ProtocolKernel && implied[r.Dst.String()]
		moved := r.Moved(bridge, k.nic)
		if r.Protocol != protocol && !linkLocal && !connected && !slices.ContainsFunc(routes, moved.Is) {
			routes = append(routes, moved)
		}
	}
	slices.SortStableFunc(routes, func(a, b kernel.Route) int { return boolInt(gatewayed(a)) - boolInt(gatewayed(b)) })
	return addrs, routes
}

// own tells whether an address of the bridge is one of ours.
func (k *cleaner) own(a kernel.Addr) bool {
	for _, p := range k.cfg.Network.Masquerade {
		if p.Contains(a.Prefix.Addr()) {
			return true
		}
	}
	return slices.Contains(k.memory.Own, a.Prefix)
}

// ownOffBridge removes only what is ours from a bridge that stays.
func (k *cleaner) ownOffBridge(ctx context.Context) {
	bridge := k.cfg.bridge()
	for _, r := range k.have.kernel.RoutesOf(bridge) {
		if r.Protocol == protocol {
			k.apply(ctx, kernel.DeleteRoute{Route: r})
		}
	}
	for _, n := range k.have.kernel.Neighbors {
		for _, p := range k.cfg.Network.Masquerade {
			if n.Dev == bridge && p.Contains(n.Addr) {
				k.apply(ctx, kernel.DeleteNeighbor{Neighbor: n})
			}
		}
	}
	for _, a := range k.have.kernel.AddrsOf(bridge) {
		if k.own(a) {
			k.apply(ctx, kernel.DeleteAddr{Addr: a})
		}
	}
	if k.keep && k.ovs {
		// Our flows end, those of others stay, and what is left switches by itself.
		c, err := k.cfg.Host.Flows.Diff(ctx, bridge, "priority=0,actions=NORMAL\n")
		if err == nil {
			err = k.cfg.Host.Flows.Apply(ctx, bridge, c)
		}
		if err != nil {
			k.leave("flows of %s: %v", bridge, err)
		}
	}
}

func (k *cleaner) tables(ctx context.Context) {
	k.table(ctx, tableFamily, tableName)
	if !k.stuck {
		k.table(ctx, guardFamily, guardName)
	}
}

func (k *cleaner) table(ctx context.Context, family, name string) {
	have, err := k.cfg.Host.Firewall.List(ctx, family, name)
	if err == nil && have != nil {
		err = k.cfg.Host.Firewall.Apply(ctx, []nft.Op{{Verb: nft.DeleteTable, Family: family, Table: name}})
	}
	if err != nil {
		k.leave("nftables table %s %s: %v", family, name, err)
	}
}

// bridges removes, in one transaction, what is in the switch's database.
func (k *cleaner) bridges(ctx context.Context) {
	if !k.ovs || k.stuck {
		return
	}
	var changes []ovs.Change
	s := k.have.ovs
	if _, ok := s.Bridges[k.cfg.bridge()]; ok && !k.keep {
		changes = append(changes, ovs.DeleteBridge{Name: k.cfg.bridge()})
	}
	if _, ok := s.Bridges[names.IntegrationBridge]; ok {
		changes = append(changes, ovs.DeleteBridge{Name: names.IntegrationBridge})
	}
	if root, ok := k.settings(); ok {
		changes = append(changes, root)
	}
	if len(changes) == 0 {
		return
	}
	if err := k.cfg.Host.Switch.Apply(ctx, "host "+k.cfg.Node+" cleanup", changes); err != nil {
		k.leave("Open vSwitch bridges and settings: %v", err)
		k.stuck = true
		return
	}
	k.cfg.Log.Info("switch changed", "cause", "cleanup", "changes", describe(changes))
}

// settings removes our keys; mappings of others stay.
func (k *cleaner) settings() (ovs.SetRoot, bool) {
	s := k.have.ovs
	in := input{Config: k.cfg}
	root := ovs.SetRoot{RemoveExternalIDs: settingKeys(in, s)}
	if mappings, ok := s.ExternalIDs[keyMappings]; ok {
		if rest := strings.Join(withoutMapping(mappings), ","); rest == "" {
			root.RemoveExternalIDs = append(root.RemoveExternalIDs, keyMappings)
		} else if rest != mappings {
			root.ExternalIDs = map[string]string{keyMappings: rest}
		}
	}
	for key := range otherConfig(in) {
		if _, ok := s.OtherConfig[key]; ok {
			root.RemoveOtherConfig = append(root.RemoveOtherConfig, key)
		}
	}
	return root, len(root.RemoveExternalIDs)+len(root.ExternalIDs)+len(root.RemoveOtherConfig) > 0
}

// devices sees to it that the devices of removed bridges go: vswitchd removes them if it
// runs; if not, those of the userspace datapath can be removed without it.
func (k *cleaner) devices(ctx context.Context) {
	want := []string{ManagementPort}
	if !k.keep {
		want = append(want, k.cfg.bridge())
	}
	if k.stuck {
		return
	}
	limit := time.NewTimer(goneTimeout)
	defer limit.Stop()
	tick := time.NewTicker(goneInterval)
	defer tick.Stop()
	for waiting := k.ovs; waiting; {
		if k.read(ctx); !slices.ContainsFunc(want, k.there) {
			return
		}
		select {
		case <-tick.C:
		case <-limit.C:
			waiting = false
		case <-ctx.Done():
			waiting = false
		}
	}
	for _, dev := range want {
		if !k.there(dev) {
			continue
		}
		if err := k.cfg.Host.Kernel.Apply(ctx, kernel.DeleteLink{Dev: dev}); err != nil {
			k.leave("device %s (%v): start ovs-vswitchd, or delete the kernel's datapath with `ovs-dpctl del-dp ovs-system`", dev, err)
		}
	}
}

func (k *cleaner) there(dev string) bool {
	_, ok := k.have.kernel.Link(dev)
	return ok
}

// restoreSysctls puts back what outlives our devices.
func (k *cleaner) restoreSysctls(ctx context.Context) {
	set := map[string]sysctl{}
	for _, s := range desiredSysctls(input{Config: k.cfg}) {
		set[s.key] = s
	}
	for key, was := range k.memory.Sysctls {
		s, ok := set[key]
		if !ok && strings.HasSuffix(key, "/accept_ra") {
			s, ok = sysctl{key: key, value: acceptRARouter}, true
		}
		if ok {
			k.setSysctl(ctx, s, was)
		}
	}
}

// AfterReboot takes the NIC out of the bridge if the switch's database is from an earlier
// boot of the machine. It is for the program that starts ovs-vswitchd: otherwise that
// would take the NIC's packets away from the addresses that the distribution has just put
// on the NIC, before `ovnkctl node` can run and move them.
func AfterReboot(ctx context.Context, s Switch, boot string) error {
	state, err := s.State(ctx)
	if err != nil {
		return err
	}
	m := readMemory(state)
	if m.NIC == "" || m.Boot == boot {
		return nil
	}
	bridge, ok := state.BridgeOf(m.NIC)
	if !ok {
		return nil
	}
	return s.Apply(ctx, "host: first start after a reboot", []ovs.Change{ovs.DeletePort{Bridge: bridge, Name: m.NIC}})
}
