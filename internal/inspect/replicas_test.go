package inspect_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	networkingv1 "k8s.io/api/networking/v1"

	"github.com/ovnkctl/ovnkctl/internal/inspect"
	"github.com/ovnkctl/ovnkctl/internal/inspect/inspecttest"
	"github.com/ovnkctl/ovnkctl/internal/ovn"
	"github.com/ovnkctl/ovnkctl/internal/ovn/nb"
	"github.com/ovnkctl/ovnkctl/internal/ovn/ovntest"
	"github.com/ovnkctl/ovnkctl/internal/ovn/sb"
)

// slow is enough for programs on a machine that does much else.
const slow = time.Minute

// twoPorts are the databases of node n: a switch with two ports, not yet known to northd.
func twoPorts(t *testing.T) []string {
	t.Helper()
	north := ovntest.NB(t)
	port := func(name, mac string) *nb.LogicalSwitchPort {
		return &nb.LogicalSwitchPort{Name: name, Addresses: []string{mac}}
	}
	if _, err := north.Connect(t).Transact(t.Context(), "",
		ovn.Insert(&nb.NBGlobal{Name: "n"}, "global"),
		ovn.Insert(port("a", "00:00:00:00:00:01"), "a"), ovn.Insert(port("b", "00:00:00:00:00:02"), "b"),
		ovn.Insert(&nb.LogicalSwitch{Name: "sw", Ports: []string{"a", "b"}}, "sw"),
	); err != nil {
		t.Fatal(err)
	}
	return []string{databaseFile(t, north, "n"), databaseFile(t, ovntest.SB(t), "n")}
}

