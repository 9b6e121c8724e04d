// Package balance knows the options that all our load balancers have in common.
package balance

import (
	"strconv"
	"strings"

	"github.com/ovnkctl/ovnkctl/internal/world"
	"github.com/ovnkctl/ovnkctl/internal/world/plan"
)

// Flavour is in what load balancers differ.
type Flavour struct {
	// KeepSource leaves clients their address where the gateway router would take it.
	KeepSource bool
	// Reject answers packets without a backend, Event reports them; neither drops them.
	Reject, Event bool
}

// Options are a load balancer's options (ovn-nb(5), Load_Balancer).
func Options(network *world.Network, protocol world.Protocol, f Flavour) map[string]string {
	o := map[string]string{
		"reject":    strconv.FormatBool(f.Reject),
		"event":     strconv.FormatBool(f.Event),
		"skip_snat": strconv.FormatBool(f.KeepSource),
		// The VIPs are the fabric's or the node's: nobody asks the router for them.
		"neighbor_responder": "none",
		"hairpin_snat_ip":    Hairpin(network),
	}
	if protocol == world.UDP {
		// A UDP client goes on for ever with a backend that is gone. TCP connections must
		// outlive the end of their backend's readiness.
		o["ct_flush"] = "true"
	}
	return o
}

// Hairpin are the addresses that a pod sees itself as when a service leads it to itself.
func Hairpin(network *world.Network) string {
	var out []string
	for _, m := range network.OfFamilies(network.Masquerade) {
		if a, ok := plan.MasqueradeAddr(m, plan.MasqueradeHairpin); ok {
			out = append(out, a.String())
		}
	}
	return strings.Join(out, " ")
}
