package diagnose

import (
	"fmt"
	"slices"
	"strings"

	"github.com/ovnkctl/ovnkctl/internal/inspect"
)

// proxyMarks are what only kube-proxy writes, in its modes nftables and iptables. The kubelet
// has chains KUBE-… of its own, which do no harm.
var proxyMarks = []string{"table ip kube-proxy {", "table ip6 kube-proxy {", "chain KUBE-SERVICES {"}

var proxyRules = &Check{
	Code: "OVNK-HOST-003", Severity: Warning,
	Title: "rules of kube-proxy are left on a node",
	Meaning: "kube-proxy ran on the node once and left its rules. They lead connections of the node, and of what comes to it, to backends that " +
		"were there when it ended.",
	Remedy: "Run `kube-proxy --cleanup` on the node, or restart the node.",
	causes: []cause{{kubeProxy.Code, anywhere}},
	find: func(c *Cluster, found func(Finding)) {
		for _, n := range c.Nodes {
			i := slices.IndexFunc(proxyMarks, func(m string) bool { return strings.Contains(n.Texts[inspect.TextNFT], m) })
			if i < 0 {
				continue
			}
			found(Finding{
				Node: n.Name, Object: nodeObject(n.Name),
				Message: fmt.Sprintf("nftables of node %s have %q", n.Name, strings.TrimSuffix(proxyMarks[i], " {")),
			})
		}
	},
}
