package diagnose

import (
	"fmt"
	"strings"

	"github.com/ovnkctl/ovnkctl/internal/inspect"
)

// hostTable is what the node's program has in nftables.
const hostTable = "table inet ovn-kubernetes"

var hostTables = &Check{
	Code: "OVNK-HOST-002", Severity: Error,
	Title: "a node's nftables lack the network's table",
	Meaning: "The table inet ovn-kubernetes leads what the host's own stack gets to services, and gives what pods send through the host the host's address. " +
		"Without it node ports and external addresses do not work by all ways, and in local gateway mode pods reach nothing outside.",
	Remedy: "Something flushed all tables of the node, such as `nft flush ruleset` in /etc/nftables.conf: a firewall must flush its own tables alone. " +
		"The node's program puts the table back; if it does not, see whether ovnkube-controller of the node is ready.",
	causes: nodeDown(),
	find: func(c *Cluster, found func(Finding)) {
		for _, n := range c.Nodes {
			if text, ok := n.Texts[inspect.TextNFT]; ok && !strings.Contains(text, hostTable+" {") {
				found(Finding{
					Node: n.Name, Object: nodeObject(n.Name),
					Message:  fmt.Sprintf("nftables of node %s have no %s", n.Name, hostTable),
					Evidence: []string{"nft list ruleset"},
				})
			}
		}
	},
}
