package explain

import (
	"context"
	"errors"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/ovn-kubernetes/libovsdb/model"

	"github.com/ovnkctl/ovnkctl/internal/inspect"
	"github.com/ovnkctl/ovnkctl/internal/ovn"
	"github.com/ovnkctl/ovnkctl/internal/ovn/names"
	"github.com/ovnkctl/ovnkctl/internal/ovn/nb"
	"github.com/ovnkctl/ovnkctl/internal/ovn/owner"
	"github.com/ovnkctl/ovnkctl/internal/ovn/sb"
	"github.com/ovnkctl/ovnkctl/internal/ovn/vswitch"
	"github.com/ovnkctl/ovnkctl/internal/world"
)

// cluster is a Source with one node, n1, and one that cannot be read.
type cluster struct {
	world *world.Store
	rows  *Index
	flows []*sb.LogicalFlow
	texts map[string]string // of n1
}

func (c *cluster) World(context.Context) (*world.Store, error) { return c.world, nil }
func (c *cluster) Nodes(context.Context) ([]string, error)     { return []string{"n1", "n2"}, nil }

func (c *cluster) Rows(_ context.Context, node string) (*Index, error) {
	if node != "n1" {
		return nil, errors.New("connection refused")
	}
	return c.rows, nil
}

func (c *cluster) LogicalFlows(_ context.Context, node string, starts []string) ([]*sb.LogicalFlow, error) {
	var out []*sb.LogicalFlow
	for _, f := range c.flows {
		for _, s := range starts {
			if node == "n1" && f.UUID[:8] == s {
				out = append(out, f)
			}
		}
	}
	return out, nil
}

func (c *cluster) FlowsFor(_ context.Context, node string, rows []string) ([]*sb.LogicalFlow, error) {
	var out []*sb.LogicalFlow
	for _, f := range c.flows {
		if node == "n1" && slices.Contains(rows, f.ExternalIDs["stage-hint"]) {
			out = append(out, f)
		}
	}
	return out, nil
}

func (c *cluster) Text(_ context.Context, node, name string) (string, error) {
	text, ok := c.texts[name]
	if node != "n1" || !ok {
		return "", inspect.ErrAbsent
	}
	return text, nil
}

const (
	portUUID  = "11111111-0000-4000-8000-000000000001"
	aclUUID   = "22222222-0000-4000-8000-000000000001"
	groupUUID = "33333333-0000-4000-8000-000000000001"
	flowUUID  = "44444444-0000-4000-8000-000000000001"
	setUUID   = "55555555-0000-4000-8000-000000000001"
	bindUUID  = "66666666-0000-4000-8000-000000000001"
	ifaceUUID = "77777777-0000-4000-8000-000000000001"
)

func owned(feature, key, row string, more ...string) map[string]string {
	ids := map[string]string{owner.Key: feature + "/" + key, owner.Row: row}
	for i := 0; i+1 < len(more); i += 2 {
		ids[more[i]] = more[i+1]
	}
	return ids
}

