package vswitchd

import (
	"bufio"
	"context"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func pair(to, backend string) Pair {
	return Pair{netip.MustParseAddrPort(to), netip.MustParseAddrPort(backend)}
}

// flushes are requests as `ovs-ofctl -O OpenFlow13 ct-flush` of Open vSwitch 3.5 sends them.
var flushes = map[Pair]string{
	pair("10.96.0.1:53", "10.128.0.5:5353"): "04040068000000020000232000000020110000000000000000000028000000000001001400000000000000000000ffff" +
		"0a60000100000000000300080035000000010028000000000000001400000000000000000000ffff0a800005000000000002000814e90000",
	pair("[fd00::1]:53", "[fd01::5]:5353"): "040400680000000200002320000000201100000000000000000000280000000000010014fd000000000000000000000000000001" +
		"000000000003000800350000000100280000000000000014fd010000000000000000000000000005000000000002000814e90000",
}

// daemon is an ovs-vswitchd that notes what it is asked.
type daemon struct {
	Client
	refuse string // bytes of an error, for each request to end connections
	table  string // what the list of connections is

	mu    sync.Mutex
	heard []string
}

func newDaemon(t *testing.T) *daemon {
	t.Helper()
	dir, err := os.MkdirTemp("", "vsw") // a socket's path has 108 bytes at most
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	d := &daemon{Client: Client{RunDir: dir, Bridge: "br-int"}}
	if err := os.WriteFile(filepath.Join(dir, "ovs-vswitchd.pid"), []byte("42\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	d.serve(t, "br-int.mgmt", d.openflow)
	d.serve(t, "ovs-vswitchd.42.ctl", d.unixctl)
	return d
}

func (d *daemon) serve(t *testing.T, socket string, talk func(net.Conn) error) {
	t.Helper()
	l, err := net.Listen("unix", filepath.Join(d.RunDir, socket))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				talk(c) //nolint:errcheck // who hangs up has what he wanted
			}()
		}
	}()
}

func (d *daemon) note(what string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.heard = append(d.heard, what)
}

func (d *daemon) said() []string {
	d.mu.Lock()
	defer d.mu.Unlock()
	out := d.heard
	d.heard = nil
	return out
}

func (d *daemon) openflow(c net.Conn) error {
	// A hello of version 6 with a bitmap, an echo request and something that nobody asked for.
	greeting, _ := hex.DecodeString("0600001000000001" + "00010008" + "00000052" + "0402000a00000007abcd" + "040c000800000000")
	if _, err := c.Write(greeting); err != nil {
		return err
	}
	r := bufio.NewReader(c)
	for {
		h := make([]byte, 8)
		if _, err := io.ReadFull(r, h); err != nil {
			return err
		}
		body := make([]byte, binary.BigEndian.Uint16(h[2:])-8)
		if _, err := io.ReadFull(r, body); err != nil {
			return err
		}
		d.note(hex.EncodeToString(append(h, body...)))
		answer := ""
		switch h[1] {
		case ofExperimenter:
			answer = d.refuse
		case ofBarrierRequest:
			answer = "04150008" + hex.EncodeToString(h[4:])
		}
		reply, _ := hex.DecodeString(answer)
		if _, err := c.Write(reply); err != nil {
			return err
		}
	}
}

func (d *daemon) unixctl(c net.Conn) error {
	var m struct {
		Method string
		Params []string
	}
	if err := json.NewDecoder(c).Decode(&m); err != nil {
		return err
	}
	d.note(strings.Join(append([]string{m.Method}, m.Params...), " "))
	reply := map[string]any{"id": 0, "error": nil, "result": ""}
	switch {
	case m.Params == nil:
		reply["error"] = "no list of parameters"
	case m.Method == "revalidator/wait":
	case m.Method == "dpctl/dump-conntrack":
		reply["result"] = d.table
	default:
		reply["error"] = "\"" + m.Method + "\" is not a valid command\n"
	}
	return json.NewEncoder(c).Encode(reply)
}

// TestFlushIsAsOfctlSaysIt compares requests with those of Open vSwitch's own program.
func TestFlushIsAsOfctlSaysIt(t *testing.T) {
	t.Parallel()
	for p, want := range flushes {
		d := newDaemon(t)
		if err := d.ForgetUDP(t.Context(), []Pair{p}); err != nil {
			t.Fatal(err)
		}
		got := d.said()
		// The daemon's echo request may be answered at any time after the hello.
		got = without(got, "0403000a00000007abcd")
		if diff := cmp.Diff([]string{"0400000800000001", want, "0414000800000003"}, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", p, diff)
		}
	}
}

func without(list []string, s string) []string {
	var out []string
	for _, v := range list {
		if v != s {
			out = append(out, v)
		}
	}
	return out
}

// TestForgetInChunks waits now and then, and sends nothing for nothing.
func TestForgetInChunks(t *testing.T) {
	t.Parallel()
	d := newDaemon(t)
	var pairs []Pair
	for i := range 2*chunk + 1 {
		pairs = append(pairs, pair("10.96.0.1:53", fmt.Sprintf("10.128.0.5:%d", 1000+i)))
	}
	if err := d.ForgetUDP(t.Context(), pairs); err != nil {
		t.Fatal(err)
	}
	count := map[string]int{}
	for _, m := range d.said() {
		count[m[2:4]]++
	}
	if diff := cmp.Diff(map[string]int{"00": 1, "03": 1, "04": 2*chunk + 1, "14": 3}, count); diff != "" {
		t.Errorf("messages by type (-want +got):\n%s", diff)
	}
	if err := d.ForgetUDP(t.Context(), nil); err != nil || len(d.said()) > 0 {
		t.Errorf("nothing to forget: %v", err)
	}
}

