// Package explain knows what things are: which Kubernetes object is behind a database row,
// a logical flow, an OpenFlow cookie or an address, and which rows are an object's. It is
// the link under all other tools.
//
//	OpenFlow cookie ─ first 32 bits ─> Logical_Flow ─ stage-hint ─> row in NB ─ external_ids ─> object
//	                                └> Port_Binding, … (by their own UUID)
package explain

import (
	"reflect"
	"slices"
	"strconv"
	"strings"

	"github.com/ovn-kubernetes/libovsdb/model"

	"github.com/ovnkctl/ovnkctl/internal/ovn"
	"github.com/ovnkctl/ovnkctl/internal/ovn/names"
	"github.com/ovnkctl/ovnkctl/internal/ovn/nb"
	"github.com/ovnkctl/ovnkctl/internal/ovn/owner"
	"github.com/ovnkctl/ovnkctl/internal/ovn/sb"
	"github.com/ovnkctl/ovnkctl/internal/ovn/vswitch"
	"github.com/ovnkctl/ovnkctl/internal/runtime/feature"
	"github.com/ovnkctl/ovnkctl/internal/runtime/feature/hostports"
	"github.com/ovnkctl/ovnkctl/internal/runtime/feature/multicast"
	"github.com/ovnkctl/ovnkctl/internal/runtime/feature/pods"
	"github.com/ovnkctl/ovnkctl/internal/runtime/feature/policy"
	"github.com/ovnkctl/ovnkctl/internal/runtime/feature/services"
	"github.com/ovnkctl/ovnkctl/internal/runtime/feature/topology"
	"github.com/ovnkctl/ovnkctl/internal/world"
)

// Object is a Kubernetes object. The zero value is none.
type Object struct {
	Kind      string `json:"kind"`
	Namespace string `json:"namespace,omitempty"`
	Name      string `json:"name"`
	// NotApplied is an object of a file that somebody asks about before it is applied.
	NotApplied bool `json:"notApplied,omitempty"`
}

// String is "Kind namespace/name", empty for none.
func (o Object) String() string {
	if o == (Object{}) {
		return ""
	}
	name := o.Name
	if o.Namespace != "" {
		name = o.Namespace + "/" + name
	}
	if o.NotApplied {
		name += " (not applied)"
	}
	return o.Kind + " " + name
}

// RowRef is the identity of a row: where it is and for which object it was made.
type RowRef struct {
	Node     string `json:"node,omitempty"`
	Database string `json:"database"` // "nb", "sb" or "ovs"
	Table    string `json:"table"`
	UUID     string `json:"uuid"`
	// Name is the row's own name; empty where rows have none.
	Name string `json:"name,omitempty"`
	// Feature made the row, and Part is what the feature calls it; empty for rows of others.
	Feature string `json:"feature,omitempty"`
	Part    string `json:"part,omitempty"`
	// Object is what the row was made for.
	Object Object `json:"object,omitzero"`
	// Rule is of ACLs of policies.
	Rule *Rule `json:"rule,omitempty"`
}

// Rule is the part of a policy that an ACL was made for.
type Rule struct {
	Direction string `json:"direction"` // "ingress" or "egress"
	// Index is that of the rule in its direction; -1 for what isolates pods.
	Index int `json:"index"`
}

// String is "ingress rule 2", or "ingress isolation".
func (r *Rule) String() string {
	if r.Index < 0 {
		return r.Direction + " isolation"
	}
	return r.Direction + " rule " + strconv.Itoa(r.Index)
}

// String is "ACL NP:shop:web:Ingress:0".
func (r RowRef) String() string {
	if r.Name == "" {
		return r.Table + " " + r.UUID
	}
	return r.Table + " " + r.Name
}

// RowOf is the identity of a row of a node's database.
func RowOf(node string, t *ovn.Table, m model.Model) RowRef {
	r := RowRef{Node: node, Database: t.DB.Short, Table: t.Name, UUID: UUID(m), Name: nameOf(t, m)}
	ids := externalIDs(t, m)
	if id, part, ok := owner.Of(ids); ok {
		r.Feature, r.Part = id.Feature, part
		r.Object = ownedBy(id)
	}
	if o := parseObject(ids[names.KeyKind], ids[names.KeyOwner]); o != (Object{}) {
		r.Object = o
	}
	if t.Name == nb.ACLTable && r.Feature == policy.Name {
		r.Rule = ruleOf(r.Part)
	}
	if r.Object == (Object{}) {
		r.Object = known(m, ids)
	}
	return r
}

// UUID is the row's UUID.
func UUID(m model.Model) string {
	if g, ok := m.(interface{ GetUUID() string }); ok {
		return g.GetUUID()
	}
	return ""
}

func externalIDs(t *ovn.Table, m model.Model) map[string]string {
	if t.ExternalIDs == nil {
		return nil
	}
	ids, _ := t.ExternalIDs.Value(m).(*map[string]string)
	if ids == nil {
		return nil
	}
	return *ids
}

