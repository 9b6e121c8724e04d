package openflow

import (
	"bufio"
	"context"
	"io"
	"os"
	"os/exec"
	"time"
)

const (
	// connectInterval is how often Watch looks whether vswitchd serves the bridge again. A
	// look is one connect(2): nothing is started while there is nobody to talk to.
	connectInterval = 250 * time.Millisecond
	// quiet is how long nothing must have changed before Watch tells of what changed:
	// vswitchd reports a bundle of 20,000 flows within a fifth of a second, in pieces that
	// follow each other at once.
	quiet = 20 * time.Millisecond
	// often is how much time Watch leaves between two calls while changes go on: a Diff of
	// 20,000 flows takes an eighth of that (BenchmarkDiff).
	often = time.Second
)

// Watch calls notify after changes of the bridge's flows, also after vswitchd was restarted
// and has lost them all, until ctx ends. Of many changes at once it tells once.
func (o Ofctl) Watch(ctx context.Context, bridge string, notify func()) error {
	tick := time.NewTicker(connectInterval)
	defer tick.Stop()
	for {
		if o.serves(bridge) == nil {
			// The end of the monitor is the end of vswitchd or of the bridge.
			_ = o.monitor(ctx, bridge, notify)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
	}
}

// monitor runs one `ovs-ofctl monitor` for as long as it lasts.
func (o Ofctl) monitor(ctx context.Context, bridge string, notify func()) error {
	cmd := exec.CommandContext(ctx, o.Path, "monitor", "unix:"+o.socket(bridge), "watch:!initial,!actions")
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.WaitDelay = time.Second
	cmd.SysProcAttr = dieWithParent()
	out, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	cmd.Stderr = cmd.Stdout // ovs-ofctl writes the answer to one and the changes to the other
	if err := cmd.Start(); err != nil {
		return err
	}
	changed := make(chan struct{}, 1)
	told := make(chan struct{})
	go func() {
		defer close(told)
		coalesce(changed, quiet, often, notify)
	}()
	heard(out, changed)
	close(changed)
	<-told
	return cmd.Wait()
}

// heard puts a token into changed for whatever the monitor says. Its first line answers
// the request: from there on nothing is missed, and what was changed before is looked at
// once.
func heard(out io.Reader, changed chan<- struct{}) {
	r := bufio.NewReaderSize(out, 1<<16)
	for {
		if _, err := r.ReadByte(); err != nil {
			return
		}
		_, _ = r.Discard(r.Buffered()) // what it says does not matter
		select {
		case changed <- struct{}{}:
		default:
		}
	}
}

// coalesce calls notify once there were no more changes for the time of quiet, but at most
// once in the time of often and at least that often while they go on; and at the end, for
// what it has not told yet.
func coalesce(changed <-chan struct{}, quiet, often time.Duration, notify func()) {
	var last time.Time
	for range changed {
		earliest := last.Add(often)
		latest := time.Now().Add(often)
		for open := true; open; {
			next := time.Now().Add(quiet)
			if next.Before(earliest) {
				next = earliest
			}
			if next.After(latest) {
				next = latest
			}
			timer := time.NewTimer(time.Until(next))
			select {
			case _, open = <-changed:
				timer.Stop()
				continue
			case <-timer.C:
			}
			break
		}
		last = time.Now()
		notify()
	}
}
