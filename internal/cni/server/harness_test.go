//go:build linux

package server_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/ovnkctl/ovnkctl/internal/cni/plumb"
	"github.com/ovnkctl/ovnkctl/internal/cni/port"
	"github.com/ovnkctl/ovnkctl/internal/cni/port/porttest"
	"github.com/ovnkctl/ovnkctl/internal/cni/server"
	"github.com/ovnkctl/ovnkctl/internal/cni/wire"
	"github.com/ovnkctl/ovnkctl/internal/runtime/feature"
	"github.com/ovnkctl/ovnkctl/internal/world"
)

const (
	nodeName = "node-1"
	mtu      = 1400
)

// links is a stateful stand-in for netlink: one veth pair per name of the node's end.
type links struct {
	mu       sync.Mutex
	pairs    map[string]pair
	creating int
	// fail makes the calls of that name return an error.
	fail map[string]error
	// hold, if set, is waited for by Connect.
	hold chan struct{}
}

type pair struct {
	netns, podName string
	network        world.PodNetwork
}

func newLinks() *links { return &links{pairs: map[string]pair{}, fail: map[string]error{}} }

func (l *links) Connect(netns string, i plumb.Interface) (bool, error) {
	if l.hold != nil {
		<-l.hold
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.fail["connect"]; err != nil {
		return false, err
	}
	if p, ok := l.pairs[i.Host]; ok && p.netns == netns {
		return false, nil
	}
	l.creating++
	l.pairs[i.Host] = pair{netns: netns, podName: i.Name}
	return true, nil
}

func (l *links) Configure(_ string, i plumb.Interface) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	p, ok := l.pairs[i.Host]
	if err := l.fail["configure"]; err != nil || !ok {
		return errors.Join(err)
	}
	p.network = i.Network
	l.pairs[i.Host] = p
	return nil
}

func (l *links) Check(_ string, i plumb.Interface) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if _, ok := l.pairs[i.Host]; !ok {
		return errors.New("interface eth0 is missing in the pod")
	}
	return nil
}

func (l *links) Disconnect(_, hostName, _ string) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.fail["disconnect"]; err != nil {
		return err
	}
	delete(l.pairs, hostName)
	return nil
}

func (l *links) Veths() (map[string]bool, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	names := map[string]bool{}
	for n := range l.pairs {
		names[n] = true
	}
	return names, nil
}

func (l *links) count() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.pairs)
}

// holder is an allocator that has approved of everything but what it refuses.
type holder struct {
	mu      sync.Mutex
	refuses map[world.PodKey]string
}

func (h *holder) Holds(pod world.PodKey, _ string) (bool, string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	why, refused := h.refuses[pod]
	return !refused, why
}

// programmer commits at once, unless told to fail.
type programmer struct{ err error }

// portOnly needs the pod's port.
func portOnly(k world.PodKey) []server.Need {
	return []server.Need{{Feature: "pods", Key: feature.Key{Namespace: k.Namespace, Name: k.Name}}}
}

func (p *programmer) Wait(ctx context.Context, name string, key feature.Key) error {
	if name != "pods" {
		return fmt.Errorf("unknown feature %s", name)
	}
	if p.err != nil {
		<-ctx.Done()
		return fmt.Errorf("%s: %w", key, p.err)
	}
	return ctx.Err()
}

// node is a server with everything around it.
type node struct {
	t      testing.TB
	store  *world.Store
	alloc  *holder
	nb     *programmer
	db     *porttest.Database
	ports  *port.Ports
	links  *links
	server *server.Server
	socket string

	mu     sync.Mutex
	events []string
	ready  error
}

// start makes a node; change may alter the server's configuration.
func start(t testing.TB, change func(*server.Config)) *node {
	t.Helper()
	n := &node{
		t: t, alloc: &holder{refuses: map[world.PodKey]string{}}, nb: &programmer{}, links: newLinks(),
		store:  world.New(world.Config{LocalNode: nodeName, Networks: []world.Network{{Name: world.DefaultNetwork}}}),
		db:     porttest.New(t),
		socket: filepath.Join(t.TempDir(), "cni", "s"),
	}
	n.ports = port.New(n.db.DB, n.db.Committer, porttest.Bridge)
	t.Cleanup(n.ports.Close)
	networks := server.NewWorld(server.WorldConfig{Store: n.store, Allocator: n.alloc, Needs: portOnly, Programmer: n.nb})
	c := server.Config{
		Socket: n.socket, MTU: mtu, Networks: networks, Ports: n.ports, Links: n.links,
		Ready: func() error {
			n.mu.Lock()
			defer n.mu.Unlock()
			return n.ready
		},
		Event: func(pod world.ObjectRef, reason, note string) {
			n.mu.Lock()
			defer n.mu.Unlock()
			n.events = append(n.events, fmt.Sprintf("%s/%s %s %s: %s", pod.Namespace, pod.Name, pod.UID, reason, note))
		},
	}
	if change != nil {
		change(&c)
	}
	n.server = server.New(c)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error)
	go func() { done <- n.server.Serve(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Serve: %v", err)
		}
	})
	n.waitForSocket()
	n.store.MarkSynced()
	return n
}

