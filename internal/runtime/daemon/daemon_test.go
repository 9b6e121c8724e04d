package daemon

import (
	"cmp"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/ovnkctl/ovnkctl/internal/config"
)

func TestArguments(t *testing.T) {
	t.Parallel()
	c := config.Default()
	c.Log.Level = "debug"
	common := func(pid string) []string {
		return []string{"--pidfile=/var/run/" + pid, "--no-chdir", "-vconsole:dbg", "-vfile:off", "-vsyslog:off", "--extra"}
	}
	want := map[string][]string{
		"ovsdb": append([]string{"/etc/openvswitch/conf.db", "--remote=punix:/var/run/openvswitch/db.sock"}, common("openvswitch/ovsdb-server.pid")...),
		"ovs":   append([]string{"unix:/var/run/openvswitch/db.sock"}, common("openvswitch/ovs-vswitchd.pid")...),
		"nb": append([]string{"/etc/ovn/ovnnb_db.db", "--remote=punix:/var/run/ovn/ovnnb_db.sock", "--unixctl=/var/run/ovn/ovnnb_db.ctl"},
			common("ovn/ovnnb_db.pid")...),
		"sb": append([]string{"/etc/ovn/ovnsb_db.db", "--remote=punix:/var/run/ovn/ovnsb_db.sock", "--unixctl=/var/run/ovn/ovnsb_db.ctl"},
			common("ovn/ovnsb_db.pid")...),
		"northd": append([]string{"--ovnnb-db=unix:/var/run/ovn/ovnnb_db.sock", "--ovnsb-db=unix:/var/run/ovn/ovnsb_db.sock"},
			common("ovn/ovn-northd.pid")...),
		"ovn-controller": slices.Insert(append([]string{"unix:/var/run/openvswitch/db.sock"}, common("ovn/ovn-controller.pid")...), 6, "-vacl_log:console:info"),
	}
	for _, d := range All() {
		got := d.args(c, []string{"--extra"})
		if diff := gocmp.Diff(want[d.Name], got); diff != "" {
			t.Errorf("%s (-want +got)\n%s", d.Name, diff)
		}
		for _, a := range got {
			if strings.Contains(a, "ptcp:") || strings.Contains(a, "pssl:") || strings.Contains(a, "db:") {
				t.Errorf("%s listens beyond its socket: %s", d.Name, a)
			}
		}
	}
	if len(All()) != len(want) {
		t.Errorf("%d daemons, %d tested", len(All()), len(want))
	}
}

func TestLogLevels(t *testing.T) {
	t.Parallel()
	for level, want := range map[string]string{"debug": "dbg", "info": "info", "warn": "warn", "error": "err"} {
		if got := vlogLevel(level); got != want {
			t.Errorf("%s is %s, want %s", level, got, want)
		}
	}
}

func TestEnvironment(t *testing.T) {
	t.Parallel()
	d, err := Lookup("ovn-controller")
	if err != nil {
		t.Fatal(err)
	}
	got := d.env(config.Default(), []string{"HOME=/root", "OVS_RUNDIR=/elsewhere", "OVN_DBDIR="})
	want := []string{
		"HOME=/root", "OVS_RUNDIR=/var/run/openvswitch", "OVS_DBDIR=/etc/openvswitch", "OVN_RUNDIR=/var/run/ovn", "OVN_DBDIR=/etc/ovn",
	}
	if diff := gocmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
}

func TestLookupNamesTheDaemons(t *testing.T) {
	t.Parallel()
	_, err := Lookup("vswitchd")
	if err == nil || !strings.Contains(err.Error(), "ovsdb, ovs, nb, sb, northd, ovn-controller") {
		t.Errorf("error = %v", err)
	}
}

func TestDecide(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name              string
		exists, different bool
		have, shipped     string
		want              action
		fails             bool
	}{
		{name: "new", shipped: "7.11.0", want: create},
		{name: "same", exists: true, have: "7.11.0", shipped: "7.11.0", want: keep},
		{name: "older", exists: true, different: true, have: "7.3.0", shipped: "7.11.0", want: convert},
		{name: "older by number, not by text", exists: true, different: true, have: "7.9.9", shipped: "7.11.0", want: convert},
		{name: "major", exists: true, different: true, have: "20.41.0", shipped: "21.0.0", want: convert},
		{name: "changed without a new version", exists: true, different: true, have: "7.11.0", shipped: "7.11.0", want: convert},
		{name: "newer", exists: true, different: true, have: "7.18.0", shipped: "7.11.0", want: keepNewer},
		{name: "no version", exists: true, different: true, have: "", shipped: "7.11.0", fails: true},
		{name: "a word", exists: true, different: true, have: "7.x.0", shipped: "7.11.0", fails: true},
	} {
		got, err := decide(test.exists, test.different, test.have, test.shipped)
		if got != test.want || (err != nil) != test.fails {
			t.Errorf("%s: %v, %v", test.name, got, err)
		}
	}
}

