//go:build linux

package node

import (
	"context"
	"slices"
	"sync"

	"github.com/ovnkctl/ovnkctl/internal/annotation"
	"github.com/ovnkctl/ovnkctl/internal/runtime/host"
	"github.com/ovnkctl/ovnkctl/internal/world"
)

// annotator writes what the host reports to the annotations of the own Node, and puts
// back what somebody changed there.
type annotator struct {
	node    string
	network world.Network
	write   func(world.ObjectRef, map[string]string)

	known chan struct{} // closed once there are facts

	mu    sync.Mutex
	facts *host.Facts
	own   *world.Node
}

func newAnnotator(node string, network world.Network, write func(world.ObjectRef, map[string]string)) *annotator {
	return &annotator{node: node, network: network, write: write, known: make(chan struct{})}
}

// first waits for facts.
func (a *annotator) first(ctx context.Context) (host.Facts, error) {
	select {
	case <-a.known:
		a.mu.Lock()
		defer a.mu.Unlock()
		return *a.facts, nil
	case <-ctx.Done():
		return host.Facts{}, ctx.Err()
	}
}

// onFacts is the host's callback.
func (a *annotator) onFacts(f host.Facts) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.facts == nil {
		close(a.known)
	}
	a.facts = &f
	a.reconcile()
}

// onWorld is called under the world's lock.
func (a *annotator) onWorld(_ world.View, c world.Change) {
	if c.NewNode == nil || c.NewNode.Name != a.node {
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.own = c.NewNode
	a.reconcile()
}

func (a *annotator) reconcile() {
	if a.facts == nil || a.own == nil || a.agrees() {
		return
	}
	a.write(a.own.Ref(), a.annotations())
}

// agrees tells whether the Node says what the host does.
func (a *annotator) agrees() bool {
	f, n := a.facts, a.own
	g := f.Gateway(a.node, a.network.GatewayMode)
	return len(n.Problems) == 0 && n.Gateway != nil &&
		n.ChassisID == f.ChassisID && n.NoGatewayMTU == f.NoGatewayMTU &&
		n.Gateway.Mode == g.Mode && n.Gateway.BridgeID == g.BridgeID && n.Gateway.InterfaceID == g.InterfaceID &&
		n.Gateway.MAC == g.MAC && slices.Equal(n.Gateway.Addresses, g.Addresses) && slices.Equal(n.Gateway.NextHops, g.NextHops) &&
		slices.Equal(n.PrimaryAddrs, f.Primary) && slices.Equal(n.EncapIPs, f.EncapIPs) && slices.Equal(n.HostAddrs, f.HostAddrs)
}

func (a *annotator) annotations() map[string]string {
	f, out := a.facts, map[string]string{}
	g := f.Gateway(a.node, a.network.GatewayMode)
	annotation.NodeChassisID.Put(out, f.ChassisID)
	annotation.NodePrimaryAddrs.Put(out, f.Primary)
	annotation.NodeHostAddrs.Put(out, f.HostAddrs)
	annotation.NodeEncapIPs.Put(out, f.EncapIPs)
	annotation.NodeMasquerade.Put(out, a.network.OfFamilies(a.network.Masquerade))
	annotation.L3Gateway.Put(out, annotation.Gateway{
		Mode: string(g.Mode), BridgeID: g.BridgeID, InterfaceID: g.InterfaceID, MAC: g.MAC,
		Addresses: g.Addresses, NextHops: g.NextHops, VLAN: g.VLAN, NodePort: g.NodePort,
	})
	out[annotation.GatewayMTUSupport.Key()] = "" // absent: supported
	if f.NoGatewayMTU {
		annotation.GatewayMTUSupport.Put(out, false)
	}
	return out
}
