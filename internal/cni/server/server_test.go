//go:build linux

package server_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"

	types100 "github.com/containernetworking/cni/pkg/types/100"
	"github.com/containernetworking/cni/pkg/types/create"
	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/ovnkctl/ovnkctl/internal/cni/plumb"
	"github.com/ovnkctl/ovnkctl/internal/cni/port/porttest"
	"github.com/ovnkctl/ovnkctl/internal/cni/server"
	"github.com/ovnkctl/ovnkctl/internal/cni/wire"
	"github.com/ovnkctl/ovnkctl/internal/world"
)

func TestAddResultByVersion(t *testing.T) {
	t.Parallel()
	n := start(t, nil)
	porttest.Bind(t, n.db, nil)
	n.addPod("web-0", "uid-1", 5)
	for _, version := range wire.Versions {
		r := request(wire.Add, "sandbox-"+version, "web-0", "uid-1")
		r.Config = []byte(`{"cniVersion":"` + version + `","name":"x","type":"ovn-k8s-cni-overlay"}`)
		out := n.must(r)
		parsed, err := create.CreateFromBytes(out)
		if err != nil {
			t.Fatalf("version %s: a runtime cannot read %s: %v", version, out, err)
		}
		if parsed.Version() != version {
			t.Errorf("result has version %s, want %s", parsed.Version(), version)
		}
		got, err := types100.NewResultFromResult(parsed)
		if err != nil {
			t.Fatal(err)
		}
		var text []string
		for _, i := range got.Interfaces {
			text = append(text, fmt.Sprintf("interface %s mac=%s mtu=%d sandbox=%s", i.Name, i.Mac, i.Mtu, i.Sandbox))
		}
		for _, ip := range got.IPs {
			text = append(text, fmt.Sprintf("ip %s via %s on %d", ip.Address.String(), ip.Gateway, *ip.Interface))
		}
		for _, route := range got.Routes {
			text = append(text, fmt.Sprintf("route %s via %s", route.Dst.String(), route.GW))
		}
		linkMTU := 0
		if version == "1.1.0" {
			linkMTU = mtu
		}
		want := []string{
			fmt.Sprintf("interface %s mac= mtu=%d sandbox=", plumb.HostName(r.ContainerID), linkMTU),
			fmt.Sprintf("interface eth0 mac=0a:58:0a:f4:01:05 mtu=%d sandbox=/run/netns/sandbox-%s", linkMTU, version),
			"ip 10.244.1.5/24 via 10.244.1.1 on 1", "ip fd00::5/64 via fd00::1 on 1",
			"route 0.0.0.0/0 via 10.244.1.1", "route ::/0 via fd00::1", "route 10.244.0.0/16 via 10.244.1.1",
		}
		if diff := cmp.Diff(want, text); diff != "" {
			t.Errorf("version %s (-want +got):\n%s", version, diff)
		}
	}
}

func TestRefusedRequests(t *testing.T) {
	t.Parallel()
	n := start(t, nil)
	tests := []struct {
		name   string
		change func(*wire.Request)
		code   uint
		text   string
	}{
		{"unknown command", func(r *wire.Request) { r.Command = "UPDATE" }, 4, `CNI_COMMAND is "UPDATE"`},
		{"no configuration", func(r *wire.Request) { r.Config = nil }, 6, "not what the plugin expects"},
		{"broken configuration", func(r *wire.Request) { r.Config = []byte(`{"cniVersion":`) }, 6, `starts with "{\"cniVersion\":"`},
		{"new version", func(r *wire.Request) { r.Config = []byte(`{"cniVersion":"2.0.0"}`) }, 1, "the plugin supports 0.4.0, 1.0.0, 1.1.0"},
		{"no sandbox", func(r *wire.Request) { r.ContainerID = "" }, 4, "CNI_CONTAINERID"},
		{"path as sandbox", func(r *wire.Request) { r.ContainerID = "../../etc" }, 4, "CNI_CONTAINERID"},
		{"long sandbox", func(r *wire.Request) { r.ContainerID = strings.Repeat("a", 257) }, 4, "at most 256"},
		{"no namespace", func(r *wire.Request) { r.Netns = "" }, 4, "CNI_NETNS"},
		{"interface with a slash", func(r *wire.Request) { r.IfName = "a/b" }, 4, "CNI_IFNAME"},
		{"long interface", func(r *wire.Request) { r.IfName = "sixteen-letters-" }, 4, "CNI_IFNAME"},
		{"no pod", func(r *wire.Request) { r.Args = "IgnoreUnknown=1" }, 4, "K8S_POD_NAMESPACE"},
		{"pod with a strange name", func(r *wire.Request) { r.Args = "K8S_POD_NAMESPACE=a;K8S_POD_NAME=b_c" }, 4, "K8S_POD_NAME"},
		{"huge arguments", func(r *wire.Request) { r.Args = strings.Repeat("x", 20000) }, 4, "longer than"},
		{"strange UID", func(r *wire.Request) { r.Args += "\n" }, 4, "K8S_POD_UID"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			r := request(wire.Add, "sandbox", "web-0", "uid-1")
			test.change(&r)
			n.refused(r, test.code, test.text)
		})
	}
	n.empty()
}

