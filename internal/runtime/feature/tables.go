package feature

import (
	"slices"

	"github.com/ovnkctl/ovnkctl/internal/ovn/nb"
	"github.com/ovnkctl/ovnkctl/internal/ovn/sb"
)

// The tables that features write. northd and ovn-controller make the rows of the others, and
// repeat in some what the rows of ours say of their owners: a Port_Binding has the
// external_ids of its Logical_Switch_Port.
var (
	northTables = []string{
		nb.NBGlobalTable, nb.CoppTable, nb.MeterTable, nb.MeterBandTable,
		nb.LogicalSwitchTable, nb.LogicalSwitchPortTable, nb.ACLTable,
		nb.LogicalRouterTable, nb.LogicalRouterPortTable, nb.LogicalRouterStaticRouteTable,
		nb.LogicalRouterPolicyTable, nb.NATTable, nb.GatewayChassisTable, nb.StaticMACBindingTable,
		nb.QoSTable, nb.PortGroupTable, nb.AddressSetTable, nb.LoadBalancerTable, nb.LoadBalancerGroupTable,
	}
	southTables = []string{sb.ChassisTable, sb.EncapTable}
)

// NorthTables are the tables of the Northbound database that features write.
func NorthTables() []string { return slices.Clone(northTables) }

// SouthTables are the tables of the Southbound database that features write.
func SouthTables() []string { return slices.Clone(southTables) }
