// Package daemon is `ovnkctl run`: it prepares what an OVS or OVN daemon needs and then
// becomes that daemon by exec, so that the container's process is the daemon itself: it
// gets the signals, its exit code is the container's, its log is standard error.
//
//	locate the binary ── run directories, root only ── nobody else running?
//	   ├─ ovsdb, nb, sb       database: create | convert (with a backup) | singleton row
//	   ├─ ovs                 ovsdb-server answers ── settings that vswitchd reads at start
//	   └─ northd, ovn-controller   databases answer, or a while has passed
//	exec
//
// It also asks running daemons for their state (Probe) and to exit (Stop). Everything
// but Run works on any system.
package daemon

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/ovnkctl/ovnkctl/internal/config"
)

// Daemon is one of the daemons that a node runs.
type Daemon struct {
	// Name is the word behind `ovnkctl run`.
	Name  string
	Short string // one line of help

	program  string
	database *database // what the daemon serves; nil for a client
	ready    []query   // what its control socket must answer to be ready
	exit     []string  // the control command that ends it, leaving the data path alone
}

// database is the database that an ovsdb-server serves.
type database struct {
	schema    string // name of the schema
	file      string // of the schema, below the share directory
	singleton string // table that must have its one row
}

// query is a control command and the answer that a ready daemon gives.
type query struct {
	command []string
	want    string // the first line of the answer; empty for any
	notZero bool   // the answer is a count that must not be 0
}

var daemons = []Daemon{
	{
		Name: "ovsdb", Short: "Serve the Open vSwitch database", program: "ovsdb-server", exit: []string{"exit"},
		database: &database{schema: "Open_vSwitch", file: "openvswitch/vswitch.ovsschema", singleton: "Open_vSwitch"},
	},
	{
		Name: "ovs", Short: "Switch packets: ovs-vswitchd", program: "ovs-vswitchd",
		// Without --cleanup, which would delete the data path and its flows.
		exit: []string{"exit"},
		// It answers while it waits for its database; only a vswitchd that has configured
		// its bridges once switches packets.
		ready: []query{{command: []string{"coverage/read-counter", "bridge_reconfigure"}, notZero: true}},
	},
	{
		Name: "nb", Short: "Serve the northbound database of this node's zone", program: "ovsdb-server", exit: []string{"exit"},
		database: &database{schema: "OVN_Northbound", file: "ovn/ovn-nb.ovsschema", singleton: "NB_Global"},
	},
	{
		Name: "sb", Short: "Serve the southbound database of this node's zone", program: "ovsdb-server", exit: []string{"exit"},
		database: &database{schema: "OVN_Southbound", file: "ovn/ovn-sb.ovsschema", singleton: "SB_Global"},
	},
	{
		Name: "northd", Short: "Compile the northbound to the southbound database: ovn-northd", program: "ovn-northd",
		exit: []string{"exit"},
		ready: []query{
			{command: []string{"nb-connection-status"}, want: "connected"},
			{command: []string{"sb-connection-status"}, want: "connected"},
			{command: []string{"status"}, want: "Status: active"},
		},
	},
	{
		Name: "ovn-controller", Short: "Compile the southbound database to flows: ovn-controller", program: "ovn-controller",
		// --restart leaves the chassis and its flows for the next one to take over.
		exit:  []string{"exit", "--restart"},
		ready: []query{{command: []string{"connection-status"}, want: "connected"}},
	},
}

// All lists the daemons in the order in which a node starts them.
func All() []Daemon { return slices.Clone(daemons) }

// Lookup finds a daemon by name.
func Lookup(name string) (Daemon, error) {
	i := slices.IndexFunc(daemons, func(d Daemon) bool { return d.Name == name })
	if i < 0 {
		return Daemon{}, fmt.Errorf("no daemon is called %q; the daemons are %s", name, strings.Join(names(), ", "))
	}
	return daemons[i], nil
}

func names() []string {
	var n []string
	for _, d := range daemons {
		n = append(n, d.Name)
	}
	return n
}

// IsServer tells whether the daemon serves a database.
func (d Daemon) IsServer() bool { return d.database != nil }

// isOVS tells whether the daemon keeps its run files with OVS rather than OVN.
func (d Daemon) isOVS() bool { return d.Name == "ovsdb" || d.Name == "ovs" }

// runDir is where the daemon's pid file and control socket are.
func (d Daemon) runDir(c *config.Config) string {
	if d.isOVS() {
		return filepath.Dir(socketPath(c.OVN.OVS))
	}
	return c.OVN.RunDir
}

// fileName is the stem of the pid file and control socket. The databases of OVN have
// their own, as two ovsdb-servers share the directory: those that ovn-appctl knows.
func (d Daemon) fileName() string {
	switch d.Name {
	case "nb":
		return "ovnnb_db"
	case "sb":
		return "ovnsb_db"
	}
	return d.program
}

func (d Daemon) pidFile(c *config.Config) string {
	return filepath.Join(d.runDir(c), d.fileName()+".pid")
}