func TestGarbageOnSocket(t *testing.T) {
	t.Parallel()
	n := start(t, nil)
	for _, garbage := range []string{"GET / HTTP/1.1\r\n\r\n", "\x00\x00\x00\x04null", "\x00\x00\x00\x02{]", "\x00\x00\x00\x10short"} {
		conn, err := net.Dial("unix", n.socket)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := conn.Write([]byte(garbage)); err != nil {
			t.Fatal(err)
		}
		if err := conn.(*net.UnixConn).CloseWrite(); err != nil {
			t.Fatal(err)
		}
		var response wire.Response
		if err := wire.Read(conn, &response); err != nil || response.Error == nil || response.Error.Code != wire.CodeDecoding {
			t.Errorf("%q: %+v, %v", garbage, response.Error, err)
		}
		_ = conn.Close()
	}
	n.must(request(wire.Status, "", "", "")) // still alive
}

func TestSocketIsForRootAlone(t *testing.T) {
	t.Parallel()
	if os.Geteuid() != 0 {
		t.Skip("needs root to become somebody else")
	}
	n := start(t, nil)
	for path, want := range map[string]os.FileMode{filepath.Dir(n.socket): 0o700, n.socket: 0o600} {
		info, err := os.Stat(path)
		if err != nil || info.Mode().Perm() != want {
			t.Errorf("%s has mode %v, want %v (%v)", path, info.Mode().Perm(), want, err)
		}
	}
	// Even through an open door another user is refused.
	for dir := n.socket; dir != "/" && dir != os.TempDir(); dir = filepath.Dir(dir) {
		if err := os.Chmod(dir, 0o777); err != nil {
			t.Fatal(err)
		}
	}
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread ends with its strange identity
		const nobody = 65534
		if _, _, errno := unix.RawSyscall(unix.SYS_SETRESUID, ^uintptr(0), nobody, ^uintptr(0)); errno != 0 {
			done <- errno
			return
		}
		fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM, 0)
		if err != nil {
			done <- err
			return
		}
		defer func() { _ = unix.Close(fd) }()
		if err := unix.Connect(fd, &unix.SockaddrUnix{Name: n.socket}); err != nil {
			done <- err
			return
		}
		if read, err := unix.Read(fd, make([]byte, 1)); read != 0 && !errors.Is(err, unix.ECONNRESET) {
			done <- fmt.Errorf("got an answer: %d bytes, %w", read, err)
			return
		}
		done <- nil
	}()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

func TestStatus(t *testing.T) {
	t.Parallel()
	n := start(t, nil)
	n.must(request(wire.Status, "", "", ""))
	n.mu.Lock()
	n.ready = errors.New("ovn-controller is not connected")
	n.mu.Unlock()
	n.refused(request(wire.Status, "", "", ""), 50, "not ready: ovn-controller is not connected")
}

