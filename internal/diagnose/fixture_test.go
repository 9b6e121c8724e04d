package diagnose

import (
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ovn-kubernetes/libovsdb/model"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/ovnkctl/ovnkctl/internal/config"
	"github.com/ovnkctl/ovnkctl/internal/inspect"
	"github.com/ovnkctl/ovnkctl/internal/ovn"
	"github.com/ovnkctl/ovnkctl/internal/ovn/names"
	"github.com/ovnkctl/ovnkctl/internal/ovn/nb"
	"github.com/ovnkctl/ovnkctl/internal/ovn/owner"
	"github.com/ovnkctl/ovnkctl/internal/ovn/rows"
	"github.com/ovnkctl/ovnkctl/internal/ovn/sb"
	"github.com/ovnkctl/ovnkctl/internal/ovn/vswitch"
	"github.com/ovnkctl/ovnkctl/internal/runtime/feature"
	"github.com/ovnkctl/ovnkctl/internal/runtime/feature/hostports"
	"github.com/ovnkctl/ovnkctl/internal/runtime/feature/pods"
	"github.com/ovnkctl/ovnkctl/internal/runtime/feature/policy"
	"github.com/ovnkctl/ovnkctl/internal/runtime/feature/services"
	"github.com/ovnkctl/ovnkctl/internal/runtime/feature/topology"
)

// now is when the snapshots of the tests were taken.
var now = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

// long is a time before everything had settled.
var long = metav1.NewTime(now.Add(-time.Hour))

const system = "ovn-kubernetes"

// memory are rows of one database.
type memory struct {
	rows map[*ovn.Table][]model.Model
	next int
}

func newMemory() *memory { return &memory{rows: map[*ovn.Table][]model.Model{}} }

func (m *memory) Rows(t *ovn.Table) []model.Model { return m.rows[t] }

func (m *memory) Row(t *ovn.Table, uuid string) (model.Model, bool) {
	for _, r := range m.rows[t] {
		if uuidOf(r) == uuid {
			return r, true
		}
	}
	return nil, false
}

func (m *memory) Has(string, string) bool { return true }

// add adds a row and returns its UUID.
func (m *memory) add(r model.Model) string {
	t, _ := ovn.TableOf(r)
	m.next++
	id := fmt.Sprintf("%08d-0000-4000-8000-000000000000", m.next)
	reflect.ValueOf(r).Elem().FieldByName("UUID").SetString(id)
	m.rows[t] = append(m.rows[t], r)
	return id
}

// remove removes the rows of type T that fit, of which there must be some.
func remove[T any](t *testing.T, from Rows, fits func(*T) bool) {
	t.Helper()
	m, table := from.(*memory), tableOf[T]()
	left := slices.DeleteFunc(slices.Clone(m.rows[table]), func(r model.Model) bool { return fits(r.(*T)) })
	if len(left) == len(m.rows[table]) {
		t.Fatalf("no row of %s to remove", table.Name)
	}
	m.rows[table] = left
}

// must is the row of type T that fits.
func must[T any](t *testing.T, from Rows, fits func(*T) bool) *T {
	t.Helper()
	r := one(from, fits)
	if r == nil {
		t.Fatalf("no row of %s", tableOf[T]().Name)
	}
	return r
}

