// Package openflow compares our flows of a bridge with what they should be, sends only the
// differences, and tells when somebody else changes flows. It runs ovs-ofctl, which knows
// when two texts are the same flow.
//
// Our flows are known by their cookie. Flows of others are left alone, unless they have the
// table, priority and match of one of ours: a table cannot hold both.
package openflow

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os/exec"
	"path/filepath"
	"strings"
)

// Ofctl is the ovs-ofctl program and the directory of the bridges' sockets.
type Ofctl struct {
	Path   string
	RunDir string // /var/run/openvswitch
	// Cookie is what our flows have; DefaultCookie when it is zero.
	Cookie Cookie
}

// ErrNoBridge says that vswitchd does not serve the bridge: it is not running, or has not
// made the bridge yet.
var ErrNoBridge = errors.New("ovs-vswitchd does not serve the bridge")

// differs is the exit code of `ovs-ofctl diff-flows` when there are differences.
const differs = 2

// version has what the flows need: sets of fields in ct(exec(…)), and bundles.
const version = "OpenFlow13"

func (o Ofctl) socket(bridge string) string { return filepath.Join(o.RunDir, bridge+".mgmt") }

// Diff returns what turns our flows of the bridge into those wanted, given one per line.
// Wanted flows without our cookie are added like the others, and are then not ours.
func (o Ofctl) Diff(ctx context.Context, bridge, flows string) (Changes, error) {
	if err := o.serves(bridge); err != nil {
		return Changes{}, err
	}
	// The program takes a file or a switch on either side, but no "-".
	out, err := o.run(ctx, flows, "-O", version, "diff-flows", "/dev/stdin", "unix:"+o.socket(bridge))
	var exit *exec.ExitError
	if errors.As(err, &exit) && exit.ExitCode() == differs {
		return parse(out, o.Cookie.orDefault())
	}
	return Changes{}, err
}

// Apply makes the changes in one bundle, so that no packet meets half of them.
func (o Ofctl) Apply(ctx context.Context, bridge string, c Changes) error {
	if c.Empty() {
		return nil
	}
	if err := o.serves(bridge); err != nil {
		return err
	}
	_, err := o.run(ctx, c.bundle(o.Cookie.orDefault()), "-O", version, "--bundle", "add-flows", "unix:"+o.socket(bridge), "-")
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