func TestRepeatedAddIsTheSame(t *testing.T) {
	t.Parallel()
	n := start(t, nil)
	porttest.Bind(t, n.db, nil)
	n.addPod("web-0", "uid-1", 5)
	r := request(wire.Add, "sandbox", "web-0", "uid-1")
	results := make([]string, 8)
	var wg sync.WaitGroup
	for k := range results {
		wg.Go(func() { results[k] = string(n.call(r).Result) })
	}
	wg.Wait()
	for _, got := range results {
		if got == "" || got != results[0] {
			t.Errorf("results differ: %s and %s", got, results[0])
		}
	}
	if n.links.creating != 1 || len(n.ports.List()) != 1 {
		t.Errorf("%d veths were made, %d ports", n.links.creating, len(n.ports.List()))
	}
}

func TestNewestSandboxWins(t *testing.T) {
	t.Parallel()
	n := start(t, nil)
	n.addPod("web-0", "uid-1", 5)
	older := make(chan wire.Response)
	go func() { older <- n.call(request(wire.Add, "older", "web-0", "uid-1")) }()
	n.waitPort("older") // it waits for its flows now
	newer := make(chan wire.Response)
	go func() { newer <- n.call(request(wire.Add, "newer", "web-0", "uid-1")) }()
	wantError(t, <-older, wire.CodeStageFailed, "pod default/web-0", "at stage flows", "newer")
	porttest.Bind(t, n.db, nil)
	if r := <-newer; r.Error != nil {
		t.Errorf("newer sandbox: %v", r.Error)
	}
	if list := n.ports.List(); len(list) != 1 || list[0].Sandbox != "newer" || n.links.count() != 1 {
		t.Errorf("ports %v, %d veths", list, n.links.count())
	}
	// Not a fault that anybody needs to know of.
	if events := n.recorded(); events != "" {
		t.Errorf("events: %s", events)
	}
	n.must(request(wire.Del, "older", "web-0", "uid-1"))
	if len(n.ports.List()) != 1 {
		t.Error("DEL of the older sandbox took the newer one's port")
	}
}

func TestAddFailuresAreTakenBack(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name  string
		spoil func(n *node)
		// act, once the port is there, ends the waiting for flows.
		act    func(n *node, conn net.Conn)
		code   uint
		texts  []string
		events string
	}{
		{
			"veth", func(n *node) { n.links.fail["connect"] = errors.New("no space") }, nil,
			100, []string{"pod default/web-0", "at stage veth: no space", "stages: ", "veth ", "(total "}, "PodNetworkFailed: pod default/web-0 is not attached",
		},
		{
			"interface", func(n *node) { n.links.fail["configure"] = errors.New("no such route") }, nil,
			100, []string{"at stage interface: no such route"}, "PodNetworkFailed",
		},
		{
			"pod deleted", nil, func(n *node, _ net.Conn) { n.store.DeletePod(world.PodKey{Namespace: "default", Name: "web-0"}) },
			100, []string{"at stage flows: the pod was deleted meanwhile"}, "",
		},
		{
			"pod created again", nil, func(n *node, _ net.Conn) { n.addPod("web-0", "uid-2", 6) },
			100, []string{"the pod was deleted and created again meanwhile, with UID uid-2"}, "",
		},
		{
			"pod finished", nil, func(n *node, _ net.Conn) {
				p := podOf("web-0", "uid-1", 5)
				p.Finished = true
				n.store.SetPod(p)
			},
			100, []string{"the pod has finished meanwhile"}, "",
		},
		{
			"DEL", nil, func(n *node, _ net.Conn) { n.must(request(wire.Del, "sandbox", "web-0", "uid-1")) },
			100, []string{"the container runtime sent DEL for the same sandbox"}, "",
		},
		{
			"port removed by hand", nil, func(n *node, _ net.Conn) {
				if _, err := n.ports.Detach(n.t.Context(), "", n.ports.List()[0].Ref()); err != nil {
					n.t.Error(err)
				}
			},
			100, []string{"port was taken over", "was removed from Open vSwitch"}, "",
		},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			n := start(t, nil)
			n.addPod("web-0", "uid-1", 5)
			if test.spoil != nil {
				test.spoil(n)
			}
			conn := n.dial(request(wire.Add, "sandbox", "web-0", "uid-1"))
			defer func() { _ = conn.Close() }()
			if test.act != nil {
				n.waitPort("sandbox")
				test.act(n, conn)
			}
			var response wire.Response
			if err := wire.Read(conn, &response); err != nil {
				t.Fatal(err)
			}
			wantError(t, response, test.code, test.texts...)
			n.empty()
			if events := n.recorded(); (test.events == "") != (events == "") || !strings.Contains(events, test.events) {
				t.Errorf("events %q, want %q", events, test.events)
			}
		})
	}
}

