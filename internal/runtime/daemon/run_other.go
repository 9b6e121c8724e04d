//go:build !linux

package daemon

import (
	"context"
	"errors"
)

// Run is not possible on this system.
func (d Daemon) Run(context.Context, Options) error {
	return hint(errors.New("ovnkctl run is for Linux only: it becomes a daemon of Open vSwitch or OVN"), "run it in the pods of the cluster")
}
