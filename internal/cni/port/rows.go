package port

import (
	"fmt"
	"maps"
	"slices"
	"strconv"

	"github.com/ovn-kubernetes/libovsdb/ovsdb"

	"github.com/ovnkctl/ovnkctl/internal/ovn/vswitch"
)

// rowset are the rows of some ports, by UUID.
type rowset struct {
	interfaces []string
	ports      map[string][]string // by UUID of the bridge
	limited    []string            // those of the ports that refer to a QoS row
	qos        []string
	queues     []string
}

func (r rowset) empty() bool {
	return len(r.ports) == 0 && len(r.qos) == 0 && len(r.queues) == 0
}

// remove makes the operations that delete the rows. Ports and Interfaces vanish with
// the bridge's reference to them; QoS and Queue rows would stay for ever.
func (r rowset) remove() []ovsdb.Operation {
	var ops []ovsdb.Operation
	for _, bridge := range slices.Sorted(maps.Keys(r.ports)) {
		ops = append(ops, mutatePorts(bridge, ovsdb.MutateOperationDelete, r.ports[bridge]))
	}
	// A port that is about to vanish still holds its QoS row in the eyes of some servers.
	for _, uuid := range r.limited {
		ops = append(ops, ovsdb.Operation{
			Op: ovsdb.OperationUpdate, Table: vswitch.PortTable, Where: byUUID(uuid), Row: ovsdb.Row{"qos": uuidSet()},
		})
	}
	for _, uuid := range r.qos {
		ops = append(ops, deleteRow(vswitch.QoSTable, uuid))
	}
	for _, uuid := range r.queues {
		ops = append(ops, deleteRow(vswitch.QueueTable, uuid))
	}
	return ops
}

// insertion is a port's rows to be; the UUIDs are known when it is committed.
type insertion struct {
	port   Port
	bridge string
	// Positions of the results among those of insert's operations; -1 for rows that the
	// port does not need.
	ifaceAt, portAt, qosAt, queueAt int
}

// insert makes the operations. The serial number makes the named UUIDs unique among all
// that a shared transaction may hold.
func (n *insertion) insert(serial uint64) []ovsdb.Operation {
	p := n.port
	suffix := strconv.FormatUint(serial, 36)
	rate, burst := p.policing()
	iface := ovsdb.Row{"name": p.Name, "external_ids": textMap(p.externalIDs())}
	if rate > 0 {
		iface["ingress_policing_rate"], iface["ingress_policing_burst"] = rate, burst
	}
	row := ovsdb.Row{
		"name":       p.Name,
		"interfaces": uuidSet("iface" + suffix),
		// `ovs-ctl start` removes such ports: their veth is gone after a reboot.
		"other_config": textMap(map[string]string{"transient": "true"}),
	}
	n.qosAt, n.queueAt = -1, -1
	var ops []ovsdb.Operation
	if p.IngressRate > 0 {
		owner := textMap(p.Ref().externalIDs())
		limit := textMap(map[string]string{"max-rate": strconv.FormatInt(p.IngressRate, 10)})
		ops = append(ops,
			insertRow(vswitch.QueueTable, "queue"+suffix, ovsdb.Row{"other_config": limit, "external_ids": owner}),
			insertRow(vswitch.QoSTable, "qos"+suffix, ovsdb.Row{
				"type": "linux-htb", "other_config": limit, "external_ids": owner,
				"queues": ovsdb.OvsMap{GoMap: map[any]any{0: ovsdb.UUID{GoUUID: "queue" + suffix}}},
			}))
		n.queueAt, n.qosAt = 0, 1
		row["qos"] = uuidSet("qos" + suffix)
	}
	n.ifaceAt, n.portAt = len(ops), len(ops)+1
	return append(ops,
		insertRow(vswitch.InterfaceTable, "iface"+suffix, iface),
		insertRow(vswitch.PortTable, "port"+suffix, row),
		mutatePorts(n.bridge, ovsdb.MutateOperationInsert, []string{"port" + suffix}))
}