// What an earlier ADD made survives the failure of a repeated one.
func TestFailedRepetitionLeavesTheFirst(t *testing.T) {
	t.Parallel()
	n := start(t, nil)
	porttest.Bind(t, n.db, nil)
	n.addPod("web-0", "uid-1", 5)
	n.must(request(wire.Add, "sandbox", "web-0", "uid-1"))
	n.links.mu.Lock()
	n.links.fail["configure"] = errors.New("busy")
	n.links.mu.Unlock()
	n.refused(request(wire.Add, "sandbox", "web-0", "uid-1"), 100, "busy")
	if len(n.ports.List()) != 1 || n.links.count() != 1 {
		t.Error("the failed repetition tore down a working sandbox")
	}
}

func TestRuntimeGivesUp(t *testing.T) {
	t.Parallel()
	n := start(t, nil)
	n.addPod("web-0", "uid-1", 5)
	conn := n.dial(request(wire.Add, "sandbox", "web-0", "uid-1"))
	n.waitPort("sandbox")
	_ = conn.Close()
	for len(n.ports.List()) > 0 || n.links.count() > 0 {
		if t.Context().Err() != nil {
			t.Fatal("the ADD that nobody waits for was not taken back")
		}
	}
	if !strings.Contains(n.recorded(), "the container runtime has given up") {
		// The event comes before or after the last of the above; either way it comes.
		n.must(request(wire.Del, "sandbox", "web-0", "uid-1")) // waits for the ADD's end
		if !strings.Contains(n.recorded(), "the container runtime has given up") {
			t.Errorf("events: %s", n.recorded())
		}
	}
}

func TestStaticPodMayHaveAnotherUID(t *testing.T) {
	t.Parallel()
	n := start(t, nil)
	porttest.Bind(t, n.db, nil)
	p := podOf("static", "api-uid", 5)
	p.Static = true
	n.store.SetPod(p)
	n.must(request(wire.Add, "sandbox", "static", "file-uid"))
	if got := n.ports.List()[0].UID; got != "api-uid" {
		t.Errorf("the port has UID %s: OVN would not bind it", got)
	}
	if removed, err := n.server.Sweep(t.Context()); removed != 0 || err != nil {
		t.Errorf("the sweep removed %d ports (%v)", removed, err)
	}
}

func TestPodsThatGetNoPort(t *testing.T) {
	t.Parallel()
	n := start(t, nil)
	for name, change := range map[string]func(*world.Pod){
		"it is a host-network pod": func(p *world.Pod) { p.HostNetwork = true },
		"the pod has finished":     func(p *world.Pod) { p.Finished = true },
		`the pod belongs to node "node-2", not to this node, "node-1"`: func(p *world.Pod) { p.Node = "node-2" },
	} {
		p := podOf("web-0", "uid-1", 5)
		change(p)
		n.store.SetPod(p)
		n.refused(request(wire.Add, "sandbox", "web-0", "uid-1"), 100, "at stage address", name)
	}
	n.addPod("web-0", "uid-1", 5)
	n.store.DeletePod(world.PodKey{Namespace: "default", Name: "web-0"})
	n.refused(request(wire.Add, "sandbox", "web-0", "uid-1"), 100, "the pod with UID uid-1 was deleted, or deleted and created again, before its sandbox was started")
	n.empty()
}