// apply puts what features want into an empty database, as the engine does.
func apply(m *memory, wishes []*wish, set func(feature.Output) rows.Set) {
	ids := map[string]string{} // owner and row to UUID
	named := map[rows.Target]model.Model{}
	for _, g := range m.rows[tableOf[nb.NBGlobal]()] {
		named[rows.Target{Table: nb.NBGlobalTable}] = g
	}
	for _, w := range wishes {
		id := owner.ID{Feature: w.feature, Key: w.key.String()}.String()
		for _, r := range set(w.output).Rows {
			t, _ := ovn.TableOf(r.Model)
			out := reflect.New(reflect.TypeOf(r.Model).Elem())
			out.Elem().Set(reflect.ValueOf(r.Model).Elem())
			if t.ExternalIDs != nil {
				p := t.ExternalIDs.Value(out.Interface()).(*map[string]string)
				with := map[string]string{owner.Key: id, owner.Row: r.ID}
				maps.Copy(with, *p)
				*p = with
			}
			ids[id+"\x00"+r.ID] = m.add(out.Interface())
			named[rows.Target{Table: t.Name, Name: t.NameOf(r.Model)}] = out.Interface()
		}
	}
	resolve := func(who, ref string) string {
		if id, ok := rows.ParseRef(ref); ok {
			return ids[who+"\x00"+id]
		}
		if target, ok := rows.ParseNamed(ref); ok {
			return uuidOf(named[target])
		}
		return ref
	}
	for _, models := range m.rows {
		for _, r := range models {
			t, _ := ovn.TableOf(r)
			who := ""
			if t.ExternalIDs != nil {
				who = (*t.ExternalIDs.Value(r).(*map[string]string))[owner.Key]
			}
			for _, c := range t.Columns {
				switch p := c.Value(r).(type) {
				case **string:
					if *p != nil {
						v := resolve(who, **p)
						*p = &v
					}
				case *[]string:
					*p = slices.Clone(*p)
					for i, v := range *p {
						(*p)[i] = resolve(who, v)
					}
				case *map[string]string:
					*p = maps.Clone(*p)
					for k, v := range *p {
						(*p)[k] = resolve(who, v)
					}
				}
			}
		}
	}
	for _, w := range wishes {
		id := owner.ID{Feature: w.feature, Key: w.key.String()}.String()
		for _, member := range set(w.output).Members {
			parent := named[member.Parent]
			t, _ := ovn.TableOf(parent)
			c, _ := t.Column(member.Column)
			switch p := c.Value(parent).(type) {
			case *[]string:
				*p = append(*p, resolve(id, member.Value))
			case *map[string]string:
				if *p == nil {
					*p = map[string]string{}
				}
				(*p)[member.Key] = member.Value
			}
		}
	}
}

func meta(namespace, name string) metav1.ObjectMeta {
	return metav1.ObjectMeta{Namespace: namespace, Name: name, UID: types.UID(name + "-uid"), CreationTimestamp: long}
}

func testNode(i int) corev1.Node {
	name := fmt.Sprintf("n%d", i)
	o := meta("", name)
	o.Annotations = map[string]string{
		"k8s.ovn.org/host-cidrs": fmt.Sprintf(`["172.30.0.1%d/24"]`, i),
		"k8s.ovn.org/l3-gateway-config": fmt.Sprintf(`{"default":{"mode":"shared","bridge-id":"br-ex","interface-id":"br-ex_%s",`+
			`"mac-address":"0a:58:ac:1e:00:0%d","ip-addresses":["172.30.0.1%d/24"],"next-hops":["172.30.0.1"],"node-port-enable":"true","vlan-id":"0"}}`, name, i, i),
		"k8s.ovn.org/node-chassis-id":                 "chassis-" + name,
		"k8s.ovn.org/node-encap-ips":                  fmt.Sprintf(`["172.30.0.1%d"]`, i),
		"k8s.ovn.org/node-id":                         fmt.Sprint(i + 1),
		"k8s.ovn.org/node-primary-ifaddr":             fmt.Sprintf(`{"ipv4":"172.30.0.1%d/24"}`, i),
		"k8s.ovn.org/node-subnets":                    fmt.Sprintf(`{"default":["10.244.%d.0/24"]}`, i),
		"k8s.ovn.org/node-transit-switch-port-ifaddr": fmt.Sprintf(`{"ipv4":"100.88.0.%d/16"}`, i+1),
	}
	return corev1.Node{ObjectMeta: o, Status: corev1.NodeStatus{Addresses: []corev1.NodeAddress{{Type: corev1.NodeInternalIP, Address: fmt.Sprintf("172.30.0.1%d", i)}}}}
}

