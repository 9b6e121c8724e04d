package ovs

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/ovn-kubernetes/libovsdb/ovsdb"

	"github.com/ovnkctl/ovnkctl/internal/ovn"
	"github.com/ovnkctl/ovnkctl/internal/ovn/vswitch"
)

// Columns are the tables and columns that a Client reads; a DB given to it must watch
// them.
func Columns() map[string][]string {
	return map[string][]string{
		vswitch.OpenvSwitchTable: {"bridges", "external_ids", "other_config"},
		vswitch.BridgeTable:      {"name", "datapath_type", "fail_mode", "external_ids", "other_config", "ports"},
		vswitch.PortTable:        {"name", "interfaces"},
		vswitch.InterfaceTable:   {"name", "type", "mac", "mtu_request", "external_ids", "ofport", "error"},
	}
}

// ErrNotConnected says that there is no connection to the database.
var ErrNotConnected = errors.New("not connected to the Open vSwitch database")

// Client reads and writes a database.
type Client struct {
	DB *ovn.DB
	// Only names, for bridges with very many ports, those that are read; the coming and
	// going of others is not told.
	Only map[string][]string
}

// State reads the cache.
func (c *Client) State(context.Context) (*State, error) {
	if c.DB == nil || !c.DB.Online() {
		return nil, ErrNotConnected
	}
	root, ok := ovn.Find[vswitch.OpenvSwitch](c.DB, "")
	if !ok {
		return nil, fmt.Errorf("%w: it has no row in table Open_vSwitch", ErrNotConnected)
	}
	s := &State{ExternalIDs: root.ExternalIDs, OtherConfig: root.OtherConfig, Bridges: map[string]*Bridge{}}
	for _, b := range ovn.List[vswitch.Bridge](c.DB) {
		s.Bridges[b.Name] = c.bridge(b)
	}
	return s, nil
}

func (c *Client) bridge(b *vswitch.Bridge) *Bridge {
	out := &Bridge{
		DatapathType: b.DatapathType, FailMode: value(b.FailMode),
		ExternalIDs: b.ExternalIDs, OtherConfig: b.OtherConfig, Ports: map[string]*Port{},
	}
	if only, ok := c.Only[b.Name]; ok {
		for _, name := range only {
			if p, ok := ovn.Find[vswitch.Port](c.DB, name); ok && slices.Contains(b.Ports, p.UUID) {
				out.Ports[name] = c.port(p)
			}
		}
		return out
	}
	for _, uuid := range b.Ports {
		if p, ok := ovn.Get[vswitch.Port](c.DB, uuid); ok {
			out.Ports[p.Name] = c.port(p)
		}
	}
	return out
}

func (c *Client) port(p *vswitch.Port) *Port {
	if len(p.Interfaces) != 1 {
		return &Port{Bond: true}
	}
	i, ok := ovn.Get[vswitch.Interface](c.DB, p.Interfaces[0])
	if !ok {
		return &Port{}
	}
	return &Port{
		Type: i.Type, MAC: value(i.MAC), MTURequest: value(i.MTURequest), ExternalIDs: i.ExternalIDs,
		OFPort: value(i.Ofport), Error: value(i.Error),
	}
}

func value[T any](p *T) T {
	var zero T
	if p == nil {
		return zero
	}
	return *p
}

// Watch calls notify at first and after each change that State can show, until ctx ends.
func (c *Client) Watch(ctx context.Context, notify func()) error {
	cancel := c.DB.Subscribe(func(changes []ovn.Change) {
		if slices.ContainsFunc(changes, c.concerns) {
			notify()
		}
	})
	defer cancel()
	<-ctx.Done()
	return ctx.Err()
}

// concerns passes over what happens at every start and end of a pod: its port and
// interface, and the list of ports of the bridge that it is on.
func (c *Client) concerns(change ovn.Change) bool {
	row := change.New
	if row == nil {
		row = change.Old
	}
	switch r := row.(type) {
	case *vswitch.Bridge:
		_, wide := c.Only[r.Name]
		return !wide || !changed(change) || !onlyPorts(change)
	case *vswitch.Port:
		return c.named(r.Name) || changed(change) && !c.wide(r.Name)
	case *vswitch.Interface:
		return c.named(r.Name) || changed(change) && !c.wide(r.Name)
	case *vswitch.OpenvSwitch:
		return true
	}
	return false
}

// changed tells whether the row was there and stays. Ports that come and go change their
// bridge too, which tells the same.
func changed(c ovn.Change) bool { return c.Old != nil && c.New != nil }

