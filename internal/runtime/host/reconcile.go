package host

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/ovnkctl/ovnkctl/internal/runtime/host/kernel"
	"github.com/ovnkctl/ovnkctl/internal/runtime/host/openflow"
	"github.com/ovnkctl/ovnkctl/internal/runtime/host/ovs"
)

// Reconciler keeps the host as it should be.
type Reconciler struct {
	cfg Config

	mu       sync.Mutex
	zone     *Zone     // nil until the cluster has said something
	services *Services // nil until the cluster has said something
	dirty    scope
	wake     chan struct{}
	interest kernel.Interest
	status   Status
	changed  chan struct{} // closed at the next change of status
	looks    looks

	// Of the goroutine that runs passes:
	memory     memory // of the last pass, for a database that was emptied
	facts      Facts
	lastFlows  string            // wanted when they were last seen to be in place
	lastTables map[string]string // digests of tables when they were last seen to be right
	chassis    string
	wanted     wanted
}

// scope is what has to be looked at again.
type scope uint8

const (
	scopeState scope = 1 << iota // the switch's database and the network stack
	scopeFirewall
	scopeFlows
	scopeAll = scopeState | scopeFirewall | scopeFlows
)

const (
	// fullPass is how often everything is looked at though nobody told of a change.
	fullPass = 30 * time.Second
	// retryPass is how soon after a pass that could not do all there is another, for
	// causes that announce no end.
	retryPass = time.Second
	// maxRounds bounds the looks of one pass, each of which follows because the last one
	// wrote: a move takes six.
	maxRounds = 20
	// maxBusy is how many passes in a row may write before there is a pause of retryPass
	// between them: somebody undoes what they do.
	maxBusy = 10
)

// New makes a Reconciler.
func New(c Config) *Reconciler {
	r := &Reconciler{
		cfg: c.withDefaults(), wake: make(chan struct{}, 1), changed: make(chan struct{}), looks: looks{passed: make(chan struct{})}, lastTables: map[string]string{},
	}
	r.status.Reasons = []Reason{{Code: CodeStarting, Message: "the host has not been looked at yet"}}
	r.interest = (input{Config: r.cfg}).interest()
	return r
}

// SetZone says what the cluster knows of this node. Until it is called, what follows from
// it is left as it is.
func (r *Reconciler) SetZone(z Zone) {
	r.mu.Lock()
	same := r.zone != nil && r.zone.equal(z)
	r.zone = &z
	r.mu.Unlock()
	if !same {
		r.kick(scopeState)
	}
}

// kick asks for a pass. It does not block.
func (r *Reconciler) kick(s scope) {
	r.mu.Lock()
	r.dirty |= s
	r.mu.Unlock()
	select {
	case r.wake <- struct{}{}:
	default:
	}
}

func (r *Reconciler) take() scope {
	r.mu.Lock()
	defer r.mu.Unlock()
	s := r.dirty
	r.dirty = 0
	r.looks.taken = r.looks.asked
	return s
}

// looks counts who asked for a whole pass.
type looks struct {
	asked, taken, done uint64
	passed             chan struct{} // closed at the end of the next pass
}

// Look has everything looked at and returns when that is done: nil if all is in place, else the
// first reason why not.
func (r *Reconciler) Look(ctx context.Context) error {
	r.mu.Lock()
	r.looks.asked++
	mine := r.looks.asked
	r.mu.Unlock()
	r.kick(scopeAll)
	for {
		r.mu.Lock()
		done, passed, s := r.looks.done >= mine, r.looks.passed, r.status
		r.mu.Unlock()
		if done && s.Ready() {
			return nil
		}
		if done {
			return s.Reasons[0]
		}
		select {
		case <-passed:
		case <-ctx.Done():
			return fmt.Errorf("the host has not been looked at yet: %w", ctx.Err())
		}
	}
}

// passed is called after each pass.
func (r *Reconciler) passed() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.looks.done = r.looks.taken
	close(r.looks.passed)
	r.looks.passed = make(chan struct{})
}

// Run keeps the host as it should be until ctx ends.
func (r *Reconciler) Run(ctx context.Context) error {
	var watchers sync.WaitGroup
	defer watchers.Wait()
	r.watch(ctx, &watchers)
	full := time.NewTicker(fullPass)
	defer full.Stop()
	what, busy := scopeAll, 0
	for {
		var retry <-chan time.Time
		settled, wrote := r.pass(ctx, what)
		r.passed()
		if !settled {
			retry = time.After(retryPass)
		}
		if busy++; !wrote {
			busy = 0
		}
		if busy == maxBusy {
			r.cfg.Log.Warn("somebody undoes what is done to the host: slowing down")
		}
		if busy >= maxBusy {
			pause(ctx, retryPass)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-r.wake:
			what = r.take()
		case <-full.C:
			what = scopeAll
		case <-retry:
			what = scopeState
		}
	}
}

