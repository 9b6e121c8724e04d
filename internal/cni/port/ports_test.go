package port_test

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/ovn-kubernetes/libovsdb/ovsdb"

	"github.com/ovnkctl/ovnkctl/internal/cni/port"
	"github.com/ovnkctl/ovnkctl/internal/cni/port/porttest"
	"github.com/ovnkctl/ovnkctl/internal/ovn"
	"github.com/ovnkctl/ovnkctl/internal/ovn/vswitch"
)

func portOf(pod, sandbox string) port.Port {
	return port.Port{
		Name: ("veth" + sandbox)[:min(15, 4+len(sandbox))], Sandbox: sandbox, IfName: "eth0",
		Namespace: "default", Pod: pod, UID: "uid-" + pod, MAC: "0a:58:0a:f4:01:05",
		Addresses: []netip.Prefix{netip.MustParsePrefix("10.244.1.5/24"), netip.MustParsePrefix("fd00::5/64")},
	}
}

func open(t testing.TB) (*porttest.Database, *port.Ports) {
	t.Helper()
	db := porttest.New(t)
	ports := port.New(db.DB, db.Committer, porttest.Bridge)
	t.Cleanup(ports.Close)
	return db, ports
}

func mustAttach(t testing.TB, ports *port.Ports, p port.Port, fresh bool) {
	t.Helper()
	if _, err := ports.Attach(t.Context(), p, fresh); err != nil {
		t.Fatal(err)
	}
}

// content is what the server has, asked without a cache.
func content(t testing.TB, db *porttest.Database) map[string]int {
	t.Helper()
	counts := map[string]int{}
	for _, table := range []string{vswitch.InterfaceTable, vswitch.PortTable, vswitch.QoSTable, vswitch.QueueTable} {
		results, err := db.Transact(t.Context(), "", ovsdb.Operation{Op: ovsdb.OperationSelect, Table: table})
		if err != nil {
			t.Fatal(err)
		}
		counts[table] = len(results[0].Rows)
	}
	return counts
}

func wantContent(t testing.TB, db *porttest.Database, ports, limited int) {
	t.Helper()
	want := map[string]int{"Interface": ports, "Port": ports, "QoS": limited, "Queue": limited}
	if diff := cmp.Diff(want, content(t, db)); diff != "" {
		t.Errorf("rows (-want +got):\n%s", diff)
	}
}

func TestAttachWritesOneTransaction(t *testing.T) {
	t.Parallel()
	db, ports := open(t)
	porttest.Bind(t, db, nil)
	p := portOf("web-0", "aaaa")
	p.IngressRate, p.EgressRate = 10_000_000, 20_000_000
	before := db.Transactions(t)
	mustAttach(t, ports, p, true)
	if err := ports.WaitInstalled(t.Context(), p); err != nil {
		t.Fatal(err)
	}
	if n := db.Transactions(t) - before; n != 1 {
		t.Errorf("%d transactions, want 1", n)
	}
	wantContent(t, db, 1, 1)
	i := db.Interface(t, p.Name)
	want := map[string]string{
		"iface-id": "default_web-0", "iface-id-ver": "uid-web-0", "sandbox": "aaaa",
		"attached_mac": "0a:58:0a:f4:01:05", "ip_addresses": "10.244.1.5/24,fd00::5/64", "ovn-installed": "true",
	}
	if diff := cmp.Diff(want, i.ExternalIDs); diff != "" {
		t.Errorf("external_ids (-want +got):\n%s", diff)
	}
	if i.IngressPolicingRate != 20000 || i.IngressPolicingBurst != 2000 {
		t.Errorf("policing %d kbit/s, burst %d kbit", i.IngressPolicingRate, i.IngressPolicingBurst)
	}
	row, ok := ovn.Find[vswitch.Port](db.DB, p.Name)
	if !ok || row.OtherConfig["transient"] != "true" || row.QOS == nil {
		t.Errorf("port row %+v", row)
	}
	qos := ovn.List[vswitch.QoS](db.DB)[0]
	if qos.Type != "linux-htb" || qos.OtherConfig["max-rate"] != "10000000" || qos.Queues[0] == "" {
		t.Errorf("QoS %+v", qos)
	}
	if diff := cmp.Diff([]port.Port{{
		Name: p.Name, Sandbox: "aaaa", IfName: "eth0", Namespace: "default", Pod: "web-0", UID: "uid-web-0",
		MAC: p.MAC, Addresses: p.Addresses,
	}}, ports.List(), cmp.Comparer(func(a, b netip.Prefix) bool { return a == b })); diff != "" {
		t.Errorf("List (-want +got):\n%s", diff)
	}
	if err := ports.Check(p); err != nil {
		t.Errorf("Check: %v", err)
	}
}

