package kernel

import (
	"context"
	"net/netip"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// The coming and going of pods wakes nobody; what concerns the host does.
func TestConcerns(t *testing.T) {
	t.Parallel()
	if os.Getuid() != 0 {
		t.Skip("needs root for network namespaces")
	}
	var quiet []string
	for i := range 5 {
		pod := "pod" + strconv.Itoa(i)
		quiet = append(quiet, "link add "+pod+" type veth peer name "+pod+"x", "link set "+pod+" up", "link set "+pod+"x up",
			"neigh add 10.7.0.1 lladdr 02:00:00:00:00:01 dev "+pod, "addr add fe80::9/64 dev "+pod+" nodad",
			"route add 10.8.0.0/16 dev "+pod, "route add local 10.8.0.1 dev "+pod, "link del "+pod)
	}
	quiet = append(quiet, "neigh add 10.1.0.8 lladdr 02:00:00:00:00:08 dev na nud permanent")
	loud := []string{
		"addr add 10.1.0.2/24 dev na", "link set na mtu 1400", "route add 10.6.0.0/16 dev na", "route add default via 10.1.0.1",
		"neigh add 10.1.0.9 lladdr 02:00:00:00:00:09 dev na nud permanent", "neigh del 10.1.0.9 dev na",
		"addr add 192.0.2.1/24 dev nb", "link add new type veth peer name newx", "route del default", "link set na down",
	}
	ns := make(chan int)
	stop := make(chan struct{})
	go func() { // the thread that has the namespace
		runtime.LockOSThread()
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			t.Errorf("network namespace: %v", err)
		}
		fd, err := unix.Open("/proc/thread-self/ns/net", unix.O_RDONLY|unix.O_CLOEXEC, 0)
		if err != nil {
			t.Errorf("network namespace: %v", err)
		}
		ns <- fd
		<-stop
	}()
	defer close(stop)
	fd := <-ns
	defer unix.Close(fd) //nolint:errcheck // only read
	// inside runs f on a thread of its own in the namespace.
	inside := func(f func()) (done chan struct{}) {
		done = make(chan struct{})
		go func() {
			defer close(done)
			runtime.LockOSThread()
			if err := unix.Setns(fd, unix.CLONE_NEWNET); err != nil {
				t.Errorf("network namespace: %v", err)
			}
			f()
		}()
		return done
	}
	ip := func(command string) {
		if out, err := exec.Command("ip", strings.Fields(command)...).CombinedOutput(); err != nil {
			t.Errorf("ip %s: %v %s", command, err, out)
		}
	}
	<-inside(func() {
		for _, dev := range []string{"na", "nb"} {
			ip("link add " + dev + " type veth peer name " + dev + "x")
			ip("link set " + dev + " addrgenmode none") // no address comes later by itself
			ip("link set " + dev + " up")
			ip("link set " + dev + "x up")
		}
	})

	ctx, cancel := context.WithCancel(t.Context())
	started, marked := make(chan struct{}), make(chan bool)
	first, concerned := true, false
	watching := inside(func() {
		n, err := NewNetlink()
		if err != nil {
			t.Error(err)
			return
		}
		defer n.Close()
		if _, err := n.State(ctx, []string{"na"}); err != nil {
			t.Error(err)
		}
		in := Interest{Devs: []string{"na", "new"}, Neighbors: []netip.Addr{netip.MustParseAddr("10.1.0.9")}}
		_ = Listen(ctx, unix.NETLINK_ROUTE, routeGroups, func(m Message) bool {
			// A device called "marker" stands for the end of what was done before.
			if name, ok := m.Text(unix.SizeofIfInfomsg, unix.IFLA_IFNAME); ok && name == "marker" && m.Type == unix.RTM_DELLINK {
				marked <- concerned
				concerned = false
			}
			concerned = concerned || n.concerns(m, in)
			return false
		}, func() {
			if first {
				close(started)
				first = false
			}
		})
	})
	<-started
	step := func(command string) bool {
		done := inside(func() {
			ip(command)
			ip("link add marker type veth peer name markerx")
			ip("link del marker")
		})
		woke := <-marked
		<-done
		return woke
	}
	for _, command := range quiet {
		if step(command) {
			t.Errorf("ip %s woke", command)
		}
	}
	for _, command := range loud {
		if !step(command) {
			t.Errorf("ip %s did not wake", command)
		}
	}
	cancel()
	<-watching
}