// Once mends the host until nothing is left to do or what is left has to wait for
// somebody else, and tells whether everything is in place.
func (r *Reconciler) Once(ctx context.Context) bool {
	settled, _ := r.pass(ctx, scopeAll)
	return settled
}

// pass looks and mends; settled tells that everything is in place.
func (r *Reconciler) pass(ctx context.Context, what scope) (settled, wrote bool) {
	var reasons []*Reason
	for round := 1; ; round++ {
		var more bool
		more, reasons = r.round(ctx, what)
		wrote = wrote || more
		if !more || ctx.Err() != nil || round == maxRounds {
			break
		}
		what = scopeState | r.take() // what is taken is looked at in this pass
	}
	r.report(reasons)
	return len(reasons) == 0, wrote
}

// round is one look and the writes that follow from it.
func (r *Reconciler) round(ctx context.Context, what scope) (wrote bool, reasons []*Reason) {
	in, h, err := r.observe(ctx)
	attached := h != nil && in.uplink.link.Name != "" && portsOf(r.cfg, in.uplink.link.Name, h.ovs).nic > 0
	if err != nil {
		reasons = append(reasons, asReason(err))
		if !attached {
			// Nothing was done to this host yet: nothing is begun that cannot be finished.
			return false, reasons
		}
	}
	flows, wroteFlows, flowReason := r.flows(ctx, in, h, what)
	read := func(key string) string {
		v, _, _ := r.cfg.Host.Kernel.Sysctl(key)
		return v
	}
	c := diff(in, h, read, flows)
	reasons = append(reasons, c.reasons...)
	if flowReason != nil {
		reasons = append(reasons, flowReason)
	}
	a := &applier{ctx: ctx, r: r}
	a.do(c)
	a.firewall(in, c.guard, what)
	a.forget(in)
	reasons = append(reasons, a.reasons...)
	reasons = append(reasons, r.missing(in, h)...)
	if err == nil && r.zoneKnown() {
		r.tell(in.facts)
	}
	return a.wrote || wroteFlows, reasons
}

// missing are the things that others have to bring.
func (r *Reconciler) missing(in input, h *have) []*Reason {
	var out []*Reason
	if len(in.subnets()) < len(r.cfg.families()) {
		out = append(out, reason(CodeNoSubnets, "see that ovnkube-control-plane runs and what it says of this node",
			"node %s has no pod subnets yet", r.cfg.Node))
	}
	if p := portsOf(r.cfg, in.uplink.link.Name, h.ovs); p.nic > 0 && p.patch <= 0 {
		out = append(out, reason(CodePatchPort, "see that ovn-controller and ovn-northd run (pod ovnkube-node) and what they log",
			"ovn-controller has not connected %s with the pod network yet", r.cfg.bridge()))
	}
	return out
}

func (r *Reconciler) zoneKnown() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.zone != nil
}

// observe reads the host and finds out what it should be. With an error, what could be
// found out is returned all the same; have is nil when nothing could be read.
func (r *Reconciler) observe(ctx context.Context) (input, *have, error) {
	in := input{Config: r.cfg}
	r.mu.Lock()
	known := r.zone != nil
	if known {
		in.zone = *r.zone
	}
	in.services = r.services
	devs := slices.Clone(r.interest.Devs)
	r.mu.Unlock()

	s, err := r.cfg.Host.Switch.State(ctx)
	if err != nil {
		return in, nil, reason(CodeNoSwitch, "see that ovsdb-server runs (pod ovs-node) and that its socket is "+r.cfg.Config.OVN.OVS, "Open vSwitch database: %v", err)
	}
	if nic := readMemory(s).NIC; nic != "" && !slices.Contains(devs, nic) {
		devs = append(devs, nic)
	}
	boot, _, err := r.cfg.Host.Kernel.Sysctl(bootID)
	if err != nil {
		return in, nil, err
	}
	h := &have{ovs: s, stored: s.ExternalIDs[keyMemory], boot: boot, now: r.cfg.Now()}
	r.recall(h)
	if h.kernel, err = r.cfg.Host.Kernel.State(ctx, devs); err != nil {
		return in, nil, err
	}
	// Routes are only read by devices known to matter; the NIC is known from here on.
	if nic, err := findNIC(r.cfg, h); err == nil && !slices.Contains(devs, nic.Name) {
		if h.kernel, err = r.cfg.Host.Kernel.State(ctx, append(devs, nic.Name)); err != nil {
			return in, nil, err
		}
	}
	in.uplink, in.facts, err = discover(r.cfg, in.zone, h)
	if in.uplink.link.Name == "" {
		return in, h, err
	}
	in.chassis = r.chassisID(s, in.zone, known)
	in.facts.ChassisID = in.chassis
	if !known {
		keepEncap(s, &in)
	}
	in.acceptRA = acceptsRA(in.uplink, h.kernel, func(key string) string {
		v, _, _ := r.cfg.Host.Kernel.Sysctl(key)
		return v
	})
	r.memory = in.uplink.memory
	r.mu.Lock()
	r.interest = in.interest()
	r.mu.Unlock()
	return in, h, err
}

