//go:build linux

package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"sync"
	"time"

	"github.com/vishvananda/netlink"

	"github.com/ovnkctl/ovnkctl/test/sandbox/netspace"
)

// floor does the least that anybody has to do for a pod: a row in the Northbound
// database, a veth with addresses, a port in the Open_vSwitch database, and waiting until
// ovn-controller says that the flows are installed.
type floor struct {
	nb, ovs *rawDB
	bridge  string // UUID of br-int
	host    *netlink.Handle

	mu      sync.Mutex
	waiting map[string]chan struct{} // by interface
}

// floorSwitch is the logical switch of the floor's pods, with a router of the same name: the
// engine removes ports from its own switches that it does not know.
const floorSwitch = "ovnkctl-bench"

// Sockets of the zone's databases.
const nbSocket, sbSocket = "/run/ovn/ovnnb_db.sock", "/run/ovn/ovnsb_db.sock"

func newFloor() (*floor, error) {
	f := &floor{waiting: map[string]chan struct{}{}}
	var err error
	if f.nb, err = dialDB("OVN_Northbound", nbSocket); err != nil {
		return nil, err
	}
	if f.ovs, err = dialDB("Open_vSwitch", "/run/openvswitch/db.sock"); err != nil {
		return nil, err
	}
	if f.host, err = netlink.NewHandle(); err != nil {
		return nil, fmt.Errorf("netlink: %w", err)
	}
	out, err := f.ovs.transact(dict{"op": "select", "table": "Bridge", "where": list{list{"name", "==", "br-int"}}, "columns": list{"_uuid"}})
	if err != nil {
		return nil, err
	}
	var id []string
	if len(out[0].Rows) != 1 || json.Unmarshal(out[0].Rows[0]["_uuid"], &id) != nil {
		return nil, errors.New("bridge br-int is not in Open vSwitch: is ovnkctl the network of this node?")
	}
	f.bridge = id[1]
	if err := f.makeSwitch(); err != nil {
		return nil, err
	}
	return f, f.ovs.monitor("Interface", []string{"name", "external_ids"}, f.changed)
}

// ovnVersion is the release of OVN in the zone.
func (f *floor) ovnVersion() (string, error) {
	out, err := f.nb.transact(dict{"op": "select", "table": "NB_Global", "where": list{}, "columns": list{"options"}})
	if err != nil {
		return "", err
	}
	if len(out[0].Rows) != 1 {
		return "", errors.New("the Northbound database has no global row: does ovn-northd run?")
	}
	// The option is like "25.03.0-20.41.0-80.9": release, schema, internal.
	_, rest, _ := strings.Cut(string(out[0].Rows[0]["options"]), `"northd_internal_version","`)
	version, _, _ := strings.Cut(rest, "-")
	return version, nil
}

func (f *floor) makeSwitch() error {
	if err := f.dropSwitch(); err != nil {
		return err
	}
	const link = floorSwitch + "-link"
	_, err := f.nb.transact(
		dict{"op": "insert", "table": "Logical_Switch_Port", "uuid-name": "lsp", "row": dict{
			"name": link, "type": "router", "addresses": "router", "options": ovsMap(map[string]string{"router-port": link + "-r"})}},
		dict{"op": "insert", "table": "Logical_Router_Port", "uuid-name": "lrp", "row": dict{
			"name": link + "-r", "mac": "0a:58:c6:12:ff:fe", "networks": list{"set", list{"198.18.255.254/16", "fd00:198:18::ffff/64"}}}},
		dict{"op": "insert", "table": "Logical_Switch", "row": dict{"name": floorSwitch, "ports": list{"named-uuid", "lsp"}}},
		dict{"op": "insert", "table": "Logical_Router", "row": dict{"name": floorSwitch, "ports": list{"named-uuid", "lrp"}}})
	return err
}

func (f *floor) dropSwitch() error {
	where := list{list{"name", "==", floorSwitch}}
	_, err := f.nb.transact(
		dict{"op": "delete", "table": "Logical_Switch", "where": where},
		dict{"op": "delete", "table": "Logical_Router", "where": where})
	return err
}

func (f *floor) close() error {
	err := f.dropSwitch()
	f.nb.close()
	f.ovs.close()
	f.host.Close()
	return err
}

func (f *floor) changed(_ string, row map[string]json.RawMessage) {
	if !bytes.Contains(row["external_ids"], []byte(`["ovn-installed","true"]`)) {
		return
	}
	var name string
	_ = json.Unmarshal(row["name"], &name)
	f.mu.Lock()
	defer f.mu.Unlock()
	if c := f.waiting[name]; c != nil {
		close(c)
		delete(f.waiting, name)
	}
}

