//go:build linux

package server_test

import (
	"errors"
	"fmt"
	"testing"

	"github.com/ovnkctl/ovnkctl/internal/cni/plumb"
	"github.com/ovnkctl/ovnkctl/internal/cni/port/porttest"
	"github.com/ovnkctl/ovnkctl/internal/cni/wire"
	"github.com/ovnkctl/ovnkctl/internal/ovn"
	"github.com/ovnkctl/ovnkctl/internal/ovn/vswitch"
	"github.com/ovnkctl/ovnkctl/internal/world"
)

func TestDel(t *testing.T) {
	t.Parallel()
	n := start(t, nil)
	porttest.Bind(t, n.db, nil)
	n.addPod("web-0", "uid-1", 5)
	for _, change := range []func(*wire.Request){
		func(*wire.Request) {},
		func(r *wire.Request) { r.Netns = "" },
		func(r *wire.Request) { r.Args = "" },
		func(r *wire.Request) { r.Netns, r.Args, r.IfName = "relative", "K8S_POD_NAME=_", "" },
	} {
		n.must(request(wire.Add, "sandbox", "web-0", "uid-1"))
		r := request(wire.Del, "sandbox", "web-0", "uid-1")
		change(&r)
		for range 3 {
			n.must(r)
		}
		n.empty()
	}
	n.must(request(wire.Del, "never-seen", "web-0", "uid-1"))
}

func TestDelReportsWhatItCouldNotDo(t *testing.T) {
	t.Parallel()
	n := start(t, nil)
	porttest.Bind(t, n.db, nil)
	n.addPod("web-0", "uid-1", 5)
	n.must(request(wire.Add, "sandbox", "web-0", "uid-1"))
	n.links.mu.Lock()
	n.links.fail["disconnect"] = errors.New("device or resource busy")
	n.links.mu.Unlock()
	n.refused(request(wire.Del, "sandbox", "web-0", "uid-1"), wire.CodeTryAgain, "sandbox sandbox", "device or resource busy")
	n.links.mu.Lock()
	delete(n.links.fail, "disconnect")
	n.links.mu.Unlock()
	n.must(request(wire.Del, "sandbox", "web-0", "uid-1"))
	n.empty()
}

func gcRequest(version, valid string) wire.Request {
	return wire.Request{Command: wire.GC, Config: []byte(`{"cniVersion":"` + version + `","name":"ovn-kubernetes","type":"ovn-k8s-cni-overlay"` + valid + `}`)}
}

func TestGC(t *testing.T) {
	t.Parallel()
	n := start(t, nil)
	porttest.Bind(t, n.db, nil)
	for k := range 4 {
		n.addPod(fmt.Sprintf("pod-%d", k), "uid", byte(5+k))
		n.must(request(wire.Add, fmt.Sprintf("sandbox-%d", k), fmt.Sprintf("pod-%d", k), "uid"))
	}
	n.refused(gcRequest("1.1.0", ""), wire.CodeInvalidConfig, "no cni.dev/valid-attachments")
	n.refused(gcRequest("1.1.0", `,"cni.dev/valid-attachments":[{"containerID":"sandbox-1"}]`), wire.CodeInvalidConfig, "lacks containerID or ifname")
	if got := len(n.ports.List()); got != 4 {
		t.Fatalf("%d ports after GCs that were refused", got)
	}
	before := n.db.Transactions(t)
	n.must(gcRequest("1.1.0", `,"cni.dev/valid-attachments":[{"containerID":"sandbox-1","ifname":"eth0"},{"containerID":"other","ifname":"eth0"}]`))
	if list := n.ports.List(); len(list) != 1 || list[0].Sandbox != "sandbox-1" || n.links.count() != 1 {
		t.Errorf("left: ports %v, %d veths", list, n.links.count())
	}
	if got := n.db.Transactions(t) - before; got != 1 {
		t.Errorf("%d transactions, want 1", got)
	}
	n.must(gcRequest("1.1.0", `,"cni.dev/valid-attachments":[]`))
	n.empty()
}