func newCluster(t *testing.T) *cluster {
	t.Helper()
	c := &cluster{world: world.New(world.Config{Networks: []world.Network{{
		Name: world.DefaultNetwork, ClusterSubnets: []world.ClusterSubnet{{Prefix: netip.MustParsePrefix("10.244.0.0/16"), HostLength: 24}},
		JoinSubnets: []netip.Prefix{netip.MustParsePrefix("100.64.0.0/16")},
	}}}), rows: NewIndex("n1")}
	c.world.SetNode(&world.Node{
		Name: "n1", ID: 2, InternalIPs: []netip.Addr{netip.MustParseAddr("172.30.0.11")},
		Subnets: map[string][]netip.Prefix{world.DefaultNetwork: {netip.MustParsePrefix("10.244.1.0/24")}},
	})
	c.world.SetPod(&world.Pod{Namespace: "shop", Name: "cart", Node: "n1", IPs: []netip.Addr{netip.MustParseAddr("10.244.1.7")}})
	c.world.SetService(&world.Service{
		Namespace: "shop", Name: "web", ClusterIPs: []netip.Addr{netip.MustParseAddr("10.96.0.10")},
		Ports: []world.ServicePort{{Protocol: world.TCP, Port: 80}},
	})
	add := func(d *ovn.Database, table string, m model.Model) {
		tab, ok := d.Table(table)
		if !ok {
			t.Fatal(table)
		}
		c.rows.Add(tab, m)
	}
	name := "NP:shop:web:Ingress:0"
	add(ovn.Northbound(), nb.LogicalSwitchPortTable, &nb.LogicalSwitchPort{
		UUID: portUUID, Name: "shop_cart", Addresses: []string{"0a:58:0a:f4:01:07 10.244.1.7"},
		ExternalIDs: owned("pods", "shop/cart", "port", names.KeyPod, "true", names.KeyNamespace, "shop"),
	})
	add(ovn.Northbound(), nb.ACLTable, &nb.ACL{
		UUID: aclUUID, Name: &name, Action: "allow-related", Match: "outport == @a1",
		ExternalIDs: owned("policy", "shop/NetworkPolicy:web", "ingress/0/tcp", names.KeyKind, "NetworkPolicy", names.KeyOwner, "shop/web"),
	})
	add(ovn.Northbound(), nb.PortGroupTable, &nb.PortGroup{
		UUID: groupUUID, Name: "a1", Ports: []string{portUUID}, ACLs: []string{aclUUID}, ExternalIDs: owned("policy", "selector:1", "group/a1"),
	})
	add(ovn.Northbound(), nb.AddressSetTable, &nb.AddressSet{UUID: setUUID, Name: "a1_v4", Addresses: []string{"10.244.1.7", "10.244.1.70"}})
	add(ovn.Southbound(), sb.PortBindingTable, &sb.PortBinding{
		UUID: bindUUID, LogicalPort: "shop_cart", MAC: []string{"0a:58:0a:f4:01:07 10.244.1.7"},
		ExternalIDs: map[string]string{names.KeyPod: "true", names.KeyNamespace: "shop"},
	})
	add(ovn.OpenVSwitch(), vswitch.InterfaceTable, &vswitch.Interface{
		UUID: ifaceUUID, Name: "abc_3", ExternalIDs: map[string]string{"iface-id": "shop_cart", "attached_mac": "0a:58:0a:f4:01:07"},
	})
	c.flows = []*sb.LogicalFlow{{
		UUID: flowUUID, Pipeline: "egress", TableID: 6, Priority: 2001, Match: "outport == @a1", Actions: "next;",
		ExternalIDs: map[string]string{"stage-name": "ls_out_acl_eval", "stage-hint": aclUUID[:8]},
	}}
	return c
}

// TestRun: from everything to the object, and from the object to everything.
func TestRun(t *testing.T) {
	t.Parallel()
	pod := Object{Kind: "Pod", Namespace: "shop", Name: "cart"}
	policy := Object{Kind: "NetworkPolicy", Namespace: "shop", Name: "web"}
	port := []string{portUUID, bindUUID, ifaceUUID}
	for _, c := range []struct {
		text   string
		object Object
		what   string
		rows   []string
		flows  int
	}{
		{"pod/shop/cart", pod, "pod shop/cart on node n1, with the addresses 10.244.1.7", port, 0},
		{"shop/cart", pod, "pod shop/cart on node n1, with the addresses 10.244.1.7", port, 0},
		{"10.244.1.7", pod, "address of pod shop/cart on node n1, with the addresses 10.244.1.7", []string{portUUID, setUUID, bindUUID}, 0},
		{"10.244.1.1", Object{Kind: "Node", Name: "n1"}, "address of the router in the subnet 10.244.1.0/24 of node n1", nil, 0},
		{"10.244.1.2", Object{Kind: "Node", Name: "n1"}, "address of the management port ovn-k8s-mp0 of node n1", nil, 0},
		{"100.64.0.2", Object{Kind: "Node", Name: "n1"}, "address of the gateway router of node n1 on the join switch", nil, 0},
		{"172.30.0.11", Object{Kind: "Node", Name: "n1"}, "address of the host of node n1", nil, 0},
		{"10.96.0.10", Object{Kind: "Service", Namespace: "shop", Name: "web"}, "cluster IP of service shop/web at 10.96.0.10, ports 80/tcp", nil, 0},
		{"0a:58:0a:f4:01:07", pod, "MAC of Pod shop/cart", port, 0},
		{"shop_cart", pod, "logical switch port shop_cart, made for Pod shop/cart", []string{portUUID, bindUUID}, 0},
		{portUUID, pod, "logical switch port shop_cart of node n1, made for Pod shop/cart", []string{portUUID}, 0},
		{"NP:shop:web:Ingress:0", policy, "ACL NP:shop:web:Ingress:0, made for NetworkPolicy shop/web, ingress rule 0", []string{aclUUID}, 0},
		{"0x44444444", policy, "logical flow of stage ls_out_acl_eval on node n1, for ACL NP:shop:web:Ingress:0 of NetworkPolicy shop/web", []string{aclUUID}, 1},
		{flowUUID, policy, "logical flow of stage ls_out_acl_eval on node n1, for ACL NP:shop:web:Ingress:0 of NetworkPolicy shop/web", []string{aclUUID}, 1},
		{"66666666", pod, "port binding shop_cart of node n1, made for Pod shop/cart", []string{bindUUID}, 0},
	} {
		t.Run(c.text, func(t *testing.T) {
			t.Parallel()
			e, err := Run(t.Context(), newCluster(t), Options{Text: c.text})
			if err != nil {
				t.Fatal(err)
			}
			var rows []string
			for _, r := range e.Rows {
				rows = append(rows, r.UUID)
			}
			if e.Object != c.object || e.What != c.what || len(e.Flows) != c.flows || !cmp.Equal(rows, c.rows) {
				t.Errorf("%v %q, rows %v, %d flows; want %v %q, rows %v, %d flows", e.Object, e.What, rows, len(e.Flows), c.object, c.what, c.rows, c.flows)
			}
			if len(e.Problems) != 1 {
				t.Errorf("problems %q, want the node that cannot be read", e.Problems)
			}
		})
	}
}

