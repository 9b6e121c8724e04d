//go:build linux

// Package node wires the program that runs on every node: the zone's rows in the
// databases, the host's plumbing, pod addresses and the CNI server.
//
//	API server ──> world ──> engine ──> NB, SB
//	                 │ └──> ipam ──> world (addresses), annotations of pods
//	                 └────> host ──> Open vSwitch, routes, rules, nftables, br-ex flows
//	                          └────> annotations of the own Node ──> API server
//	container runtime ──> CNI server ──> veth, Open vSwitch; asks world and engine
package node

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"runtime/debug"
	"slices"

	"github.com/ovnkctl/ovnkctl/internal/cni/port"
	"github.com/ovnkctl/ovnkctl/internal/config"
	"github.com/ovnkctl/ovnkctl/internal/ovn"
	"github.com/ovnkctl/ovnkctl/internal/runtime/engine"
	"github.com/ovnkctl/ovnkctl/internal/runtime/feature"
	"github.com/ovnkctl/ovnkctl/internal/runtime/feature/hostports"
	"github.com/ovnkctl/ovnkctl/internal/runtime/feature/pods"
	"github.com/ovnkctl/ovnkctl/internal/runtime/feature/services"
	"github.com/ovnkctl/ovnkctl/internal/runtime/feature/topology"
	"github.com/ovnkctl/ovnkctl/internal/runtime/host"
	"github.com/ovnkctl/ovnkctl/internal/runtime/host/kernel"
	"github.com/ovnkctl/ovnkctl/internal/runtime/host/nft"
	"github.com/ovnkctl/ovnkctl/internal/runtime/host/openflow"
	"github.com/ovnkctl/ovnkctl/internal/runtime/host/ovs"
	"github.com/ovnkctl/ovnkctl/internal/runtime/kube"
	"github.com/ovnkctl/ovnkctl/internal/runtime/process"
	"github.com/ovnkctl/ovnkctl/internal/world"
	"github.com/ovnkctl/ovnkctl/internal/world/live"
)

// Options are what the command line says.
type Options struct {
	Config *config.Config
	Node   string
	Stderr io.Writer
}

// component is whom our events are from.
const component = "ovnkctl-node"

// agent is the running program.
type agent struct {
	*process.Process
	o        Options
	network  world.Network
	patcher  *kube.Patcher
	recorder *kube.Recorder
	problems *problems
	store    *world.Store
	nb, sb   *ovn.DB
	ovs      *ovn.DB
	engine   *engine.Engine
	host     *host.Reconciler
}

// Run runs the node's program until ctx ends.
func Run(ctx context.Context, o Options) error {
	network, err := o.Config.DefaultNetwork()
	if err != nil {
		return err
	}
	ctx, p, err := process.Start(ctx, process.Options{
		Config: o.Config, Component: "node", Metrics: o.Config.Serving.NodeMetrics, Stderr: o.Stderr,
	})
	if err != nil {
		return err
	}
	a := &agent{Process: p, o: o, network: network}
	if err := a.startWriters(ctx); err != nil {
		return err
	}
	p.Go(ctx, a.start)
	return p.Group.Wait()
}

// startWriters makes what writes annotations and events.
func (a *agent) startWriters(ctx context.Context) (err error) {
	if a.patcher, err = kube.NewPatcher(kube.PatcherConfig{Client: a.Client, Logger: a.Log, Registerer: a.Registry}); err != nil {
		return err
	}
	a.recorder, err = kube.NewRecorder(kube.RecorderConfig{
		Client: a.Client, Component: component, Instance: a.o.Node, Logger: a.Log, Registerer: a.Registry,
	})
	if err != nil {
		return err
	}
	a.problems = newProblems(a.o.Node, a.patcher.Annotate, a.Log)
	a.Go(ctx, func(ctx context.Context) error { a.patcher.Run(ctx); return nil })
	a.Go(ctx, func(ctx context.Context) error { a.recorder.Run(ctx); return nil })
	return nil
}