func openRecord(t *testing.T, find func(string) (string, error), paths []string) *inspect.Snapshot {
	t.Helper()
	s, err := inspect.Open(inspect.OpenConfig{Paths: paths, Find: find, Timeout: slow})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

const fromAToB = `inport == "a" && eth.src == 00:00:00:00:00:01 && eth.dst == 00:00:00:00:00:02`

// drops puts an ACL into a copy that drops everything on the switch.
func drops(t *testing.T, r *inspect.Replica) {
	t.Helper()
	c, err := r.Content(t.Context(), ovn.Northbound(), nb.LogicalSwitchTable)
	if err != nil {
		t.Fatal(err)
	}
	sw := ovn.RowsOf[nb.LogicalSwitch](c)[0]
	acls, _ := mustTable(t, nb.LogicalSwitchTable).Column("acls")
	if err := r.Transact(t.Context(), ovn.Northbound(),
		ovn.Insert(&nb.ACL{Priority: 1, Direction: "to-lport", Match: "1", Action: "drop"}, "acl"),
		ovn.Mutate(mustTable(t, nb.LogicalSwitchTable), sw.UUID, ovn.Mutation{Column: acls, Insert: []string{"acl"}}),
	); err != nil {
		t.Fatal(err)
	}
	if err := r.Settle(t.Context()); err != nil {
		t.Fatal(err)
	}
}

func mustTable(t *testing.T, name string) *ovn.Table {
	t.Helper()
	table, ok := ovn.Northbound().Table(name)
	if !ok {
		t.Fatal(name)
	}
	return table
}

// TestAlter: a cluster as it would be has the flows that northd makes of what was changed,
// and the one that it was made of has not.
func TestAlter(t *testing.T) {
	t.Parallel()
	before := openRecord(t, func(name string) (string, error) { return wrapped(t, name), nil }, twoPorts(t))
	made := 0
	after := before.Alter(inspect.Alteration{
		Objects: &inspect.Objects{NetworkPolicies: []networkingv1.NetworkPolicy{{}}},
		Zone: func(ctx context.Context, n *inspect.Node) (*inspect.Replica, error) {
			made++
			r, err := n.Replicate(ctx)
			if err == nil {
				drops(t, r)
			}
			return r, err
		},
	})
	defer after.Close()
	traced := func(s *inspect.Snapshot) string {
		out, err := s.Node("n").Exec(t.Context(), "", "ovn-trace", "--minimal", "sw", fromAToB)
		if err != nil || out.Code != 0 {
			t.Fatalf("code %d, %v\n%s", out.Code, err, out.Stderr)
		}
		return string(out.Stdout)
	}
	flows := func(s *inspect.Snapshot) int {
		c, err := s.Node("n").Database(t.Context(), ovn.Southbound(), sb.LogicalFlowTable)
		if err != nil {
			t.Fatal(err)
		}
		return len(ovn.RowsOf[sb.LogicalFlow](c))
	}
	if text := traced(after); strings.Contains(text, "output") {
		t.Errorf("the ACL drops nothing:\n%s", text)
	}
	if many, err := after.Node("n").Traces(t.Context(), []string{"--ct=new"}, [][]string{{"--minimal", "sw", fromAToB}}); err != nil ||
		len(many) != 1 || many[0].Failure != "" || many[0].Text == "" || strings.Contains(many[0].Text, "output") {
		t.Errorf("many at once: %+v, %v", many, err)
	}
	if flows(before) != 0 || flows(after) == 0 || made != 1 {
		t.Errorf("%d flows in the record, %d in the copy, %d copies", flows(before), flows(after), made)
	}
	if c, err := after.Node("n").Database(t.Context(), ovn.Northbound(), nb.ACLTable); err != nil || len(ovn.RowsOf[nb.ACL](c)) != 1 {
		t.Errorf("the copy has no ACL: %v", err)
	}
	if o, err := after.Objects(t.Context(), inspect.NetworkPolicies); err != nil || len(o.NetworkPolicies) != 1 {
		t.Errorf("the other objects are not there: %v, %v", o, err)
	}
	var p *inspect.Problem
	if _, err := after.Node("n").Exec(t.Context(), "", "ovs-appctl", "ofproto/trace", "br-int", "x"); !errors.As(err, &p) || !strings.Contains(p.Why, "not known") {
		t.Errorf("Open vSwitch: %v", err)
	}
}

// TestReplicaEnds: a copy leaves neither programs nor files.
func TestReplicaEnds(t *testing.T) {
	t.Setenv("TMPDIR", shortDir(t))
	s := openRecord(t, func(name string) (string, error) { return wrapped(t, name), nil }, twoPorts(t))
	r, err := s.Node("n").Replicate(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	drops(t, r)
	if err := r.Transact(t.Context(), ovn.Northbound(), map[string]any{"op": "insert", "table": "No_Such", "row": map[string]any{}}); err == nil || !strings.Contains(err.Error(), "No_Such") {
		t.Errorf("a wrong operation: %v", err)
	}
	if err := r.Close(); err != nil {
		t.Error(err)
	}
	left, _ := filepath.Glob(filepath.Join(os.Getenv("TMPDIR"), "ovnkctl-copy-*"))
	running, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	for _, name := range running {
		if text, _ := os.ReadFile(name); strings.Contains(string(text), os.Getenv("TMPDIR")+"/ovnkctl-copy-") {
			left = append(left, string(text))
		}
	}
	if len(left) > 0 {
		t.Errorf("left over: %q", left)
	}
}

// shortDir is a folder in which sockets can be: t.TempDir's are too long.
func shortDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "r")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}

// TestReplicaFails: what cannot be copied is said, with what to do.
func TestReplicaFails(t *testing.T) {
	t.Parallel()
	files := twoPorts(t)
	var p *inspect.Problem
	_, err := openRecord(t, func(string) (string, error) { return "", errors.New("not found") }, files).Node("n").Replicate(t.Context())
	if !errors.As(err, &p) || !strings.Contains(p.Next, "apt install") || p.Node != "n" {
		t.Errorf("not installed: %#v", err)
	}
	broken := openRecord(t, func(name string) (string, error) {
		if slices.Contains([]string{"ovn-northd"}, name) {
			return inspecttest.Script(t, "northd", "echo no such option >&2; exit 1"), nil
		}
		return wrapped(t, name), nil
	}, files)
	r, err := broken.Node("n").Replicate(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if _, err := r.Content(t.Context(), ovn.Northbound()); err == nil || !strings.Contains(err.Error(), "no such option") {
		t.Errorf("northd that ends: %v", err)
	}
	half := openRecord(t, func(name string) (string, error) { return wrapped(t, name), nil }, files[:1])
	if _, err := half.Node("n").Replicate(t.Context()); err == nil || !strings.Contains(err.Error(), "OVN_Southbound of node n") {
		t.Errorf("without Southbound database: %v", err)
	}
}