// nameOf is what people call a row.
func nameOf(t *ovn.Table, m model.Model) string {
	if name := t.NameOf(m); name != "" {
		return name
	}
	switch r := m.(type) {
	case *nb.NAT:
		return r.Type + " " + r.LogicalIP + " " + r.ExternalIP
	case *nb.LogicalRouterStaticRoute:
		return r.IPPrefix + " via " + r.Nexthop
	case *nb.LogicalRouterPolicy:
		return strconv.Itoa(r.Priority) + " " + r.Match
	case *sb.DatapathBinding:
		return r.ExternalIDs["name"]
	}
	if c, ok := t.Column("name"); ok {
		switch p := c.Value(m).(type) {
		case *string:
			return *p
		case **string:
			if *p != nil {
				return **p
			}
		}
	}
	return ""
}

// ownedBy is the object behind a feature's key. Keys that are for no object, such as
// selectors that policies share, have none.
func ownedBy(id owner.ID) Object {
	k := feature.ParseKey(id.Key)
	switch id.Feature {
	case pods.Name, hostports.Name:
		return Object{Kind: string(world.KindPod), Namespace: k.Namespace, Name: k.Name}
	case services.Name:
		return Object{Kind: string(world.KindService), Namespace: k.Namespace, Name: k.Name}
	case topology.Name:
		return Object{Kind: string(world.KindNode), Name: k.Name}
	case multicast.Name:
		if kind, name, ok := strings.Cut(k.Name, ":"); ok {
			return keyed(kind, "", name)
		}
		return Object{Kind: string(world.KindNamespace), Name: k.Name}
	case policy.Name:
		if kind, name, ok := strings.Cut(k.Name, ":"); ok {
			return keyed(kind, k.Namespace, name)
		}
	}
	return Object{}
}

// keyed reads keys whose names begin with a kind.
func keyed(kind, namespace, name string) Object {
	switch kind {
	case "pod":
		return Object{Kind: string(world.KindPod), Namespace: namespace, Name: name}
	case "namespace":
		return Object{Kind: string(world.KindNamespace), Name: name}
	case "node":
		return Object{Kind: string(world.KindNode), Name: name}
	}
	if slices.Contains(policyKinds, world.Kind(kind)) {
		return Object{Kind: kind, Namespace: namespace, Name: name}
	}
	return Object{}
}

var policyKinds = []world.Kind{
	world.KindNetworkPolicy, world.KindAdminNetworkPolicy, world.KindBaselineAdminNetworkPolicy,
	world.KindClusterNetworkPolicy, world.KindEgressFirewall,
}

// parseObject reads the kind and owner that OVN-Kubernetes' tools read. What is no kind of
// object (multicast) has none.
func parseObject(kind, text string) Object {
	kinds := append(policyKinds[:len(policyKinds):len(policyKinds)], world.KindService, world.KindPod, world.KindNode, world.KindNamespace)
	if text == "" || !slices.Contains(kinds, world.Kind(kind)) {
		return Object{}
	}
	if namespace, name, ok := strings.Cut(text, "/"); ok {
		return Object{Kind: kind, Namespace: namespace, Name: name}
	}
	return Object{Kind: kind, Name: text}
}

// ruleOf reads what the policy feature calls an ACL: "ingress/0/tcp/ip4" or "ingress/deny", of
// firewalls "rule/0/any/ip4".
func ruleOf(part string) *Rule {
	words := strings.Split(part, "/")
	if words[0] == "rule" {
		words[0] = "egress"
	}
	if len(words) < 2 || words[0] != "ingress" && words[0] != "egress" {
		return nil
	}
	index, err := strconv.Atoi(words[1])
	if err != nil {
		index = -1
	}
	return &Rule{Direction: words[0], Index: index}
}

// known tells the object behind rows that are nobody's own: rows that northd and
// ovn-controller make keep the names of those that we made.
func known(m model.Model, ids map[string]string) Object {
	port := func(name string) Object {
		if ids[names.KeyPod] == "true" && ids[names.KeyNamespace] != "" {
			if pod, ok := strings.CutPrefix(name, ids[names.KeyNamespace]+"_"); ok {
				return Object{Kind: string(world.KindPod), Namespace: ids[names.KeyNamespace], Name: pod}
			}
		}
		return Object{}
	}
	switch r := m.(type) {
	case *nb.LogicalSwitchPort:
		return port(r.Name)
	case *sb.PortBinding:
		return port(r.LogicalPort)
	case *vswitch.Interface:
		// What the CNI server adds is for a pod; names in Kubernetes have no "_".
		namespace, pod, ok := strings.Cut(ids["iface-id"], "_")
		if ok && ids["attached_mac"] != "" {
			return Object{Kind: string(world.KindPod), Namespace: namespace, Name: pod}
		}
	}
	return Object{}
}

// Columns are the columns of a row that hold something, as text.
func Columns(t *ovn.Table, m model.Model) map[string]any {
	out := map[string]any{}
	for _, c := range t.Columns {
		if v := c.Value(m); !ovn.EmptyValue(v) {
			out[c.Name] = reflect.ValueOf(v).Elem().Interface()
		}
	}
	return out
}
