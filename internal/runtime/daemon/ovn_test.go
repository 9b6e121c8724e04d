//go:build ovn && linux

package daemon

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/ovnkctl/ovnkctl/internal/config"
	"github.com/ovnkctl/ovnkctl/internal/ovn/dbfile"
)

const addSwitch = `{"op":"insert","table":"Logical_Switch","row":{"name":"kept"}}`

func TestDatabaseIsCreatedForRootAlone(t *testing.T) {
	t.Parallel()
	z := newZone(t)
	for name, singleton := range map[string]string{"nb": "NB_Global", "sb": "SB_Global", "ovsdb": "Open_vSwitch"} {
		p := z.run(name)
		if n := z.rows(name, singleton); n != 1 {
			t.Errorf("%s: %d rows in %s", name, n, singleton)
		}
		for path, want := range map[string]os.FileMode{
			p.daemon.databaseFile(z.config):               0o600,
			filepath.Dir(p.daemon.databaseFile(z.config)): 0o700,
			p.daemon.socket(z.config):                     0o700,
			filepath.Dir(p.daemon.socket(z.config)):       0o700,
			p.daemon.pidFile(z.config):                    0o600,
		} {
			stat, err := os.Stat(path)
			if err != nil || stat.Mode().Perm() != want {
				t.Errorf("%s: %v, want mode %o", path, stat.Mode(), want)
			}
		}
		z.cleanProcess(p)
		if status := p.end(syscall.SIGTERM); status.Signal() != syscall.SIGTERM {
			t.Errorf("%s ended with %v", name, p.ProcessState)
		}
		if _, err := os.Stat(p.daemon.socket(z.config)); err == nil {
			t.Errorf("%s left its socket", name)
		}
	}
}

// cleanProcess checks what a daemon inherits from this program: nothing but its limits.
func (z *zone) cleanProcess(p *process) {
	z.Helper()
	proc := fmt.Sprintf("/proc/%d/", p.Process.Pid)
	status, err := os.ReadFile(proc + "status")
	if err != nil {
		z.Fatal(err)
	}
	for _, want := range []string{"SigBlk:\t0000000000000000\n"} {
		if !strings.Contains(string(status), want) {
			z.Errorf("signals are blocked in %s:\n%s", p.daemon.Name, status)
		}
	}
	limits, err := os.ReadFile(proc + "limits")
	if err != nil {
		z.Fatal(err)
	}
	var hard syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &hard); err != nil {
		z.Fatal(err)
	}
	if want := fmt.Sprintf("Max open files            %d ", min(hard.Max, openFiles)); !strings.Contains(string(limits), want) {
		z.Errorf("want %q in limits of %s:\n%s", want, p.daemon.Name, limits)
	}
}

func TestRestartKeepsData(t *testing.T) {
	t.Parallel()
	z := newZone(t)
	for _, s := range []syscall.Signal{syscall.SIGTERM, syscall.SIGKILL} {
		p := z.run("nb")
		z.transact("nb", addSwitch)
		p.end(s)
	}
	// A killed server leaves its socket and pid file.
	if _, err := os.Stat(socketPath(z.config.OVN.NB)); err != nil {
		t.Errorf("after kill -9: %v", err)
	}
	p := z.run("nb")
	if got := z.rows("nb", "Logical_Switch"); got != 2 {
		t.Errorf("%d rows", got)
	}
	if got := z.rows("nb", "NB_Global"); got != 1 {
		t.Errorf("%d rows of NB_Global", got)
	}
	for _, word := range []string{"created", "converted", "dropped"} {
		if strings.Contains(p.log.String(), "database "+word) {
			t.Errorf("a restart changed the database:\n%s", p.log)
		}
	}
}

func TestSingletonIsPutBack(t *testing.T) {
	t.Parallel()
	z := newZone(t)
	p := z.run("sb")
	z.transact("sb", `{"op":"delete","table":"SB_Global","where":[]}`)
	p.end(syscall.SIGTERM)
	z.run("sb")
	if got := z.rows("sb", "SB_Global"); got != 1 {
		t.Errorf("%d rows", got)
	}
}