func onlyPorts(c ovn.Change) bool {
	return slices.Equal(c.Columns.Names(c.Table), []string{"ports"})
}

// named tells whether a port is one of those read of a bridge with very many.
func (c *Client) named(port string) bool {
	for _, only := range c.Only {
		if slices.Contains(only, port) {
			return true
		}
	}
	return false
}

// wide tells whether a port is on a bridge with very many.
func (c *Client) wide(port string) bool {
	p, ok := ovn.Find[vswitch.Port](c.DB, port)
	if !ok {
		return false
	}
	for bridge := range c.Only {
		if b, ok := ovn.Find[vswitch.Bridge](c.DB, bridge); ok && slices.Contains(b.Ports, p.UUID) {
			return true
		}
	}
	return false
}

// Apply makes the changes in one transaction; the comment goes into the database's log.
func (c *Client) Apply(ctx context.Context, comment string, changes []Change) error {
	t := &transaction{db: c.DB, new: map[string]string{}}
	for _, change := range changes {
		if err := t.add(change); err != nil {
			return err
		}
	}
	if len(t.ops) == 0 {
		return nil
	}
	_, err := c.DB.Transact(ctx, comment, t.ops...)
	return err
}

// transaction collects operations. Rows that it makes are referred to by names.
type transaction struct {
	db  *ovn.DB
	ops []ovsdb.Operation
	new map[string]string // "bridge br-ex" → name of the row within the transaction
}

func (t *transaction) add(c Change) error {
	switch c := c.(type) {
	case SetRoot:
		return t.setRoot(c)
	case PutBridge:
		return t.putBridge(c)
	case PutPort:
		return t.putPort(c)
	case DeletePort:
		b, okBridge := ovn.Find[vswitch.Bridge](t.db, c.Bridge)
		p, okPort := ovn.Find[vswitch.Port](t.db, c.Name)
		if okBridge && okPort && slices.Contains(b.Ports, p.UUID) {
			// Port and Interface are no root tables: without the reference they go.
			t.mutate(vswitch.BridgeTable, b.UUID, "ports", ovn.Mutation{Remove: []string{p.UUID}})
		}
		return nil
	case DeleteBridge:
		root, err := t.root()
		if b, ok := ovn.Find[vswitch.Bridge](t.db, c.Name); ok && err == nil {
			t.mutate(vswitch.OpenvSwitchTable, root.UUID, "bridges", ovn.Mutation{Remove: []string{b.UUID}})
		}
		return err
	}
	return fmt.Errorf("unknown change %T", c)
}

func (t *transaction) root() (*vswitch.OpenvSwitch, error) {
	root, ok := ovn.Find[vswitch.OpenvSwitch](t.db, "")
	if !ok {
		return nil, fmt.Errorf("%w: it has no row in table Open_vSwitch", ErrNotConnected)
	}
	return root, nil
}

func (t *transaction) mutate(table, uuid, column string, m ovn.Mutation) {
	d, _ := ovn.OpenVSwitch().Table(table)
	m.Column, _ = d.Column(column)
	t.ops = append(t.ops, ovn.Mutate(d, uuid, m))
}

func (t *transaction) putMaps(table, uuid string, columns map[string]map[string]string) {
	for _, column := range slices.Sorted(maps.Keys(columns)) {
		if m := columns[column]; len(m) > 0 {
			t.mutate(table, uuid, column, ovn.Mutation{Put: m})
		}
	}
}

func (t *transaction) setRoot(c SetRoot) error {
	root, err := t.root()
	if err != nil {
		return err
	}
	t.putMaps(vswitch.OpenvSwitchTable, root.UUID, map[string]map[string]string{"external_ids": c.ExternalIDs, "other_config": c.OtherConfig})
	if len(c.RemoveExternalIDs) > 0 {
		t.mutate(vswitch.OpenvSwitchTable, root.UUID, "external_ids", ovn.Mutation{Remove: c.RemoveExternalIDs})
	}
	if len(c.RemoveOtherConfig) > 0 {
		t.mutate(vswitch.OpenvSwitchTable, root.UUID, "other_config", ovn.Mutation{Remove: c.RemoveOtherConfig})
	}
	return nil
}

