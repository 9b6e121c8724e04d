package diagnose

import (
	"fmt"

	"github.com/ovnkctl/ovnkctl/internal/ovn/names"
	"github.com/ovnkctl/ovnkctl/internal/ovn/vswitch"
)

var podInterface = &Check{
	Code: "OVNK-POD-004", Severity: Error,
	Title:   "a running pod is not plugged into Open vSwitch",
	Meaning: "The node's end of a pod's veth is a port of br-int whose iface-id is the name of the pod's logical switch port. Without it, or if Open vSwitch cannot open the device, nothing leaves the pod.",
	Remedy:  "Delete the pod: its successor is plugged in anew. If that fails, too, the events of the pod say at which stage.",
	causes:  podCauses(podAllocation),
	find: func(c *Cluster, found func(Finding)) {
		for _, n := range c.Nodes {
			if n.OVS == nil {
				continue
			}
			interfaces := map[string]*vswitch.Interface{}
			for _, i := range all[vswitch.Interface](n.OVS) {
				if id := i.ExternalIDs["iface-id"]; id != "" {
					interfaces[id] = i
				}
			}
			for _, p := range c.networked(n.Name) {
				if !c.running(p) {
					continue
				}
				name := names.Pod(p.Namespace, p.Name)
				i := interfaces[name]
				f := Finding{Node: n.Name, Object: object(p.Ref())}
				switch {
				case i == nil:
					f.Message = fmt.Sprintf("no interface of Open vSwitch on node %s has iface-id %s", n.Name, name)
				case fault(i) != "":
					f.Message = fmt.Sprintf("interface %s of node %s: %s", i.Name, n.Name, fault(i))
				default:
					continue
				}
				found(f)
			}
		}
	},
}