func TestOlderDatabaseIsConverted(t *testing.T) {
	t.Parallel()
	z := newZone(t)
	shipped := z.options.ShareDir
	z.options.ShareDir = z.oldSchema("nb", "7.0.9", "ACL", "tier")
	p := z.run("nb")
	z.transact("nb", addSwitch)
	p.end(syscall.SIGKILL)
	path := z.config.OVN.NBDatabase
	// A crash in the middle of a write, right before an upgrade: ovsdb-tool alone would
	// refuse to convert.
	appendTo(t, path, "OVSDB JSON 120 8e3c5a\n{\"Logical_Sw")
	before, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}

	z.options.ShareDir = shipped
	p = z.run("nb")
	if got := z.rows("nb", "Logical_Switch"); got != 1 {
		t.Errorf("%d rows after the conversion", got)
	}
	z.transact("nb", `{"op":"select","table":"ACL","where":[["tier","==",1]]}`)
	for _, want := range []string{"not written to its end", "database converted", "from=7.0.9"} {
		if !strings.Contains(p.log.String(), want) {
			t.Errorf("%q is not in the log:\n%s", want, p.log)
		}
	}
	backup, err := os.ReadFile(path + ".backup-7.0.9")
	if err != nil || !bytes.HasPrefix(before, backup) || len(before)-len(backup) > 60 {
		t.Errorf("backup of %d bytes, %v; the database had %d", len(backup), err, len(before))
	}
	p.end(syscall.SIGTERM)

	// And back: the older release works on the newer database and loses nothing of it.
	z.options.ShareDir = filepath.Join(z.dir, "share-7.0.9")
	p = z.run("nb")
	if !strings.Contains(p.log.String(), "newer schema") {
		t.Errorf("log:\n%s", p.log)
	}
	z.transact("nb", `{"op":"select","table":"ACL","where":[["tier","==",1]]}`)
}

func appendTo(t *testing.T, path, text string) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteString(text); err != nil {
		t.Fatal(err)
	}
}

// A killed creation leaves nothing that the next one stumbles over.
func TestHalfMadeDatabase(t *testing.T) {
	t.Parallel()
	z := newZone(t)
	mkdir(t, filepath.Dir(z.config.OVN.NBDatabase))
	if err := os.WriteFile(z.config.OVN.NBDatabase+".new", []byte("OVSDB JS"), 0o600); err != nil {
		t.Fatal(err)
	}
	z.run("nb")
	if left, _ := filepath.Glob(z.config.OVN.NBDatabase + ".new*"); len(left) > 0 {
		t.Errorf("left: %v", left)
	}
}

func TestCorruptDatabase(t *testing.T) {
	t.Parallel()
	for name, damage := range map[string]func([]byte) []byte{
		"no database":       func([]byte) []byte { return []byte("hello\n") },
		"empty":             func([]byte) []byte { return nil },
		"schema":            func(b []byte) []byte { return append(append(b[:500:500], "XXXX"...), b[504:]...) },
		"a record inside":   func(b []byte) []byte { return bytes.Replace(b, []byte(`"kept"`), []byte(`"KEPT"`), 1) },
		"zeros in a record": func(b []byte) []byte { return bytes.Replace(b, []byte(`"name":"kept"`), make([]byte, 13), 1) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			z := newZone(t)
			p := z.run("nb")
			z.transact("nb", addSwitch)
			z.transact("nb", addSwitch)
			p.end(syscall.SIGTERM)
			path := z.config.OVN.NBDatabase
			data, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			damaged := damage(data)
			if err := os.WriteFile(path, damaged, 0o600); err != nil {
				t.Fatal(err)
			}
			said := z.fails("nb")
			for _, want := range []string{"database " + path + " is corrupt: ", "hint: restore a backup, or start once with --set-aside-corrupt"} {
				if !strings.Contains(said, want) {
					t.Errorf("%q is not in\n%s", want, said)
				}
			}
			if now, err := os.ReadFile(path); err != nil || !bytes.Equal(now, damaged) {
				t.Errorf("the corrupt database was touched: %v", err)
			}

			z.options.SetAsideCorrupt = true
			z.run("nb")
			if got := z.rows("nb", "Logical_Switch"); got != 0 {
				t.Errorf("%d rows in a new database", got)
			}
			aside, _ := filepath.Glob(path + ".corrupt-*")
			if len(aside) != 1 {
				t.Fatalf("set aside: %v", aside)
			}
			if kept, err := os.ReadFile(aside[0]); err != nil || !bytes.Equal(kept, damaged) {
				t.Errorf("what was set aside is not the corrupt database: %v", err)
			}
		})
	}
}

func TestAnotherDatabase(t *testing.T) {
	t.Parallel()
	z := newZone(t)
	z.run("nb").end(syscall.SIGTERM)
	z.config.OVN.SBDatabase = z.config.OVN.NBDatabase
	z.options.SetAsideCorrupt = true // it is not corrupt
	if said := z.fails("sb"); !strings.Contains(said, "holds OVN_Northbound, not OVN_Southbound") {
		t.Errorf("said\n%s", said)
	}
}

