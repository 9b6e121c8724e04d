package ovn

// Role tells who decides what a column holds.
type Role uint8

const (
	// Managed columns hold what the row's owner says, all of it.
	Managed Role = iota
	// Shared map and set columns hold what the row's owner says, and besides it the
	// elements that other keys contribute.
	Shared
	// Collected columns hold what keys contribute and nothing else; the row's model is
	// not looked at. Elements that nobody contributes are removed from rows we own.
	Collected
	// Theirs are columns that OVN writes itself: never written, never compared.
	Theirs
)

// columnRoles lists the columns that are not plainly Managed. Everything else about
// tables and columns is derived from the schema.
//
// The rule for maps follows: of a row we own we own the whole map (options, external_ids,
// other_config), and a stray entry is removed. The rows of singletons (NB_Global) belong
// to everybody: only what keys contribute to them is written or removed.
var columnRoles = map[string]map[string]Role{
	// Northbound.
	"Logical_Switch": {
		"ports": Collected, "acls": Collected, "qos_rules": Collected, "load_balancer": Collected,
		"load_balancer_group": Collected, "dns_records": Collected, "forwarding_groups": Collected,
		"other_config": Shared,
	},
	"Logical_Router": {
		"ports": Collected, "static_routes": Collected, "policies": Collected, "nat": Collected,
		"load_balancer": Collected, "load_balancer_group": Collected,
		"options": Shared,
	},
	"Logical_Switch_Port": {
		"up": Theirs, "dynamic_addresses": Theirs, "tag": Theirs, "options": Shared, "mirror_rules": Shared,
	},
	"Logical_Router_Port": {"status": Theirs, "gateway_chassis": Collected, "options": Shared},
	"Port_Group":          {"ports": Collected, "acls": Collected},
	"Address_Set":         {"addresses": Collected},
	"Load_Balancer_Group": {"load_balancer": Collected},
	"Copp":                {"meters": Shared},
	"HA_Chassis_Group":    {"ha_chassis": Collected},
	"BFD":                 {"status": Theirs},
	"NB_Global": {
		"nb_cfg": Theirs, "nb_cfg_timestamp": Theirs, "sb_cfg": Theirs, "sb_cfg_timestamp": Theirs,
		"hv_cfg": Theirs, "hv_cfg_timestamp": Theirs, "connections": Theirs, "ssl": Theirs,
		"options": Shared, "external_ids": Shared,
	},
	// Southbound: only what a CMS writes there.
	"Chassis":   {"nb_cfg": Theirs},
	"SB_Global": {"nb_cfg": Theirs, "connections": Theirs, "ssl": Theirs, "options": Shared},
}

// conventionalName are the columns that name rows uniquely by everybody's convention,
// though no index of the schema says so.
var conventionalName = map[string][]string{
	"Logical_Switch":   {"name"},
	"Logical_Router":   {"name"},
	"Load_Balancer":    {"name"},
	"Forwarding_Group": {"name"},
}

func roleOf(table, column string) Role { return columnRoles[table][column] }

// OwnerColumn tells, for rows of tables without external_ids that stay until somebody
// deletes them, which column names the row whose owner they belong to.
//
//	Static_MAC_Binding.logical_port names a Logical_Router_Port
//
// Rows of Load_Balancer_Group have no such column; rows of Encap and Sample go with the
// row that refers to them.
func (t *Table) OwnerColumn() (column, table string, ok bool) {
	if t.Name == "Static_MAC_Binding" && t.DB.Name == "OVN_Northbound" {
		return "logical_port", "Logical_Router_Port", true
	}
	return "", "", false
}