// socket is what clients of the daemon's database connect to.
func (d Daemon) socket(c *config.Config) string {
	switch d.Name {
	case "nb":
		return socketPath(c.OVN.NB)
	case "sb":
		return socketPath(c.OVN.SB)
	}
	return socketPath(c.OVN.OVS)
}

// databaseFile is the file that the daemon serves.
func (d Daemon) databaseFile(c *config.Config) string {
	switch d.Name {
	case "nb":
		return c.OVN.NBDatabase
	case "sb":
		return c.OVN.SBDatabase
	}
	return c.OVN.OVSDatabase
}

// needs are the sockets of the databases that the daemon is a client of.
func (d Daemon) needs(c *config.Config) []string {
	switch d.Name {
	case "ovs":
		return []string{socketPath(c.OVN.OVS)}
	case "northd":
		return []string{socketPath(c.OVN.NB), socketPath(c.OVN.SB)}
	case "ovn-controller":
		return []string{socketPath(c.OVN.OVS), socketPath(c.OVN.SB)}
	}
	return nil
}

func socketPath(remote string) string { return strings.TrimPrefix(remote, "unix:") }

// args is the command line behind the program's name.
func (d Daemon) args(c *config.Config, extra []string) []string {
	var args []string
	switch {
	case d.database != nil:
		// No remote but the socket: nothing of a database is reachable from the network.
		args = append(args, d.databaseFile(c), "--remote=punix:"+d.socket(c))
	case d.Name == "northd":
		args = append(args, "--ovnnb-db="+c.OVN.NB, "--ovnsb-db="+c.OVN.SB)
	default:
		args = append(args, c.OVN.OVS)
	}
	if d.Name == "nb" || d.Name == "sb" {
		args = append(args, "--unixctl="+filepath.Join(d.runDir(c), d.fileName()+".ctl"))
	}
	args = append(args, "--pidfile="+d.pidFile(c), "--no-chdir",
		"-vconsole:"+vlogLevel(c.Log.Level), "-vfile:off", "-vsyslog:off")
	if d.Name == "ovn-controller" {
		// Namespaces and policies ask for what their rules log, whatever the daemons log.
		args = append(args, "-vacl_log:console:info")
	}
	return append(args, extra...)
}

// env is the daemon's environment: where OVS and OVN look for each other's sockets.
func (d Daemon) env(c *config.Config, inherited []string) []string {
	set := map[string]string{
		"OVS_RUNDIR": filepath.Dir(socketPath(c.OVN.OVS)),
		"OVS_DBDIR":  filepath.Dir(c.OVN.OVSDatabase),
		"OVN_RUNDIR": c.OVN.RunDir,
		"OVN_DBDIR":  filepath.Dir(c.OVN.NBDatabase),
	}
	env := slices.DeleteFunc(slices.Clone(inherited), func(kv string) bool {
		key, _, _ := strings.Cut(kv, "=")
		_, replaced := set[key]
		return replaced
	})
	for _, key := range []string{"OVS_RUNDIR", "OVS_DBDIR", "OVN_RUNDIR", "OVN_DBDIR"} {
		env = append(env, key+"="+set[key])
	}
	return env
}

// directories are those that the daemon writes to.
func (d Daemon) directories(c *config.Config) []string {
	dirs := []string{d.runDir(c)}
	if d.database != nil {
		dirs = append(dirs, filepath.Dir(d.socket(c)), filepath.Dir(d.databaseFile(c)))
	}
	slices.Sort(dirs)
	return slices.Compact(dirs)
}

// vlogLevel is the log level in the words of OVS.
func vlogLevel(level string) string {
	switch level {
	case "debug":
		return "dbg"
	case "error":
		return "err"
	}
	return level
}

// binaryDirs are where distributions put the daemons; PATH comes after them, because a
// container may have none.
var binaryDirs = []string{"/usr/sbin", "/usr/bin", "/usr/local/sbin", "/usr/local/bin", "/sbin", "/bin"}

// locate finds a program.
func locate(program string, first []string, path string) (string, error) {
	dirs := slices.Concat(first, binaryDirs, filepath.SplitList(path))
	for _, dir := range dirs {
		file := filepath.Join(dir, program)
		if stat, err := os.Stat(file); err == nil && stat.Mode().IsRegular() && stat.Mode().Perm()&0o111 != 0 {
			return file, nil
		}
	}
	return "", hint(fmt.Errorf("%s is not installed: looked in %s", program, strings.Join(dirs, ", ")),
		"use the ovnkctl image, or install the Open vSwitch and OVN packages")
}

// hinted is an error that knows what to do next.
type hinted struct {
	err  error
	next string
}

func (h hinted) Error() string { return h.err.Error() }
func (h hinted) Unwrap() error { return h.err }

// Hint is what to do next.
func (h hinted) Hint() string { return h.next }

func hint(err error, next string) error { return hinted{err, next} }

// withHint keeps the hint of a wrapped error.
func withHint(format string, args ...any) error {
	err := fmt.Errorf(format, args...)
	var h hinted
	if errors.As(err, &h) {
		return hinted{err, h.next}
	}
	return err
}
