//go:build linux

// bench measures ovnkctl on a node of the sandbox beside the floor: the least that anyone
// has to do for a pod. `make bench` runs it.
//
//	bench node -kubeconfig FILE -node NAME   all phases; runs in the node's namespaces
//	bench processes                          memory of the network's processes of this node
//	bench thaw                               have the kubelet of this node go on
//	bench report FILE...                     JSON files to one Markdown report
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"syscall"
	"time"
)

func main() {
	if err := run(os.Args[1:], os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func run(args []string, stdout io.Writer) error {
	command := ""
	if len(args) > 0 {
		command, args = args[0], args[1:]
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	switch command {
	case "node":
		return onNode(ctx, args, stdout)
	case "processes":
		list, err := networkProcesses()
		if err != nil {
			return err
		}
		return json.NewEncoder(stdout).Encode(list)
	case "thaw":
		return thawKubelet()
	case "report":
		return report(args, stdout)
	}
	return errors.New("usage: bench node|processes|thaw|report; `make bench` calls it right")
}

func onNode(ctx context.Context, args []string, stdout io.Writer) (err error) {
	flags := flag.NewFlagSet("bench node", flag.ContinueOnError)
	kubeconfig := flags.String("kubeconfig", ".sandbox/kubeconfig", "of an administrator")
	node := flags.String("node", "", "name of this node")
	rounds := flags.Int("rounds", 50, "samples of each kind, one at a time")
	shim := flags.String("shim", "/opt/cni/bin/ovn-k8s-cni-overlay", "the CNI plugin")
	limit := flags.Duration("limit", 280*time.Second, "give up after this time")
	if err := flags.Parse(args); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, *limit)
	defer cancel()
	b := &bench{rounds: *rounds, shim: *shim, log: slog.New(slog.NewTextHandler(os.Stderr, nil))}
	b.out.Machine = machine(*node)
	if b.agent, err = find("ovnkctl", "node"); err != nil {
		return err
	}
	thaw, err := freezeKubelet()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, b.handBack(), thaw()) }()
	if b.rig, err = newRig(ctx, *kubeconfig, *node); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, b.rig.clean(context.WithoutCancel(ctx))) }()
	if err := b.rig.prepare(210); err != nil {
		return err
	}
	if b.floor, err = newFloor(); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, b.floor.close()) }()
	ovn, err := b.floor.ovnVersion()
	if err != nil {
		return err
	}
	b.out.Machine.Versions = switchVersion() + ", OVN " + ovn
	if err := b.run(ctx); err != nil {
		return err
	}
	if err := b.floor.nothingLeft(); err != nil {
		return err
	}
	b.out.Machine.Load += " → " + loadAverage()
	return json.NewEncoder(stdout).Encode(b.out)
}
