package topology

import (
	"fmt"
	"net/netip"
	"slices"
	"strconv"

	"github.com/ovnkctl/ovnkctl/internal/ovn/names"
	"github.com/ovnkctl/ovnkctl/internal/ovn/nb"
	"github.com/ovnkctl/ovnkctl/internal/ovn/rows"
	"github.com/ovnkctl/ovnkctl/internal/ovn/sb"
	"github.com/ovnkctl/ovnkctl/internal/runtime/feature"
	"github.com/ovnkctl/ovnkctl/internal/world"
	"github.com/ovnkctl/ovnkctl/internal/world/plan"
)

// genevePort is the UDP port that ovn-controller takes unless told otherwise.
const genevePort = 6081

// remote computes the rows that connect the zone with another node's.
type remote struct {
	*facts
	local *world.Node
	names names.Network
	out   *feature.Output
}

func (r *remote) compute() {
	r.incomplete(r.node.Name + " is not connected with this zone")
	if r.id == 0 || r.chassis == "" || len(r.transit) == 0 || len(r.subnets) == 0 || len(r.encaps) == 0 {
		return
	}
	if r.cloned() {
		return
	}
	if r.network.ID == 0 {
		r.addChassis()
	}
	r.addPort()
	for _, s := range r.subnets {
		r.addRoute("route/"+s.String(), s)
	}
	for _, j := range r.join {
		r.addRoute("route/join/"+j.Addr().String(), netip.PrefixFrom(j.Addr(), j.Addr().BitLen()))
	}
}

// cloned tells whether the local node claims the chassis id or a tunnel end point of the
// remote one. Even when the remote node is the older one it cannot be connected then: the
// local ovn-controller has a chassis of that name, or with that end point, in the database.
func (r *remote) cloned() bool {
	what := ""
	if r.local.ChassisID == r.chassis {
		what = "chassis id " + r.chassis
	}
	for _, a := range r.encaps {
		if slices.Contains(r.local.EncapIPs, a) {
			what = "tunnel end point " + a.String()
		}
	}
	if what == "" {
		return false
	}
	r.reasons = append(r.reasons, feature.Reason{
		Code: LocalNodeCloned, Object: r.local.Ref(),
		Message: fmt.Sprintf("%s is not connected with this zone: %s is its own and also this node's", r.node.Name, what),
		Remedy:  "see the reason given for " + r.local.Name + " itself",
	})
	return true
}

// addChassis makes the remote node known to the local ovn-controller, which then has a
// tunnel to it. Nobody else would: the remote ovn-controller writes to its own zone's
// database.
func (r *remote) addChassis() {
	c := &sb.Chassis{Name: r.chassis, Hostname: r.node.Name, OtherConfig: map[string]string{"is-remote": "true"}}
	for i, a := range r.encaps {
		options := map[string]string{"csum": "true"}
		if p := r.network.EncapPort; p != 0 && p != genevePort {
			options["dst_port"] = strconv.Itoa(p)
		}
		if len(r.encaps) > 1 && i == 0 {
			options["is_default"] = "true"
		}
		c.Encaps = append(c.Encaps, r.out.SB.Add("encap/"+a.String(), &sb.Encap{
			ChassisName: r.chassis, Type: sb.EncapTypeGeneve, IP: a.String(), Options: options,
		}))
	}
	r.out.SB.Add("chassis", c)
}

// addPort stands for the remote node on the transit switch; northd binds it to the remote
// chassis.
func (r *remote) addPort() {
	r.out.NB.AddTo(rows.Target{Table: nb.LogicalSwitchTable, Name: r.names.TransitSwitch()}, "ports", "transit/port",
		&nb.LogicalSwitchPort{
			Name: r.names.TransitToRouter(r.node.Name), Type: "remote",
			Addresses: []string{addresses(plan.MACOf(plan.Addrs(r.transit)...), texts(r.transit))},
			Options: map[string]string{
				"requested-chassis": r.chassis,
				"requested-tnl-key": strconv.Itoa(r.id),
			},
			ExternalIDs: map[string]string{names.KeyNode: r.node.Name},
		})
}

// addRoute leads to the remote node over the transit switch.
func (r *remote) addRoute(id string, to netip.Prefix) {
	via, ok := plan.OfFamily(r.transit, to.Addr())
	if !ok {
		return
	}
	r.out.NB.AddTo(rows.Target{Table: nb.LogicalRouterTable, Name: r.names.ClusterRouter()}, "static_routes", id,
		&nb.LogicalRouterStaticRoute{
			IPPrefix: to.String(), Nexthop: via.Addr().String(),
			ExternalIDs: map[string]string{names.KeyRouteNode: r.node.Name, names.KeyNetwork: r.network.Name},
		})
}