func (n *node) waitForSocket() {
	n.t.Helper()
	for {
		conn, err := net.Dial("unix", n.socket)
		if err == nil {
			_ = conn.Close()
			return
		}
		if n.t.Context().Err() != nil {
			n.t.Fatal(err)
		}
	}
}

func (n *node) recorded() string {
	n.mu.Lock()
	defer n.mu.Unlock()
	return strings.Join(n.events, "\n")
}

// addPod makes the pod known, with addresses.
func (n *node) addPod(name, uid string, number byte) *world.Pod {
	p := podOf(name, uid, number)
	n.store.SetPod(p)
	return p
}

func podOf(name, uid string, number byte) *world.Pod {
	return &world.Pod{
		Namespace: "default", Name: name, UID: uid, Node: nodeName,
		Networks: map[string]world.PodNetwork{world.DefaultNetwork: {
			Addresses: []netip.Prefix{
				netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 244, 1, number}), 24),
				netip.PrefixFrom(netip.AddrFrom16([16]byte{0xfd, 0, 15: number}), 64),
			},
			MAC:      net.HardwareAddr{0x0a, 0x58, 10, 244, 1, number}.String(),
			Gateways: []netip.Addr{netip.MustParseAddr("10.244.1.1"), netip.MustParseAddr("fd00::1")},
			Routes:   []world.Route{{Dest: netip.MustParsePrefix("10.244.0.0/16"), NextHop: netip.MustParseAddr("10.244.1.1")}},
		}},
	}
}

// request is what a kubelet has a runtime say about a pod.
func request(command, sandbox, pod, uid string) wire.Request {
	return wire.Request{
		Command: command, ContainerID: sandbox, Netns: "/run/netns/" + sandbox, IfName: "eth0",
		Args:   "IgnoreUnknown=1;K8S_POD_NAMESPACE=default;K8S_POD_NAME=" + pod + ";K8S_POD_INFRA_CONTAINER_ID=" + sandbox + ";K8S_POD_UID=" + uid,
		Config: []byte(`{"cniVersion":"1.0.0","name":"ovn-kubernetes","type":"ovn-k8s-cni-overlay"}`),
	}
}

// dial sends a request and returns the connection for its answer.
func (n *node) dial(r wire.Request) net.Conn {
	conn, err := net.Dial("unix", n.socket)
	if err != nil {
		n.t.Error(err)
		return nil
	}
	if err := wire.Write(conn, r); err != nil {
		n.t.Error(err)
	}
	return conn
}

// call makes one call as the shim does.
func (n *node) call(r wire.Request) wire.Response {
	conn := n.dial(r)
	defer func() { _ = conn.Close() }()
	var response wire.Response
	if err := wire.Read(conn, &response); err != nil {
		n.t.Errorf("%s: %v", r.Command, err)
	}
	return response
}

// must makes a call that has to succeed.
func (n *node) must(r wire.Request) json.RawMessage {
	n.t.Helper()
	response := n.call(r)
	if response.Error != nil {
		n.t.Fatalf("%s: %v", r.Command, response.Error)
	}
	return response.Result
}

// refused makes a call that has to fail with all of the texts.
func (n *node) refused(r wire.Request, code uint, texts ...string) {
	n.t.Helper()
	wantError(n.t, n.call(r), code, texts...)
}

func wantError(t testing.TB, response wire.Response, code uint, texts ...string) {
	t.Helper()
	if response.Error == nil {
		t.Errorf("succeeded with %s, want an error with %q", response.Result, texts)
		return
	}
	if response.Error.Code != code {
		t.Errorf("code %d, want %d: %v", response.Error.Code, code, response.Error)
	}
	for _, text := range texts {
		if !strings.Contains(response.Error.Error(), text) {
			t.Errorf("error %q lacks %q", response.Error, text)
		}
	}
}

// empty checks that nothing is left behind.
func (n *node) empty() {
	n.t.Helper()
	if ports, veths := len(n.ports.List()), n.links.count(); ports != 0 || veths != 0 {
		n.t.Errorf("left behind: %d ports, %d veths", ports, veths)
	}
}

// waitPort waits until the sandbox has a port.
func (n *node) waitPort(sandbox string) {
	n.t.Helper()
	for {
		for _, p := range n.ports.List() {
			if p.Sandbox == sandbox {
				return
			}
		}
		if n.t.Context().Err() != nil {
			n.t.Fatal("the port never came")
		}
	}
}

// startOn makes the server of another process of the same node, with a world of its own
// that is not complete yet.
func startOn(t testing.TB, n *node) *server.Server {
	t.Helper()
	store := world.New(world.Config{LocalNode: nodeName, Networks: []world.Network{{Name: world.DefaultNetwork}}})
	return server.New(server.Config{
		MTU: mtu, Ports: n.ports, Links: n.links,
		Networks: server.NewWorld(server.WorldConfig{Store: store, Allocator: n.alloc, Needs: portOnly, Programmer: n.nb}),
	})
}