func systemPod(app, node string, containers ...string) corev1.Pod {
	p := corev1.Pod{ObjectMeta: meta(system, app+"-"+node)}
	p.Labels = map[string]string{"app": app}
	p.Spec.NodeName, p.Spec.HostNetwork = node, true
	p.Status.Phase, p.Status.StartTime = corev1.PodRunning, &long
	for _, c := range containers {
		p.Spec.Containers = append(p.Spec.Containers, corev1.Container{Name: c, Image: "ovnkctl:1"})
		p.Status.ContainerStatuses = append(p.Status.ContainerStatuses, corev1.ContainerStatus{
			Name: c, Ready: true, State: corev1.ContainerState{Running: &corev1.ContainerStateRunning{StartedAt: long}},
		})
	}
	return p
}

// appPod is pod web-<i> of node n<i>.
func appPod(i int) corev1.Pod {
	p := corev1.Pod{ObjectMeta: meta("shop", fmt.Sprintf("web-%d", i))}
	p.Annotations = map[string]string{"k8s.ovn.org/pod-networks": fmt.Sprintf(
		`{"default":{"ip_addresses":["10.244.%d.3/24"],"mac_address":"0a:58:0a:f4:0%d:03","gateway_ips":["10.244.%d.1"],"role":"primary"}}`, i, i, i)}
	p.Spec.NodeName = fmt.Sprintf("n%d", i)
	ip := fmt.Sprintf("10.244.%d.3", i)
	p.Status = corev1.PodStatus{Phase: corev1.PodRunning, StartTime: &long, PodIP: ip, PodIPs: []corev1.PodIP{{IP: ip}}}
	return p
}

func testObjects() (*inspect.Objects, *inspect.Installation) {
	o := &inspect.Objects{Nodes: []corev1.Node{testNode(1), testNode(2)}}
	o.Namespaces = []corev1.Namespace{{ObjectMeta: meta("", "shop")}, {ObjectMeta: meta("", system)}}
	for _, n := range []string{"n1", "n2"} {
		o.Pods = append(o.Pods,
			systemPod("ovnkube-node", n, "nb-ovsdb", "sb-ovsdb", "ovn-northd", "ovn-controller", "ovnkube-controller"),
			systemPod("ovs-node", n, "ovsdb-server", "ovs-daemons"))
	}
	o.Pods = append(o.Pods, systemPod(controlPlaneName, "n1", "ovnkube-cluster-manager"), appPod(1), appPod(2))
	service := corev1.Service{ObjectMeta: meta("shop", "web")}
	service.Spec = corev1.ServiceSpec{
		Type: corev1.ServiceTypeClusterIP, ClusterIP: "10.96.0.7", ClusterIPs: []string{"10.96.0.7"}, IPFamilies: []corev1.IPFamily{corev1.IPv4Protocol},
		Ports: []corev1.ServicePort{{Name: "http", Protocol: corev1.ProtocolTCP, Port: 80}},
	}
	o.Services = []corev1.Service{service}
	slice := discoveryv1.EndpointSlice{ObjectMeta: meta("shop", "web-1"), AddressType: discoveryv1.AddressTypeIPv4}
	slice.Labels = map[string]string{discoveryv1.LabelServiceName: "web"}
	for i := 1; i <= 2; i++ {
		slice.Endpoints = append(slice.Endpoints, discoveryv1.Endpoint{
			Addresses: []string{fmt.Sprintf("10.244.%d.3", i)}, NodeName: ptr(fmt.Sprintf("n%d", i)), Conditions: discoveryv1.EndpointConditions{Ready: ptr(true)},
		})
	}
	slice.Ports = []discoveryv1.EndpointPort{{Name: ptr("http"), Protocol: ptr(corev1.ProtocolTCP), Port: ptr(int32(8080))}}
	o.EndpointSlices = []discoveryv1.EndpointSlice{slice}

	selector := func(app string) *metav1.LabelSelector {
		return &metav1.LabelSelector{MatchLabels: map[string]string{"app": app}}
	}
	in := &inspect.Installation{Deployments: []appsv1.Deployment{{ObjectMeta: meta(system, controlPlaneName), Spec: appsv1.DeploymentSpec{Selector: selector(controlPlaneName)}}}}
	for _, d := range daemonSets {
		in.DaemonSets = append(in.DaemonSets, appsv1.DaemonSet{ObjectMeta: meta(system, d), Spec: appsv1.DaemonSetSpec{Selector: selector(d)}})
	}
	return o, in
}