// Versions are ordered like their numbers, whatever their lengths.
func TestVersionOrder(t *testing.T) {
	t.Parallel()
	version := rapid.Custom(func(t *rapid.T) [3]int {
		return [3]int{rapid.IntRange(0, 30).Draw(t, "x"), rapid.IntRange(0, 120).Draw(t, "y"), rapid.IntRange(0, 12).Draw(t, "z")}
	})
	text := func(v [3]int) string { return fmt.Sprintf("%d.%d.%d", v[0], v[1], v[2]) }
	rapid.Check(t, func(t *rapid.T) {
		a, b := version.Draw(t, "a"), version.Draw(t, "b")
		got, err := compareVersions(text(a), text(b))
		if err != nil {
			t.Fatal(err)
		}
		if want := slices.Compare(a[:], b[:]); cmp.Compare(got, 0) != want {
			t.Errorf("%s against %s: %d, want %d", text(a), text(b), got, want)
		}
	})
}

func TestLocate(t *testing.T) {
	t.Parallel()
	first, last := t.TempDir(), t.TempDir()
	file := func(dir, name string, mode os.FileMode) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(dir, name), nil, mode); err != nil {
			t.Fatal(err)
		}
	}
	file(first, "ovnkctl-test-a", 0o755)
	file(last, "ovnkctl-test-a", 0o755)
	file(first, "ovnkctl-test-b", 0o644) // not a program
	file(last, "ovnkctl-test-b", 0o755)
	if err := os.Mkdir(filepath.Join(first, "ovnkctl-test-c"), 0o755); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{
		"ovnkctl-test-a": first + "/ovnkctl-test-a",
		"ovnkctl-test-b": last + "/ovnkctl-test-b",
		"ovnkctl-test-c": "",
	} {
		got, err := locate(name, []string{first}, last)
		if got != want || (err == nil) != (want != "") {
			t.Errorf("%s is at %q (%v), want %q", name, got, err, want)
		}
	}
	if _, err := locate("ovnkctl-test-d", nil, last); err == nil || !strings.Contains(err.Error(), "/usr/sbin") || !strings.Contains(err.Error(), last) {
		t.Errorf("error does not tell where was looked: %v", err)
	}
}

func TestSettings(t *testing.T) {
	t.Parallel()
	c := config.Default()
	if diff := gocmp.Diff(map[string]string{"userspace-tso-enable": ""}, settings(c)); diff != "" {
		t.Errorf("system (-want +got)\n%s", diff)
	}
	c.Datapath, c.OVN.HandlerThreads, c.OVN.RevalidatorThreads = config.DatapathNetdev, 2, 1
	want := map[string]string{"userspace-tso-enable": "true", "n-handler-threads": "2", "n-revalidator-threads": "1"}
	if diff := gocmp.Diff(want, settings(c)); diff != "" {
		t.Errorf("netdev (-want +got)\n%s", diff)
	}
}

func TestMutations(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name         string
		want         map[string]string
		have, insert ovsMap
		remove       []string
	}{
		{"nothing there", map[string]string{"a": "1", "b": ""}, ovsMap{}, ovsMap{"a": "1"}, nil},
		{"all there", map[string]string{"a": "1"}, ovsMap{"a": "1", "other": "x"}, ovsMap{}, nil},
		{"another value", map[string]string{"a": "1"}, ovsMap{"a": "2"}, ovsMap{"a": "1"}, []string{"a"}},
		{"to be removed", map[string]string{"a": ""}, ovsMap{"a": "2"}, ovsMap{}, []string{"a"}},
	} {
		insert, remove := mutations(test.have, test.want)
		if diff := gocmp.Diff(test.insert, insert); diff != "" {
			t.Errorf("%s: insert (-want +got)\n%s", test.name, diff)
		}
		if !slices.Equal(test.remove, remove) {
			t.Errorf("%s: remove %v, want %v", test.name, remove, test.remove)
		}
	}
}
