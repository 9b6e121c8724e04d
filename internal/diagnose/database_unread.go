package diagnose

import "strings"

var databaseUnread = &Check{
	Code: "OVNK-DB-001", Severity: Error,
	Title: "a database of a node does not answer",
	Meaning: "Each node has the Northbound and the Southbound database of its zone and Open vSwitch's own. " +
		"What does not answer here does not answer the node's own programs either, or the node cannot be reached.",
	Remedy: "Look at the containers nb-ovsdb, sb-ovsdb (ovnkube-node) and ovsdb-server (ovs-node) of the node: " +
		logsOf("nb-ovsdb") + ". If they run, see whether the API server reaches the node's kubelet (kubectl exec).",
	causes: []cause{{nodeSilent.Code, sameNode}, {nodeComponent.Code, sameNode}, {daemonSilent.Code, sameNode}},
	find: func(c *Cluster, found func(Finding)) {
		for _, n := range c.Nodes {
			if len(n.Unread) == 0 {
				continue
			}
			var what, evidence []string
			for _, u := range n.Unread {
				what = append(what, u.What)
				evidence = append(evidence, u.What+": "+u.Why)
			}
			found(Finding{Node: n.Name, Object: nodeObject(n.Name), Message: "cannot be read: " + strings.Join(what, ", "), Evidence: evidence})
		}
	},
}
