//go:build linux

// tools measures the operator's commands in the sandbox, with the shop of test/bundle in it,
// beside what kubectl alone would need. `test/bench/run tools` runs it.
//
//	tools -kubectl "bin/sandbox kubectl" -ovnkctl bin/ovnkctl -bundle node500.tar.gz
//
// It writes Markdown to standard output: times of whole processes, in milliseconds.
package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "tools:", err)
		os.Exit(1)
	}
}

// bench is one run.
type bench struct {
	kubectl []string
	ovnkctl string
	bundle  string // of a node with many pods
	dir     string
	rounds  int
}

// command is one thing that is measured.
type command struct {
	name   string
	argv   [][]string    // one after the other
	target time.Duration // 0 for none
	floor  string        // the name of what it is compared with
	took   []time.Duration
}

func run(ctx context.Context, args []string) error {
	flags := flag.NewFlagSet("tools", flag.ContinueOnError)
	kubectl := flags.String("kubectl", "bin/sandbox kubectl", "command line of kubectl")
	b := &bench{}
	flags.StringVar(&b.ovnkctl, "ovnkctl", "bin/ovnkctl", "the program")
	flags.StringVar(&b.bundle, "bundle", "", "bundle of a node with many pods; empty for none")
	flags.IntVar(&b.rounds, "rounds", 20, "how often each command is run")
	if err := flags.Parse(args); err != nil {
		return err
	}
	b.kubectl = strings.Fields(*kubectl)
	dir, err := os.MkdirTemp("", "bench-tools")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir) //nolint:errcheck // a folder of temporary files
	b.dir = dir
	list, err := b.commands(ctx)
	if err != nil {
		return err
	}
	// In turn, so that what else the machine does falls on all of them.
	for round := range b.rounds + 1 {
		for _, c := range list {
			took, err := c.once(ctx)
			if err != nil {
				return err
			}
			if round > 0 { // the first one fills caches
				c.took = append(c.took, took)
			}
		}
	}
	return report(os.Stdout, list, b.rounds)
}

// once runs a command to its end. That something was found, or is not there, is no failure.
func (c *command) once(ctx context.Context) (time.Duration, error) {
	began := time.Now()
	for _, argv := range c.argv {
		cmd := exec.CommandContext(ctx, argv[0], argv[1:]...) //nolint:gosec // these are ours
		var stderr bytes.Buffer
		cmd.Stderr = &stderr
		err := cmd.Run()
		var exited *exec.ExitError
		if errors.As(err, &exited) && (exited.ExitCode() == 3 || exited.ExitCode() == 4) {
			err = nil
		}
		if err != nil {
			return 0, fmt.Errorf("%s: %w: %.500s", strings.Join(argv, " "), err, stderr.String())
		}
	}
	return time.Since(began), nil
}

// The targets.
const (
	traceTarget   = 500 * time.Millisecond
	statusTarget  = time.Second
	helpTarget    = 50 * time.Millisecond
	collectTarget = 10 * time.Second
	openTarget    = time.Second
)

// commands are what is measured, the floors first.
func (b *bench) commands(ctx context.Context) ([]*command, error) {
	near, err := b.floorTrace(ctx, "shop", "cart-0")
	if err != nil {
		return nil, err
	}
	far, err := b.floorTrace(ctx, "shop", "db-0")
	if err != nil {
		return nil, err
	}
	ours := func(words ...string) [][]string { return [][]string{append([]string{b.ovnkctl}, words...)} }
	const oneZone, twoZones = "`kubectl exec … ovn-trace`, one zone", "the same in two zones, one after the other"
	list := []*command{
		{name: oneZone, argv: [][]string{near}},
		{name: twoZones, argv: [][]string{near, far}},
		{name: "`kubectl get nodes`", argv: [][]string{append(slices.Clone(b.kubectl), "get", "nodes")}},
		{name: "`ovnkctl trace` pod → service → pod on another node", argv: ours("trace", "shop/cart-0", "svc/shop/web:80"), target: traceTarget, floor: twoZones},
		{name: "`ovnkctl trace` pod → pod on another node", argv: ours("trace", "shop/cart-0", "shop/db-0:5432"), target: traceTarget, floor: twoZones},
		{name: "`ovnkctl trace` pod → outside", argv: ours("trace", "shop/cart-0", "203.0.113.1:8080"), target: traceTarget, floor: oneZone},
		{name: "`ovnkctl status`, 3 nodes", argv: ours("status"), target: statusTarget},
		{name: "`ovnkctl status --findings=false`, 3 nodes", argv: ours("status", "--findings=false"), target: statusTarget},
		{name: "`ovnkctl explain` a pod, 3 nodes", argv: ours("explain", "shop/cart-0")},
		{name: "`ovnkctl diagnose`, 3 nodes", argv: ours("diagnose")},
		{name: "`ovnkctl collect`, 3 nodes", argv: ours("collect", "--file", filepath.Join(b.dir, "b.tar.gz")), target: collectTarget},
		{name: "`ovnkctl --help`", argv: ours("--help"), target: helpTarget},
	}
	if b.bundle != "" {
		for _, c := range []string{"status", "diagnose", "explain 10.128.0.10"} { // the address of one of its pods
			words := append(strings.Fields(c), "--from", b.bundle)
			list = append(list, &command{name: fmt.Sprintf("`ovnkctl %s --from` a bundle of a node with 500 pods", words[0]), argv: ours(words...), target: openTarget})
		}
	}
	return list, nil
}

