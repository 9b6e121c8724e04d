//go:build linux

package node

import (
	"context"
	"fmt"
	"net/netip"
	"strings"
	"time"

	"github.com/ovnkctl/ovnkctl/internal/cni"
	"github.com/ovnkctl/ovnkctl/internal/cni/history"
	"github.com/ovnkctl/ovnkctl/internal/cni/plumb"
	"github.com/ovnkctl/ovnkctl/internal/cni/port"
	"github.com/ovnkctl/ovnkctl/internal/cni/server"
	"github.com/ovnkctl/ovnkctl/internal/ovn"
	"github.com/ovnkctl/ovnkctl/internal/ovn/names"
	"github.com/ovnkctl/ovnkctl/internal/ovn/nb"
	"github.com/ovnkctl/ovnkctl/internal/runtime/feature"
	"github.com/ovnkctl/ovnkctl/internal/runtime/feature/pods"
	"github.com/ovnkctl/ovnkctl/internal/runtime/feature/policy"
	"github.com/ovnkctl/ovnkctl/internal/runtime/kube"
	"github.com/ovnkctl/ovnkctl/internal/runtime/node/ipam"
	"github.com/ovnkctl/ovnkctl/internal/world"
)

const (
	// sweepInterval is how often what pods left behind is looked for: runtimes that know
	// CNI before 1.1 have no GC.
	sweepInterval = 5 * time.Minute
	// integrationBridge is where ovn-controller expects the ports of pods.
	integrationBridge = "br-int"
	// shimSource is where the image has the CNI plugin.
	shimSource = "/usr/libexec/ovnkctl/" + cni.PluginType
)

// startCNI makes the address allocator and the CNI server. The server listens at once, so
// that DEL always works; the configuration that makes the runtime call it for new pods is
// written when the host and the zone are ready.
func (a *agent) startCNI(ctx context.Context) (*ipam.Agent, error) {
	metrics, err := server.NewMetrics(a.Registry)
	if err != nil {
		return nil, err
	}
	remembered := history.New(nil)
	var networks *server.World
	addresses := ipam.New(ipam.Config{
		Store: a.store, Network: a.network, Recorded: a.recorded, Annotate: a.patcher.Annotate,
		Report: func(pod world.ObjectRef, code, message, remedy string) {
			a.recorder.Record(kube.Event{Object: pod, Warning: true, Reason: code, Action: "AllocatingAddress", Note: message + "; " + remedy})
		},
		Poke:   func(k world.PodKey) { networks.Poke(k) },
		Logger: a.Log,
	})
	if err := a.Registry.Register(addresses); err != nil {
		return nil, fmt.Errorf("metrics of addresses: %w", err)
	}
	networks = server.NewWorld(server.WorldConfig{
		Store: a.store, Allocator: addresses, Needs: podNeeds, Programmer: a.engine, Namespaces: true, History: remembered,
		HasPort: func(pod world.PodKey) bool {
			_, ok := ovn.Find[nb.LogicalSwitchPort](a.nb, names.Pod(pod.Namespace, pod.Name))
			return ok
		},
	})
	machine := plumb.NewHost()
	s := server.New(server.Config{
		Socket: a.o.Config.CNI.Socket, MTU: a.network.MTU, Networks: networks,
		Ports: port.New(a.ovs, ovn.NewCommitter(a.ovs), integrationBridge), Links: server.Netlink{Host: machine}, Policed: machine.Policed,
		Ready: func() error { return a.ready(ctx) },
		Event: func(pod world.ObjectRef, reason, note string) {
			a.recorder.Record(kube.Event{Object: pod, Warning: true, Reason: reason, Action: "AttachingPod", Note: note})
		},
		Repair: a.repair, History: remembered, Logger: a.Log, Metrics: metrics,
	})
	context.AfterFunc(ctx, ovn.Watch(a.nb, func(_, now *nb.LogicalSwitchPort) {
		if now != nil && now.ExternalIDs["pod"] == "true" {
			remembered.HasPort(now.Options["iface-id-ver"])
		}
	}))
	a.Go(ctx, addresses.Run)
	a.Go(ctx, s.Serve)
	a.Go(ctx, func(ctx context.Context) error { return a.openForPods(ctx, s) })
	return addresses, nil
}

// podNeeds is what must be in the databases before a pod starts. When the flows of its port
// are installed, so are those of what was committed with it or before.
func podNeeds(k world.PodKey) []server.Need {
	return []server.Need{
		{Feature: policy.Name, Key: policy.PodKey(k.Namespace, k.Name)},
		{Feature: pods.Name, Key: feature.Key{Namespace: k.Namespace, Name: k.Name}},
	}
}

// openForPods removes what pods left that went while this program was down, and has the
// runtime call for new ones.
func (a *agent) openForPods(ctx context.Context, s *server.Server) error {
	if err := cni.InstallShim(shimSource, a.o.Config.CNI.BinDir); err != nil {
		return err
	}
	select {
	case <-a.engine.Synced():
	case <-ctx.Done():
		return ctx.Err()
	}
	a.sweep(ctx, s)
	if err := a.host.WaitReady(ctx); err != nil {
		return err
	}
	conf := cni.Conf{Dir: a.o.Config.CNI.ConfDir, Version: a.o.Config.CNI.CNIVersion, Socket: a.o.Config.CNI.Socket}
	if err := conf.Write(); err != nil {
		return err
	}
	a.Serving.Ready.Add("cni", func(context.Context) error { return nil })
	a.Log.Info("ready for pods", "configuration", conf.Path())
	again := time.NewTicker(sweepInterval)
	defer again.Stop()
	for {
		select {
		case <-again.C:
			a.sweep(ctx, s)
		case <-ctx.Done():
			return nil
		}
	}
}

func (a *agent) sweep(ctx context.Context, s *server.Server) {
	if n, err := s.Sweep(ctx); err != nil {
		a.Log.Warn("leftovers of pods not removed; they will be tried again", "error", err)
	} else if n > 0 {
		a.Log.Info("removed what pods left whose DEL did not come", "ports", n)
	}
}

// ready tells why pods cannot be attached now.
func (a *agent) ready(ctx context.Context) error {
	if err := a.zoneReady(ctx); err != nil {
		return err
	}
	if ok, reasons := a.host.Ready(); !ok {
		return reasons[0]
	}
	return nil
}

// recorded are the addresses of the pods' ports in the northbound database.
func (a *agent) recorded() map[ipam.Owner][]netip.Prefix {
	out := map[ipam.Owner][]netip.Prefix{}
	var subnets []netip.Prefix
	a.store.Read(func(v world.View) {
		if n, ok := v.Node(v.LocalNode()); ok {
			subnets = v.NodeSubnets(&a.network, n)
		}
	})
	for _, p := range ovn.List[nb.LogicalSwitchPort](a.nb) {
		namespace := p.ExternalIDs["namespace"]
		name, isPod := strings.CutPrefix(p.Name, namespace+"_")
		if p.ExternalIDs["pod"] != "true" || !isPod || len(p.Addresses) != 1 {
			continue
		}
		o := ipam.Owner{Pod: world.PodKey{Namespace: namespace, Name: name}, UID: p.Options["iface-id-ver"]}
		for _, field := range strings.Fields(p.Addresses[0]) {
			if addr, err := netip.ParseAddr(field); err == nil {
				for _, s := range subnets {
					if s.Contains(addr) {
						out[o] = append(out[o], netip.PrefixFrom(addr, s.Bits()))
					}
				}
			}
		}
	}
	return out
}
