//go:build linux

package sim

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/ovnkctl/ovnkctl/internal/ovn"
	"github.com/ovnkctl/ovnkctl/internal/ovn/barrier"
	"github.com/ovnkctl/ovnkctl/internal/ovn/names"
	"github.com/ovnkctl/ovnkctl/internal/ovn/nb"
	"github.com/ovnkctl/ovnkctl/internal/ovn/vswitch"
	"github.com/ovnkctl/ovnkctl/test/ovn/box"
)

// zonePatience is how long OVN may take for thousands of rows on a busy machine.
const zonePatience = 5 * time.Minute

// zone is all of OVN and Open vSwitch that a node has. The switch's interfaces are dummies:
// it has all flows, and no packets.
type zone struct {
	b        *testing.B
	dir      string
	programs *box.Programs
	daemons  map[string]*daemon // by the names that reports have
	nb, sw   *ovn.DB
}

// daemon is a program that runs until the end.
type daemon struct {
	cmd   *exec.Cmd
	ended chan struct{}
}

// newZone starts one as node 0 has it, on a copy of a Northbound database or an empty one.
func newZone(b *testing.B, northbound []byte) *zone {
	b.Helper()
	programs, err := box.FindPrograms()
	if err != nil {
		b.Skipf("NOT MEASURED: %v", err)
	}
	dir, err := os.MkdirTemp("", "ovnbench") // paths of sockets are short
	if err != nil {
		b.Fatal(err)
	}
	z := &zone{b: b, dir: dir, programs: programs, daemons: map[string]*daemon{}}
	b.Cleanup(z.stop)
	for _, db := range []struct{ name, schema, part string }{{"nb", "ovn-nb", "ovsdb-server ovnnb"}, {"sb", "ovn-sb", "ovsdb-server ovnsb"}, {"db", "vswitch", "ovsdb-server conf"}} {
		file := filepath.Join(dir, db.name+".db")
		if db.name == "nb" && northbound != nil {
			if err := os.WriteFile(file, northbound, 0o600); err != nil {
				b.Fatal(err)
			}
		} else {
			z.run("ovsdb-tool", "create", file, programs.Schema(db.schema))
		}
		z.start(db.part, "ovsdb-server", "--remote=p"+z.socket(db.name), "--unixctl="+filepath.Join(dir, db.name+".ctl"), file)
		z.await(db.part, func() bool { _, err := os.Stat(filepath.Join(dir, db.name+".sock")); return err == nil })
	}
	node := clusterNode(0)
	z.run("ovs-vsctl", "--no-wait", "init", "--", "set", "Open_vSwitch", ".",
		"external_ids:system-id="+string(node.UID), "external_ids:hostname="+node.Name, "external_ids:ovn-remote="+z.socket("sb"),
		"external_ids:ovn-encap-type=geneve", "external_ids:ovn-encap-ip="+node.Status.Addresses[0].Address,
		"external_ids:ovn-bridge-mappings=physnet:br-ex", "external_ids:ovn-monitor-all=true", "external_ids:ovn-is-interconn=true",
		"external_ids:ovn-enable-lflow-cache=true")
	z.start("ovs-vswitchd", "ovs-vswitchd", "--enable-dummy=override", "--disable-system", z.socket("db"))
	z.run("ovs-vsctl", "add-br", "br-ex")
	z.run("ovn-nbctl", "--no-wait", "init")
	z.run("ovn-sbctl", "init")
	z.start("ovn-northd", "ovn-northd", "--ovnnb-db="+z.socket("nb"), "--ovnsb-db="+z.socket("sb"))
	z.start("ovn-controller", "ovn-controller", z.socket("db"))
	z.await("bridge "+names.IntegrationBridge, func() bool {
		_, err := os.Stat(filepath.Join(dir, names.IntegrationBridge+".mgmt"))
		return err == nil
	})
	z.nb = z.open("nb", ovn.Config{Database: ovn.Northbound(), Tables: []string{nb.NBGlobalTable, nb.AddressSetTable, nb.ACLTable}})
	z.sw = z.open("db", ovn.Config{Database: ovn.OpenVSwitch(), Tables: []string{vswitch.BridgeTable}})
	return z
}

func (z *zone) socket(db string) string { return "unix:" + filepath.Join(z.dir, db+".sock") }

func (z *zone) open(db string, c ovn.Config) *ovn.DB {
	z.b.Helper()
	c.Endpoint = z.socket(db)
	out, err := ovn.Open(z.b.Context(), c)
	if err != nil {
		z.b.Fatal(err)
	}
	z.b.Cleanup(out.Close)
	return out
}

