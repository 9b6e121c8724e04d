package host

import (
	"context"
	"sync"
	"time"

	"github.com/ovnkctl/ovnkctl/internal/runtime/host/kernel"
)

// watchPause is how soon a watch is begun again that ended.
const watchPause = time.Second

// watch wakes the Reconciler when somebody changes what it looks at.
func (r *Reconciler) watch(ctx context.Context, wg *sync.WaitGroup) {
	host := r.cfg.Host
	watches := map[string]func() error{
		"Open vSwitch database": func() error {
			return host.Switch.Watch(ctx, func() { r.kick(scopeState) })
		},
		"network stack": func() error {
			return host.Kernel.Watch(ctx, r.currentInterest, func() { r.kick(scopeState) })
		},
		"nftables": func() error {
			return host.Firewall.Watch(ctx, []string{tableName, guardName}, func() { r.kick(scopeFirewall) })
		},
		"flows": func() error {
			return host.Flows.Watch(ctx, r.cfg.bridge(), func() { r.kick(scopeFlows) })
		},
	}
	for what, f := range watches {
		wg.Go(func() {
			for ctx.Err() == nil {
				if err := f(); ctx.Err() == nil {
					r.cfg.Log.Warn("watch ended and begins again", "watch", what, "err", err)
					pause(ctx, watchPause)
				}
			}
		})
	}
}

func pause(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-t.C:
	}
}

func (r *Reconciler) currentInterest() kernel.Interest {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.interest
}
