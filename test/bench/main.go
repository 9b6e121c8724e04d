//go:build linux

// bench measures ovnkctl on a node of the sandbox beside the floor: the least that anyone
// has to do for a pod. `make bench` runs it.
//
//	bench node -kubeconfig FILE -node NAME   pods; runs in the node's namespaces
//	bench services ...                       services; the same
//	bench peer -listen ADDRESS               makes the floor's changes on another node
//	bench processes                          memory of the network's processes of this node
//	bench thaw                               have the kubelet and the program of this node go on
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
	"strings"
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
		return onNode(ctx, args, stdout, part{netns: 210, limit: 280 * time.Second, run: (*bench).run})
	case "services":
		return onNode(ctx, args, stdout, part{netns: 10, limit: 12 * time.Minute, run: (*bench).runServices})
	case "peer":
		return servePeer(ctx, args)
	case "processes":
		list, err := networkProcesses()
		if err != nil {
			return err
		}
		return json.NewEncoder(stdout).Encode(list)
	case "thaw":
		return thaw()
	case "report":
		return report(args, stdout)
	}
	return errors.New("usage: bench node|services|peer|processes|thaw|report; `make bench` calls it right")
}

// part is one part of the benchmark.
type part struct {
	netns int           // network namespaces for pods
	limit time.Duration // the kubelet of the node is stopped that long at most
	run   func(*bench, context.Context) error
}

// onNode prepares the node for a part, runs it and leaves nothing behind.
func onNode(ctx context.Context, args []string, stdout io.Writer, p part) (err error) {
	flags := flag.NewFlagSet("bench node", flag.ContinueOnError)
	kubeconfig := flags.String("kubeconfig", ".sandbox/kubeconfig", "of an administrator")
	node := flags.String("node", "", "name of this node")
	rounds := flags.Int("rounds", 50, "samples of each kind, one at a time")
	shim := flags.String("shim", "/opt/cni/bin/ovn-k8s-cni-overlay", "the CNI plugin")
	services := flags.Int("services", 5000, "how many services are many")
	others := flags.String("peers", "", "addresses of `bench peer` on the other nodes, with commas between")
	limit := flags.Duration("limit", p.limit, "give up after this time")
	if err := flags.Parse(args); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, *limit)
	defer cancel()
	b := &bench{rounds: *rounds, shim: *shim, services: *services, log: slog.New(slog.NewTextHandler(os.Stderr, nil))}
	b.out.Machine = machine(*node)
	b.peers = strings.FieldsFunc(*others, func(r rune) bool { return r == ',' })
	if err := until(ctx, "the node's program", func() (bool, error) { return nodeReady(), nil }); err != nil {
		return err // the last benchmark may have left it to the kubelet to start it again
	}
	if b.agent, err = find("ovnkctl", "node"); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, b.peers.all(context.WithoutCancel(ctx), "end", nil)) }()
	thaw, err := freezeKubelet()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, b.handBack(), thaw()) }()
	if b.rig, err = newRig(ctx, *kubeconfig, *node); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, b.rig.clean(context.WithoutCancel(ctx))) }()
	if err := b.rig.prepare(p.netns); err != nil {
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
	runErr := p.run(b, ctx)
	if runErr == nil {
		runErr = b.floor.nothingLeft()
	}
	b.out.Machine.Load += " → " + loadAverage()
	// With an error it is what there was until then.
	return errors.Join(runErr, json.NewEncoder(stdout).Encode(b.out))
}
