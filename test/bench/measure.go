//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"time"

	"github.com/ovnkctl/ovnkctl/internal/cni/wire"
)

// bench is a run on one node.
type bench struct {
	rig    *rig
	floor  *floor
	agent  int    // process id of `ovnkctl node`
	peers  peers  // on the other nodes
	task   string // container that was started in the place of the kubelet
	serial int    // of the floor's pods
	rounds int
	// services is how many are many.
	services int
	shim     string
	log      *slog.Logger
	out      Results
}

// quiet is how long the node is left alone before each sample, after it has settled.
const quiet = 20 * time.Millisecond

func (b *bench) settle() error {
	err := b.floor.settle()
	time.Sleep(quiet)
	return err
}

func (b *bench) floorPods(n int) []floorPod {
	out := make([]floorPod, n)
	for i := range out {
		b.serial++
		out[i] = floorPod{veth: fmt.Sprint(floorVeth, b.serial), netns: <-b.rig.spare, index: b.serial}
	}
	return out
}

func (b *bench) free(pods []floorPod) error {
	err := b.floor.del(pods...)
	for _, p := range pods {
		b.rig.spare <- p.netns
	}
	return err
}

// run does all phases. The kubelet is stopped meanwhile.
func (b *bench) run(ctx context.Context) (err error) {
	if b.out.Idle, err = networkProcesses(); err != nil {
		return err
	}
	base, err := b.attach(ctx, 5)
	if err != nil {
		return err
	}
	if err := b.single(ctx, 5); err != nil {
		return err
	}
	if err := b.measureShim(ctx); err != nil {
		return err
	}
	if _, err := b.burst(ctx, 50, false); err != nil {
		return err
	}
	hundred, err := b.burst(ctx, 100, true)
	if err != nil {
		return err
	}
	full := append(base, hundred...)
	b.out.FullPods = len(full)
	if b.out.Full, err = networkProcesses(); err != nil {
		return err
	}
	if err := b.single(ctx, len(full)); err != nil {
		return err
	}
	if b.out.Restart, err = b.restart(ctx); err != nil {
		return err
	}
	b.out.Restart.Pods = len(full)
	_, _, failed := callMany(wire.Del, full)
	return errors.Join(append(failed, b.removed(ctx, full...))...)
}

// attach makes pods that stay.
func (b *bench) attach(ctx context.Context, n int) ([]*pod, error) {
	pods, err := b.rig.createMany(ctx, n)
	if err != nil {
		return nil, err
	}
	_, _, failed := callMany(wire.Add, pods)
	return pods, errors.Join(failed...)
}

// single measures one pod at a time, in turn with the floor, so that both meet the same
// load of the machine.
func (b *bench) single(ctx context.Context, pods int) error {
	b.log.Info("one at a time", "pods", pods)
	var add, once, del, plain, known, command []time.Duration
	stages, stagesOnce, floorStages := samples{}, samples{}, samples{}
	var costs costsMeter
	for range b.rounds {
		for _, atOnce := range []bool{false, true} {
			took, one, gone, err := b.one(ctx, atOnce, &costs)
			if err != nil {
				return err
			}
			del = append(del, gone)
			if atOnce {
				once = append(once, took)
				stagesOnce.add(one)
			} else {
				add = append(add, took)
				stages.add(one)
			}
		}
		for _, variant := range []struct {
			veth     vethMaker
			rowFirst bool
			took     *[]time.Duration
		}{{b.floor.byNetlink, false, &plain}, {b.floor.byNetlink, true, &known}, {b.floor.byCommand, false, &command}} {
			t, err := b.oneFloor(variant.veth, variant.rowFirst)
			if err != nil {
				return err
			}
			*variant.took = append(*variant.took, t.total())
			if variant.took == &plain {
				floorStages.add(t)
			}
		}
	}
	b.out.Single = append(b.out.Single, Single{
		Pods: pods, Add: stat(add), AddAtOnce: stat(once), Del: stat(del),
		Floor: stat(plain), FloorKnown: stat(known), FloorIP: stat(command),
		Stages: stages.stats(), StagesOnce: stagesOnce.stats(), FloorStages: floorStages.stats(),
		Costs: costs.perPod(2 * b.rounds),
	})
	return nil
}

// one attaches and detaches one pod.
func (b *bench) one(ctx context.Context, atOnce bool, costs *costsMeter) (took time.Duration, stages map[string]time.Duration, del time.Duration, err error) {
	before, err := b.snapshot()
	if err != nil {
		return 0, nil, 0, err
	}
	p, err := b.rig.create(ctx)
	if err != nil {
		return 0, nil, 0, err
	}
	if !atOnce {
		if err := b.rig.awaitKnown(ctx, p); err != nil {
			return 0, nil, 0, err
		}
		if err := b.settle(); err != nil {
			return 0, nil, 0, err
		}
	}
	if took, err = b.counted(p, wire.Add, costs); err != nil {
		return 0, nil, 0, err
	}
	if err := b.settle(); err != nil {
		return 0, nil, 0, err
	}
	added, err := b.snapshot()
	if err != nil {
		return 0, nil, 0, err
	}
	if del, err = b.counted(p, wire.Del, costs); err != nil {
		return 0, nil, 0, err
	}
	if err := b.removed(ctx, p); err != nil {
		return 0, nil, 0, err
	}
	gone, err := b.snapshot()
	if err != nil {
		return 0, nil, 0, err
	}
	costs.note(before, added, gone)
	return took, added.metrics.stagesSince(before.metrics), del, b.settle()
}