// settle waits until the switch and the zone have done all they were told.
func (f *floor) settle() error {
	return errors.Join(
		f.ovs.barrier("Open_vSwitch", "next_cfg", "cur_cfg"),
		f.nb.barrier("NB_Global", "nb_cfg", "hv_cfg"))
}

// floorPod is one pod of the floor.
type floorPod struct {
	veth, netns string
	index       int
}

func (p floorPod) port() string { return "bench_" + p.veth }

// addresses are outside of every pod subnet, so that they are nobody else's.
func (p floorPod) addresses() []netip.Prefix {
	return []netip.Prefix{
		netip.PrefixFrom(netip.AddrFrom4([4]byte{198, 18, byte(p.index >> 8), byte(p.index)}), 24),
		netip.PrefixFrom(netip.AddrFrom16([16]byte{0xfd, 0, 0x01, 0x98, 0, 0x18, 14: byte(p.index >> 8), 15: byte(p.index)}), 64),
	}
}

// floorTimes is how long each stage took: nb, veth, port and flows, in this order.
type floorTimes map[string]time.Duration

func (t floorTimes) total() (sum time.Duration) {
	for _, d := range t {
		sum += d
	}
	return sum
}

// veth makes the pair; by `ip`, as scripts do, or by netlink.
type vethMaker func(floorPod) error

func (f *floor) addRow(p floorPod) error {
	addresses := fmt.Sprintf("0a:58:c6:12:%02x:%02x", p.index>>8, p.index&255)
	for _, a := range p.addresses() {
		addresses += " " + a.Addr().String()
	}
	out, err := f.nb.transact(
		dict{"op": "insert", "table": "Logical_Switch_Port", "uuid-name": "lsp", "row": dict{
			"name": p.port(), "addresses": addresses, "port_security": addresses}},
		dict{"op": "mutate", "table": "Logical_Switch", "where": list{list{"name", "==", floorSwitch}},
			"mutations": list{list{"ports", "insert", list{"named-uuid", "lsp"}}}})
	if err != nil {
		return err
	}
	if out[1].Count != 1 {
		return fmt.Errorf("the Northbound database has no logical switch %s any more", floorSwitch)
	}
	return nil
}

func (f *floor) addPort(p floorPod) (installed <-chan struct{}, err error) {
	c := make(chan struct{})
	f.mu.Lock()
	f.waiting[p.veth] = c
	f.mu.Unlock()
	_, err = f.ovs.transact(
		dict{"op": "insert", "table": "Interface", "uuid-name": "iface", "row": dict{"name": p.veth, "external_ids": ovsMap(map[string]string{"iface-id": p.port()})}},
		dict{"op": "insert", "table": "Port", "uuid-name": "port", "row": dict{"name": p.veth, "interfaces": list{"named-uuid", "iface"}}},
		dict{"op": "mutate", "table": "Bridge", "where": list{list{"_uuid", "==", list{"uuid", f.bridge}}},
			"mutations": list{list{"ports", "insert", list{"named-uuid", "port"}}}})
	return c, err
}

// add attaches one pod, one stage after the other.
func (f *floor) add(p floorPod, veth vethMaker, rowFirst bool) (floorTimes, error) {
	t := floorTimes{}
	start := time.Now()
	lap := func(stage string) {
		t[stage] = time.Since(start)
		start = time.Now()
	}
	if !rowFirst {
		if err := f.addRow(p); err != nil {
			return nil, err
		}
		lap("nb")
	}
	if err := veth(p); err != nil {
		return nil, err
	}
	lap("veth")
	installed, err := f.addPort(p)
	if err != nil {
		return nil, err
	}
	lap("port")
	select {
	case <-installed:
	case <-time.After(time.Minute):
		return nil, fmt.Errorf("floor: %s is not installed after a minute", p.veth)
	}
	lap("flows")
	return t, nil
}

