// Package names knows how the rows of the Northbound database are called, for any
// network: the names of OVN-Kubernetes, which scripts, dashboards and people know.
//
//	<node> stor-<node> ── rtos-<node> ovn_cluster_router rtots-<node> ── tstor-<node> transit_switch
//	                                  rtoj-ovn_cluster_router
//	                                   │
//	                     jtor-ovn_cluster_router
//	                                  join
//	                              jtor-GR_<node>
//	                                   │
//	                              rtoj-GR_<node> GR_<node> rtoe-GR_<node> ── etor-GR_<node> ext_<node> <bridge>_<node>
package names

import (
	"strings"

	"github.com/ovnkctl/ovnkctl/internal/world"
)

// Network names the rows of one network. The zero value names the default network's.
type Network struct{ prefix string }

// Of is the naming of a network; "" and "default" are the default network.
func Of(network string) Network {
	if network == "" || network == world.DefaultNetwork {
		return Network{}
	}
	return Network{prefix: strings.NewReplacer("-", ".", "/", ".").Replace(network) + "_"}
}

// ClusterRouter is the router that all of the zone's switches are on.
func (n Network) ClusterRouter() string { return n.prefix + "ovn_cluster_router" }

// JoinSwitch joins the cluster router and the gateway router.
func (n Network) JoinSwitch() string { return n.prefix + "join" }

// TransitSwitch spans all zones.
func (n Network) TransitSwitch() string { return n.prefix + "transit_switch" }

// Reserved tells node names that cannot be: the node's switch would be one that every
// zone has. No other name of ours is a valid node name.
func Reserved(node string) bool { return node == Network{}.JoinSwitch() }

// NodeSwitch is the switch of a node's pods.
func (n Network) NodeSwitch(node string) string { return n.prefix + node }

// GatewayRouter is a node's router to the outside.
func (n Network) GatewayRouter(node string) string { return "GR_" + n.prefix + node }

// ExternalSwitch is the switch between a node's gateway router and its external bridge.
func (n Network) ExternalSwitch(node string) string { return "ext_" + n.prefix + node }

// RouterToSwitch is the cluster router's port on a node's switch.
func (n Network) RouterToSwitch(node string) string { return "rtos-" + n.prefix + node }

// SwitchToRouter is the node switch's port on the cluster router.
func (n Network) SwitchToRouter(node string) string { return "stor-" + n.prefix + node }

// Management is the port on the node switch that is the host's ovn-k8s-mp0.
func (n Network) Management(node string) string { return "k8s-" + n.prefix + node }

// RouterToTransit is the cluster router's port on the transit switch.
func (n Network) RouterToTransit(node string) string { return n.prefix + "rtots-" + node }

// TransitToRouter is the transit switch's port for a node, local or remote.
func (n Network) TransitToRouter(node string) string { return n.prefix + "tstor-" + node }

// ClusterGroup is the group of load balancers that the node's switch and its gateway router
// have in common.
func (n Network) ClusterGroup() string { return n.prefix + "clusterLBGroup" }

// SwitchGroup is the group of load balancers of the node's switch alone.
func (n Network) SwitchGroup() string { return n.prefix + "clusterSwitchLBGroup" }

// RouterGroup is the group of load balancers of the gateway router alone.
func (n Network) RouterGroup() string { return n.prefix + "clusterRouterLBGroup" }

// The scopes of load balancers, the ends of their names.

// ScopeCluster is for what switch and gateway router have in common.
func ScopeCluster() string { return "cluster" }

// ScopeSwitch is for the node's switch alone.
func ScopeSwitch(node string) string { return "node_switch_" + node }

// ScopeRouter is for the gateway router alone.
func ScopeRouter(node string) string { return "node_router_" + node }

// ScopeLocalRouter is for the gateway router alone, with the source kept.
func ScopeLocalRouter(node string) string { return "node_local_router_" + node }

// Service is a load balancer of a service; the protocol is lower case.
func (n Network) Service(namespace, name, protocol, scope string) string {
	return n.prefix + loadBalancer("Service", namespace, name, protocol) + "_" + scope
}

// HostPort is the load balancer of a pod's host ports; the protocol is lower case.
func (n Network) HostPort(namespace, name, protocol string) string {
	return n.prefix + loadBalancer("HostPort", namespace, name, protocol)
}

func loadBalancer(kind, namespace, name, protocol string) string {
	return kind + "_" + namespace + "/" + name + "_" + strings.ToUpper(protocol)
}

// RouterToJoin is a router's port on the join switch.
func RouterToJoin(router string) string { return "rtoj-" + router }

// JoinToRouter is the join switch's port for a router.
func JoinToRouter(router string) string { return "jtor-" + router }

// RouterToExternal is a gateway router's port on its external switch.
func RouterToExternal(gatewayRouter string) string { return "rtoe-" + gatewayRouter }

// ExternalToRouter is the external switch's port for its gateway router.
func ExternalToRouter(gatewayRouter string) string { return "etor-" + gatewayRouter }

// GatewayChassis is the row that pins a router port to a chassis.
func GatewayChassis(routerPort, chassis string) string { return routerPort + "-" + chassis }

// Pod is the port of a pod on the default network.
func Pod(namespace, name string) string { return namespace + "_" + name }

// PhysicalNetwork is the network name that maps localnet ports to the external bridge
// (ovn-bridge-mappings).
const PhysicalNetwork = "physnet"

// IntegrationBridge is the OVS bridge that ovn-controller programs.
const IntegrationBridge = "br-int"

// PatchToIntegration is the port on an external bridge that ovn-controller makes for a
// localnet port; it is too long for OpenFlow, so flows need its number.
func PatchToIntegration(localnetPort string) string {
	return "patch-" + localnetPort + "-to-" + IntegrationBridge
}

// ControlPlaneProtection is the Copp row that all our routers use.
const ControlPlaneProtection = "ovnkube-default"

// Keys of external_ids that OVN-Kubernetes' tools read. The owner of a row is kept in
// other keys, by package owner.
const (
	KeyNamespace     = "namespace"           // of a pod's port
	KeyPod           = "pod"                 // "true" on a pod's port
	KeyClusterRouter = "k8s-cluster-router"  // "yes" on the cluster router
	KeyPhysicalIP    = "physical_ip"         // first address of a gateway router
	KeyPhysicalIPs   = "physical_ips"        // all its addresses, by comma
	KeyGatewayPort   = "gateway-physical-ip" // "yes" on the external router port
	KeyNode          = "node"                // of a transit port
	KeyRouteNode     = "ic-node"             // remote node of a route
	KeyNetwork       = "k8s.ovn.org/network" // network of a row
	KeyKind          = "k8s.ovn.org/kind"    // kind of the object behind a load balancer
	KeyOwner         = "k8s.ovn.org/owner"   // that object, "namespace/name"
)
