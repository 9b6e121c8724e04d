// Package ovn connects to OVN's and Open vSwitch's databases: the client, the tables
// that are written, and their indexes.
package ovn

//go:generate go tool modelgen -extended -p nb -o nb schema/ovn-nb.ovsschema
//go:generate go tool modelgen -extended -p sb -o sb schema/ovn-sb.ovsschema
//go:generate go tool modelgen -extended -p vswitch -o vswitch schema/vswitch.ovsschema