// start brings the parts up in the order in which they need each other, and returns when
// all run.
func (a *agent) start(ctx context.Context) error {
	if err := a.connect(ctx); err != nil {
		return err
	}
	facts, err := a.startHost(ctx)
	if err != nil {
		return err
	}
	if err := a.settleMTU(ctx, facts); err != nil {
		return err
	}
	a.store = world.New(world.Config{LocalNode: a.o.Node, Networks: []world.Network{a.network}})
	a.engine = engine.New(engine.Config{
		World: a.store, NB: a.nb, SB: a.sb, Features: Features(a.o.Config),
		OnReasons: a.report, Logger: a.Log, Metrics: a.Registry,
	})
	a.Serving.Ready.Add("zone", a.zoneReady)
	a.Go(ctx, func(ctx context.Context) error {
		a.problems.run(ctx, a.Client.CoreV1().Nodes(), ownZone{a.store, a.engine})
		return nil
	})
	a.tellHost(ctx, facts)
	a.startServices(ctx)
	if err := a.startDNS(ctx); err != nil {
		return err
	}
	if err := a.startIdle(ctx); err != nil {
		return err
	}
	a.startUDPFlush(ctx)
	addresses, err := a.startCNI(ctx)
	if err != nil {
		return err
	}
	if err := a.startWatching(ctx); err != nil {
		return err
	}
	// The engine must not see half a world: what it does not show would be removed.
	a.Go(ctx, func(ctx context.Context) error {
		select {
		case <-addresses.Recovered():
			return a.engine.Run(ctx)
		case <-ctx.Done():
			return nil
		}
	})
	a.Go(ctx, func(ctx context.Context) error {
		select {
		case <-a.engine.Synced():
			// The start has decoded and compared everything at once. The runtime would keep what
			// that took for a while, and in a big cluster it is a third of all.
			debug.FreeOSMemory()
		case <-ctx.Done():
		}
		return nil
	})
	a.Started()
	return nil
}

// startWatching begins to fill the world. Pods of all nodes are peers of policies.
func (a *agent) startWatching(ctx context.Context) error {
	policies, err := live.NewPolicyClient(a.Access, a.HTTP)
	if err != nil {
		return err
	}
	a.Go(ctx, func(ctx context.Context) error {
		live.Run(ctx, live.Config{
			Client: a.Client, Store: a.store, Logger: a.Log, Node: a.o.Node,
			AllPods: true, Namespaces: true, Services: true, Policies: policies,
		})
		return nil
	})
	return nil
}

// connect opens the databases; they may start later than this program.
func (a *agent) connect(ctx context.Context) error {
	metrics := ovn.NewMetrics(a.Registry)
	local := ovs.Columns()
	for table, columns := range port.Columns() {
		local[table] = append(local[table], columns...)
	}
	for _, c := range []struct {
		db       **ovn.DB
		database *ovn.Database
		endpoint string
		tables   []string
		columns  map[string][]string
	}{
		{&a.ovs, ovn.OpenVSwitch(), a.o.Config.OVN.OVS, slices.Collect(maps.Keys(local)), local},
		{&a.nb, ovn.Northbound(), a.o.Config.OVN.NB, feature.NorthTables(), nil},
		{&a.sb, ovn.Southbound(), a.o.Config.OVN.SB, a.southTables(), nil},
	} {
		name := c.database.Short
		a.Serving.Ready.Add("database-"+name, func(context.Context) error {
			if db := *c.db; db == nil || !db.Online() {
				return fmt.Errorf("not connected to %s", c.endpoint)
			}
			return nil
		})
		db, err := ovn.Open(ctx, ovn.Config{
			Endpoint: c.endpoint, Database: c.database, Tables: c.tables, Columns: c.columns, Logger: a.Log, Metrics: metrics,
		})
		if err != nil {
			return err
		}
		*c.db = db
		context.AfterFunc(ctx, db.Close)
	}
	return nil
}

// startHost begins to keep the host as it should be. Until the cluster is known, this is
// what depends on the host and the configuration alone.
func (a *agent) startHost(ctx context.Context) (*annotator, error) {
	h, err := NewHost(a.o.Config, a.ovs)
	if err != nil {
		return nil, err
	}
	facts := newAnnotator(a.o.Node, a.network, a.patcher.Annotate)
	a.host = host.New(host.Config{
		Node: a.o.Node, Config: a.o.Config, Network: a.network, Host: h, Log: a.Log, OnFacts: facts.onFacts,
	})
	a.Serving.Ready.Add("host", func(context.Context) error {
		var errs []error
		for _, r := range a.host.Status().Reasons {
			errs = append(errs, r)
		}
		return errors.Join(errs...)
	})
	a.Go(ctx, a.host.Run)
	return facts, nil
}

