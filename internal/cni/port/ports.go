package port

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"

	"github.com/ovnkctl/ovnkctl/internal/cni/keylock"
	"github.com/ovnkctl/ovnkctl/internal/ovn/vswitch"
)

// Ports are the ports of the node's pods.
type Ports struct {
	db     Database
	bridge string
	serial atomic.Uint64
	// byIfaceID serialises the transactions about one logical port, so that of two
	// sandboxes of one pod the second sees the rows of the first.
	byIfaceID keylock.Locks
	cancel    func()

	mu sync.Mutex
	// own are committed rows that the database does not show yet, by UUID of the
	// Interface: what this process wrote counts from the moment it is written.
	own map[string]committed
	// gone are the UUIDs of Interfaces whose deletion the database does not show yet.
	gone    map[string]bool
	waiters map[string]map[chan struct{}]bool // by name of the Interface
}

type committed struct {
	port Port
	rows rowset
}

// New keeps ports on the bridge of that name. Close ends it.
func New(db Database, bridge string) *Ports {
	s := &Ports{
		db:      db,
		bridge:  bridge,
		own:     map[string]committed{},
		gone:    map[string]bool{},
		waiters: map[string]map[chan struct{}]bool{},
	}
	s.cancel = db.Watch(s.changed)
	return s
}

// Close stops watching the database.
func (s *Ports) Close() { s.cancel() }

// changed is called for each change of the Interface table.
func (s *Ports) changed(old, now *vswitch.Interface) {
	s.mu.Lock()
	defer s.mu.Unlock()
	name := ""
	if now == nil {
		name = old.Name
		delete(s.gone, old.UUID)
		delete(s.own, old.UUID)
	} else {
		name = now.Name
		delete(s.own, now.UUID)
	}
	for c := range s.waiters[name] {
		select {
		case c <- struct{}{}:
		default: // it has not looked at the last change yet
		}
	}
}

// Attach adds the port in one transaction, in which every other port of the same logical
// port goes: OVN binds one Interface at a time, and the newest sandbox is the pod's. A
// port that is there as it should be is left alone, unless its veth is new.
func (s *Ports) Attach(ctx context.Context, p Port, freshVeth bool) error {
	unlock, err := s.byIfaceID.Lock(ctx, p.IfaceID())
	if err != nil {
		return err
	}
	defer unlock()
	stale, present, err := s.compare(p, freshVeth)
	if err != nil {
		return err
	}
	if present && stale.empty() {
		return nil
	}
	bridge, ok := s.db.Find(vswitch.BridgeTable, s.bridge)
	if !ok {
		return fmt.Errorf("bridge %s does not exist in Open vSwitch: ovn-controller makes it, is container ovn-controller of this node running?", s.bridge)
	}
	ops := stale.remove()
	first := len(ops)
	n := insertion{port: p, bridge: bridge.(*vswitch.Bridge).UUID}
	if !present {
		ops = append(ops, n.insert(s.serial.Add(1))...)
	}
	results, err := s.db.Commit(ctx, "cni ADD "+p.Namespace+"/"+p.Pod+" sandbox "+p.Sandbox, ops)
	if err != nil {
		return fmt.Errorf("write port %s to the Open_vSwitch database: %w", p.Name, err)
	}
	s.forget(stale)
	if present {
		return nil
	}
	if err := n.check(results[first:]); err != nil {
		return fmt.Errorf("port %s was not added to bridge %s: %w", p.Name, s.bridge, err)
	}
	s.remember(p, n.rows(results[first:]))
	return nil
}

// compare finds the rows that are in p's way, and whether p is there already.
func (s *Ports) compare(p Port, freshVeth bool) (stale rowset, present bool, err error) {
	interfaces, refs := map[string]bool{}, map[Ref]bool{}
	err = s.each(func(uuid string, i *vswitch.Interface) error {
		switch {
		case i.Name == p.Name && i.ExternalIDs[idSandbox] != p.Sandbox:
			return fmt.Errorf("interface %s of Open vSwitch belongs to sandbox %q: remove it with `ovs-vsctl del-port %s` if that sandbox is gone", i.Name, i.ExternalIDs[idSandbox], i.Name)
		case i.Name == p.Name && p.matches(i) && !freshVeth:
			present = true
		case i.Name == p.Name, ours(i) && i.ExternalIDs[idIfaceID] == p.IfaceID():
			interfaces[uuid] = true
			refs[refOf(i.ExternalIDs)] = true
		}
		return nil
	})
	if err != nil {
		return rowset{}, false, err
	}
	if !present {
		refs[p.Ref()] = true // QoS rows that a broken ADD left
	}
	stale = s.find(interfaces, refs)
	s.mu.Lock()
	defer s.mu.Unlock()
	for uuid, c := range s.own {
		if !interfaces[uuid] && (c.port.Name == p.Name && !present || c.port.Name != p.Name && c.port.IfaceID() == p.IfaceID()) {
			stale.add(c.rows)
		}
	}
	return stale, present, nil
}

