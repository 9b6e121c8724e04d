//go:build linux

package box

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/netip"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/ovnkctl/ovnkctl/internal/config"
	"github.com/ovnkctl/ovnkctl/internal/ovn"
	"github.com/ovnkctl/ovnkctl/internal/ovn/names"
	"github.com/ovnkctl/ovnkctl/internal/runtime/host"
	"github.com/ovnkctl/ovnkctl/internal/runtime/host/kernel"
	"github.com/ovnkctl/ovnkctl/internal/runtime/host/nft"
	"github.com/ovnkctl/ovnkctl/internal/runtime/host/openflow"
	"github.com/ovnkctl/ovnkctl/internal/runtime/host/ovs"
	"github.com/ovnkctl/ovnkctl/test/sandbox/netspace"
)

// The host's part (external bridge, management port, routes, flows, tables) is what
// `ovnkctl node` does, too: package host. It works on the network namespace that its
// process is in, so it runs in one of its own: the test's binary, started again.

const agentVariable = "OVNKCTL_BOX_AGENT"

// Main is the TestMain of programs that make boxes.
func Main(m *testing.M) {
	if text := os.Getenv(agentVariable); text != "" {
		if err := runAgent(text); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// agentJob is what an agent needs to know, as JSON in its environment.
type agentJob struct {
	Node   string
	Config *config.Config
	Zone   host.Zone
	Dir    string // of sockets
	Ofctl  string // path of ovs-ofctl
}

// The words with which an agent begins its lines on standard output.
const (
	wordFacts    = "facts " // followed by JSON
	wordReady    = "ready"
	wordServices = "services" // what was sent last is in place
)

func runAgent(text string) error {
	var j agentJob
	if err := json.Unmarshal([]byte(text), &j); err != nil {
		return err
	}
	network, err := j.Config.DefaultNetwork()
	if err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	orders := make(chan host.Services)
	go func() {
		defer stop() // the input ends when the test does
		for d := json.NewDecoder(os.Stdin); ; {
			var s host.Services
			if d.Decode(&s) != nil {
				return
			}
			orders <- s
		}
	}()
	var tables []string
	for t := range ovs.Columns() {
		tables = append(tables, t)
	}
	db, err := ovn.Open(ctx, ovn.Config{Endpoint: j.Config.OVN.OVS, Database: ovn.OpenVSwitch(), Tables: tables, Columns: ovs.Columns()})
	if err != nil {
		return err
	}
	defer db.Close()
	k, err := kernel.NewNetlink()
	if err != nil {
		return err
	}
	r := host.New(host.Config{
		Node: j.Node, Config: j.Config, Network: network, Log: slog.New(slog.NewTextHandler(os.Stderr, nil)),
		Host: host.Host{
			Switch: &ovs.Client{DB: db, Only: map[string][]string{names.IntegrationBridge: {names.IntegrationBridge, host.ManagementPort}}},
			Kernel: k, Firewall: nft.Exec{Path: "nft"}, Flows: openflow.Ofctl{Path: j.Ofctl, RunDir: j.Dir},
		},
		OnFacts: func(f host.Facts) {
			if text, err := json.Marshal(f); err == nil {
				fmt.Println(wordFacts + string(text))
			}
		},
	})
	r.SetZone(j.Zone)
	go func() {
		if r.WaitReady(ctx) == nil {
			fmt.Println(wordReady)
		}
	}()
	return obey(ctx, r, orders)
}

// obey keeps the host as it should be. Services that are sent are in place when it says so:
// for them it stops to watch for a moment.
func obey(ctx context.Context, r *host.Reconciler, orders <-chan host.Services) error {
	for {
		running, stop := context.WithCancel(ctx)
		ended := make(chan error, 1)
		go func() { ended <- r.Run(running) }()
		var s host.Services
		select {
		case s = <-orders:
			stop()
			<-ended //nolint:errcheck // its context's end
		case err := <-ended:
			stop()
			if errors.Is(err, context.Canceled) {
				return nil
			}
			return err
		}
		r.SetServices(s)
		if r.Once(ctx) {
			fmt.Println(wordServices)
		}
	}
}

// agent is a running agent.
type agent struct {
	daemon
	facts    chan host.Facts // the first
	ready    chan struct{}
	services chan struct{} // one for each time that services are in place
}

// startAgent starts the host's part and returns when it has told the first facts.
func (z *Zone) startAgent() host.Facts {
	z.box.t.Helper()
	t := z.box.t
	c := *z.box.config
	c.OVN.OVS, c.OVN.SB, c.OVN.NB = z.socket("db"), z.socket("sb"), z.socket("nb")
	job := agentJob{
		Node: z.Name, Config: &c, Dir: z.dir, Ofctl: z.wrapper("ovs-ofctl"),
		Zone: host.Zone{Subnets: z.Subnets, ChassisID: z.chassis(), RemoteNodes: z.box.otherNodes(z)},
	}
	for _, a := range z.Addrs {
		job.Zone.InternalIPs = append(job.Zone.InternalIPs, a.Addr())
	}
	text, err := json.Marshal(job)
	if err != nil {
		t.Fatal(err)
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	log, err := os.Create(filepath.Join(z.dir, "agent.log"))
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close() //nolint:errcheck // the child has its own descriptor
	z.agent = &agent{
		daemon: daemon{cmd: exec.Command(self), ended: make(chan struct{})},
		facts:  make(chan host.Facts, 1), ready: make(chan struct{}), services: make(chan struct{}, 1),
	}
	cmd := z.agent.cmd
	cmd.Env, cmd.Stderr, cmd.SysProcAttr = append(z.env(), agentVariable+"="+string(text)), log, &syscall.SysProcAttr{Setpgid: true}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if z.agent.stdin, err = cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	if err := netspace.Do(z.NS, cmd.Start); err != nil {
		t.Fatalf("start the agent of %s: %v", z.Name, err)
	}
	go z.agent.listen(stdout)
	var f host.Facts
	z.await("the agent's facts", func(ctx context.Context) {
		select {
		case f = <-z.agent.facts:
		case <-z.agent.ended:
			t.Fatalf("the agent of %s ended, see %s", z.Name, log.Name())
		case <-ctx.Done():
		}
	})
	return f
}

// listen reads what the agent says until it ends.
func (a *agent) listen(stdout io.Reader) {
	defer close(a.ended)
	told := false
	for s := bufio.NewScanner(stdout); s.Scan(); {
		if text, ok := strings.CutPrefix(s.Text(), wordFacts); ok && !told {
			var f host.Facts
			if json.Unmarshal([]byte(text), &f) == nil {
				a.facts <- f
				told = true
			}
		}
		switch s.Text() {
		case wordReady:
			close(a.ready)
		case wordServices:
			a.services <- struct{}{}
		}
	}
	a.cmd.Wait() //nolint:errcheck // killed at the end
}

// waitHost waits until the host is as the agent wants it.
func (z *Zone) waitHost() {
	z.box.t.Helper()
	z.await("the host", func(ctx context.Context) {
		select {
		case <-z.agent.ready:
		case <-ctx.Done():
		}
	})
}

// await fails the test when f does not return before its context ends.
func (z *Zone) await(what string, f func(context.Context)) {
	z.box.t.Helper()
	ctx, cancel := context.WithTimeout(z.box.ctx, Patience)
	defer cancel()
	f(ctx)
	if ctx.Err() != nil {
		z.box.t.Fatalf("%s: waited %s for %s; logs are in %s", z.Name, Patience, what, z.dir)
	}
}

// wrapper is a script that runs a program, for those who want a path.
func (z *Zone) wrapper(name string) string {
	z.box.t.Helper()
	argv, err := z.box.programs.Argv(name)
	if err != nil {
		z.box.t.Fatal(err)
	}
	path := filepath.Join(z.dir, name)
	if err := os.WriteFile(path, []byte("#!/bin/sh\nexec '"+strings.Join(argv, "' '")+"' \"$@\"\n"), 0o700); err != nil {
		z.box.t.Fatal(err)
	}
	return path
}

// otherNodes are the addresses of the other nodes.
func (b *Box) otherNodes(z *Zone) []netip.Addr {
	var out []netip.Addr
	for i := range b.options.Zones {
		if i+1 == z.index {
			continue
		}
		for _, p := range b.nodeAddrs(i + 1) {
			out = append(out, p.Addr())
		}
	}
	return out
}
