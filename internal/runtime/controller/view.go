package controller

import (
	"fmt"
	"net/netip"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/ovnkctl/ovnkctl/internal/annotation"
	"github.com/ovnkctl/ovnkctl/internal/runtime/controller/alloc"
	"github.com/ovnkctl/ovnkctl/internal/world"
	"github.com/ovnkctl/ovnkctl/internal/world/plan"
)

// ConditionType is the condition of a Node that cannot get what it needs; on Nodes that
// never had a problem it is absent. It is False with the reason of a finding, and True
// again once the problem is solved. (NetworkUnavailable belongs to cloud providers.)
const ConditionType corev1.NodeConditionType = "k8s.ovn.org/SubnetsAllocated"

// The annotations that the controller writes, by their place in a view.
const (
	nodeID = iota
	nodeSubnets
	nodeTransit
	networkIDs
	annotationCount
)

var keys = [annotationCount]string{
	nodeID:      annotation.NodeID.Key(),
	nodeSubnets: annotation.NodeSubnets.Key(),
	nodeTransit: annotation.NodeTransit.Key(),
	networkIDs:  annotation.NetworkIDs.Key(),
}

// view is all that the controller keeps of a Node. Views are compared: a heartbeat does
// not change them.
type view struct {
	name, uid string
	created   int64 // seconds since 1970, as precise as the API is
	values    [annotationCount]string
	condition condition
	problems  string // what it cannot put in force (annotation.ZoneProblems)
}

// condition is the Node's condition of our type; zero if it has none.
type condition struct {
	status          corev1.ConditionStatus
	reason, message string
}

func newView(o *corev1.Node) *view {
	v := &view{name: o.Name, uid: string(o.UID), created: o.CreationTimestamp.Unix(), problems: o.Annotations[annotation.ZoneProblems.Key()]}
	for i, key := range keys {
		v.values[i] = o.Annotations[key]
	}
	for _, c := range o.Status.Conditions {
		if c.Type == ConditionType {
			v.condition = condition{c.Status, c.Reason, c.Message}
		}
	}
	return v
}

func (v *view) ref() world.ObjectRef {
	return world.ObjectRef{Kind: world.KindNode, Name: v.name, UID: v.uid}
}

// read decodes one annotation; zero if it is absent or malformed.
func read[T any](c *annotation.Codec[T], text string) (T, error) {
	if text == "" {
		var zero T
		return zero, nil
	}
	return c.Decode(text)
}

// claim is what the annotations say that the node has, as far as they can be understood.
func (v *view) claim() alloc.Claim {
	c := alloc.Claim{Node: v.name, Created: time.Unix(v.created, 0)}
	c.ID, _ = read(annotation.NodeID, v.values[nodeID])
	subnets, _ := read(annotation.NodeSubnets, v.values[nodeSubnets])
	c.Subnets = subnets[annotation.DefaultNetwork]
	return c
}

// malformed tells what is wrong with one annotation; nil if nothing is.
func (v *view) malformed(i int) error {
	var err error
	switch i {
	case nodeID:
		_, err = read(annotation.NodeID, v.values[i])
	case nodeSubnets:
		_, err = read(annotation.NodeSubnets, v.values[i])
	case nodeTransit:
		_, err = read(annotation.NodeTransit, v.values[i])
	case networkIDs:
		_, err = read(annotation.NetworkIDs, v.values[i])
	}
	return err
}

// wanted are the annotations that say what the node has; empty for those that must not be
// there. A value that says the same in another form is left as it is, and so are entries
// of networks other than the default one.
func (v *view) wanted(a alloc.Allocation, transit []netip.Prefix) ([annotationCount]string, error) {
	w := v.values
	w[nodeID], w[nodeTransit] = "", ""
	if a.ID != 0 {
		addrs, err := plan.Transit(transit, a.ID)
		if err != nil {
			return w, fmt.Errorf("transit addresses of node %s: %w", v.name, err)
		}
		w[nodeID] = same(annotation.NodeID, v.values[nodeID], a.ID)
		w[nodeTransit] = same(annotation.NodeTransit, v.values[nodeTransit], addrs)
	}

	subnets, _ := read(annotation.NodeSubnets, v.values[nodeSubnets])
	subnets = with(subnets, annotation.DefaultNetwork, a.Subnets)
	if len(a.Subnets) == 0 {
		delete(subnets, annotation.DefaultNetwork)
	}
	w[nodeSubnets] = ""
	if len(subnets) > 0 {
		w[nodeSubnets] = same(annotation.NodeSubnets, v.values[nodeSubnets], subnets)
	}

	ids, _ := read(annotation.NetworkIDs, v.values[networkIDs])
	w[networkIDs] = same(annotation.NetworkIDs, v.values[networkIDs], with(ids, annotation.DefaultNetwork, 0))
	return w, nil
}

// same is the text that is there if it says the value, else the value's own text.
func same[T any](c *annotation.Codec[T], text string, value T) string {
	want := c.Encode(value)
	if there, err := c.Decode(text); err == nil && c.Encode(there) == want {
		return text
	}
	return want
}

// with is the map with one entry set; the map may be nil.
func with[T any](m map[string]T, key string, value T) map[string]T {
	if m == nil {
		m = map[string]T{}
	}
	m[key] = value
	return m
}