// rows reads the UUIDs from the results of insert's operations.
func (n *insertion) rows(results []ovsdb.OperationResult) rowset {
	r := rowset{
		interfaces: []string{results[n.ifaceAt].UUID.GoUUID},
		ports:      map[string][]string{n.bridge: {results[n.portAt].UUID.GoUUID}},
	}
	if n.qosAt >= 0 {
		r.limited = []string{results[n.portAt].UUID.GoUUID}
		r.qos = []string{results[n.qosAt].UUID.GoUUID}
		r.queues = []string{results[n.queueAt].UUID.GoUUID}
	}
	return r
}

// check makes sure that the bridge took the port: an Interface that nothing refers to
// would vanish without an error.
func (n *insertion) check(results []ovsdb.OperationResult) error {
	want := max(n.ifaceAt, n.portAt) + 2
	if len(results) < want {
		return fmt.Errorf("the database answered %d of %d operations", len(results), want)
	}
	if results[want-1].Count != 1 {
		return fmt.Errorf("the integration bridge was replaced at the same moment")
	}
	return nil
}

// find collects the rows of ports that belong to interfaces, and of the QoS and Queue
// rows that belong to refs.
func (s *Ports) find(interfaces map[string]bool, refs map[Ref]bool) rowset {
	r := rowset{ports: map[string][]string{}, interfaces: slices.Sorted(maps.Keys(interfaces))}
	if len(interfaces) > 0 {
		ports := map[string]bool{}
		for _, m := range s.db.Rows(vswitch.PortTable) {
			p := m.(*vswitch.Port)
			if slices.ContainsFunc(p.Interfaces, func(i string) bool { return interfaces[i] }) {
				ports[p.UUID] = true
				if p.QOS != nil {
					r.limited = append(r.limited, p.UUID)
				}
			}
		}
		for _, m := range s.db.Rows(vswitch.BridgeTable) {
			b := m.(*vswitch.Bridge)
			for _, p := range b.Ports {
				if ports[p] {
					r.ports[b.UUID] = append(r.ports[b.UUID], p)
				}
			}
		}
	}
	for _, m := range s.db.Rows(vswitch.QoSTable) {
		if q := m.(*vswitch.QoS); refs[refOf(q.ExternalIDs)] {
			r.qos = append(r.qos, q.UUID)
		}
	}
	for _, m := range s.db.Rows(vswitch.QueueTable) {
		if q := m.(*vswitch.Queue); refs[refOf(q.ExternalIDs)] {
			r.queues = append(r.queues, q.UUID)
		}
	}
	return r
}

func (r *rowset) add(other rowset) {
	r.interfaces = append(r.interfaces, other.interfaces...)
	if r.ports == nil {
		r.ports = map[string][]string{}
	}
	for bridge, ports := range other.ports {
		r.ports[bridge] = append(r.ports[bridge], ports...)
	}
	r.limited = append(r.limited, other.limited...)
	r.qos = append(r.qos, other.qos...)
	r.queues = append(r.queues, other.queues...)
}

func insertRow(table, name string, row ovsdb.Row) ovsdb.Operation {
	return ovsdb.Operation{Op: ovsdb.OperationInsert, Table: table, UUIDName: name, Row: row}
}

func deleteRow(table, uuid string) ovsdb.Operation {
	return ovsdb.Operation{Op: ovsdb.OperationDelete, Table: table, Where: byUUID(uuid)}
}

func mutatePorts(bridge string, mutator ovsdb.Mutator, ports []string) ovsdb.Operation {
	return ovsdb.Operation{
		Op: ovsdb.OperationMutate, Table: vswitch.BridgeTable, Where: byUUID(bridge),
		Mutations: []ovsdb.Mutation{{Column: "ports", Mutator: mutator, Value: uuidSet(ports...)}},
	}
}

func byUUID(uuid string) []ovsdb.Condition {
	return []ovsdb.Condition{ovsdb.NewCondition("_uuid", ovsdb.ConditionEqual, ovsdb.UUID{GoUUID: uuid})}
}

func uuidSet(uuids ...string) ovsdb.OvsSet {
	set := ovsdb.OvsSet{GoSet: make([]any, len(uuids))}
	for n, u := range uuids {
		set.GoSet[n] = ovsdb.UUID{GoUUID: u}
	}
	return set
}

func textMap(m map[string]string) ovsdb.OvsMap {
	out := ovsdb.OvsMap{GoMap: make(map[any]any, len(m))}
	for k, v := range m {
		out.GoMap[k] = v
	}
	return out
}
