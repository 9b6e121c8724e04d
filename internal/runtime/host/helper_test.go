//go:build ovn && linux

package host_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"os/signal"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ovnkctl/ovnkctl/internal/config"
	"github.com/ovnkctl/ovnkctl/internal/ovn"
	"github.com/ovnkctl/ovnkctl/internal/runtime/host"
	"github.com/ovnkctl/ovnkctl/internal/runtime/host/kernel"
	"github.com/ovnkctl/ovnkctl/internal/runtime/host/nft"
	"github.com/ovnkctl/ovnkctl/internal/runtime/host/openflow"
	"github.com/ovnkctl/ovnkctl/internal/runtime/host/ovs"
)

const helperVariable = "OVNKCTL_HOST_TEST"

func TestMain(m *testing.M) {
	if mode := os.Getenv(helperVariable); mode != "" {
		if err := helper(mode); err != nil {
			fmt.Fprintln(os.Stderr, mode+":", err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// job is what a helper process is to do, as JSON on its command line.
type job struct {
	Config    config.Config
	Zone      host.Zone
	Services  host.Services
	RunDir    string
	Ofctl     string
	KillAfter int // writes after which the process kills itself; 0 for never
	Address   string
	Source    string // of dial and, with the port, of ask; empty for the kernel's choice
	Size      int    // bytes of the question and the answer of ask
}

func helper(mode string) error {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	var j job
	if err := json.Unmarshal([]byte(os.Args[1]), &j); err != nil {
		return err
	}
	switch mode {
	case "run", "cleanup":
		return j.agent(ctx, mode)
	case "server":
		return echoServer(ctx, j.Address)
	case "client":
		return echoClient(ctx, j.Address)
	case "dial":
		return dial(j.Source, j.Address)
	case "answer":
		return answer(ctx, j.Address)
	case "ask":
		return ask(j.Source, j.Address, j.Size)
	case "router":
		return advertise(ctx, j.Address, "p0")
	}
	return errors.New("unknown mode")
}

// agent runs the Reconciler, or Cleanup, and says on standard output when it is ready and
// how much it wrote until then.
func (j job) agent(ctx context.Context, mode string) error {
	network, err := j.Config.DefaultNetwork()
	if err != nil {
		return err
	}
	var tables []string
	for table := range ovs.Columns() {
		tables = append(tables, table)
	}
	k, err := kernel.NewNetlink()
	if err != nil {
		return err
	}
	var db *ovn.DB
	opening, cancel := context.WithTimeout(ctx, 3*time.Second)
	defer cancel()
	if db, err = ovn.Open(opening, ovn.Config{
		Endpoint: "unix:" + j.RunDir + "/db.sock", Database: ovn.OpenVSwitch(), Tables: tables, Columns: ovs.Columns(),
	}); err != nil && mode == "run" {
		return err
	}
	var mu sync.Mutex
	writes := 0
	count := func() {
		mu.Lock()
		defer mu.Unlock()
		if writes++; writes == j.KillAfter {
			_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
		}
	}
	var sw host.Switch = noSwitch{}
	if db != nil {
		sw = &ovs.Client{DB: db, Only: map[string][]string{"br-int": {"br-int", host.ManagementPort}}}
	}
	c := host.Config{
		Node: "n1", Config: &j.Config, Network: network, Log: slog.New(slog.NewTextHandler(os.Stderr, nil)),
		Host: host.AfterWrites(host.Host{
			Switch: sw, Kernel: k, Firewall: nft.Exec{Path: "nft"},
			Flows: openflow.Ofctl{Path: j.Ofctl, RunDir: j.RunDir},
		}, count),
		OnFacts: func(f host.Facts) { fmt.Printf("facts %+v\n", f) },
	}
	if mode == "cleanup" {
		return host.Cleanup(ctx, c)
	}
	r := host.New(c)
	r.SetZone(j.Zone)
	r.SetServices(j.Services)
	go func() {
		if r.WaitReady(ctx) == nil {
			mu.Lock()
			defer mu.Unlock()
			fmt.Println("ready", writes)
		}
	}()
	if err := r.Run(ctx); ctx.Err() == nil {
		return err
	}
	return nil
}

type noSwitch struct{}

func (noSwitch) State(context.Context) (*ovs.State, error)         { return nil, ovs.ErrNotConnected }
func (noSwitch) Apply(context.Context, string, []ovs.Change) error { return ovs.ErrNotConnected }
func (noSwitch) Watch(ctx context.Context, _ func()) error         { <-ctx.Done(); return ctx.Err() }

// echoServer answers every byte, on both families, until ctx ends.
func echoServer(ctx context.Context, address string) error {
	l, err := net.Listen("tcp", address)
	if err != nil {
		return err
	}
	context.AfterFunc(ctx, func() { _ = l.Close() })
	fmt.Println("ready")
	for {
		c, err := l.Accept()
		if errors.Is(err, net.ErrClosed) {
			return nil
		}
		if err != nil {
			return err
		}
		fmt.Println("from", c.RemoteAddr().(*net.TCPAddr).IP)
		go func() { _, _ = io.Copy(c, c) }()
	}
}

// dial makes one connection and waits for one answer.
func dial(source, address string) error {
	d := net.Dialer{Timeout: 5 * time.Second}
	if source != "" {
		d.LocalAddr = &net.TCPAddr{IP: net.ParseIP(source)}
	}
	c, err := d.Dial("tcp", address)
	if err != nil {
		return err
	}
	_ = c.SetDeadline(time.Now().Add(5 * time.Second))
	if _, err := c.Write([]byte("x")); err != nil {
		return err
	}
	_, err = io.ReadFull(c, make([]byte, 1))
	return err
}

// answer sends back every datagram, and says from whom it was, until ctx ends.
func answer(ctx context.Context, address string) error {
	c, err := net.ListenPacket("udp", address)
	if err != nil {
		return err
	}
	context.AfterFunc(ctx, func() { _ = c.Close() })
	fmt.Println("ready")
	b := make([]byte, 1<<16)
	for {
		n, from, err := c.ReadFrom(b)
		if errors.Is(err, net.ErrClosed) {
			return nil
		}
		if err != nil {
			return err
		}
		fmt.Println("from", from.(*net.UDPAddr).IP)
		if _, err := c.WriteTo(b[:n], from); err != nil {
			return err
		}
	}
}

// ask sends one datagram and waits for one of the same size.
func ask(source, address string, size int) error {
	var d net.Dialer
	if source != "" {
		d.LocalAddr = net.UDPAddrFromAddrPort(netip.MustParseAddrPort(source))
	}
	c, err := d.Dial("udp", address)
	if err != nil {
		return err
	}
	_ = c.SetDeadline(time.Now().Add(5 * time.Second))
	if _, err := c.Write(make([]byte, size)); err != nil {
		return err
	}
	n, err := c.Read(make([]byte, 1<<16))
	if err == nil && n != size {
		err = fmt.Errorf("an answer of %d bytes to %d", n, size)
	}
	return err
}

// echoClient keeps one connection busy until ctx ends, and then says how often an answer
// came and how long, in ms, it waited at most. A connection that breaks is an error.
func echoClient(ctx context.Context, address string) error {
	c, err := net.DialTimeout("tcp", address, 5*time.Second)
	if err != nil {
		return err
	}
	fmt.Println("ready")
	const patience = 20 * time.Second
	var most time.Duration
	n, b := 0, make([]byte, 1)
	for ; ctx.Err() == nil; n++ {
		start := time.Now()
		_ = c.SetDeadline(start.Add(patience))
		if _, err := c.Write([]byte("x")); err != nil {
			return fmt.Errorf("after %d answers: %w", n, err)
		}
		if _, err := io.ReadFull(c, b); err != nil {
			return fmt.Errorf("after %d answers: %w", n, err)
		}
		most = max(most, time.Since(start))
		time.Sleep(5 * time.Millisecond) // the pace of the traffic, not a wait for anything
	}
	fmt.Println("answers", n, "longest", most.Milliseconds())
	return nil
}

// advertise is a router that announces itself and a prefix every half second.
func advertise(ctx context.Context, prefix, dev string) error {
	link, err := net.InterfaceByName(dev)
	if err != nil {
		return err
	}
	fd, err := unix.Socket(unix.AF_INET6, unix.SOCK_RAW, unix.IPPROTO_ICMPV6)
	if err != nil {
		return err
	}
	defer unix.Close(fd) //nolint:errcheck // of a test
	for option, value := range map[int]int{unix.IPV6_MULTICAST_HOPS: 255, unix.IPV6_MULTICAST_IF: link.Index} {
		if err := unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, option, value); err != nil {
			return err
		}
	}
	p := netip.MustParsePrefix(prefix)
	// RFC 4861: type 134, hop limit 64, router lifetime 1800 s; option 3: on-link,
	// autonomous, valid 3600 s, preferred 1800 s. The kernel adds the checksum.
	m := []byte{134, 0, 0, 0, 64, 0, 0x07, 0x08, 0, 0, 0, 0, 0, 0, 0, 0}
	m = append(m, 3, 4, byte(p.Bits()), 0xc0, 0, 0, 0x0e, 0x10, 0, 0, 0x07, 0x08, 0, 0, 0, 0)
	m = append(m, p.Addr().AsSlice()...)
	tick := time.NewTicker(500 * time.Millisecond)
	defer tick.Stop()
	for {
		if err := unix.Sendto(fd, m, 0, &unix.SockaddrInet6{Addr: netip.MustParseAddr("ff02::1").As16(), ZoneId: uint32(link.Index)}); err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}