func TestEgressBandwidthNotEnforced(t *testing.T) {
	t.Parallel()
	policed := map[string]bool{"sandbox-1": true, "sandbox-2": false}
	n := start(t, func(c *server.Config) { c.Policed = func(host string) (bool, error) { return policed[host], nil } })
	porttest.Bind(t, n.db, nil)
	for k, name := range []string{"web-1", "web-2"} {
		p := podOf(name, "uid", byte(5+k))
		p.EgressRate = 1_000_000
		n.store.SetPod(p)
		n.must(request(wire.Add, "sandbox-"+name[4:], name, "uid"))
	}
	events := n.recorded()
	if strings.Contains(events, "web-1") || !strings.Contains(events, "default/web-2 uid EgressBandwidthNotEnforced") || !strings.Contains(events, "act_police") {
		t.Errorf("events: %s", events)
	}
}

func TestShutdownTakesBack(t *testing.T) {
	t.Parallel()
	var response wire.Response
	var n *node
	t.Run("serve", func(t *testing.T) {
		n = start(t, nil)
		n.addPod("web-0", "uid-1", 5)
		conn := n.dial(request(wire.Add, "sandbox", "web-0", "uid-1"))
		n.waitPort("sandbox")
		t.Cleanup(func() {}) // Serve's end is the cleanup of start: it runs after the subtest
		go func() {
			_ = wire.Read(conn, &response)
			_ = conn.Close()
		}()
	})
	if n.links.count() != 0 {
		t.Error("the ADD under way at the end was not taken back")
	}
	if !strings.Contains(n.recorded(), "the node process is ending") {
		t.Errorf("events: %s", n.recorded())
	}
}

// burstSandbox is an id whose first 15 characters are its own, as those of real ones.
func burstSandbox(k int) string { return fmt.Sprintf("%04x", k) + strings.Repeat("0123456789ab", 5) }

func TestBurst(t *testing.T) {
	t.Parallel()
	const pods = 100
	n := start(t, nil)
	porttest.Bind(t, n.db, nil)
	before := n.db.Transactions(t)
	var wg sync.WaitGroup
	for k := range pods {
		name, uid := fmt.Sprintf("pod-%d", k), fmt.Sprintf("uid-%d", k)
		wg.Go(func() {
			// Half of the pods reach the world after their ADD.
			if k%2 == 0 {
				n.addPod(name, uid, byte(k+3))
			}
			response := make(chan wire.Response)
			go func() { response <- n.call(request(wire.Add, burstSandbox(k), name, uid)) }()
			if k%2 == 1 {
				n.addPod(name, uid, byte(k+3))
			}
			if r := <-response; r.Error != nil {
				t.Errorf("%s: %v", name, r.Error)
			}
		})
	}
	wg.Wait()
	if got := len(n.ports.List()); got != pods {
		t.Errorf("%d ports", got)
	}
	t.Logf("%d pods, %d transactions", pods, n.db.Transactions(t)-before)
	for k := range pods {
		wg.Go(func() {
			r := request(wire.Del, burstSandbox(k), fmt.Sprintf("pod-%d", k), "")
			r.Netns = ""
			n.must(r)
		})
	}
	wg.Wait()
	n.empty()
}

func FuzzRequest(f *testing.F) {
	n := start(f, nil)
	porttest.Bind(f, n.db, nil)
	n.addPod("web-0", "uid-1", 5)
	for _, command := range []string{wire.Add, wire.Del, wire.Check, wire.GC, wire.Status} {
		seed, err := json.Marshal(request(command, "sandbox", "web-0", "uid-1"))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		var r wire.Request
		if json.Unmarshal(data, &r) != nil {
			return
		}
		if r.Command == wire.Add || r.Command == wire.Check {
			// Pods that nobody knows are waited for.
			r.Args = "K8S_POD_NAMESPACE=default;K8S_POD_NAME=web-0;K8S_POD_UID=uid-1"
		}
		response := n.call(r)
		if e := response.Error; e != nil && (e.Msg == "" || strings.Contains(e.Msg, "has a defect")) {
			t.Fatalf("%s: %+v", data, e)
		}
	})
}
