//go:build linux

package node

import (
	"context"

	"github.com/ovnkctl/ovnkctl/internal/ovn/sb"
	"github.com/ovnkctl/ovnkctl/internal/runtime/feature"
	"github.com/ovnkctl/ovnkctl/internal/runtime/node/idle"
)

// southTables are the tables that the configuration has the program watch.
func (a *agent) southTables() []string {
	if a.network.EmptyLoadBalancerEvents {
		return append(feature.SouthTables(), sb.ControllerEventTable)
	}
	return feature.SouthTables()
}

// startIdle makes packets for services that sleep events, if the configuration wants them.
func (a *agent) startIdle(ctx context.Context) error {
	if !a.network.EmptyLoadBalancerEvents {
		return nil
	}
	teller := idle.NewTeller(a.Client, component, a.o.Node, a.Log)
	watcher, err := idle.New(idle.Config{
		SB: a.sb, Lookup: idle.ByRow(a.nb, a.store), NeedPods: teller.NeedPods, Logger: a.Log,
	})
	if err != nil {
		return err
	}
	a.Go(ctx, teller.Run)
	a.Go(ctx, func(ctx context.Context) error {
		select {
		case <-a.engine.Synced(): // all services are known, and their rows are in order
		case <-ctx.Done():
		}
		return watcher.Run(ctx)
	})
	return nil
}