// settleMTU makes the pods' MTU a number where the configuration leaves it to the NIC.
func (a *agent) settleMTU(ctx context.Context, facts *annotator) error {
	if a.network.MTU != 0 {
		return nil
	}
	f, err := facts.first(ctx)
	if err != nil {
		return err
	}
	a.network.MTU = f.PodMTU
	a.Log.Info("pod MTU follows the gateway NIC", "mtu", f.PodMTU, "nic", f.Uplink)
	return nil
}

// tellHost has the host know the cluster, and the cluster the host.
func (a *agent) tellHost(ctx context.Context, facts *annotator) {
	a.store.Subscribe(facts.onWorld)
	a.store.Subscribe(func(v world.View, c world.Change) {
		if c.Ref.Kind == world.KindNode && !c.Initial {
			a.host.SetZone(host.ZoneOf(v, a.o.Node))
		}
	})
	a.Go(ctx, func(ctx context.Context) error {
		select {
		case <-a.store.SyncedC():
			a.store.Read(func(v world.View) { a.host.SetZone(host.ZoneOf(v, a.o.Node)) })
		case <-ctx.Done():
		}
		return nil
	})
}

// NewHost is the machine that this program runs on.
func NewHost(c *config.Config, db *ovn.DB) (host.Host, error) {
	k, err := kernel.NewNetlink()
	if err != nil {
		return host.Host{}, fmt.Errorf("netlink: %w", err)
	}
	return host.Host{
		Switch:   &ovs.Client{DB: db, Only: map[string][]string{"br-int": {"br-int", host.ManagementPort}}},
		Kernel:   k,
		Firewall: nft.Exec{Path: nftProgram},
		Flows:    openflow.Ofctl{Path: "ovs-ofctl", RunDir: ovsRunDir(c)},
	}, nil
}

// zoneReady tells why the zone is not programmed: the engine's start is not over, or the
// own node's topology has reasons.
func (a *agent) zoneReady(context.Context) error {
	select {
	case <-a.engine.Synced():
	default:
		return errors.New("the databases are not in order yet")
	}
	return reasonsError(a.engine.Reasons(topology.Name, feature.Key{Name: a.o.Node}))
}

func reasonsError(reasons []feature.Reason) error {
	var errs []error
	for _, r := range reasons {
		errs = append(errs, fmt.Errorf("%s: %s; %s", r.Code, r.Message, r.Remedy))
	}
	return errors.Join(errs...)
}

// report makes reasons events on the object that is to be mended. Every zone has reasons
// for every node that is not in order: only that node's own says so to the cluster. Of
// policies the controller speaks for all nodes.
func (a *agent) report(name string, key feature.Key, reasons []feature.Reason) {
	for _, r := range a.problems.take(name, key, reasons) {
		if r.Code == engine.WaitingForRow {
			continue // it is in the engine's log; of what is waited for the object says why it lacks
		}
		if r.Object == (world.ObjectRef{}) { // the engine knows keys alone
			r.Object = a.objectOf(name, key)
		}
		if r.Object.Kind == world.KindNode && r.Object.Name != a.o.Node {
			a.Log.Debug("remote node not as asked for", "feature", name, "key", key.String(), "code", r.Code, "reason", r.Message)
			continue
		}
		a.Log.Warn("not as asked for", "feature", name, "key", key.String(), "code", r.Code, "reason", r.Message, "remedy", r.Remedy)
		if r.Object.Name != "" {
			a.recorder.Record(eventOf(r))
		}
	}
}

// objectOf is the object that a feature's key stands for; none if it is not one alone.
func (a *agent) objectOf(name string, key feature.Key) (out world.ObjectRef) {
	a.store.Read(func(v world.View) {
		switch name {
		case pods.Name, hostports.Name:
			if p, ok := v.Pod(world.PodKey{Namespace: key.Namespace, Name: key.Name}); ok {
				out = p.Ref()
			}
		case services.Name:
			if s, ok := v.Service(world.ServiceKey{Namespace: key.Namespace, Name: key.Name}); ok {
				out = s.Ref()
			}
		case topology.Name:
			if n, ok := v.Node(key.Name); ok {
				out = n.Ref()
			}
		}
	})
	return out
}

// eventOf tells of a reason. What is wrong with a Service or a Namespace all nodes see: the
// event is there once, however many they are.
func eventOf(r feature.Reason) kube.Event {
	e := kube.Event{Object: r.Object, Warning: true, Reason: r.Code, Action: "Programming", Note: r.Message + "; " + r.Remedy}
	if r.Object.Kind != world.KindNode && r.Object.Kind != world.KindPod {
		e.Once = "content"
	}
	return e
}