func TestAttachAgain(t *testing.T) {
	t.Parallel()
	db, ports := open(t)
	porttest.Bind(t, db, nil)
	p := portOf("web-0", "aaaa")
	mustAttach(t, ports, p, true)
	mustAttach(t, ports, p, false) // the database may not show the port yet
	if err := ports.WaitInstalled(t.Context(), p); err != nil {
		t.Fatal(err)
	}
	mustAttach(t, ports, p, false)
	wantContent(t, db, 1, 0)
	before := db.Transactions(t)
	mustAttach(t, ports, p, false)
	if after := db.Transactions(t); after != before {
		t.Errorf("a repeated ADD made %d transactions", after-before)
	}
	// A new veth under the same name must be opened and bound anew.
	old := db.Interface(t, p.Name)
	mustAttach(t, ports, p, true)
	if err := ports.WaitInstalled(t.Context(), p); err != nil {
		t.Fatal(err)
	}
	if old.UUID == db.Interface(t, p.Name).UUID {
		t.Error("the rows of the old veth are still there")
	}
	// Changed by hand.
	db.Set(t, &vswitch.Interface{Name: p.Name, ExternalIDs: map[string]string{"sandbox": "aaaa", "iface-id": "default_other"}}, "external_ids")
	if err := ports.WaitInstalled(t.Context(), p); !errors.Is(err, port.ErrTakenOver) || !strings.Contains(err.Error(), "default_other") {
		t.Errorf("got %v, want taken over", err)
	}
	mustAttach(t, ports, p, false)
	if err := ports.WaitInstalled(t.Context(), p); err != nil {
		t.Fatal(err)
	}
	wantContent(t, db, 1, 0)
}

func TestNewestSandboxWins(t *testing.T) {
	t.Parallel()
	db, ports := open(t)
	first, second := portOf("web-0", "aaaa"), portOf("web-0", "bbbb")
	first.IngressRate = 1_000_000
	mustAttach(t, ports, first, true)
	waiting := make(chan error)
	go func() { waiting <- ports.WaitInstalled(t.Context(), first) }()
	mustAttach(t, ports, second, true) // at once: the database may not show the first yet
	err := <-waiting
	if !errors.Is(err, port.ErrTakenOver) {
		t.Errorf("the first sandbox got %v, want taken over", err)
	}
	wantContent(t, db, 1, 0)
	if n, err := ports.Detach(t.Context(), "DEL", first.Ref()); n != 0 || err != nil {
		t.Errorf("DEL of the first sandbox removed %d ports (%v) of the second", n, err)
	}
	porttest.Bind(t, db, nil)
	if err := ports.WaitInstalled(t.Context(), second); err != nil {
		t.Error(err)
	}
}

func TestDetach(t *testing.T) {
	t.Parallel()
	db, ports := open(t)
	a, b := portOf("a", "aaaa"), portOf("b", "bbbb")
	a.IngressRate, b.IngressRate = 1_000_000, 1_000_000
	mustAttach(t, ports, a, true)
	mustAttach(t, ports, b, true)
	if n, err := ports.Detach(t.Context(), "DEL", a.Ref()); n != 1 || err != nil {
		t.Fatalf("removed %d ports (%v), want 1", n, err)
	}
	wantContent(t, db, 1, 1)
	before := db.Transactions(t)
	if n, err := ports.Detach(t.Context(), "DEL", a.Ref(), port.Ref{Sandbox: "never", IfName: "eth0"}, port.Ref{}); n != 0 || err != nil {
		t.Errorf("second DEL removed %d ports (%v)", n, err)
	}
	if after := db.Transactions(t); after != before {
		t.Error("a DEL without anything to do made a transaction")
	}
	// The same sandbox comes again at once.
	mustAttach(t, ports, a, true)
	porttest.Bind(t, db, nil)
	if err := ports.WaitInstalled(t.Context(), a); err != nil {
		t.Fatal(err)
	}
	if n, err := ports.Detach(t.Context(), "GC", a.Ref(), b.Ref()); n != 2 || err != nil {
		t.Errorf("removed %d ports (%v), want 2", n, err)
	}
	wantContent(t, db, 0, 0)
}

// Interfaces of one sandbox come and go on their own.
func TestSecondInterfaceOfSandbox(t *testing.T) {
	t.Parallel()
	db, ports := open(t)
	first := portOf("web-0", "aaaa")
	first.IngressRate = 1_000_000
	second := first
	second.Name, second.IfName, second.Pod = "vethnet1", "net1", "web-0.net1"
	mustAttach(t, ports, first, true)
	mustAttach(t, ports, second, true)
	wantContent(t, db, 2, 2)
	if n, err := ports.Detach(t.Context(), "DEL", second.Ref()); n != 1 || err != nil {
		t.Errorf("removed %d (%v)", n, err)
	}
	wantContent(t, db, 1, 1)
}

func TestForeignInterfaceOfSameName(t *testing.T) {
	t.Parallel()
	db, ports := open(t)
	mustAttach(t, ports, portOf("a", "aaaa"), true)
	p := portOf("b", "bbbb")
	p.Name = portOf("a", "aaaa").Name
	porttest.Bind(t, db, nil)
	if err := ports.WaitInstalled(t.Context(), portOf("a", "aaaa")); err != nil {
		t.Fatal(err)
	}
	_, err := ports.Attach(t.Context(), p, true)
	if err == nil || !strings.Contains(err.Error(), `belongs to sandbox "aaaa"`) {
		t.Errorf("got %v", err)
	}
	wantContent(t, db, 1, 0)
}