func TestSecondDaemonIsRefused(t *testing.T) {
	t.Parallel()
	z := newZone(t)
	p := z.run("nb")
	z.transact("nb", addSwitch)
	if said := z.fails("nb"); !strings.Contains(said, fmt.Sprintf("ovsdb-server is running already: process %d holds", p.Process.Pid)) {
		t.Errorf("said\n%s", said)
	}
	// The lock of the database protects it, too, against one with another pid file.
	if err := os.Rename(p.daemon.pidFile(z.config), p.daemon.pidFile(z.config)+".x"); err != nil {
		t.Fatal(err)
	}
	if said := z.fails("nb"); !strings.Contains(said, "an ovsdb-server serves "+z.config.OVN.NBDatabase+" already") {
		t.Errorf("said\n%s", said)
	}
	if err := p.probe(false); err != nil {
		t.Errorf("the first one suffered: %v", err)
	}
}

func TestProbeStates(t *testing.T) {
	t.Parallel()
	z := newZone(t)
	nb, sb := z.run("nb"), z.run("sb")
	northd := z.run("northd")
	if err := northd.probe(true); err != nil {
		t.Error(err)
	}
	// Hung: it has a socket, and nobody behind it moves.
	for _, p := range []*process{nb, northd} {
		if err := p.Process.Signal(syscall.SIGSTOP); err != nil {
			t.Fatal(err)
		}
		for _, liveness := range []bool{true, false} {
			wantProblem(t, p.probe(liveness), "does not answer")
		}
		if err := p.Process.Signal(syscall.SIGCONT); err != nil {
			t.Fatal(err)
		}
		p.waitReady()
	}
	// Without its database northd is alive, but not ready.
	sb.end(syscall.SIGKILL)
	wantProblem(t, sb.probe(true), "nobody listens")
	z.eventually(func() error {
		if err := northd.probe(false); err == nil || !strings.Contains(err.Error(), "sb-connection-status") {
			return fmt.Errorf("northd: %w", err)
		}
		return nil
	})
	if err := northd.probe(true); err != nil {
		t.Errorf("northd must not be restarted for its database: %v", err)
	}
	z.run("sb")
	northd.waitReady()
	if status := northd.end(syscall.SIGTERM); status.Signal() != syscall.SIGTERM {
		t.Errorf("northd ended with %v", northd.ProcessState)
	}
	wantProblem(t, northd.probe(true), "not running")
}

// The first process of a container is the daemon itself; asked to stop it ends with 0.
func TestStopInAPIDNamespace(t *testing.T) {
	t.Parallel()
	z := newZone(t)
	first := func(cmd *exec.Cmd) { cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWPID} }
	var all []*process
	for _, name := range []string{"ovsdb", "ovs", "nb", "sb", "northd", "ovn-controller"} {
		if name == "ovn-controller" {
			z.chassis()
		}
		p := z.launch(name, first)
		p.waitReady()
		if pid, err := os.ReadFile(p.daemon.pidFile(z.config)); err != nil || string(pid) != "1\n" {
			t.Fatalf("%s has pid %q (%v)", name, pid, err)
		}
		all = append(all, p)
	}
	z.eventually(func() error { return wantCount(z.rows("sb", "Chassis"), 1) })
	if said := z.fails("ovs", first); !strings.Contains(said, "a process of another pid namespace holds") {
		t.Errorf("said\n%s", said)
	}
	for i := len(all) - 1; i >= 0; i-- {
		p := all[i]
		if p.daemon.Name == "sb" {
			if err := wantCount(z.rows("sb", "Chassis"), 1); err != nil {
				t.Errorf("ovn-controller took its chassis away: %v", err)
			}
		}
		if err := p.daemon.Stop(z.Context(), z.config); err != nil {
			t.Errorf("stop %s: %v", p.daemon.Name, err)
		}
		if status := p.wait(); !status.Exited() || status.ExitStatus() != 0 {
			t.Errorf("%s ended with %v", p.daemon.Name, p.ProcessState)
		}
	}
}

func wantCount(got, want int) error {
	if got != want {
		return fmt.Errorf("%d rows, want %d", got, want)
	}
	return nil
}

// chassis sets what ovn-controller needs to register one.
func (z *zone) chassis() {
	z.Helper()
	z.transact("ovsdb", fmt.Sprintf(`{"op":"update","table":"Open_vSwitch","where":[],"row":{"external_ids":["map",[
		["system-id","node1"],["hostname","node1"],["ovn-remote",%q],["ovn-encap-type","geneve"],["ovn-encap-ip","127.0.0.1"],
		["ovn-bridge-datapath-type","netdev"]]]}}`, z.config.OVN.SB))
}

