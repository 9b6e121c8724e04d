package replica

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os/exec"
	"runtime"
	"time"

	"github.com/ovnkctl/ovnkctl/internal/inspect/relay"
)

// process is a program of the copy.
type process struct {
	name string
	cmd  *exec.Cmd
	said relay.Tail
	done chan struct{}
}

// run starts a program, at a low priority: the node's own come first.
func (r *replica) run(name string, args ...string) (*process, error) {
	path, err := r.Find(name)
	if err != nil {
		return nil, err
	}
	p := &process{name: name, done: make(chan struct{})}
	p.cmd = exec.Command(path, append(args, "-vconsole:warn", "-vsyslog:off", "-vfile:off")...)
	p.cmd.Env = append(r.Env[:len(r.Env):len(r.Env)], "OVS_RUNDIR="+r.dir, "OVN_RUNDIR="+r.dir)
	p.cmd.Stderr, p.cmd.WaitDelay = &p.said, time.Second
	dieWithParent(p.cmd)
	started := make(chan error)
	go func() {
		// The kernel ends the program with the thread that started it, not with the process
		// (PR_SET_PDEATHSIG, prctl(2)), and Go ends threads: this one stays.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := p.cmd.Start()
		started <- err
		if err == nil {
			_ = p.cmd.Wait()
			close(p.done)
		}
	}()
	if err := <-started; err != nil {
		return nil, err
	}
	beNice(p.cmd.Process.Pid)
	r.processes = append(r.processes, p)
	return p, nil
}

// listens waits until the program listens at these sockets.
func (p *process) listens(ctx context.Context, sockets ...string) error {
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for _, socket := range sockets {
		for {
			if conn, err := dial(ctx, socket); err == nil { // the file is there a little earlier
				_ = conn.Close()
				break
			}
			select {
			case <-ctx.Done():
				return ctx.Err()
			case <-p.done:
				return p.complaint()
			case <-tick.C:
			}
		}
	}
	return nil
}

// complaint is what a program that has ended said last; nil while it runs.
func (p *process) complaint() error {
	select {
	case <-p.done:
	default:
		return nil
	}
	if text := relay.LastLine(p.said.String()); text != "" {
		return fmt.Errorf("%s ended: %s", p.name, text)
	}
	return errors.New(p.name + " ended")
}

func (p *process) kill() { _ = p.cmd.Process.Kill() }

func (p *process) stop() {
	p.kill()
	<-p.done
}

func dial(ctx context.Context, socket string) (net.Conn, error) {
	return (&net.Dialer{}).DialContext(ctx, "unix", socket)
}