func TestRefused(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ answer, want string }{
		{"0401000c" + "00000002" + "00010004", "upgrade Open vSwitch"},
		{"0401000c" + "00000002" + "00010009", "type 1 code 9"},
		{"04010008" + "00000002", "without saying why"},
	} {
		d := newDaemon(t)
		d.refuse = c.answer
		err := d.ForgetUDP(t.Context(), []Pair{pair("10.96.0.1:53", "10.128.0.5:5353")})
		if !errors.Is(err, ErrRefused) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want it to say %q", c.answer, err, c.want)
		}
	}
}

func TestSettle(t *testing.T) {
	t.Parallel()
	d := newDaemon(t)
	if err := d.Settle(t.Context()); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"revalidator/wait", "revalidator/wait"}, d.said()); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

func TestUnknownCommand(t *testing.T) {
	t.Parallel()
	d := newDaemon(t)
	if _, err := d.call(t.Context(), "nonsense"); err == nil || !strings.Contains(err.Error(), `"nonsense" is not a valid command`) {
		t.Errorf("error %v", err)
	}
}

func TestNobodyThere(t *testing.T) {
	t.Parallel()
	c := Client{RunDir: t.TempDir(), Bridge: "br-int"}
	for what, err := range map[string]error{
		"forget": c.ForgetUDP(t.Context(), []Pair{pair("10.96.0.1:53", "10.128.0.5:5353")}),
		"settle": c.Settle(t.Context()),
	} {
		if err == nil || !strings.Contains(err.Error(), "ovs-node") {
			t.Errorf("%s: %v", what, err)
		}
	}
}

// TestEndsWithContext: a daemon that says nothing does not hold anybody.
func TestEndsWithContext(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	l, err := net.Listen("unix", filepath.Join(dir, "x.mgmt"))
	if err != nil {
		t.Skip("the directory of tests is too deep for a socket:", err)
	}
	defer l.Close()
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		if _, err := l.Accept(); err == nil {
			cancel()
		}
	}()
	c := Client{RunDir: dir, Bridge: "x"}
	if err := c.ForgetUDP(ctx, []Pair{pair("10.96.0.1:53", "10.128.0.5:5353")}); err == nil {
		t.Error("no error")
	}
}

// TestSweep ends what leads elsewhere than it should, and only that.
func TestSweep(t *testing.T) {
	t.Parallel()
	d := newDaemon(t)
	line := func(protocol, client, to, backend string) string {
		c, t, b := netip.MustParseAddrPort(client), netip.MustParseAddrPort(to), netip.MustParseAddrPort(backend)
		return fmt.Sprintf("%s,orig=(src=%s,dst=%s,sport=%d,dport=%d),reply=(src=%s,dst=%s,sport=%d,dport=%d),zone=3,mark=2\n",
			protocol, c.Addr(), t.Addr(), c.Port(), t.Port(), b.Addr(), c.Addr(), b.Port(), c.Port())
	}
	d.table = line("udp", "10.128.0.3:1", "10.96.0.1:53", "10.128.0.5:5353") +
		line("udp", "10.128.0.3:2", "10.96.0.1:53", "10.128.0.6:5353") + // gone
		line("udp", "10.128.0.3:3", "10.96.0.1:53", "10.128.0.6:5353") + // gone, too
		line("udp", "10.128.0.3:4", "10.96.0.2:53", "10.128.0.6:5353") + // nobody asks
		line("tcp", "10.128.0.3:5", "10.96.0.1:53", "10.128.0.6:5353") +
		line("udp", "[fd01::3]:6", "[fd00::1]:53", "[fd00::1]:53") + // not translated
		"icmp,orig=(src=10.128.0.3,dst=10.96.0.1,id=1,type=8,code=0),reply=(src=10.96.0.1,dst=10.128.0.3,id=1,type=0,code=0)\n" +
		"udp,orig=(what,reply=(\n"
	n, err := d.SweepUDP(t.Context(), map[netip.AddrPort][]netip.AddrPort{
		netip.MustParseAddrPort("10.96.0.1:53"): {netip.MustParseAddrPort("10.128.0.5:5353")},
		netip.MustParseAddrPort("[fd00::1]:53"): {netip.MustParseAddrPort("[fd01::5]:5353")},
	})
	if n != 2 || err != nil {
		t.Errorf("%d backends, %v; want 2", n, err)
	}
	ended := map[string]int{}
	for _, m := range d.said() {
		if strings.HasPrefix(m, "0404") {
			ended[m[16:]]++
		}
	}
	want := map[string]int{
		hex.EncodeToString(ctFlush(pair("10.96.0.1:53", "10.128.0.6:5353"))): 1,
		hex.EncodeToString(ctFlush(pair("[fd00::1]:53", "[fd00::1]:53"))):    1,
	}
	if diff := cmp.Diff(want, ended); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}