func TestGCSparesAddUnderWay(t *testing.T) {
	t.Parallel()
	n := start(t, nil)
	n.addPod("web-0", "uid-1", 5)
	done := make(chan wire.Response)
	go func() { done <- n.call(request(wire.Add, "sandbox", "web-0", "uid-1")) }()
	n.waitPort("sandbox")
	n.must(gcRequest("1.1.0", `,"cni.dev/valid-attachments":[]`))
	porttest.Bind(t, n.db, nil)
	if r := <-done; r.Error != nil {
		t.Error(r.Error)
	}
}

// What DELs that met no server left behind.
func TestSweep(t *testing.T) {
	t.Parallel()
	n := start(t, nil)
	porttest.Bind(t, n.db, nil)
	add := func(k int) {
		p := podOf(fmt.Sprintf("pod-%d", k), "uid", byte(5+k))
		p.IngressRate = 1_000_000
		n.store.SetPod(p)
		n.must(request(wire.Add, fmt.Sprintf("sandbox-%d", k), p.Name, "uid"))
	}
	for k := range 5 {
		add(k)
	}
	sweep := func(want int) {
		t.Helper()
		got, err := n.server.Sweep(t.Context())
		if err != nil || got != want {
			t.Errorf("the sweep removed %d ports (%v), want %d", got, err, want)
		}
	}
	sweep(0)
	// A reboot, or a runtime that removed the namespace.
	if err := n.links.Disconnect("", plumb.HostName("sandbox-0"), "eth0"); err != nil {
		t.Fatal(err)
	}
	n.store.DeletePod(world.PodKey{Namespace: "default", Name: "pod-1"})
	n.addPod("pod-2", "another-uid", 9)
	// The port removed by hand, its QoS rows not.
	bridge, _ := ovn.Find[vswitch.Bridge](n.db.DB, porttest.Bridge)
	row, _ := ovn.Find[vswitch.Port](n.db.DB, plumb.HostName("sandbox-3"))
	table, _ := ovn.OpenVSwitch().Table(vswitch.BridgeTable)
	column, _ := table.Column("ports")
	gone := make(chan struct{})
	cancel := ovn.Watch(n.db.DB, func(old, now *vswitch.Interface) {
		if now == nil && old.Name == row.Name {
			close(gone)
		}
	})
	if _, err := n.db.Transact(t.Context(), "", ovn.Mutate(table, bridge.UUID, ovn.Mutation{Column: column, Remove: []string{row.UUID}})); err != nil {
		t.Fatal(err)
	}
	<-gone
	cancel()
	sweep(3)
	sweep(0)
	if list := n.ports.List(); len(list) != 1 || list[0].Pod != "pod-4" {
		t.Errorf("left: %v", list)
	}
	if qos := len(ovn.List[vswitch.QoS](n.db.DB)); qos != 1 {
		t.Errorf("%d QoS rows left", qos)
	}
}

func TestSweepKnowsNothingBeforeTheWorldIsComplete(t *testing.T) {
	t.Parallel()
	n := start(t, nil)
	porttest.Bind(t, n.db, nil)
	n.addPod("web-0", "uid-1", 5)
	n.must(request(wire.Add, "sandbox", "web-0", "uid-1"))
	// A restart: another process, whose world is still empty.
	again := startOn(t, n)
	if removed, err := again.Sweep(t.Context()); removed != 0 || err != nil {
		t.Errorf("removed %d (%v)", removed, err)
	}
}

func TestCheck(t *testing.T) {
	t.Parallel()
	n := start(t, nil)
	porttest.Bind(t, n.db, nil)
	n.addPod("web-0", "uid-1", 5)
	check := request(wire.Check, "sandbox", "web-0", "uid-1")
	n.refused(check, 100, "interface eth0 is missing in the pod; interface sandbox is missing in Open vSwitch")
	n.must(request(wire.Add, "sandbox", "web-0", "uid-1"))
	n.must(check)
	ids := n.db.Interface(t, "sandbox").ExternalIDs
	changed := map[string]string{}
	for k, v := range ids {
		if k != "ovn-installed" {
			changed[k] = v
		}
	}
	n.db.Set(t, &vswitch.Interface{Name: "sandbox", ExternalIDs: changed}, "external_ids")
	n.refused(check, 100, "CHECK of pod default/web-0", "ovn-controller has not bound port default_web-0")
}
