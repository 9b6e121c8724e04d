// Package openflow compares the flows of a bridge with what they should be, sends only
// the differences, and tells when somebody else changes them. It runs ovs-ofctl, which
// knows when two texts are the same flow.
package openflow

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// Ofctl is the ovs-ofctl program and the directory of the bridges' sockets.
type Ofctl struct {
	Path   string
	RunDir string // /var/run/openvswitch
}

// ErrNoBridge says that vswitchd does not serve the bridge: it is not running, or has not
// made the bridge yet.
var ErrNoBridge = errors.New("ovs-vswitchd does not serve the bridge")

// differs is the exit code of `ovs-ofctl diff-flows` when there are differences.
const differs = 2

// version has what the flows need: sets of fields in ct(exec(…)), and bundles.
const version = "OpenFlow13"

func (o Ofctl) socket(bridge string) string { return filepath.Join(o.RunDir, bridge+".mgmt") }

// Diff returns how the live flows differ from those wanted, one per line: "-" is missing
// from the bridge, "+" is too much. It is empty when nothing differs.
func (o Ofctl) Diff(ctx context.Context, bridge, flows string) (string, error) {
	if err := o.serves(bridge); err != nil {
		return "", err
	}
	// The program takes a file or a switch on either side, but no "-".
	out, err := o.run(ctx, flows, "-O", version, "diff-flows", "/dev/stdin", "unix:"+o.socket(bridge))
	var exit *exec.ExitError
	if errors.As(err, &exit) && exit.ExitCode() == differs {
		return out, nil
	}
	return "", err
}

// Replace makes the bridge's flows those given, in one bundle of the differences, so that
// no packet meets half of them.
func (o Ofctl) Replace(ctx context.Context, bridge, flows string) error {
	if err := o.serves(bridge); err != nil {
		return err
	}
	_, err := o.run(ctx, flows, "-O", version, "--bundle", "replace-flows", "unix:"+o.socket(bridge), "-")
	return err
}

// serves is a cheap look before a process is started.
func (o Ofctl) serves(bridge string) error {
	c, err := net.Dial("unix", o.socket(bridge))
	if err != nil {
		return fmt.Errorf("bridge %s: %w: %w", bridge, ErrNoBridge, err)
	}
	return c.Close()
}

func (o Ofctl) run(ctx context.Context, stdin string, args ...string) (string, error) {
	var out, stderr bytes.Buffer
	cmd := exec.CommandContext(ctx, o.Path, args...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(stdin), &out, &stderr
	err := cmd.Run()
	if err != nil && stderr.Len() > 0 {
		err = fmt.Errorf("ovs-ofctl %s: %s: %w", args[len(args)-3], strings.TrimSpace(stderr.String()), err)
	}
	return out.String(), err
}

// connectInterval is how often Watch looks whether vswitchd serves the bridge again. A
// look is one connect(2): nothing is started while there is nobody to talk to.
const connectInterval = 250 * time.Millisecond

// Watch calls notify after each change of the bridge's flows, also after vswitchd was
// restarted and has lost them all, until ctx ends.
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
	cmd := exec.CommandContext(ctx, o.Path, "monitor", "unix:"+o.socket(bridge), "watch:!initial")
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
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		// The first line answers the request: from here on nothing is missed, and what
		// was changed before is looked at once.
		notify()
	}
	return cmd.Wait()
}
