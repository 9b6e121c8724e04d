package machine

import (
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"strings"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Gap is something that the machine's kernel cannot do and tests would need.
type Gap struct {
	What string `json:"what"`
	Why  string `json:"why"`
}

// Gaps tries what OVN and Kubernetes can make use of, in a network namespace
// that is thrown away. Loading a module on demand counts as being able.
func Gaps() []Gap {
	var out []Gap
	done := make(chan struct{})
	go func() { // the thread ends with the goroutine, and the namespace with it
		defer close(done)
		runtime.LockOSThread()
		if unix.Unshare(unix.CLONE_NEWNET) != nil {
			return // not root: nothing can be tried
		}
		for _, p := range probes {
			if why := p.try(); why != nil {
				out = append(out, Gap{What: p.what, Why: explain(why)})
			}
		}
	}()
	<-done
	return out
}

var probes = []struct {
	what string
	try  func() error
}{
	{"SCTP", func() error { return socket(unix.SOCK_STREAM, unix.IPPROTO_SCTP) }},
	{"the kernel datapath of Open vSwitch", func() error {
		_, err := netlink.GenlFamilyGet("ovs_datapath")
		return err
	}},
	{"VRF devices", func() error {
		return link(&netlink.Vrf{LinkAttrs: netlink.LinkAttrs{Name: "probe-vrf"}, Table: 100})
	}},
	{"Geneve devices", func() error {
		return link(&netlink.Geneve{LinkAttrs: netlink.LinkAttrs{Name: "probe-gnv"}, ID: 1, FlowBased: true, Dport: 6081})
	}},
	{"VLAN devices", func() error {
		lo, err := netlink.LinkByName("lo")
		if err != nil {
			return err
		}
		return link(&netlink.Vlan{LinkAttrs: netlink.LinkAttrs{Name: "probe-vlan", ParentIndex: lo.Attrs().Index}, VlanId: 7})
	}},
	{"dummy devices", func() error { return link(&netlink.Dummy{LinkAttrs: netlink.LinkAttrs{Name: "probe-dummy"}}) }},
	{"ingress policing of traffic", policing},
}

func socket(kind, protocol int) error {
	fd, err := unix.Socket(unix.AF_INET, kind, protocol)
	if err != nil {
		return err
	}
	return unix.Close(fd)
}

func link(l netlink.Link) error {
	if err := netlink.LinkAdd(l); err != nil {
		return err
	}
	return netlink.LinkDel(l)
}

// policing installs what `ingress_policing_rate` of a port needs.
func policing() error {
	lo, err := netlink.LinkByName("lo")
	if err != nil {
		return err
	}
	idx := lo.Attrs().Index
	ingress := &netlink.Ingress{QdiscAttrs: netlink.QdiscAttrs{LinkIndex: idx, Handle: netlink.MakeHandle(0xffff, 0), Parent: netlink.HANDLE_INGRESS}}
	if err := netlink.QdiscAdd(ingress); err != nil {
		return err
	}
	police := netlink.NewPoliceAction()
	police.Rate, police.Burst, police.ExceedAction = 1<<20, 1<<16, netlink.TC_POLICE_SHOT
	return netlink.FilterAdd(&netlink.MatchAll{
		FilterAttrs: netlink.FilterAttrs{LinkIndex: idx, Parent: ingress.Handle, Priority: 1, Protocol: unix.ETH_P_ALL},
		Actions:     []netlink.Action{police},
	})
}

// explain words the kernel's answer to a request for what it was built without.
func explain(err error) string {
	for _, absent := range []error{unix.EOPNOTSUPP, unix.ENOENT, unix.EPROTONOSUPPORT} {
		if errors.Is(err, absent) {
			return "not in kernel " + kernelRelease()
		}
	}
	return err.Error()
}

func kernelRelease() string {
	b, err := os.ReadFile(filepath.Join(procSys, "kernel/osrelease"))
	if err != nil {
		return "(unknown)"
	}
	return strings.TrimSpace(string(b))
}