func (z *zone) command(name string, args ...string) *exec.Cmd {
	z.b.Helper()
	argv, err := z.programs.Argv(name, args...)
	if err != nil {
		z.b.Fatal(err)
	}
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.Dir, cmd.Env = z.dir, append(os.Environ(), "OVS_RUNDIR="+z.dir, "OVN_RUNDIR="+z.dir, "OVS_DBDIR="+z.dir,
		"OVN_NB_DB="+z.socket("nb"), "OVN_SB_DB="+z.socket("sb"))
	if strings.HasPrefix(name, "ovs-vsctl") {
		cmd.Args = append(cmd.Args[:len(argv)-len(args)], append([]string{"--db=" + z.socket("db"), "--timeout=60"}, args...)...)
	}
	return cmd
}

// run runs a program to its end.
func (z *zone) run(name string, args ...string) string {
	z.b.Helper()
	cmd := z.command(name, args...)
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		z.b.Fatalf("%s: %v: %.500s", name, err, stderr.String())
	}
	return strings.TrimSpace(string(out))
}

// start runs a daemon until the end of the benchmark.
func (z *zone) start(part, name string, args ...string) {
	z.b.Helper()
	cmd := z.command(name, append(args, "-vconsole:off", "--log-file="+filepath.Join(z.dir, strings.ReplaceAll(part, " ", "-")+".log"))...)
	// Whatever ends this process ends them, too. The signal comes when the thread ends that
	// has started them, which therefore waits for them.
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	d := &daemon{cmd: cmd, ended: make(chan struct{})}
	started := make(chan error)
	go func() {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := cmd.Start()
		started <- err
		if err == nil {
			_ = cmd.Wait() // killed at the end
			close(d.ended)
		}
	}()
	if err := <-started; err != nil {
		z.b.Fatal(err)
	}
	z.daemons[part] = d
}

func (z *zone) stop() {
	for _, d := range z.daemons {
		_ = d.cmd.Process.Kill()
		<-d.ended
	}
	if z.b.Failed() {
		z.b.Logf("logs and databases are in %s", z.dir)
		return
	}
	if err := os.RemoveAll(z.dir); err != nil {
		z.b.Error(err)
	}
}

// await polls; it is for preparations, never for what is measured.
func (z *zone) await(what string, done func() bool) {
	z.b.Helper()
	for deadline := time.Now().Add(zonePatience); !done(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			z.b.Fatalf("%s: not within %s", what, zonePatience)
		}
	}
}

// sync returns when Open vSwitch has the flows of all that is in the Northbound database.
func (z *zone) sync() {
	z.b.Helper()
	ctx, cancel := context.WithTimeout(z.b.Context(), zonePatience)
	defer cancel()
	if err := (barrier.Barrier{NB: z.nb, OVS: z.sw, Bridge: names.IntegrationBridge}).Wait(ctx); err != nil {
		z.b.Fatal(err)
	}
}

// plug gives every logical port of a local pod an interface.
func (z *zone) plug(c crowd) {
	z.b.Helper()
	var args []string
	c.eachPod(func(p crowdPod) {
		if p.node != 0 {
			return
		}
		name := fmt.Sprint("p", p.n)
		args = append(args, "--", "add-port", names.IntegrationBridge, name, "--", "set", "Interface", name,
			"external_ids:iface-id="+p.namespace+"_"+p.name, "external_ids:iface-id-ver="+p.uid())
	})
	z.run("ovs-vsctl", args[1:]...)
}

func (z *zone) count(ctl, table string) int {
	z.b.Helper()
	return len(strings.Fields(z.run(ctl, "--no-leader-only", "--bare", "--columns=_uuid", "list", table)))
}

func (z *zone) flows() int {
	z.b.Helper()
	out := z.run("ovs-ofctl", "dump-aggregate", names.IntegrationBridge)
	_, n, _ := strings.Cut(out, "flow_count=")
	flows, err := strconv.Atoi(n)
	if err != nil {
		z.b.Fatalf("ovs-ofctl dump-aggregate: %s", out)
	}
	return flows
}

// memory is the anonymous memory of each daemon.
func (z *zone) memory() map[string]float64 {
	z.b.Helper()
	out := map[string]float64{}
	for part, d := range z.daemons {
		out[part] = anonymousMiB(z.b, d.cmd.Process.Pid)
	}
	return out
}

// userHZ is the unit of times in /proc/PID/stat; it is 100 on every Linux (proc(5)).
const userHZ = 100

// cpu is what each daemon has computed.
func (z *zone) cpu() map[string]time.Duration {
	z.b.Helper()
	out := map[string]time.Duration{}
	for part, d := range z.daemons {
		raw, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", d.cmd.Process.Pid))
		if err != nil {
			z.b.Fatal(err)
		}
		_, rest, _ := strings.Cut(string(raw), ") ")
		f := strings.Fields(rest) // f[0] is field 3 of proc(5)
		user, _ := strconv.Atoi(f[14-3])
		system, _ := strconv.Atoi(f[15-3])
		out[part] = time.Duration(user+system) * time.Second / userHZ
	}
	return out
}
