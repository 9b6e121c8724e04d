package port

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/ovnkctl/ovnkctl/internal/cni/keylock"
	"github.com/ovnkctl/ovnkctl/internal/ovn"
	"github.com/ovnkctl/ovnkctl/internal/ovn/vswitch"
)

// Columns are the tables that the database's connection must watch, and the columns that
// are needed of them: vswitchd updates the statistics of every Interface every few seconds.
func Columns() map[string][]string {
	return map[string][]string{
		vswitch.BridgeTable:    {"name", "ports"},
		vswitch.PortTable:      {"name", "interfaces", "qos"},
		vswitch.InterfaceTable: {"name", "external_ids", "ofport", "error", "ingress_policing_rate", "ingress_policing_burst"},
		vswitch.QoSTable:       {"external_ids", "queues"},
		vswitch.QueueTable:     {"external_ids"},
	}
}

// Ports are the ports of the node's pods.
type Ports struct {
	db        *ovn.DB
	committer *ovn.Committer
	bridge    string
	// byIfaceID serialises the transactions about one logical port, so that of two
	// sandboxes of one pod the second sees the rows of the first.
	byIfaceID keylock.Locks
	cancel    func()

	mu      sync.Mutex
	waiters map[string]map[chan struct{}]bool // by name of the Interface
}

// New keeps ports on the bridge of that name. Close ends it.
func New(db *ovn.DB, c *ovn.Committer, bridge string) *Ports {
	s := &Ports{db: db, committer: c, bridge: bridge, waiters: map[string]map[chan struct{}]bool{}}
	s.cancel = ovn.Watch(db, s.changed)
	return s
}

// Close stops watching the database.
func (s *Ports) Close() { s.cancel() }