// counted is one call, with the page faults of commands that the node's program ran.
func (b *bench) counted(p *pod, command string, costs *costsMeter) (time.Duration, error) {
	before, err := usageOf(b.agent)
	if err != nil {
		return 0, err
	}
	took, callErr := p.call(command)
	after, err := usageOf(b.agent)
	costs.sum.ChildFaults += after.childFaults - before.childFaults
	return took, errors.Join(callErr, err)
}

// removed deletes pods and waits until their rows are gone.
func (b *bench) removed(ctx context.Context, pods ...*pod) error {
	if err := b.rig.remove(ctx, pods...); err != nil {
		return err
	}
	return until(ctx, "removal of the pods' rows", func() (bool, error) {
		out, err := b.floor.nb.transact(dict{"op": "select", "table": "Logical_Switch_Port", "where": list{}, "columns": list{"name"}})
		if err != nil {
			return false, err
		}
		there := map[string]bool{}
		for _, row := range out[0].Rows {
			there[strings.Trim(string(row["name"]), `"`)] = true
		}
		for _, p := range pods {
			if there[namespace+"_"+p.name] {
				return false, fmt.Errorf("port %s_%s is still in the Northbound database", namespace, p.name)
			}
		}
		return true, nil
	})
}

func (b *bench) oneFloor(veth vethMaker, rowFirst bool) (floorTimes, error) {
	pods := b.floorPods(1)
	if rowFirst {
		if err := b.floor.addRow(pods[0]); err != nil {
			return nil, err
		}
		if err := b.settle(); err != nil {
			return nil, err
		}
	}
	t, err := b.floor.add(pods[0], veth, rowFirst)
	return t, errors.Join(err, b.free(pods), b.settle())
}

// burst measures many pods at once, twice the floor and then ours; keep leaves them.
func (b *bench) burst(ctx context.Context, n int, keep bool) ([]*pod, error) {
	b.log.Info("burst", "pods", n)
	r := Burst{Pods: n, Failed: []string{}, StageMeans: map[string]float64{}}
	for _, rowFirst := range []bool{false, true} {
		pods := b.floorPods(n)
		all, each, err := b.floor.burst(pods, rowFirst)
		if err := errors.Join(err, b.free(pods), b.settle()); err != nil {
			return nil, err
		}
		if rowFirst {
			r.FloorKnown, r.FloorAdd = millis(all), stat(each)
		} else {
			r.Floor = millis(all)
		}
	}
	before, err := b.snapshot()
	if err != nil {
		return nil, err
	}
	pods, err := b.rig.createMany(ctx, n)
	if err := errors.Join(err, b.settle()); err != nil {
		return nil, err
	}
	all, each, failed, faults, err := b.callAll(wire.Add, pods)
	if err != nil {
		return nil, err
	}
	r.Installed, r.Add = millis(all), stat(each)
	for _, err := range failed {
		r.Failed = append(r.Failed, err.Error())
	}
	if err := b.settle(); err != nil {
		return nil, err
	}
	added, err := b.snapshot()
	if err != nil {
		return nil, err
	}
	for name, d := range added.metrics.stagesSince(before.metrics) {
		r.StageMeans[name] = millis(d)
	}
	gone := added
	if !keep {
		all, _, failed, more, err := b.callAll(wire.Del, pods)
		if err != nil {
			return nil, err
		}
		r.Deleted = millis(all)
		faults += more
		if err := errors.Join(append(failed, b.removed(ctx, pods...), b.settle())...); err != nil {
			return nil, err
		}
		if gone, err = b.snapshot(); err != nil {
			return nil, err
		}
	}
	var costs costsMeter
	costs.note(before, added, gone)
	r.Costs = costs.perPod(n)
	r.Costs.ChildFaults = faults
	b.out.Bursts = append(b.out.Bursts, r)
	return pods, nil
}

// callAll is callMany with the page faults of commands that the node's program ran
// meanwhile. Around the calls alone: every 30 s it looks after its host, with `nft`.
func (b *bench) callAll(command string, pods []*pod) (all time.Duration, each []time.Duration, failed []error, faults int64, err error) {
	before, err := usageOf(b.agent)
	if err != nil {
		return 0, nil, nil, 0, err
	}
	all, each, failed = callMany(command, pods)
	after, err := usageOf(b.agent)
	return all, each, failed, after.childFaults - before.childFaults, err
}

// measureShim makes calls by the real plugin.
func (b *bench) measureShim(ctx context.Context) error {
	b.log.Info("CNI plugin")
	pods, err := b.rig.createMany(ctx, 1)
	if err != nil {
		return err
	}
	var cpu, wall []time.Duration
	var peak int64
	for range b.rounds {
		for _, command := range []string{wire.Add, wire.Del} {
			use, err := pods[0].shim(b.shim, command)
			if err != nil {
				return err
			}
			cpu = append(cpu, time.Duration(use.CPUNanos))
			wall = append(wall, time.Duration(use.WallNanos))
			peak = max(peak, use.MaxRSSKiB)
		}
		if err := b.settle(); err != nil {
			return err
		}
	}
	info, err := os.Stat(b.shim)
	if err != nil {
		return err
	}
	b.out.Shim = Shim{CPU: stat(cpu), Wall: stat(wall), MaxRSSMiB: float64(peak) / 1024, SizeMiB: float64(info.Size()) / (1 << 20)}
	return b.rig.remove(ctx, pods...)
}
