package diagnose

import (
	"fmt"

	"github.com/ovnkctl/ovnkctl/internal/ovn"
	"github.com/ovnkctl/ovnkctl/internal/ovn/nb"
	"github.com/ovnkctl/ovnkctl/internal/ovn/owner"
)

var foreignRows = &Check{
	Code: "OVNK-DB-004", Severity: Warning,
	Title: "a node's Northbound database has rows that nobody owns",
	Meaning: "Rows that decide about packets, such as ACLs, routes and translations of addresses, carry who wants them in external_ids. " +
		"One that does not was made by hand or by another program. It holds before or beside the policies of the cluster, and no object of the cluster shows it.",
	Remedy: "Look at the row with `ovnkctl explain UUID`, and remove it on that node by ovn-nbctl: acl-del, lr-route-del, lr-policy-del, lr-nat-del, lb-del.",
	causes: nodeDown(),
	find: func(c *Cluster, found func(Finding)) {
		for _, n := range c.Nodes {
			if n.NB == nil {
				continue
			}
			var lines []string
			for _, t := range []*ovn.Table{
				tableOf[nb.ACL](), tableOf[nb.LogicalRouterStaticRoute](), tableOf[nb.LogicalRouterPolicy](), tableOf[nb.NAT](), tableOf[nb.LoadBalancer](),
			} {
				for _, m := range n.NB.Rows(t) {
					ids := *t.ExternalIDs.Value(m).(*map[string]string)
					if _, _, ok := owner.Of(ids); !ok {
						lines = append(lines, foreignTitle(t, m))
					}
				}
			}
			if len(lines) == 0 {
				continue
			}
			f := Finding{Node: n.Name, Object: nodeObject(n.Name), Message: fmt.Sprintf("nobody owns %s on node %s", lines[0], n.Name)}
			if len(lines) > 1 {
				f.Message += fmt.Sprintf(", and %d more rows", len(lines)-1)
				f.Evidence = lines[:min(len(lines), mostLines)]
			}
			found(f)
		}
	},
}

func foreignTitle(t *ovn.Table, m any) string {
	what := ""
	switch r := m.(type) {
	case *nb.ACL:
		what = fmt.Sprintf(" (%s %d %s: %s)", r.Direction, r.Priority, r.Match, r.Action)
	case *nb.LogicalRouterStaticRoute:
		what = fmt.Sprintf(" (%s by %s)", r.IPPrefix, r.Nexthop)
	case *nb.LogicalRouterPolicy:
		what = fmt.Sprintf(" (%d %s: %s)", r.Priority, r.Match, r.Action)
	case *nb.NAT:
		what = fmt.Sprintf(" (%s %s to %s)", r.Type, r.LogicalIP, r.ExternalIP)
	case *nb.LoadBalancer:
		what = " " + r.Name
	}
	return fmt.Sprintf("%s %s%s", t.Name, uuidOf(m), what)
}