// each calls f for each Interface that is not about to vanish.
func (s *Ports) each(f func(uuid string, i *vswitch.Interface) error) error {
	for _, m := range s.db.Rows(vswitch.InterfaceTable) {
		i := m.(*vswitch.Interface)
		s.mu.Lock()
		gone := s.gone[i.UUID]
		s.mu.Unlock()
		if gone {
			continue
		}
		if err := f(i.UUID, i); err != nil {
			return err
		}
	}
	return nil
}

// remember keeps what was committed until the database shows it. The database is never
// asked under the lock, which its own calls to changed need.
func (s *Ports) remember(p Port, rows rowset) {
	uuid := rows.interfaces[0]
	s.mu.Lock()
	s.own[uuid] = committed{port: p, rows: rows}
	s.mu.Unlock()
	if m, ok := s.db.Find(vswitch.InterfaceTable, p.Name); ok && m.(*vswitch.Interface).UUID == uuid {
		s.mu.Lock()
		delete(s.own, uuid)
		s.mu.Unlock()
	}
}

// forget hides what was deleted until the database does.
func (s *Ports) forget(rows rowset) {
	if len(rows.interfaces) == 0 {
		return
	}
	s.mu.Lock()
	for _, uuid := range rows.interfaces {
		delete(s.own, uuid)
		s.gone[uuid] = true
	}
	s.mu.Unlock()
	shown := map[string]bool{}
	for _, m := range s.db.Rows(vswitch.InterfaceTable) {
		shown[m.(*vswitch.Interface).UUID] = true
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, uuid := range rows.interfaces {
		if !shown[uuid] {
			delete(s.gone, uuid)
		}
	}
}

// Detach removes the ports and what belongs to them in one transaction, and tells how
// many ports there were. Nothing to remove is no error and no transaction.
func (s *Ports) Detach(ctx context.Context, cause string, refs ...Ref) (int, error) {
	wanted := map[Ref]bool{}
	for _, r := range refs {
		wanted[r] = r.Sandbox != ""
	}
	interfaces := map[string]bool{}
	_ = s.each(func(uuid string, i *vswitch.Interface) error {
		if ours(i) && wanted[refOf(i.ExternalIDs)] {
			interfaces[uuid] = true
		}
		return nil
	})
	rows := s.find(interfaces, wanted)
	s.mu.Lock()
	for uuid, c := range s.own {
		if wanted[c.port.Ref()] && !interfaces[uuid] {
			rows.add(c.rows)
		}
	}
	s.mu.Unlock()
	if rows.empty() {
		return 0, nil
	}
	if _, err := s.db.Commit(ctx, cause, rows.remove()); err != nil {
		return 0, fmt.Errorf("remove ports from the Open_vSwitch database: %w", err)
	}
	s.forget(rows)
	return len(rows.interfaces), nil
}

// List returns all ports of pods.
func (s *Ports) List() []Port {
	var list []Port
	_ = s.each(func(_ string, i *vswitch.Interface) error {
		if ours(i) {
			list = append(list, of(i))
		}
		return nil
	})
	return list
}

// Orphans returns who has QoS or Queue rows but no port (any more).
func (s *Ports) Orphans() []Ref {
	seen := map[Ref]bool{}
	for _, p := range s.List() {
		seen[p.Ref()] = true
	}
	s.mu.Lock()
	for _, c := range s.own {
		seen[c.port.Ref()] = true
	}
	s.mu.Unlock()
	var orphans []Ref
	add := func(ids map[string]string) {
		if r := refOf(ids); r.Sandbox != "" && !seen[r] {
			seen[r] = true
			orphans = append(orphans, r)
		}
	}
	for _, m := range s.db.Rows(vswitch.QoSTable) {
		add(m.(*vswitch.QoS).ExternalIDs)
	}
	for _, m := range s.db.Rows(vswitch.QueueTable) {
		add(m.(*vswitch.Queue).ExternalIDs)
	}
	return orphans
}

// Check tells what is wrong with a port that should be there.
func (s *Ports) Check(p Port) error {
	m, ok := s.db.Find(vswitch.InterfaceTable, p.Name)
	if !ok {
		return fmt.Errorf("interface %s is missing in Open vSwitch", p.Name)
	}
	i := m.(*vswitch.Interface)
	var problems []error
	if !p.matches(i) {
		problems = append(problems, fmt.Errorf("interface %s of Open vSwitch has external_ids %v, want %v", p.Name, i.ExternalIDs, p.externalIDs()))
	}
	if i.ExternalIDs[idInstalled] != "true" {
		problems = append(problems, errors.New(s.explain(p, i)))
	}
	return errors.Join(problems...)
}