func TestDeletedPod(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	c.world.SetPod(&world.Pod{Namespace: "shop", Name: "cart", Node: "n1", IPs: []netip.Addr{netip.MustParseAddr("10.244.1.7")}, Deleting: true})
	e, err := Run(t.Context(), c, Options{Text: "shop/cart"})
	if err != nil || e.What != "pod shop/cart on node n1, which is being deleted, with the addresses 10.244.1.7" {
		t.Errorf("%+v, %v", e, err)
	}
}

// TestReferences: a port's groups lead to the policies that are about the pod.
func TestReferences(t *testing.T) {
	t.Parallel()
	e, err := Run(t.Context(), newCluster(t), Options{Text: "pod/shop/cart", Node: "n1"})
	if err != nil {
		t.Fatal(err)
	}
	refs := e.Rows[0].ReferredBy
	if len(refs) != 1 || refs[0].UUID != groupUUID || refs[0].Column != "ports" || len(refs[0].For) != 1 || refs[0].For[0].Name != "web" {
		t.Errorf("referred by %+v", refs)
	}
}

func TestUnknown(t *testing.T) {
	t.Parallel()
	for _, o := range []Options{{Text: "nobody"}, {Text: "10.9.9.9"}, {Text: "00000000-0000-0000-0000-000000000000"}, {Text: "0x1"}, {Text: "a/b/c/d"}, {Text: "pod", Node: "n9"}} {
		if e, err := Run(t.Context(), newCluster(t), o); !errors.Is(err, ErrUnknown) {
			t.Errorf("%+v: %+v, %v", o, e, err)
		}
	}
}

func TestHasWord(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		text, word string
		want       bool
	}{
		{"10.244.1.70", "10.244.1.7", false}, {"110.244.1.7", "10.244.1.7", false}, {"10.244.1.7:80", "10.244.1.7", true},
		{"10.244.1.70,10.244.1.7:80", "10.244.1.7", true}, {"fd00::1:2", "fd00::1", false}, {"[fd00::1]:80", "fd00::1", true},
		{"ip4.src == 10.0.0.1", "10.0.0.1", true}, {"aa:0a:58:0a:f4:01:07", "0a:58:0a:f4:01:07", false}, {"", "x", false},
	} {
		if got := hasWord(c.text, c.word); got != c.want {
			t.Errorf("%q in %q: %v", c.word, c.text, got)
		}
	}
}

func TestText(t *testing.T) {
	t.Parallel()
	e, err := Run(t.Context(), newCluster(t), Options{Text: "pod/shop/cart", Node: "n1"})
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	if err := e.Text(&b, false); err != nil {
		t.Fatal(err)
	}
	want := `pod/shop/cart: pod shop/cart on node n1, with the addresses 10.244.1.7
node n1
  nb  Logical_Switch_Port shop_cart
      uuid       11111111-0000-4000-8000-000000000001
      of         Pod shop/cart
      made by    pods (port)
      in         Port_Group a1.ports, for NetworkPolicy shop/web
      addresses  [0a:58:0a:f4:01:07 10.244.1.7]
  sb  Port_Binding shop_cart
      uuid       66666666-0000-4000-8000-000000000001
      of         Pod shop/cart
  ovs Interface abc_3
      uuid       77777777-0000-4000-8000-000000000001
      of         Pod shop/cart
`
	if d := cmp.Diff(want, b.String()); d != "" {
		t.Error(d)
	}
	b.Reset()
	if err := e.Text(&b, true); err != nil || !strings.Contains(b.String(), "addresses              [0a:58:0a:f4:01:07 10.244.1.7]\n") {
		t.Errorf("%v\n%s", err, b.String())
	}
}