// gone waits until an Interface is in the client's cache no more.
func gone(t testing.TB, db *porttest.Database, name string) {
	t.Helper()
	deleted := make(chan struct{})
	cancel := ovn.Watch(db.DB, func(old, now *vswitch.Interface) {
		if now == nil && old.Name == name {
			close(deleted)
		}
	})
	defer cancel()
	if _, ok := ovn.Find[vswitch.Interface](db.DB, name); ok {
		<-deleted
	}
}

func TestOrphans(t *testing.T) {
	t.Parallel()
	db, ports := open(t)
	p := portOf("a", "aaaa")
	p.IngressRate = 1_000_000
	mustAttach(t, ports, p, true)
	if got := ports.Orphans(); len(got) != 0 {
		t.Errorf("orphans %v while the port is there", got)
	}
	bridge, _ := ovn.Find[vswitch.Bridge](db.DB, porttest.Bridge)
	if _, err := db.Transact(t.Context(), "", ovn.Update(&vswitch.Bridge{}, bridge.UUID, "ports")); err != nil { // somebody's ovs-vsctl del-port
		t.Fatal(err)
	}
	gone(t, db, p.Name)
	orphans := ports.Orphans()
	if !slices.Equal(orphans, []port.Ref{p.Ref()}) {
		t.Fatalf("orphans %v, want %v", orphans, p.Ref())
	}
	if _, err := ports.Detach(t.Context(), "sweep", orphans...); err != nil {
		t.Fatal(err)
	}
	wantContent(t, db, 0, 0)
}

func TestNotBoundSaysWhoIsLate(t *testing.T) {
	t.Parallel()
	db, ports := open(t)
	p := portOf("a", "aaaa")
	mustAttach(t, ports, p, true)
	wait := func() error {
		reason := errors.New("too late")
		ctx, cancel := context.WithCancelCause(t.Context())
		cancel(reason)
		err := ports.WaitInstalled(ctx, p)
		if !errors.Is(err, reason) {
			t.Errorf("%v does not carry the cause", err)
		}
		return err
	}
	broken, minusOne, five := "could not open network device", -1, 5
	for _, step := range []struct {
		do   func()
		want string
	}{
		{func() {}, "ovs-vswitchd has not opened interface vethaaaa"},
		{func() {
			db.Set(t, &vswitch.Interface{Name: p.Name, Error: &broken, Ofport: &minusOne}, "error", "ofport")
		}, "cannot use interface vethaaaa: could not open network device"},
		{func() {
			db.Set(t, &vswitch.Interface{Name: p.Name, Ofport: &five}, "error", "ofport")
		}, "ovn-controller has not bound port default_a (OpenFlow port 5)"},
	} {
		step.do()
		err := wait()
		if err == nil || !strings.Contains(err.Error(), step.want) {
			t.Errorf("got %v, want %q", err, step.want)
		}
		if err := ports.Check(p); err == nil || !strings.Contains(err.Error(), step.want) {
			t.Errorf("Check: got %v, want %q", err, step.want)
		}
	}
}

func TestPortVanishesWhileWaiting(t *testing.T) {
	t.Parallel()
	_, ports := open(t)
	p := portOf("a", "aaaa")
	mustAttach(t, ports, p, true)
	waiting := make(chan error)
	go func() { waiting <- ports.WaitInstalled(t.Context(), p) }()
	if _, err := ports.Detach(t.Context(), "DEL", p.Ref()); err != nil {
		t.Fatal(err)
	}
	if err := <-waiting; !errors.Is(err, port.ErrTakenOver) || !strings.Contains(err.Error(), "was removed from Open vSwitch") {
		t.Errorf("got %v", err)
	}
}

func TestMissingBridge(t *testing.T) {
	t.Parallel()
	db := porttest.New(t)
	ports := port.New(db.DB, db.Committer, "br-none")
	t.Cleanup(ports.Close)
	_, err := ports.Attach(t.Context(), portOf("a", "aaaa"), true)
	if err == nil || !strings.Contains(err.Error(), "ovn-controller makes it") {
		t.Errorf("got %v", err)
	}
}

func TestManyAtOnceShareTransactions(t *testing.T) {
	t.Parallel()
	const pods = 50
	db, ports := open(t)
	porttest.Bind(t, db, nil)
	var wg sync.WaitGroup
	for n := range pods {
		wg.Go(func() {
			p := portOf(fmt.Sprintf("pod-%d", n), fmt.Sprintf("%04d", n))
			p.IngressRate = 1_000_000
			if _, err := ports.Attach(t.Context(), p, true); err != nil {
				t.Errorf("attach: %v", err)
			} else if err := ports.WaitInstalled(t.Context(), p); err != nil {
				t.Errorf("wait: %v", err)
			}
		})
	}
	wg.Wait()
	wantContent(t, db, pods, pods)
	if n := db.Transactions(t); n > pods/2 {
		t.Errorf("%d transactions for %d ports", n, pods)
	}
}