// changed is called for each change of the Interface table.
func (s *Ports) changed(old, now *vswitch.Interface) {
	i := now
	if i == nil {
		i = old
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for c := range s.waiters[i.Name] {
		select {
		case c <- struct{}{}:
		default: // it has not looked at the last change yet
		}
	}
}

// Attach adds the port in one transaction, in which every other port of the same logical
// port goes: OVN binds one Interface at a time, and the newest sandbox is the pod's. A
// port that is there as it should be is left alone, unless its veth is new. changed
// tells whether the port may have been written, even if err says that it is not certain.
func (s *Ports) Attach(ctx context.Context, p Port, freshVeth bool) (changed bool, err error) {
	unlock, err := s.byIfaceID.Lock(ctx, p.IfaceID())
	if err != nil {
		return false, err
	}
	defer unlock()
	stale, present, err := s.compare(p, freshVeth)
	if err != nil {
		return false, err
	}
	if present && stale.empty() {
		return false, nil
	}
	bridge, ok := ovn.Find[vswitch.Bridge](s.db, s.bridge)
	if !ok {
		return false, fmt.Errorf("bridge %s does not exist in Open vSwitch: ovn-controller makes it, is container ovn-controller of this node running?", s.bridge)
	}
	ops := stale.remove()
	if !present {
		ops = append(ops, p.insert(bridge.UUID)...)
	}
	// Once sent it is waited for, whatever happens to ctx: who gives up must know what to
	// take back. A transaction has a time limit of its own.
	results, err := s.committer.Transact(context.WithoutCancel(ctx), "cni ADD "+p.Namespace+"/"+p.Pod+" sandbox "+p.Sandbox, ops...)
	if err != nil {
		return !present, fmt.Errorf("write port %s to the Open_vSwitch database: %w", p.Name, err)
	}
	// An Interface that nothing refers to vanishes without an error.
	if !present && results[len(results)-1].Count != 1 {
		return true, fmt.Errorf("port %s was not added: bridge %s was replaced at the same moment", p.Name, s.bridge)
	}
	return !present, nil
}

// compare finds the rows that are in p's way, and whether p is there already.
func (s *Ports) compare(p Port, freshVeth bool) (stale rowset, present bool, err error) {
	s.db.Read(func(v ovn.View) {
		refs := map[Ref]bool{}
		for r := range v.Table(interfaces) {
			i := r.Model.(*vswitch.Interface)
			if i.Name != p.Name && (!ours(i) || i.ExternalIDs[idIfaceID] != p.IfaceID()) {
				continue
			}
			a, ok := holder(v, r)
			switch {
			case !ok:
			case i.Name == p.Name && i.ExternalIDs[idSandbox] != p.Sandbox:
				err = fmt.Errorf("interface %s of Open vSwitch belongs to sandbox %q: remove it with `ovs-vsctl del-port %s` if that sandbox is gone", i.Name, i.ExternalIDs[idSandbox], i.Name)
			case i.Name == p.Name && p.matches(i) && !freshVeth:
				present = true
			default:
				stale.add(a)
				refs[refOf(i.ExternalIDs)] = true
			}
		}
		if !present {
			refs[p.Ref()] = true // QoS rows that a broken ADD left
		}
		stale.addLimits(v, refs)
	})
	return stale, present, err
}

// each calls f for each port of a pod.
func (s *Ports) each(f func(v ovn.View, a attached)) {
	s.db.Read(func(v ovn.View) {
		for r := range v.Table(interfaces) {
			if !ours(r.Model.(*vswitch.Interface)) {
				continue
			}
			if a, ok := holder(v, r); ok {
				f(v, a)
			}
		}
	})
}

// Detach removes the ports and what belongs to them in one transaction, and tells how
// many ports there were. Nothing to remove is no error and no transaction.
func (s *Ports) Detach(ctx context.Context, cause string, refs ...Ref) (int, error) {
	wanted := map[Ref]bool{}
	for _, r := range refs {
		wanted[r] = r.Sandbox != ""
	}
	var rows rowset
	n := 0
	s.each(func(_ ovn.View, a attached) {
		if wanted[refOf(a.iface.ExternalIDs)] {
			rows.add(a)
			n++
		}
	})
	s.db.Read(func(v ovn.View) { rows.addLimits(v, wanted) })
	if rows.empty() {
		return 0, nil
	}
	if _, err := s.committer.Transact(ctx, cause, rows.remove()...); err != nil {
		return 0, fmt.Errorf("remove ports from the Open_vSwitch database: %w", err)
	}
	return n, nil
}

// List returns all ports of pods.
func (s *Ports) List() []Port {
	var list []Port
	s.each(func(_ ovn.View, a attached) { list = append(list, of(a.iface)) })
	return list
}

// Orphans returns who has QoS or Queue rows but no port (any more).
func (s *Ports) Orphans() []Ref {
	var orphans []Ref
	s.db.Read(func(v ovn.View) {
		seen := map[Ref]bool{}
		for r := range v.Table(interfaces) {
			seen[refOf(r.Model.(*vswitch.Interface).ExternalIDs)] = true
		}
		add := func(ids map[string]string) {
			if r := refOf(ids); r.Sandbox != "" && !seen[r] {
				seen[r] = true
				orphans = append(orphans, r)
			}
		}
		for r := range v.Table(qoses) {
			add(r.Model.(*vswitch.QoS).ExternalIDs)
		}
		for r := range v.Table(queues) {
			add(r.Model.(*vswitch.Queue).ExternalIDs)
		}
	})
	return orphans
}

// Check tells what is wrong with a port that should be there.
func (s *Ports) Check(p Port) error {
	i := s.current(p)
	if i == nil {
		return fmt.Errorf("interface %s is missing in Open vSwitch", p.Name)
	}
	var problems []error
	if !p.matches(i) {
		problems = append(problems, fmt.Errorf("interface %s of Open vSwitch has external_ids %v, want %v", p.Name, i.ExternalIDs, p.externalIDs()))
	}
	if i.ExternalIDs[idInstalled] != "true" {
		problems = append(problems, errors.New(explain(p, i)))
	}
	return errors.Join(problems...)
}

// current is the port's Interface, nil if there is none (any more).
func (s *Ports) current(p Port) (i *vswitch.Interface) {
	s.db.Read(func(v ovn.View) {
		for _, r := range v.Named(interfaces, p.Name) {
			if a, ok := holder(v, r); ok {
				i = a.iface
			}
		}
	})
	return i
}
