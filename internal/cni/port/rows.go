package port

import (
	"fmt"
	"maps"
	"slices"
	"strconv"

	"github.com/ovn-kubernetes/libovsdb/ovsdb"

	"github.com/ovnkctl/ovnkctl/internal/ovn"
	"github.com/ovnkctl/ovnkctl/internal/ovn/vswitch"
)

var (
	bridges    = table(vswitch.BridgeTable)
	interfaces = table(vswitch.InterfaceTable)
	qoses      = table(vswitch.QoSTable)
	queues     = table(vswitch.QueueTable)

	bridgePorts = column(bridges, "ports")
)

func table(name string) *ovn.Table {
	t, ok := ovn.OpenVSwitch().Table(name)
	if !ok {
		panic("the Open_vSwitch schema has no table " + name)
	}
	return t
}

func column(t *ovn.Table, name string) *ovn.Column {
	c, ok := t.Column(name)
	if !ok {
		panic(fmt.Sprintf("table %s of the Open_vSwitch schema has no column %s", t.Name, name))
	}
	return c
}

// attached is an Interface with the Port and the Bridge that hold it. An Interface
// without them is about to vanish.
type attached struct {
	bridge string // UUID
	port   *vswitch.Port
	iface  *vswitch.Interface
}

// holder finds what holds an Interface.
func holder(v ovn.View, r *ovn.Row) (attached, bool) {
	for _, p := range v.Parents(r.UUID) {
		for _, b := range v.Parents(p.Row.UUID) {
			return attached{bridge: b.Row.UUID, port: p.Row.Model.(*vswitch.Port), iface: r.Model.(*vswitch.Interface)}, true
		}
	}
	return attached{}, false
}

// rowset are the rows of some ports, by UUID.
type rowset struct {
	ports   map[string][]string // by UUID of the bridge
	limited []string            // those of the ports that refer to a QoS row
	qos     []string
	queues  []string
}

func (r *rowset) add(a attached) {
	if r.ports == nil {
		r.ports = map[string][]string{}
	}
	r.ports[a.bridge] = append(r.ports[a.bridge], a.port.UUID)
	if a.port.QOS != nil {
		r.limited = append(r.limited, a.port.UUID)
	}
}

// addLimits collects the QoS and Queue rows that belong to refs.
func (r *rowset) addLimits(v ovn.View, refs map[Ref]bool) {
	for row := range v.Table(qoses) {
		if refs[refOf(row.Model.(*vswitch.QoS).ExternalIDs)] {
			r.qos = append(r.qos, row.UUID)
		}
	}
	for row := range v.Table(queues) {
		if refs[refOf(row.Model.(*vswitch.Queue).ExternalIDs)] {
			r.queues = append(r.queues, row.UUID)
		}
	}
}

func (r *rowset) empty() bool { return len(r.ports) == 0 && len(r.qos) == 0 && len(r.queues) == 0 }

// remove makes the operations that delete the rows. Ports and Interfaces vanish with
// the bridge's reference to them; QoS and Queue rows would stay for ever.
func (r *rowset) remove() []ovsdb.Operation {
	var ops []ovsdb.Operation
	for _, bridge := range slices.Sorted(maps.Keys(r.ports)) {
		ops = append(ops, ovn.Mutate(bridges, bridge, ovn.Mutation{Column: bridgePorts, Remove: r.ports[bridge]}))
	}
	// A port that is about to vanish still holds its QoS row in the eyes of some servers.
	for _, uuid := range r.limited {
		ops = append(ops, ovn.Update(&vswitch.Port{}, uuid, "qos"))
	}
	for _, uuid := range r.qos {
		ops = append(ops, ovn.Delete(qoses, uuid))
	}
	for _, uuid := range r.queues {
		ops = append(ops, ovn.Delete(queues, uuid))
	}
	return ops
}

// insert makes the operations that add the port to a bridge; the last one is the
// bridge's.
func (p Port) insert(bridge string) []ovsdb.Operation {
	var ops []ovsdb.Operation
	row := &vswitch.Port{
		Name:       p.Name,
		Interfaces: []string{"iface"},
		// `ovs-ctl start` removes such ports: their veth is gone after a reboot.
		OtherConfig: map[string]string{"transient": "true"},
	}
	if p.IngressRate > 0 {
		owner := p.Ref().externalIDs()
		limit := map[string]string{"max-rate": strconv.FormatInt(p.IngressRate, 10)}
		name := "qos"
		row.QOS = &name
		ops = append(ops,
			ovn.Insert(&vswitch.Queue{OtherConfig: limit, ExternalIDs: owner}, "queue"),
			ovn.Insert(&vswitch.QoS{
				Type: "linux-htb", OtherConfig: limit, ExternalIDs: owner, Queues: map[int]string{0: "queue"},
			}, name))
	}
	rate, burst := p.policing()
	return append(ops,
		ovn.Insert(&vswitch.Interface{
			Name: p.Name, ExternalIDs: p.externalIDs(), IngressPolicingRate: rate, IngressPolicingBurst: burst,
		}, "iface"),
		ovn.Insert(row, "port"),
		ovn.Mutate(bridges, bridge, ovn.Mutation{Column: bridgePorts, Insert: []string{"port"}}))
}
