package ovn

import (
	"slices"
	"testing"
)

// TestRolesNameColumns walks the hand-written facts: a misspelled column would silently be
// Managed.
func TestRolesNameColumns(t *testing.T) {
	t.Parallel()
	databases := []*Database{Northbound(), Southbound(), OpenVSwitch()}
	find := func(table string) []*Table {
		var out []*Table
		for _, d := range databases {
			if x, ok := d.Table(table); ok {
				out = append(out, x)
			}
		}
		return out
	}
	for table, columns := range columnRoles {
		for column, role := range columns {
			found := false
			for _, x := range find(table) {
				c, ok := x.Column(column)
				if !ok {
					continue
				}
				found = true
				if role == Collected && (!c.Set() || c.min != 0) {
					t.Errorf("%s is collected but no set that may be empty", c)
				}
				if role == Shared && !c.Set() && !c.Map() {
					t.Errorf("%s is shared but neither set nor map", c)
				}
			}
			if !found {
				t.Errorf("no database has %s.%s", table, column)
			}
		}
	}
	for table, columns := range conventionalName {
		for _, x := range find(table) {
			for _, c := range columns {
				if _, ok := x.Column(c); !ok {
					t.Errorf("%s has no column %s", table, c)
				}
			}
		}
	}
}

// TestDerivedFacts checks what is read out of the schema against what is known of OVN.
func TestDerivedFacts(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		db        *Database
		table     string
		root      bool
		singleton bool
		natural   []string
		parents   []string
		noOwner   bool
	}{
		{db: Northbound(), table: "Logical_Switch", root: true, natural: []string{"name"}},
		{db: Northbound(), table: "Logical_Switch_Port", natural: []string{"name"}, parents: []string{"Logical_Switch.ports"}},
		{db: Northbound(), table: "ACL", parents: []string{"Logical_Switch.acls", "Port_Group.acls"}},
		{db: Northbound(), table: "NB_Global", root: true, singleton: true},
		{db: Northbound(), table: "Static_MAC_Binding", root: true, natural: []string{"logical_port", "ip"}, noOwner: true},
		{db: Northbound(), table: "Load_Balancer_Group", root: true, natural: []string{"name"}, noOwner: true,
			parents: []string{"Logical_Router.load_balancer_group", "Logical_Switch.load_balancer_group"}},
		{db: Northbound(), table: "Gateway_Chassis", natural: []string{"name"}, parents: []string{"Logical_Router_Port.gateway_chassis"}},
		{db: Southbound(), table: "Chassis", root: true, natural: []string{"name"}},
		{db: Southbound(), table: "Encap", natural: []string{"type", "ip"}, parents: []string{"Chassis.encaps"}, noOwner: true},
		{db: Southbound(), table: "Chassis_Private", root: true, natural: []string{"name"}},
		{db: OpenVSwitch(), table: "Open_vSwitch", root: true, singleton: true},
		{db: OpenVSwitch(), table: "Interface", natural: []string{"name"}, parents: []string{"Port.interfaces"}},
	} {
		x, ok := c.db.Table(c.table)
		if !ok {
			t.Errorf("no table %s", c.table)
			continue
		}
		var natural, parents []string
		for _, n := range x.Natural {
			natural = append(natural, n.Name)
		}
		for _, p := range x.Parents {
			parents = append(parents, p.String())
		}
		slices.Sort(parents)
		if x.Root != c.root || x.Singleton != c.singleton || !slices.Equal(natural, c.natural) ||
			!slices.Equal(parents, c.parents) || (x.ExternalIDs == nil) != c.noOwner {
			t.Errorf("%s: root %t, singleton %t, name %v, parents %v, no owner %t", c.table, x.Root, x.Singleton, natural, parents, x.ExternalIDs == nil)
		}
	}
	lsp, _ := Northbound().Table("Logical_Switch_Port")
	if c, _ := lsp.Column("ha_chassis_group"); c.Ref == nil || c.Ref.Name != "HA_Chassis_Group" || !c.Strong {
		t.Errorf("%s: %+v", c, c.Ref)
	}
	bridge, _ := OpenVSwitch().Table("Bridge")
	if c, _ := bridge.Column("name"); !c.Immutable {
		t.Errorf("%s can be changed", c)
	}
	iface, _ := OpenVSwitch().Table("Interface")
	if c, _ := iface.Column("statistics"); c.Role != Theirs {
		t.Errorf("%s is ours", c)
	}
}