// floorTrace is what somebody would type who knows OVN by heart: one ovn-trace in the pod's
// node, from the pod to the service.
func (b *bench) floorTrace(ctx context.Context, namespace, name string) ([]string, error) {
	var pod struct {
		Metadata struct{ Annotations map[string]string }
		Spec     struct{ NodeName string }
	}
	if err := b.get(ctx, &pod, "-n", namespace, "get", "pod", name, "-o", "json"); err != nil {
		return nil, err
	}
	var networks map[string]struct {
		Addresses []string `json:"ip_addresses"`
		MAC       string   `json:"mac_address"`
		Gateways  []string `json:"gateway_ips"`
	}
	if err := json.Unmarshal([]byte(pod.Metadata.Annotations["k8s.ovn.org/pod-networks"]), &networks); err != nil {
		return nil, fmt.Errorf("annotation of pod %s: %w", name, err)
	}
	n := networks["default"]
	if len(n.Addresses) == 0 || len(n.Gateways) == 0 {
		return nil, fmt.Errorf("pod %s has no addresses", name)
	}
	gateway, err := netip.ParseAddr(n.Gateways[0])
	if err != nil {
		return nil, err
	}
	g := gateway.As4()
	var service struct{ Spec struct{ ClusterIP string } }
	if err := b.get(ctx, &service, "-n", "shop", "get", "service", "web", "-o", "json"); err != nil {
		return nil, err
	}
	var pods struct {
		Items []struct{ Metadata struct{ Name string } }
	}
	if err := b.get(ctx, &pods, "-n", "ovn-kubernetes", "get", "pods", "-l", "app=ovnkube-node", "--field-selector", "spec.nodeName="+pod.Spec.NodeName, "-o", "json"); err != nil {
		return nil, err
	}
	if len(pods.Items) == 0 {
		return nil, fmt.Errorf("node %s has no pod of the network", pod.Spec.NodeName)
	}
	address, _, _ := strings.Cut(n.Addresses[0], "/")
	return append(slices.Clone(b.kubectl), "-n", "ovn-kubernetes", "exec", pods.Items[0].Metadata.Name, "-c", "ovnkube-controller", "--",
		"ovn-trace", "--ct", "new", pod.Spec.NodeName, fmt.Sprintf(
			`inport == "%s_%s" && eth.src == %s && eth.dst == 0a:58:%02x:%02x:%02x:%02x && ip4.src == %s && ip4.dst == %s && ip.ttl == 64 && tcp && tcp.src == 40000 && tcp.dst == 80`,
			namespace, name, n.MAC, g[0], g[1], g[2], g[3], address, service.Spec.ClusterIP)), nil
}

// get asks kubectl for an object.
func (b *bench) get(ctx context.Context, to any, args ...string) error {
	argv := append(slices.Clone(b.kubectl), args...)
	out, err := exec.CommandContext(ctx, argv[0], argv[1:]...).Output() //nolint:gosec // these are ours
	if err != nil {
		return fmt.Errorf("%s: %w", strings.Join(argv, " "), err)
	}
	return json.Unmarshal(out, to)
}