// recall puts back what the database has forgotten while this process ran, because
// somebody removed the key or the whole database.
func (r *Reconciler) recall(h *have) {
	if r.memory.NIC == "" || readMemory(h.ovs).NIC != "" {
		return
	}
	ids := map[string]string{keyMemory: r.memory.text()}
	for k, v := range h.ovs.ExternalIDs {
		if k != keyMemory {
			ids[k] = v
		}
	}
	c := *h.ovs
	c.ExternalIDs = ids
	h.ovs = &c
}

// chassisID is the switch's own id, else the one the Node remembers, else a new one.
func (r *Reconciler) chassisID(s *ovs.State, z Zone, known bool) string {
	switch {
	case s.ExternalIDs[keySystemID] != "":
		r.chassis = s.ExternalIDs[keySystemID]
	case r.chassis != "":
	case z.ChassisID != "":
		r.chassis = z.ChassisID
	case known:
		r.chassis = r.cfg.NewChassisID()
	}
	return r.chassis
}

// keepEncap leaves the tunnel's end point alone until the cluster has said which address
// it knows the node by, if it is still one of the host's.
func keepEncap(s *ovs.State, in *input) {
	for _, a := range in.facts.HostAddrs {
		if s.ExternalIDs["ovn-encap-ip"] == a.Addr().String() {
			in.facts.EncapIPs = append(in.facts.EncapIPs[:0:0], a.Addr())
		}
	}
}

func asReason(err error) *Reason {
	var r *Reason
	if errors.As(err, &r) {
		return r
	}
	return reason(CodeHost, "", "%v", err)
}

// flows makes the bridge's flows what they should be if anything says that they are not,
// and tells whether they are in place.
func (r *Reconciler) flows(ctx context.Context, in input, h *have, what scope) (inPlace, wrote bool, why *Reason) {
	if _, ok := h.ovs.Bridges[r.cfg.bridge()]; !ok {
		r.lastFlows = ""
		return false, false, nil
	}
	want := r.wanted.flowsFor(in, portsOf(r.cfg, in.uplink.link.Name, h.ovs))
	if want == r.lastFlows && what&scopeFlows == 0 {
		return true, false, nil
	}
	c, err := r.cfg.Host.Flows.Diff(ctx, r.cfg.bridge(), want)
	if in.services == nil {
		c.Delete = nil // those of services are not known yet
	}
	if err == nil && !c.Empty() {
		r.cfg.Log.Info("flows changed", "bridge", r.cfg.bridge(), "added", len(c.Add), "deleted", len(c.Delete), "taken", len(c.Taken))
		r.cfg.Log.Debug("flows differ", "bridge", r.cfg.bridge(), "differences", c)
		err = r.cfg.Host.Flows.Apply(ctx, r.cfg.bridge(), c)
		wrote = err == nil
	}
	if err != nil {
		r.lastFlows = ""
		remedy := ""
		if errors.Is(err, openflow.ErrNoBridge) {
			remedy = "see that ovs-vswitchd runs (container ovs-daemons of pod ovs-node) and what it logs"
		}
		return false, false, reason(CodeFlows, remedy, "flows of %s: %v", r.cfg.bridge(), err)
	}
	if r.lastFlows = want; in.services == nil {
		r.lastFlows = "" // what was not deleted is looked at again
	}
	return true, wrote, nil
}

func (r *Reconciler) tell(f Facts) {
	if f.Equal(r.facts) {
		return
	}
	r.facts = f
	r.cfg.OnFacts(f)
}
