package topology

import (
	"fmt"
	"strings"

	"github.com/ovnkctl/ovnkctl/internal/annotation"
	"github.com/ovnkctl/ovnkctl/internal/runtime/feature"
)

// Codes of the reasons.
const (
	// NodeIncomplete: annotations are missing that the node's rows follow from.
	NodeIncomplete = "NodeIncomplete"
	// NodeNameReserved: the node is called like one of our switches.
	NodeNameReserved = "NodeNameReserved"
	// InvalidNodeAnnotation: an annotation or a status field does not parse.
	InvalidNodeAnnotation = "InvalidNodeAnnotation"
	// InvalidNodeSubnet: a node's subnet is not one that the network can have.
	InvalidNodeSubnet = "InvalidNodeSubnet"
	// InvalidTransitAddress: a node's transit address is not of the transit subnet.
	InvalidTransitAddress = "InvalidTransitAddress"
	// AddressPlanExhausted: the node id has no address in the join subnet.
	AddressPlanExhausted = "AddressPlanExhausted"
	// GatewayFamilyMissing: the gateway has no address of one of the network's families.
	GatewayFamilyMissing = "GatewayFamilyMissing"
	// NodeIDConflict: an older node has the same node id.
	NodeIDConflict = "NodeIDConflict"
	// ChassisIDConflict: an older node has the same chassis id.
	ChassisIDConflict = "ChassisIDConflict"
	// NodeSubnetConflict: an older node's subnet overlaps.
	NodeSubnetConflict = "NodeSubnetConflict"
	// TransitAddressConflict: an older node has the same transit address.
	TransitAddressConflict = "TransitAddressConflict"
	// EncapAddressConflict: an older node has the same tunnel end point.
	EncapAddressConflict = "EncapAddressConflict"
	// LocalNodeCloned: a remote node cannot be connected, because the local node claims
	// its chassis id or tunnel end point.
	LocalNodeCloned = "LocalNodeCloned"
)

// Codes lists the codes of all reasons that the feature gives.
var Codes = []string{
	NodeIncomplete, NodeNameReserved, InvalidNodeAnnotation, InvalidNodeSubnet, InvalidTransitAddress,
	AddressPlanExhausted, GatewayFamilyMissing, NodeIDConflict, ChassisIDConflict, NodeSubnetConflict,
	TransitAddressConflict, EncapAddressConflict, LocalNodeCloned,
}

func (f *facts) reason(code, message, remedy string) {
	f.reasons = append(f.reasons, feature.Reason{Code: code, Object: f.node.Ref(), Message: message, Remedy: remedy})
}

// writer is who writes an annotation.
type writer string

const (
	byController writer = "`ovnkctl controller`"
	byNode       writer = "`ovnkctl node` on that node"
)

// lack is an annotation that a node does not have.
type lack struct {
	key string
	by  writer
}

// What a node may lack.
var (
	lackID      = lack{annotation.NodeID.Key(), byController}
	lackSubnets = lack{annotation.NodeSubnets.Key(), byController}
	lackTransit = lack{annotation.NodeTransit.Key(), byController}
	lackChassis = lack{annotation.NodeChassisID.Key(), byNode}
	lackGateway = lack{annotation.L3Gateway.Key(), byNode}
	lackEncap   = lack{annotation.NodeEncapIPs.Key(), byNode}
)

// incomplete reports what the node lacks, if anything. What is there but malformed or
// claimed by an older node has its own reason and is not in the list.
func (f *facts) incomplete(consequence string) {
	if len(f.lacks) == 0 {
		return
	}
	var keys []string
	writers := map[writer][]string{}
	for _, l := range f.lacks {
		keys = append(keys, l.key)
		writers[l.by] = append(writers[l.by], l.key)
	}
	var remedy []string
	for _, w := range []writer{byController, byNode} {
		if len(writers[w]) > 0 {
			remedy = append(remedy, fmt.Sprintf("%s writes %s", w, strings.Join(writers[w], ", ")))
		}
	}
	f.reason(NodeIncomplete,
		fmt.Sprintf("%s: it has no %s", consequence, strings.Join(keys, ", ")),
		strings.Join(remedy, "; ")+": if this lasts, see whether it runs and what it logs")
}
