//go:build linux

package node

import (
	"context"
	"errors"
	"maps"
	"slices"
	"time"

	"github.com/ovnkctl/ovnkctl/internal/ovn"
	"github.com/ovnkctl/ovnkctl/internal/runtime/host"
	"github.com/ovnkctl/ovnkctl/internal/runtime/host/ovs"
	"github.com/ovnkctl/ovnkctl/internal/runtime/kube"
	"github.com/ovnkctl/ovnkctl/internal/runtime/node/dns"
	"github.com/ovnkctl/ovnkctl/internal/serving"
)

// switchTimeout is how long Cleanup waits for Open vSwitch, which may be gone already.
const switchTimeout = 10 * time.Second

// Cleanup takes everything off this host that Run put there.
func Cleanup(ctx context.Context, o Options) error {
	network, err := o.Config.DefaultNetwork()
	if err != nil {
		return err
	}
	log, _, err := serving.NewLogger(o.Stderr, o.Config.Log)
	if err != nil {
		return err
	}
	connecting, cancel := context.WithTimeout(ctx, switchTimeout)
	defer cancel()
	columns := ovs.Columns()
	db, err := ovn.Open(connecting, ovn.Config{
		Endpoint: o.Config.OVN.OVS, Database: ovn.OpenVSwitch(),
		Tables: slices.Collect(maps.Keys(columns)), Columns: columns, Logger: log,
	})
	if err != nil {
		log.Warn("cleaning up without Open vSwitch", "error", err)
	} else {
		defer db.Close()
	}
	h, err := NewHost(o.Config, db)
	if err != nil {
		return err
	}
	return errors.Join(
		host.Cleanup(ctx, host.Config{Node: o.Node, Config: o.Config, Network: network, Host: h, Log: log}),
		dns.Redirect{Nft: nftProgram}.Remove(ctx),
		kube.Forget(o.Config.Kubernetes),
	)
}