func ptr[T any](v T) *T { return &v }

// testCluster is a healthy cluster of two nodes, made anew from objects that change has
// changed; the databases follow from them.
func testCluster(t *testing.T, change func(*inspect.Objects, *inspect.Installation)) *Cluster {
	t.Helper()
	o, in := testObjects()
	if change != nil {
		change(o, in)
	}
	c := assemble(t, o, in)
	for i, n := range c.Nodes {
		northbound, southbound := newMemory(), newMemory()
		n.NB, n.SB = northbound, southbound
		northbound.add(&nb.NBGlobal{NbCfg: 5, SbCfg: 5, NbCfgTimestamp: int(now.Add(-time.Minute).UnixMilli())})
		wishes := c.desired(n)
		apply(northbound, wishes, func(o feature.Output) rows.Set { return o.NB })
		apply(southbound, wishes, func(o feature.Output) rows.Set { return o.SB })
		n.OVS = testOVS(i+1, c)
		testSouthbound(n, southbound)
		n.wishes = nil
	}
	return c
}

// assemble is a cluster without databases.
func assemble(t *testing.T, o *inspect.Objects, in *inspect.Installation) *Cluster {
	t.Helper()
	conf := config.Default()
	conf.Network.ClusterSubnets, conf.Network.ServiceSubnets = "10.244.0.0/16/24", "10.96.0.0/16"
	o.ConfigMaps = []corev1.ConfigMap{{ObjectMeta: meta(system, "ovnkctl-config"), Data: map[string]string{
		"config.yaml": "network: {clusterSubnets: 10.244.0.0/16/24, serviceSubnets: 10.96.0.0/16}\n",
	}}}
	w, err := o.World()
	if err != nil {
		t.Fatal(err)
	}
	c := &Cluster{Objects: o, Installation: in, Config: conf, World: w, Now: now, Features: []feature.Feature{
		topology.Feature{}, policy.Feature{}, pods.Feature{}, services.Feature{}, hostports.Feature{},
	}}
	for _, n := range o.Nodes {
		c.Nodes = append(c.Nodes, &Node{Name: n.Name, Texts: map[string]string{
			inspect.TextNFT:        "table inet ovn-kubernetes { # handle 1\n}\ntable ip nat {\n\tchain KUBE-KUBELET-CANARY {\n\t}\n}\n",
			inspect.TextNeighbours: testNeighbours(n.Name),
		}})
	}
	return c
}

// testNeighbours are those of a node; the permanent ones lead to services.
func testNeighbours(node string) string {
	return fmt.Sprintf(`[{"dst":"172.30.0.1","dev":"br-ex","lladdr":"02:00:00:00:00:01","state":["REACHABLE"]},
{"dst":"169.254.0.1","dev":"br-ex","lladdr":"0a:58:ac:1e:00:0%s","state":["PERMANENT"]},
{"dst":"169.254.0.4","dev":"br-ex","lladdr":"0a:58:a9:fe:00:04","state":["PERMANENT"]}]`, node[1:])
}

