package diagnose

import (
	"github.com/ovnkctl/ovnkctl/internal/desired"
	"github.com/ovnkctl/ovnkctl/internal/ovn/nb"
	"github.com/ovnkctl/ovnkctl/internal/runtime/feature"
	"github.com/ovnkctl/ovnkctl/internal/runtime/host"
	"github.com/ovnkctl/ovnkctl/internal/world"
)

// wish is what one key of a feature wants on a node.
type wish struct {
	feature string
	key     feature.Key
	output  feature.Output
	reasons []feature.Reason
}

// desired is what the features want in the databases of a node, as its own program computes
// it, in order of features and keys.
func (c *Cluster) desired(n *Node) []*wish {
	if n.wishes != nil {
		return n.wishes
	}
	n.wishes = []*wish{}
	wishes, seen := c.zone(n).Wishes()
	if n.OVS != nil {
		seen.Read(func(v world.View) { n.expects = c.expect(n, v) })
	}
	for _, w := range wishes {
		n.wishes = append(n.wishes, &wish{feature: w.Feature, key: w.Key, output: w.Output, reasons: w.Reasons})
	}
	return n.wishes
}

// expected is what the host of a node should hold, as its own program computes it. What the
// node's Open vSwitch holds has to be known.
func (c *Cluster) expected(n *Node) *host.Expected {
	c.desired(n)
	return n.expects
}

func (c *Cluster) zone(n *Node) desired.Zone {
	return desired.Zone{Node: n.Name, World: c.World, Features: c.Features, Sets: all[nb.AddressSet](n.NB)}
}

// reasons finds what the features of a node say about objects that they cannot do in full.
// What all nodes say alike is found once.
func (c *Cluster) reasons(wanted func(n *Node, w *wish, r feature.Reason) bool, found func(Finding)) {
	type id struct{ code, object, message string }
	at := map[id]int{}
	var findings []Finding
	for _, n := range c.Nodes {
		for _, w := range c.desired(n) {
			for _, r := range w.reasons {
				if !wanted(n, w, r) {
					continue
				}
				o := object(r.Object)
				i, known := at[id{r.Code, o.String(), r.Message}]
				if known {
					findings[i].peers = append(findings[i].peers, n.Name)
					continue
				}
				at[id{r.Code, o.String(), r.Message}] = len(findings)
				findings = append(findings, Finding{Node: n.Name, Object: o, Message: r.Message, Evidence: []string{r.Code}, Next: r.Remedy})
			}
		}
	}
	for _, f := range findings {
		found(f)
	}
}
