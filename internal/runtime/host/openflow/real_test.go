//go:build ovn && linux

package openflow_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/ovnkctl/ovnkctl/internal/runtime/host/openflow"
	"github.com/ovnkctl/ovnkctl/test/ovn/box"
)

// vswitch is an ovs-vswitchd whose datapath and devices exist in its own memory alone.
type vswitch struct {
	openflow.Ofctl
	t        testing.TB
	programs *box.Programs
	vswitchd *exec.Cmd
}

func newVswitch(t testing.TB) *vswitch {
	t.Helper()
	programs, err := box.FindPrograms()
	if err != nil {
		t.Skip(err)
	}
	dir := t.TempDir()
	argv, err := programs.Argv("ovs-ofctl")
	if err != nil {
		t.Fatal(err)
	}
	v := &vswitch{t: t, programs: programs, Ofctl: openflow.Ofctl{Path: filepath.Join(dir, "ovs-ofctl"), RunDir: dir}}
	if err := os.WriteFile(v.Path, []byte("#!/bin/sh\nexec '"+strings.Join(argv, "' '")+"' \"$@\"\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	v.run("ovsdb-tool", "create", dir+"/conf.db", programs.Schema("vswitch"))
	v.start("ovsdb-server", dir+"/conf.db", "--remote=punix:"+dir+"/db.sock", "--unixctl="+dir+"/db.ctl", "-vconsole:off")
	v.await("the database", func() error { _, err := os.Stat(dir + "/db.sock"); return err })
	v.run("ovs-vsctl", "--db=unix:"+dir+"/db.sock", "--no-wait", "init")
	v.startVswitchd()
	v.run("ovs-vsctl", "--db=unix:"+dir+"/db.sock", "add-br", "br0", "--", "set", "Bridge", "br0", "datapath_type=dummy")
	return v
}

func (v *vswitch) startVswitchd() {
	v.vswitchd = v.start("ovs-vswitchd", "unix:"+v.RunDir+"/db.sock", "--enable-dummy", "-vconsole:off", "--unixctl="+v.RunDir+"/vs.ctl")
}

func (v *vswitch) command(name string, args ...string) *exec.Cmd {
	v.t.Helper()
	argv, err := v.programs.Argv(name, args...)
	if err != nil {
		v.t.Fatal(err)
	}
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.Env = append(os.Environ(), "OVS_RUNDIR="+v.RunDir, "OVS_DBDIR="+v.RunDir, "OVS_LOGDIR="+v.RunDir)
	return cmd
}

func (v *vswitch) run(name string, args ...string) string {
	v.t.Helper()
	out, err := v.command(name, args...).CombinedOutput()
	if err != nil {
		v.t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
	return string(out)
}

func (v *vswitch) start(name string, args ...string) *exec.Cmd {
	v.t.Helper()
	cmd := v.command(name, args...)
	if err := cmd.Start(); err != nil {
		v.t.Fatal(err)
	}
	v.t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	return cmd
}

func (v *vswitch) await(what string, f func() error) {
	v.t.Helper()
	tick, limit := time.NewTicker(10*time.Millisecond), time.After(20*time.Second)
	defer tick.Stop()
	for err := f(); err != nil; err = f() {
		select {
		case <-tick.C:
		case <-limit:
			v.t.Fatalf("%s: %v", what, err)
		}
	}
}

func (v *vswitch) socket(bridge string) string { return "unix:" + v.RunDir + "/" + bridge + ".mgmt" }

// Add, Delete and Flows are those of another tool.
func (v *vswitch) Add(bridge string, flows ...string) {
	v.t.Helper()
	file := filepath.Join(v.RunDir, "add.txt")
	if err := os.WriteFile(file, []byte(strings.Join(flows, "\n")), 0o644); err != nil {
		v.t.Fatal(err)
	}
	v.run("ovs-ofctl", "-O", "OpenFlow13", "add-flows", v.socket(bridge), file)
}

func (v *vswitch) Delete(bridge string) {
	v.t.Helper()
	v.run("ovs-ofctl", "del-flows", v.socket(bridge))
}

func (v *vswitch) Flows(bridge string) []string {
	v.t.Helper()
	var out []string
	for line := range strings.Lines(v.run("ovs-ofctl", "-O", "OpenFlow13", "--no-stats", "dump-flows", v.socket(bridge))) {
		if line = strings.TrimSpace(line); strings.Contains(line, "actions=") {
			head, actions, _ := strings.Cut(strings.ReplaceAll(line, ", ", ","), " actions=")
			head = strings.ReplaceAll(head, " ", ",")
			if !strings.Contains(head, "table=") {
				head = strings.Replace(head, ",", ",table=0,", 1)
			}
			out = append(out, head+",actions="+actions)
		}
	}
	return out
}

func TestContractOfVswitchd(t *testing.T) {
	t.Parallel()
	v := newVswitch(t)
	rapid.Check(t, func(t *rapid.T) { contract(t, v) })
}

// thousands are n flows as a node's services need them.
func thousands(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, "cookie=0xdeff105,table=0,priority=110,in_port=1,tcp,nw_dst=172.30.%d.%d,tp_dst=%d,actions=ct(commit,zone=64000,exec(set_field:0x1->ct_mark)),output:2\n", i>>8&0xff, i&0xff, 30000+i>>16)
	}
	return b.String()
}

// A burst of changes is one call, whoever makes it; a restart of vswitchd is heard of, too.
func TestWatch(t *testing.T) {
	t.Parallel()
	v := newVswitch(t)
	ctx, cancel := context.WithCancel(t.Context())
	calls, done := make(chan time.Time, 1000), make(chan error, 1)
	go func() { done <- v.Watch(ctx, "br0", func() { calls <- time.Now() }) }()
	next := func(what string) {
		t.Helper()
		select {
		case <-calls:
		case <-time.After(10 * time.Second):
			t.Fatalf("%s: nothing was told", what)
		}
	}
	next("beginning")
	c, err := v.Diff(ctx, "br0", thousands(20000))
	if err != nil {
		t.Fatal(err)
	}
	if err := v.Apply(ctx, "br0", c); err != nil {
		t.Fatal(err)
	}
	next("20,000 flows")
	v.Add("br0", "cookie=0x77,priority=9,actions=drop")
	next("a flow of another")
	v.Delete("br0")
	next("all flows deleted")
	_ = v.vswitchd.Process.Kill()
	_ = v.vswitchd.Wait()
	if _, err := v.Diff(ctx, "br0", ""); !errors.Is(err, openflow.ErrNoBridge) {
		t.Errorf("without vswitchd: %v", err)
	}
	if err := v.Apply(ctx, "br0", c); !errors.Is(err, openflow.ErrNoBridge) {
		t.Errorf("without vswitchd: %v", err)
	}
	v.startVswitchd()
	next("vswitchd started again")
	// What the burst left over would be more calls by now.
	if n := len(calls); n > 1 {
		t.Errorf("%d more calls", n)
	}
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

// What ovs-ofctl refuses changes nothing, and the error says where it is.
func TestRefused(t *testing.T) {
	t.Parallel()
	v := newVswitch(t)
	before := v.Flows("br0")
	if _, err := v.Diff(t.Context(), "br0", "priority=1,actions=drop\npriority=2,nosuch=1,actions=drop\n"); err == nil ||
		!strings.Contains(err.Error(), ":2: unknown keyword nosuch") {
		t.Errorf("%v", err)
	}
	err := v.Apply(t.Context(), "br0", openflow.Changes{Add: []string{"priority=1,actions=drop", "table=254,priority=2,actions=goto_table:3"}})
	if err == nil {
		t.Error("a flow that leads back was taken")
	}
	if after := v.Flows("br0"); strings.Join(after, "\n") != strings.Join(before, "\n") {
		t.Errorf("half a bundle was made: %q", after)
	}
}

func BenchmarkDiff(b *testing.B) {
	v, flows := newVswitch(b), thousands(20000)
	for b.Loop() {
		if c, err := v.Diff(b.Context(), "br0", flows); err != nil || len(c.Add) != 20000 {
			b.Fatal(len(c.Add), err)
		}
	}
}

// One flow among 20,000 changes, and what follows from it.
func BenchmarkChangeOne(b *testing.B) {
	v := newVswitch(b)
	change := func(flows string, want int) {
		c, err := v.Diff(b.Context(), "br0", flows)
		if err == nil {
			err = v.Apply(b.Context(), "br0", c)
		}
		if n := len(c.Add) + len(c.Delete); err != nil || n != want {
			b.Fatal(n, err)
		}
	}
	flows := thousands(20000)
	change(flows, 20000)
	other := strings.Replace(flows, "nw_dst=172.30.9.9,", "nw_dst=172.31.9.9,", 1)
	for b.Loop() {
		change(other, 2)
		flows, other = other, flows
	}
}

// What is compared without ovs-ofctl is the same as what Open vSwitch makes of it: the flows of
// all goldens of the bridge, and every difference of one.
func TestCompareKnowsWhatIsPrinted(t *testing.T) {
	v := newVswitch(t)
	files, err := filepath.Glob("../testdata/flows/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatalf("goldens %v: %v", files, err)
	}
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		want := string(data)
		v.Delete("br0")
		v.Add("br0", want)
		dump := v.run("ovs-ofctl", "-O", "OpenFlow15", "--no-names", "dump-flows", v.socket("br0"))
		c, err := openflow.Compare(want, dump, openflow.Cookie{})
		if err != nil || !c.Empty() {
			t.Errorf("%s: %v\n%s", file, err, c)
		}
		for line := range strings.Lines(want) {
			if c, err := openflow.Compare(strings.Replace(want, line, "", 1), dump, openflow.Cookie{}); err != nil || len(c.Delete) != 1 || len(c.Add) != 0 {
				t.Errorf("%s without %q: %v\n%s", file, line, err, c)
			}
		}
	}
}