func (t *transaction) putBridge(c PutBridge) error {
	root, err := t.root()
	if err != nil {
		return err
	}
	row := &vswitch.Bridge{
		Name: c.Name, DatapathType: c.DatapathType, FailMode: optional(c.FailMode),
		ExternalIDs: c.ExternalIDs, OtherConfig: c.OtherConfig,
	}
	if b, ok := ovn.Find[vswitch.Bridge](t.db, c.Name); ok {
		var columns []string
		if c.DatapathType != "" {
			columns = append(columns, "datapath_type")
		}
		if c.FailMode != "" {
			columns = append(columns, "fail_mode")
		}
		if len(columns) > 0 {
			t.ops = append(t.ops, ovn.Update(row, b.UUID, columns...))
		}
		t.putMaps(vswitch.BridgeTable, b.UUID, map[string]map[string]string{"external_ids": c.ExternalIDs, "other_config": c.OtherConfig})
		return nil
	}
	bridge, port := t.name("bridge", c.Name), t.name("port", c.Name)
	row.Ports = []string{port}
	iface := t.name("interface", c.Name)
	t.ops = append(t.ops,
		ovn.Insert(&vswitch.Interface{Name: c.Name, Type: "internal"}, iface),
		ovn.Insert(&vswitch.Port{Name: c.Name, Interfaces: []string{iface}}, port),
		ovn.Insert(row, bridge))
	t.mutate(vswitch.OpenvSwitchTable, root.UUID, "bridges", ovn.Mutation{Insert: []string{bridge}})
	return nil
}

func (t *transaction) putPort(c PutPort) error {
	row := &vswitch.Interface{
		Name: c.Name, Type: c.Type, MAC: optional(c.MAC), MTURequest: optional(c.MTURequest), ExternalIDs: c.ExternalIDs,
	}
	if i, ok := t.interfaceOf(c.Bridge, c.Name); ok {
		var columns []string
		if c.Type != "" {
			columns = append(columns, "type")
		}
		if c.MAC != "" {
			columns = append(columns, "mac")
		}
		if c.MTURequest != 0 {
			columns = append(columns, "mtu_request")
		}
		if len(columns) > 0 {
			t.ops = append(t.ops, ovn.Update(row, i.UUID, columns...))
		}
		t.putMaps(vswitch.InterfaceTable, i.UUID, map[string]map[string]string{"external_ids": c.ExternalIDs})
		return nil
	}
	if made, ok := t.new["interface "+c.Name]; ok { // the internal port of a bridge made just now
		for i, op := range t.ops {
			if op.UUIDName == made {
				t.ops[i] = ovn.Insert(&vswitch.Interface{
					Name: c.Name, Type: "internal", MAC: row.MAC, MTURequest: row.MTURequest, ExternalIDs: c.ExternalIDs,
				}, made)
			}
		}
		return nil
	}
	parent, ok := t.new["bridge "+c.Bridge]
	if !ok {
		b, found := ovn.Find[vswitch.Bridge](t.db, c.Bridge)
		if !found {
			return fmt.Errorf("port %s: there is no bridge %s", c.Name, c.Bridge)
		}
		parent = b.UUID
	}
	port, iface := t.name("port", c.Name), t.name("interface", c.Name)
	t.ops = append(t.ops, ovn.Insert(row, iface), ovn.Insert(&vswitch.Port{Name: c.Name, Interfaces: []string{iface}}, port))
	if t.new["bridge "+c.Bridge] != parent {
		t.mutate(vswitch.BridgeTable, parent, "ports", ovn.Mutation{Insert: []string{port}})
		return nil
	}
	for i, op := range t.ops { // a row of this transaction has no UUID to select it by
		if op.UUIDName == parent {
			ports, _ := op.Row["ports"].(ovsdb.OvsSet)
			ports.GoSet = append(ports.GoSet, ovsdb.UUID{GoUUID: port})
			t.ops[i].Row["ports"] = ports
		}
	}
	return nil
}

// interfaceOf finds the interface of a port that is on the bridge. A port of that name on
// another bridge is none: the database refuses the second one and says so.
func (t *transaction) interfaceOf(bridge, name string) (*vswitch.Interface, bool) {
	b, ok := ovn.Find[vswitch.Bridge](t.db, bridge)
	if !ok {
		return nil, false
	}
	p, ok := ovn.Find[vswitch.Port](t.db, name)
	if !ok || !slices.Contains(b.Ports, p.UUID) || len(p.Interfaces) != 1 {
		return nil, false
	}
	return ovn.Get[vswitch.Interface](t.db, p.Interfaces[0])
}

// name names a new row within the transaction.
func (t *transaction) name(kind, what string) string {
	name := fmt.Sprintf("%s%d", kind, len(t.new))
	t.new[kind+" "+what] = name
	return name
}

func optional[T comparable](v T) *T {
	var zero T
	if v == zero {
		return nil
	}
	return &v
}