const otherConfig = `{"op":"select","table":"Open_vSwitch","where":[],"columns":["other_config"]}`

func TestSwitchSettingsComeBeforeTheSwitch(t *testing.T) {
	t.Parallel()
	z := newZone(t)
	z.run("ovsdb")
	z.transact("ovsdb", `{"op":"update","table":"Open_vSwitch","where":[],"row":{"other_config":["map",[["n-handler-threads","7"],["mine","x"]]]}}`)
	p := z.run("ovs")
	want := `["map",[["mine","x"],["n-handler-threads","1"],["n-revalidator-threads","1"],["userspace-tso-enable","true"]]]`
	if got := z.transact("ovsdb", otherConfig); !strings.Contains(got, want) {
		t.Errorf("other_config is %s, want %s", got, want)
	}
	if !strings.Contains(p.log.String(), "Userspace TCP Segmentation Offloading support enabled") {
		t.Errorf("vswitchd did not see the setting:\n%s", p.log)
	}

	// A bridge's internal port is a tap; its addresses are the node's. They outlive vswitchd.
	z.transact("ovsdb", `{"op":"insert","table":"Interface","uuid-name":"i","row":{"name":"br-t","type":"internal"}},
		{"op":"insert","table":"Port","uuid-name":"p","row":{"name":"br-t","interfaces":["named-uuid","i"]}},
		{"op":"insert","table":"Bridge","uuid-name":"b","row":{"name":"br-t","datapath_type":"netdev","ports":["named-uuid","p"]}},
		{"op":"mutate","table":"Open_vSwitch","where":[],"mutations":[["bridges","insert",["set",[["named-uuid","b"]]]]]}`)
	index := 0
	z.eventually(func() (err error) { index, err = z.link("br-t"); return err })
	for _, stop := range []func(){
		func() { p.end(syscall.SIGTERM) },
		func() { p.end(syscall.SIGKILL) },
		func() {
			if err := p.daemon.Stop(z.Context(), z.config); err != nil {
				t.Error(err)
			}
			p.wait()
		},
	} {
		stop()
		if now, err := z.link("br-t"); err != nil || now != index {
			t.Errorf("after the end of vswitchd (%v) the bridge's link is %d, was %d: %v", p.ProcessState, now, index, err)
		}
		file, err := dbfile.Read(z.config.OVN.OVSDatabase, "Open_vSwitch")
		if err != nil {
			t.Fatal(err)
		}
		p = z.run("ovs")
		if strings.Contains(p.log.String(), "settings of vswitchd written") {
			t.Errorf("the settings were written again (%d records before)", file.Records)
		}
		if now, err := z.link("br-t"); err != nil || now != index {
			t.Errorf("after the restart the bridge's link is %d, was %d: %v", now, index, err)
		}
	}
}

// link is the index of a network interface of the zone.
func (z *zone) link(name string) (index int, err error) {
	err = z.inside(func() error {
		i, err := net.InterfaceByName(name)
		if err == nil {
			index = i.Index
		}
		return err
	})
	return index, err
}

func TestKernelDatapathIsChecked(t *testing.T) {
	t.Parallel()
	z := newZone(t)
	z.config.Datapath = config.DatapathSystem
	z.run("ovsdb")
	if _, err := os.Stat("/sys/module/openvswitch"); err == nil {
		z.run("ovs") // this kernel has it
		return
	}
	said := z.fails("ovs")
	for _, want := range []string{"the kernel has no openvswitch module", "modprobe openvswitch", "datapath: netdev"} {
		if !strings.Contains(said, want) {
			t.Errorf("%q is not in\n%s", want, said)
		}
	}
}

// northd started before its databases is ready soon after them.
func TestClientsWaitForDatabases(t *testing.T) {
	t.Parallel()
	z := newZone(t)
	northd := z.launch("northd")
	z.run("nb")
	z.run("sb")
	northd.waitReady()
	if strings.Contains(northd.log.String(), "connection attempt failed") {
		t.Errorf("northd was started too early:\n%s", northd.log)
	}
}

// SIGTERM while it prepares ends it, too.
func TestTerminatedWhileItWaits(t *testing.T) {
	t.Parallel()
	z := newZone(t)
	ovs := z.launch("ovs")
	z.eventually(func() error {
		_, err := os.Stat(filepath.Dir(socketPath(z.config.OVN.OVS))) // made before the wait
		return err
	})
	ovs.end(syscall.SIGTERM)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if _, err := call(ctx, socketPath(z.config.OVN.OVS), "list_dbs"); err == nil {
		t.Error("there is a database")
	}
}
