package diagnose

import (
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/ovnkctl/ovnkctl/internal/inspect"
	"github.com/ovnkctl/ovnkctl/internal/ovn/nb"
	"github.com/ovnkctl/ovnkctl/internal/ovn/sb"
	"github.com/ovnkctl/ovnkctl/internal/ovn/vswitch"
)

// faulty is a healthy cluster with one thing wrong: in its objects, from which the databases
// follow, or in its state.
type faulty struct {
	code, name string
	objects    func(*inspect.Objects, *inspect.Installation)
	state      func(*testing.T, *Cluster)
}

func pod(o *inspect.Objects, name string) *corev1.Pod {
	for i := range o.Pods {
		if o.Pods[i].Name == name {
			return &o.Pods[i]
		}
	}
	panic("no pod " + name)
}

func removePod(o *inspect.Objects, name string) {
	kept := o.Pods[:0:0]
	for _, p := range o.Pods {
		if p.Name != name {
			kept = append(kept, p)
		}
	}
	o.Pods = kept
}

// crash makes a container of a pod wait for its next try.
func crash(p *corev1.Pod, container string) {
	for i := range p.Status.ContainerStatuses {
		if s := &p.Status.ContainerStatuses[i]; s.Name == container {
			s.Ready, s.RestartCount = false, 7
			s.State = corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: "CrashLoopBackOff"}}
			s.LastTerminationState.Terminated = &corev1.ContainerStateTerminated{ExitCode: 1, Message: "database is corrupt\n"}
		}
	}
}

func onOVS[T any](t *testing.T, c *Cluster, fits func(*T) bool) *T {
	t.Helper()
	return must(t, c.Nodes[0].OVS, fits)
}

