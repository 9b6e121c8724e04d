//go:build e2e

package e2e

import (
	"context"
	"fmt"
	"strings"
	"testing"
)

// leftAlone are faults of pods and hosts that nobody puts right by himself. A port of another
// sandbox is removed by the node's program when it next looks for what pods left, some minutes
// after its start: this comes after a scene that starts it.
func (r *faultRig) leftAlone() *scene {
	one, two, three := r.nodes[0], r.nodes[1], r.nodes[2]
	answers := "arp,arp_spa=" + r.router
	br := func(t *testing.T, args ...string) {
		t.Helper()
		r.inSystem(t, "ovs-node", two, "ovs-daemons", append([]string{"ovs-ofctl", "-O", "OpenFlow13"}, args...)...)
	}
	tunnel := "udp,nw_src=" + r.addrs[three] + ",tp_dst=6081"
	return &scene{name: "left alone", faults: []fault{
		{name: "MTU of a pod's link", code: "OVNK-MTU-001", node: one, says: r.pods[0].Name,
			inject: func(t *testing.T) {
				r.onNode(t, one, "ip", "link", "set", r.plug(t, one, r.pods[0].Name), "mtu", "1500")
			},
			remedy: func(t *testing.T) { r.again(t, 0) }},
		{name: "port of another pod's sandbox", code: "OVNK-POD-005", node: two, object: "Pod " + r.pods[1].Name,
			inject: func(t *testing.T) {
				r.vsctl(t, two, "set", "Interface", r.plug(t, two, r.pods[1].Name), "external_ids:iface-id-ver=other")
			},
			remedy: func(t *testing.T) { r.again(t, 1) }},
		{name: "large packets lost on the way", code: "OVNK-MTU-002", says: "bytes",
			inject: func(t *testing.T) {
				br(t, "add-flow", "br-ex", "table=77,priority=1,reg0=1,actions=drop")
				br(t, "add-flow", "br-ex", "table=77,priority=0,actions=LOCAL")
				br(t, "add-flow", "br-ex", "priority=65000,"+tunnel+",actions=check_pkt_larger(1300)->NXM_NX_REG0[0],resubmit(,77)")
			},
			remedy: func(t *testing.T) {
				br(t, "del-flows", "br-ex", tunnel)
				br(t, "del-flows", "br-ex", "table=77")
			}},
		{name: "router does not answer", code: "OVNK-BR-004", node: three,
			inject: func(t *testing.T) {
				r.answers(t, three, "FAILED", "add-flow", "priority=65000,"+answers+",actions=drop")
			},
			remedy: func(t *testing.T) { r.answers(t, three, "REACHABLE", "del-flows", answers) }},
	}}
}

// answers changes whether the router's answers reach a node, and has the node ask for it until
// it knows: for a moment the datapath goes on as before the change.
func (r *faultRig) answers(t *testing.T, node, state, verb, flow string) {
	t.Helper()
	r.inSystem(t, "ovs-node", node, "ovs-daemons", "ovs-ofctl", "-O", "OpenFlow13", verb, "br-ex", flow)
	until(t, "the router is "+state, func(ctx context.Context) error {
		seen, err := r.trySandbox(ctx, "exec", node, "--", "ip", "neigh", "show", r.router, "dev", "br-ex")
		switch {
		case err != nil:
			return err
		case strings.Contains(seen, state):
			return nil
		case !strings.Contains(seen, "INCOMPLETE"): // the host does not wait for an answer
			_, _ = r.trySandbox(ctx, "exec", node, "--", "ip", "neigh", "del", r.router, "dev", "br-ex") // it may be gone
			if _, err := r.trySandbox(ctx, "exec", node, "--", "bash", "-c", "echo > /dev/udp/"+r.router+"/9"); err != nil {
				return err
			}
		}
		return fmt.Errorf("it is %q", seen)
	})
}

// paused are daemons of OVN that answer, and do nothing, while somebody waits for a change; the
// remedy is what the findings say.
func (r *faultRig) paused() *scene {
	one, two := r.nodes[0], r.nodes[1]
	pause := func(node, container, command string) func(t *testing.T) {
		return func(t *testing.T) {
			r.inSystem(t, "ovnkube-node", node, container, "ovn-appctl", "-t", container, command)
			pod, err := r.systemPod(t.Context(), "ovnkube-node", node)
			if err != nil {
				t.Fatal(err)
			}
			if out, err := r.exec(t.Context(), pod, "nb-ovsdb", nil, "ovn-nbctl", "--no-leader-only", "--timeout=1", "--wait=hv", "sync"); err == nil {
				t.Errorf("%s of %s is paused, and the change is in force: %s", container, node, out)
			}
		}
	}
	return &scene{name: "paused", holder: "OVNK-DB-003", faults: []fault{
		{name: "northd paused", code: "OVNK-DB-002", node: one, follow: true, inject: pause(one, "ovn-northd", "pause")},
		{name: "ovn-controller paused", code: "OVNK-DB-003", node: two, follow: true, inject: pause(two, "ovn-controller", "debug/pause")},
		{name: "tunnel deleted", code: "OVNK-TUN-003", node: two, object: "Node " + one, inject: func(t *testing.T) {
			r.vsctl(t, two, "del-port", strings.TrimSpace(r.vsctl(t, two, "--bare", "--columns=name", "find", "Interface", "type=geneve", "options:remote_ip="+r.addrs[one])))
		}},
	}}
}

// renamed is a node that the others know by a chassis that is not its own.
func (r *faultRig) renamed() *scene {
	three := r.nodes[2]
	return &scene{name: "renamed", faults: []fault{
		{name: "chassis of a node changed", code: "OVNK-NODE-003", node: three, follow: true,
			inject: func(t *testing.T) { r.annotateNode(t, three, "k8s.ovn.org/node-chassis-id", "e2e-nowhere") }},
	}}
}

// switchHangs is the database of Open vSwitch: on the userspace datapath the kubelet of its
// node is cut off, and the remedy has to work without it.
func (r *faultRig) switchHangs() *scene {
	two := r.nodes[1]
	return &scene{name: "switch hangs", faults: []fault{
		{name: "ovsdb-server hangs", code: "OVNK-NODE-005", node: two, says: "ovsdb-server", follow: true,
			inject: func(t *testing.T) { r.signal(t, two, "STOP", "ovsdb-server") }},
	}}
}
