//go:build linux

package node

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/ovnkctl/ovnkctl/internal/runtime/feature"
	"github.com/ovnkctl/ovnkctl/internal/runtime/repair"
)

// repairTime bounds one repair: nobody waits longer at a terminal.
const repairTime = 10 * time.Second

// repair looks again at what somebody has seen to be wrong. All keys are put into the queue
// before the first is waited for, and all are waited for at once: one that is refused takes all
// of the time.
func (a *agent) repair(ctx context.Context, r repair.Request) repair.Answer {
	ctx, cancel := context.WithTimeout(ctx, repairTime)
	defer cancel()
	var out repair.Answer
	var waiting sync.WaitGroup
	if r.Host {
		waiting.Go(func() { out.Host = a.repairHost(ctx) })
	}
	out.Keys = make([]repair.Outcome, len(r.Keys))
	waits := make([]func(context.Context) error, len(r.Keys))
	for i, k := range r.Keys {
		out.Keys[i].Key = k
		waits[i] = a.engine.Repair(k.Feature, feature.ParseKey(k.Key))
	}
	for i, wait := range waits {
		o := &out.Keys[i]
		if wait == nil {
			o.Result, o.Why = repair.Unknown, "this node runs no feature "+o.Feature
			continue
		}
		waiting.Go(func() { a.repaired(o, wait(ctx)) })
	}
	waiting.Wait()
	return out
}

// repaired notes what came of a key.
func (a *agent) repaired(o *repair.Outcome, err error) {
	if err == nil {
		o.Result = repair.Done
		return
	}
	o.Result, o.Why = repair.Timeout, err.Error()
	if reasons := a.engine.Reasons(o.Feature, feature.ParseKey(o.Key.Key)); len(reasons) > 0 {
		o.Result, o.Why = repair.Failed, reasons[0].Message
	}
}

func (a *agent) repairHost(ctx context.Context) *repair.HostOutcome {
	err := a.host.Look(ctx)
	switch {
	case err == nil:
		return &repair.HostOutcome{Result: repair.Done}
	case errors.Is(err, context.DeadlineExceeded):
		return &repair.HostOutcome{Result: repair.Timeout, Why: err.Error()}
	}
	return &repair.HostOutcome{Result: repair.Failed, Why: err.Error()}
}
