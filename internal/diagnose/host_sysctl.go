package diagnose

import (
	"fmt"
	"net/netip"
	"slices"

	"github.com/ovnkctl/ovnkctl/internal/world"
)

// managementPort is the host's way to the pods of its node.
const managementPort = "ovn-k8s-mp0"

var hostSysctl = &Check{
	Code: "OVNK-HOST-004", Severity: Error,
	Title: "a kernel setting of a node stops packets",
	Meaning: "The host forwards between pods and the outside on the external bridge and the management port, and answers may come by the other of the two. " +
		"With forwarding off, or with the strict reverse path filter, it drops such packets: node ports and, in local gateway mode, all that pods send outside.",
	Remedy: "Something sets it, such as a file in /etc/sysctl.d or a hardening tool: take the setting out there. The node's program puts it right; " +
		"if it does not, see whether ovnkube-controller of the node is ready.",
	causes: nodeDown(),
	find: func(c *Cluster, found func(Finding)) {
		for _, n := range c.Nodes {
			r, ok := n.check()
			o, known := c.node(n.Name)
			if !ok || !known || o.Gateway == nil || o.Gateway.BridgeID == "" {
				continue
			}
			wrong := wrongSysctls(r.Sysctls, o)
			if len(wrong) == 0 {
				continue
			}
			f := Finding{Node: n.Name, Object: nodeObject(n.Name), Message: fmt.Sprintf("node %s has %s", n.Name, wrong[0])}
			if len(wrong) > 1 {
				f.Message += fmt.Sprintf(", and %d more", len(wrong)-1)
				f.Evidence = wrong
			}
			found(f)
		}
	},
}

func wrongSysctls(have map[string]string, o *world.Node) []string {
	var wrong []string
	for _, device := range []string{o.Gateway.BridgeID, managementPort} {
		if key := "ipv4/conf/" + device + "/forwarding"; have[key] == "0" {
			wrong = append(wrong, "net/"+key+"=0, not 1")
		}
		// Of a device's setting and that of all the greater one holds.
		key := "ipv4/conf/" + device + "/rp_filter"
		if strict := []string{have[key], have["ipv4/conf/all/rp_filter"]}; slices.Max(strict) == "1" {
			wrong = append(wrong, "net/"+key+"=1, not 2")
		}
	}
	six := slices.ContainsFunc(o.Subnets[world.DefaultNetwork], isIPv6)
	if key := "ipv6/conf/all/forwarding"; six && have[key] == "0" {
		wrong = append(wrong, "net/"+key+"=0, not 1")
	}
	return wrong
}

func isIPv6(p netip.Prefix) bool { return p.Addr().Is6() }