// del takes pods away again.
func (f *floor) del(pods ...floorPod) error {
	var ovs, nb []dict
	for _, p := range pods {
		out, err := f.ovs.transact(dict{"op": "select", "table": "Port", "where": list{list{"name", "==", p.veth}}, "columns": list{"_uuid"}})
		if err != nil {
			return err
		}
		for _, row := range out[0].Rows {
			ovs = append(ovs, dict{"op": "mutate", "table": "Bridge", "where": list{}, "mutations": list{list{"ports", "delete", row["_uuid"]}}})
		}
		out, err = f.nb.transact(dict{"op": "select", "table": "Logical_Switch_Port", "where": list{list{"name", "==", p.port()}}, "columns": list{"_uuid"}})
		if err != nil {
			return err
		}
		for _, row := range out[0].Rows {
			nb = append(nb, dict{"op": "mutate", "table": "Logical_Switch", "where": list{}, "mutations": list{list{"ports", "delete", row["_uuid"]}}})
		}
	}
	_, ovsErr := f.ovs.transact(ovs...)
	_, nbErr := f.nb.transact(nb...)
	problems := []error{ovsErr, nbErr}
	for _, p := range pods {
		if link, err := f.host.LinkByName(p.veth); err == nil {
			problems = append(problems, f.host.LinkDel(link))
		}
	}
	return errors.Join(problems...)
}

// Names of the node's ends of veths begin with these: of the floor's pods, and of ours.
const floorVeth, ourVeth = "bnchf", "bnch0"

// nothingLeft fails if an interface of the benchmark is still in the kernel or in Open
// vSwitch.
func (f *floor) nothingLeft() error {
	ours := func(name string) bool { return strings.HasPrefix(name, floorVeth) || strings.HasPrefix(name, ourVeth) }
	links, err := f.host.LinkList()
	if err != nil {
		return fmt.Errorf("links of the node: %w", err)
	}
	var left []string
	for _, l := range links {
		if ours(l.Attrs().Name) {
			left = append(left, "link "+l.Attrs().Name)
		}
	}
	out, err := f.ovs.transact(dict{"op": "select", "table": "Interface", "where": list{}, "columns": list{"name"}})
	if err != nil {
		return err
	}
	for _, row := range out[0].Rows {
		if name := strings.Trim(string(row["name"]), `"`); ours(name) {
			left = append(left, "interface "+name)
		}
	}
	if len(left) > 0 {
		return fmt.Errorf("left behind: %s", strings.Join(left, ", "))
	}
	return nil
}

// byNetlink makes the veth with as few requests as possible.
func (f *floor) byNetlink(p floorPod) error {
	file, err := os.Open(netspace.Path(p.netns))
	if err != nil {
		return err
	}
	defer file.Close() //nolint:errcheck // nothing was written
	attrs := netlink.NewLinkAttrs()
	attrs.Name, attrs.MTU, attrs.Flags = p.veth, 1400, 1 // IFF_UP
	if err := f.host.LinkAdd(&netlink.Veth{LinkAttrs: attrs, PeerName: "eth0", PeerMTU: 1400, PeerNamespace: netlink.NsFd(int(file.Fd()))}); err != nil {
		return fmt.Errorf("floor: veth: %w", err)
	}
	return netspace.Do(p.netns, func() error {
		eth0, err := netlink.LinkByName("eth0")
		if err != nil {
			return err
		}
		if err := netlink.LinkSetUp(eth0); err != nil {
			return err
		}
		for _, a := range p.addresses() {
			addr, err := netlink.ParseAddr(a.String())
			if err != nil {
				return err
			}
			if err := netlink.AddrAdd(eth0, addr); err != nil {
				return err
			}
		}
		return nil
	})
}

// byCommand makes the veth with the `ip` command, as the figures of OVN-Kubernetes' floor
// were taken.
func (f *floor) byCommand(p floorPod) error {
	inside := "link set eth0 up\n"
	for _, a := range p.addresses() {
		inside += "addr add " + a.String() + " dev eth0\n"
	}
	for _, c := range []struct{ args, stdin string }{
		{"link add " + p.veth + " mtu 1400 type veth peer name eth0 mtu 1400 netns " + p.netns, ""},
		{"link set " + p.veth + " up", ""},
		{"-n " + p.netns + " -batch -", inside},
	} {
		cmd := exec.Command("ip", strings.Fields(c.args)...)
		cmd.Stdin = strings.NewReader(c.stdin)
		if out, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("floor: ip %s: %w: %s", c.args, err, out)
		}
	}
	return nil
}

// burst attaches pods all at once and tells when the last was installed.
func (f *floor) burst(pods []floorPod, rowFirst bool) (all time.Duration, each []time.Duration, err error) {
	if rowFirst {
		for _, p := range pods {
			if err := f.addRow(p); err != nil {
				return 0, nil, err
			}
		}
		if err := f.settle(); err != nil {
			return 0, nil, err
		}
	}
	start := time.Now()
	each = make([]time.Duration, len(pods))
	err = parallel(len(pods), func(i int) error {
		_, err := f.add(pods[i], f.byNetlink, rowFirst)
		each[i] = time.Since(start)
		return err
	})
	return time.Since(start), each, err
}