// testOVS is Open vSwitch of node n<i>.
func testOVS(i int, c *Cluster) *memory {
	m, name := newMemory(), fmt.Sprintf("n%d", i)
	port := func(i *vswitch.Interface) string {
		i.Ofport = ptr(1)
		return m.add(&vswitch.Port{Name: i.Name, Interfaces: []string{m.add(i)}})
	}
	integration := []string{port(&vswitch.Interface{Name: "br-int", Type: "internal"}), port(&vswitch.Interface{
		Name: "ovn-k8s-mp0", Type: "internal", MAC: ptr(fmt.Sprintf("0a:58:0a:f4:0%d:02", i)), ExternalIDs: map[string]string{"iface-id": "k8s-" + name},
	})}
	for _, peer := range c.Objects.Nodes {
		if peer.Name != name {
			ip := peer.Status.Addresses[0].Address
			integration = append(integration, port(&vswitch.Interface{Name: "ovn-" + peer.Name, Type: "geneve", Options: map[string]string{"remote_ip": ip}}))
		}
	}
	for _, p := range c.networked(name) {
		integration = append(integration, port(&vswitch.Interface{
			Name: "veth-" + p.Name, MTU: ptr(1400),
			ExternalIDs: map[string]string{"iface-id": names.Pod(p.Namespace, p.Name), "sandbox": "s-" + p.Name, "ovn-installed": "true"},
		}))
	}
	external := []string{
		port(&vswitch.Interface{Name: "br-ex", Type: "internal"}),
		port(&vswitch.Interface{Name: "eth0", MTU: ptr(1500), LinkState: ptr("up")}),
	}
	bridges := []string{
		m.add(&vswitch.Bridge{
			Name: "br-int", DatapathType: "system", FailMode: ptr(vswitch.BridgeFailModeSecure), Ports: integration,
			OtherConfig: map[string]string{"disable-in-band": "true"},
		}),
		m.add(&vswitch.Bridge{
			Name: "br-ex", DatapathType: "system", FailMode: ptr(vswitch.BridgeFailModeStandalone), Ports: external,
			ExternalIDs: map[string]string{"bridge-uplink": "eth0"}, OtherConfig: map[string]string{"hwaddr": fmt.Sprintf("0a:58:ac:1e:00:0%d", i)},
		}),
	}
	m.add(&vswitch.OpenvSwitch{Bridges: bridges, ExternalIDs: map[string]string{
		"system-id": "chassis-" + name, "hostname": name, "ovn-encap-ip": fmt.Sprintf("172.30.0.1%d", i), "ovn-encap-type": "geneve",
		"ovn-bridge-mappings": "physnet:br-ex", "ovn-remote": "unix:/var/run/ovn/ovnsb_db.sock", "ovn-remote-probe-interval": "100000",
		"ovn-bridge-datapath-type": "system", "ovn-bridge-remote-probe-interval": "0", "ovn-openflow-probe-interval": "0",
		"ovn-enable-lflow-cache": "true", "ovn-is-interconn": "true", "ovn-monitor-all": "true", "ovn-ofctrl-wait-before-clear": "0", "ovn-set-local-ip": "true",
	}})
	return m
}

// testSouthbound adds what northd and ovn-controller write.
func testSouthbound(n *Node, m *memory) {
	id, _ := n.systemID()
	own := m.add(&sb.Chassis{Name: id, Hostname: n.Name})
	m.add(&sb.ChassisPrivate{Name: id, NbCfg: 5, NbCfgTimestamp: int(now.Add(-time.Minute).UnixMilli())})
	m.add(&sb.SBGlobal{NbCfg: 5})
	for _, p := range all[nb.LogicalSwitchPort](n.NB) {
		b := &sb.PortBinding{LogicalPort: p.Name, Type: p.Type, ExternalIDs: maps.Clone(p.ExternalIDs)} // as northd does
		if p.Type == "" && strings.Contains(p.Name, "_") {
			b.Chassis, b.Up = &own, ptr(true)
		}
		m.add(b)
	}
	for _, p := range all[nb.LogicalRouterPort](n.NB) {
		b := &sb.PortBinding{LogicalPort: p.Name, Type: "patch", ExternalIDs: maps.Clone(p.ExternalIDs)}
		if strings.HasSuffix(p.Name, "GR_"+n.Name) {
			b.Type, b.Chassis = "l3gateway", &own
		}
		m.add(b)
	}
}