var faults = []faulty{
	{code: "OVNK-NODE-001", name: "crash", objects: func(o *inspect.Objects, _ *inspect.Installation) { crash(pod(o, "ovnkube-node-n2"), "nb-ovsdb") },
		state: func(_ *testing.T, c *Cluster) {
			c.Nodes[1].NB, c.Nodes[1].Unread = nil, []Unread{{"OVN_Northbound", "connection refused"}}
		}},
	{code: "OVNK-NODE-001", name: "missing", objects: func(o *inspect.Objects, _ *inspect.Installation) { removePod(o, "ovs-node-n1") }},
	{code: "OVNK-CTL-001", objects: func(o *inspect.Objects, _ *inspect.Installation) {
		crash(pod(o, controlPlaneName+"-n1"), "ovnkube-cluster-manager")
		delete(o.Nodes[1].Annotations, "k8s.ovn.org/node-subnets")
		removePod(o, "web-2")
	}},
	{code: "OVNK-DB-001", state: func(_ *testing.T, c *Cluster) {
		c.Nodes[0].SB, c.Nodes[0].Unread = nil, []Unread{{"OVN_Southbound", "no answer in time"}}
	}},
	{code: "OVNK-HOST-001", objects: func(o *inspect.Objects, _ *inspect.Installation) {
		p := systemPod("kube-proxy", "n1", "kube-proxy")
		p.Labels["k8s-app"] = "kube-proxy"
		o.Pods = append(o.Pods, p)
	}},
	{code: "OVNK-VER-001", objects: func(o *inspect.Objects, _ *inspect.Installation) {
		p := pod(o, "ovnkube-node-n2")
		for i := range p.Spec.Containers {
			p.Spec.Containers[i].Image = "ovnkctl:2"
		}
	}},
	{code: "OVNK-NODE-002", objects: func(o *inspect.Objects, _ *inspect.Installation) {
		delete(o.Nodes[1].Annotations, "k8s.ovn.org/node-subnets")
	}},
	{code: "OVNK-IPAM-001", objects: func(o *inspect.Objects, _ *inspect.Installation) {
		o.Nodes[1].Annotations["k8s.ovn.org/node-subnets"] = o.Nodes[0].Annotations["k8s.ovn.org/node-subnets"]
		o.Nodes[1].CreationTimestamp = metav1.NewTime(long.Add(time.Minute))
	}},
	{code: "OVNK-NODE-003", name: "renamed", state: func(t *testing.T, c *Cluster) {
		onOVS(t, c, func(*vswitch.OpenvSwitch) bool { return true }).ExternalIDs["system-id"] = "another"
	}},
	{code: "OVNK-NODE-003", name: "unregistered", state: func(t *testing.T, c *Cluster) {
		remove(t, c.Nodes[0].SB, func(ch *sb.Chassis) bool { return ch.Name == "chassis-n1" })
		for _, b := range all[sb.PortBinding](c.Nodes[0].SB) {
			b.Chassis = nil
		}
	}},
	{code: "OVNK-DB-002", state: func(t *testing.T, c *Cluster) {
		must(t, c.Nodes[0].NB, func(*nb.NBGlobal) bool { return true }).NbCfg = 9
	}},
	{code: "OVNK-DB-003", state: func(t *testing.T, c *Cluster) {
		must(t, c.Nodes[0].SB, func(*sb.SBGlobal) bool { return true }).NbCfg = 9
	}},
	{code: "OVNK-BR-001", name: "missing", state: func(t *testing.T, c *Cluster) {
		remove(t, c.Nodes[0].OVS, func(b *vswitch.Bridge) bool { return b.Name == "br-int" })
		remove(t, c.Nodes[0].OVS, func(i *vswitch.Interface) bool { return i.Type == "geneve" || i.ExternalIDs["iface-id"] != "" })
	}},
	{code: "OVNK-BR-001", name: "mode", state: func(t *testing.T, c *Cluster) {
		onOVS(t, c, func(b *vswitch.Bridge) bool { return b.Name == "br-int" }).FailMode = nil
	}},
	{code: "OVNK-BR-002", name: "missing", state: func(t *testing.T, c *Cluster) {
		remove(t, c.Nodes[0].OVS, func(b *vswitch.Bridge) bool { return b.Name == "br-ex" })
	}},
	{code: "OVNK-BR-002", name: "nic", state: func(t *testing.T, c *Cluster) {
		remove(t, c.Nodes[0].OVS, func(i *vswitch.Interface) bool { return i.Name == "eth0" })
	}},
	{code: "OVNK-BR-002", name: "mapping", state: func(t *testing.T, c *Cluster) {
		delete(onOVS(t, c, func(*vswitch.OpenvSwitch) bool { return true }).ExternalIDs, "ovn-bridge-mappings")
	}},
	{code: "OVNK-TUN-001", state: func(t *testing.T, c *Cluster) {
		onOVS(t, c, func(*vswitch.OpenvSwitch) bool { return true }).ExternalIDs["ovn-encap-ip"] = "192.0.2.9"
	}},
	{code: "OVNK-TUN-002", name: "missing", state: func(t *testing.T, c *Cluster) {
		remove(t, c.Nodes[0].SB, func(ch *sb.Chassis) bool { return ch.Name == "chassis-n2" })
		remove(t, c.Nodes[0].OVS, func(i *vswitch.Interface) bool { return i.Type == "geneve" })
	}},
	{code: "OVNK-TUN-002", name: "address", state: func(t *testing.T, c *Cluster) {
		must(t, c.Nodes[0].SB, func(e *sb.Encap) bool { return e.ChassisName == "chassis-n2" }).IP = "192.0.2.9"
		onOVS(t, c, func(i *vswitch.Interface) bool { return i.Type == "geneve" }).Options["remote_ip"] = "192.0.2.9"
	}},
	{code: "OVNK-TUN-003", name: "missing", state: func(t *testing.T, c *Cluster) {
		remove(t, c.Nodes[0].OVS, func(i *vswitch.Interface) bool { return i.Type == "geneve" })
	}},
	{code: "OVNK-TUN-003", name: "error", state: func(t *testing.T, c *Cluster) {
		i := onOVS(t, c, func(i *vswitch.Interface) bool { return i.Type == "geneve" })
		i.Ofport, i.Error = ptr(-1), ptr("could not add network device ovn-n2 to ofproto (Address family not supported by protocol)")
	}},
	{code: "OVNK-BR-003", state: func(t *testing.T, c *Cluster) {
		must(t, c.Nodes[0].SB, func(b *sb.PortBinding) bool { return b.LogicalPort == "rtoe-GR_n1" }).Chassis = nil
	}},
}
