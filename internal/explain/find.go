package explain

import (
	"fmt"
	"net/netip"
	"reflect"
	"slices"
	"strings"

	"github.com/ovnkctl/ovnkctl/internal/output"
	"github.com/ovnkctl/ovnkctl/internal/ovn/nb"
	"github.com/ovnkctl/ovnkctl/internal/world"
	"github.com/ovnkctl/ovnkctl/internal/world/plan"
)

// kinds are the words that people write before names, and the kinds that they mean.
var kinds = map[string]string{
	"pod": "Pod", "pods": "Pod", "po": "Pod", "service": "Service", "services": "Service", "svc": "Service",
	"node": "Node", "nodes": "Node", "no": "Node", "namespace": "Namespace", "namespaces": "Namespace", "ns": "Namespace",
	"networkpolicy": "NetworkPolicy", "networkpolicies": "NetworkPolicy", "netpol": "NetworkPolicy",
	"adminnetworkpolicy": "AdminNetworkPolicy", "anp": "AdminNetworkPolicy",
	"baselineadminnetworkpolicy": "BaselineAdminNetworkPolicy", "banp": "BaselineAdminNetworkPolicy",
	"clusternetworkpolicy": "ClusterNetworkPolicy", "cnp": "ClusterNetworkPolicy",
	"egressfirewall": "EgressFirewall", "ef": "EgressFirewall",
}

// clusterScoped are the kinds without a namespace.
var clusterScoped = []string{"Node", "Namespace", "AdminNetworkPolicy", "BaselineAdminNetworkPolicy", "ClusterNetworkPolicy"}

// object finds the object that "[kind/][namespace/]name" names. Without a kind it is the
// first of a pod, a service, a node, a policy and a namespace of that name.
func (e *explainer) object(o Options) bool {
	words := strings.Split(o.Text, "/")
	kind := ""
	if k, ok := kinds[strings.ToLower(words[0])]; ok && len(words) > 1 {
		kind, words = k, words[1:]
	}
	want := Object{Namespace: o.Namespace, Name: words[len(words)-1]}
	if want.Namespace == "" {
		want.Namespace = "default"
	}
	switch len(words) {
	case 1:
	case 2:
		want.Namespace = words[0]
	default:
		return false
	}
	candidates := []string{"Pod", "Service", "Node", "NetworkPolicy", "AdminNetworkPolicy", "BaselineAdminNetworkPolicy", "ClusterNetworkPolicy", "EgressFirewall", "Namespace"}
	if kind != "" {
		candidates = []string{kind}
	}
	found := false
	e.world.Read(func(v world.View) {
		for _, k := range candidates {
			c := want
			if c.Kind = k; slices.Contains(clusterScoped, k) {
				if len(words) == 2 {
					continue // a namespace was given
				}
				c.Namespace = ""
			}
			if what, ok := describe(v, c); ok {
				e.of(c, what)
				found = true
				return
			}
		}
	})
	return found
}

// describe says in a sentence what an object is.
func describe(v world.View, o Object) (string, bool) {
	switch o.Kind {
	case "Pod":
		if p, ok := v.Pod(world.PodKey{Namespace: o.Namespace, Name: o.Name}); ok {
			return describePod(p), true
		}
	case "Service":
		if s, ok := v.Service(world.ServiceKey{Namespace: o.Namespace, Name: o.Name}); ok {
			return describeService(s), true
		}
	case "Node":
		if n, ok := v.Node(o.Name); ok {
			return fmt.Sprintf("node %s with the addresses %s and the pod subnets %s", n.Name, texts(n.InternalIPs), texts(n.Subnets[world.DefaultNetwork])), true
		}
	case "Namespace":
		if _, ok := v.Namespace(o.Name); ok {
			return "namespace " + o.Name, true
		}
	default:
		if p, ok := v.Policy(world.PolicyKey{Kind: world.Kind(o.Kind), Namespace: o.Namespace, Name: o.Name}); ok {
			return fmt.Sprintf("%s for %s, with %s", o, p.Subject, output.Counted(len(p.Rules), "rule")), true
		}
	}
	return "", false
}

func describePod(p *world.Pod) string {
	where := "not scheduled yet"
	if p.Node != "" {
		where = "on node " + p.Node
	}
	what := fmt.Sprintf("pod %s/%s %s", p.Namespace, p.Name, where)
	if p.Deleting {
		what += ", which is being deleted"
	}
	switch {
	case p.Finished:
		return what + ", which has finished: its addresses are free"
	case p.HostNetwork:
		return what + ", on the host's network"
	case len(p.Addrs()) == 0:
		return what + ", without addresses"
	}
	return what + ", with the addresses " + texts(p.Addrs())
}

func describeService(s *world.Service) string {
	var ports []string
	for _, p := range s.Ports {
		ports = append(ports, fmt.Sprintf("%d/%s", p.Port, p.Protocol))
	}
	if len(s.ClusterIPs) == 0 {
		return fmt.Sprintf("service %s without cluster IPs: OVN has nothing of it", s.Key())
	}
	return fmt.Sprintf("service %s at %s, ports %s", s.Key(), texts(s.ClusterIPs), strings.Join(ports, ", "))
}

func texts[T fmt.Stringer](list []T) string {
	out := make([]string, 0, len(list))
	for _, e := range list {
		out = append(out, e.String())
	}
	if len(out) == 0 {
		return "none"
	}
	return strings.Join(out, ", ")
}

// address finds whose address it is, and the rows that have it.
func (e *explainer) address(a netip.Addr) {
	e.world.Read(func(v world.View) {
		e.out.Object, e.out.What = addressOf(v, a)
	})
	e.mentioning(a.String())
	if e.out.What == "" && len(e.out.Rows) > 0 {
		e.out.What = fmt.Sprintf("an address that %d rows have, of no object that exists", len(e.out.Rows))
	}
}

// addressOf is the object that has an address, and which of its addresses it is.
func addressOf(v world.View, a netip.Addr) (Object, string) {
	for p := range v.Pods {
		if !p.HostNetwork && !p.Finished && slices.Contains(p.Addrs(), a) {
			return Object{Kind: "Pod", Namespace: p.Namespace, Name: p.Name}, "address of " + describePod(p)
		}
	}
	for s := range v.Services {
		for role, list := range map[string][]netip.Addr{"cluster IP": s.ClusterIPs, "external IP": s.ExternalIPs, "load balancer's address": s.Ingress} {
			if slices.Contains(list, a) {
				return Object{Kind: "Service", Namespace: s.Namespace, Name: s.Name}, role + " of " + describeService(s)
			}
		}
	}
	network, ok := v.Network("")
	for _, n := range v.Nodes() {
		o := Object{Kind: "Node", Name: n.Name}
		if slices.Contains(n.InternalIPs, a) || slices.Contains(plan.Addrs(n.HostAddrs), a) || slices.Contains(plan.Addrs(n.PrimaryAddrs), a) {
			return o, "address of the host of node " + n.Name
		}
		if slices.Contains(plan.Addrs(n.Transit), a) {
			return o, "address of node " + n.Name + "'s router on the transit switch"
		}
		if ok {
			if what := planned(network, n, a); what != "" {
				return o, what
			}
		}
	}
	return Object{}, ""
}

// planned is what an address is by the plan of addresses.
func planned(network *world.Network, n *world.Node, a netip.Addr) string {
	for _, s := range n.Subnets[network.Name] {
		switch {
		case plan.Gateway(s) == a:
			return fmt.Sprintf("address of the router in the subnet %s of node %s", s, n.Name)
		case plan.Management(s) == a:
			return fmt.Sprintf("address of the management port ovn-k8s-mp0 of node %s", n.Name)
		case s.Contains(a):
			return fmt.Sprintf("an address in the subnet %s of node %s that no pod has", s, n.Name)
		}
	}
	if join, err := plan.JoinGatewayRouter(network.OfFamilies(network.JoinSubnets), n.ID); err == nil && n.ID != 0 && slices.Contains(plan.Addrs(join), a) {
		return "address of the gateway router of node " + n.Name + " on the join switch"
	}
	return ""
}

// mac finds the rows that have a MAC, and their object.
func (e *explainer) mac(mac string) {
	e.mentioning(mac)
	var objects []Object
	for _, r := range e.out.Rows {
		if r.Object != (Object{}) && !slices.Contains(objects, r.Object) {
			objects = append(objects, r.Object)
		}
	}
	if len(objects) > 0 {
		e.out.Object = objects[0]
		e.out.What = "MAC of " + objects[0].String()
	} else if len(e.out.Rows) > 0 {
		e.out.What = "a MAC that rows have, of no object"
	}
}

// mentioning adds the rows that have a word in a column: alone, in a list, or before a port.
func (e *explainer) mentioning(word string) {
	e.each(func(x *Index, r *Entry) {
		for _, c := range r.Type.Columns {
			if c.Ref == nil && mentions(reflect.ValueOf(c.Value(r.Model)).Elem(), word) {
				e.add(x, r)
				return
			}
		}
	})
}

func mentions(v reflect.Value, word string) bool {
	switch v.Kind() {
	case reflect.String:
		return hasWord(v.String(), word)
	case reflect.Pointer:
		return !v.IsNil() && mentions(v.Elem(), word)
	case reflect.Slice:
		for i := range v.Len() {
			if mentions(v.Index(i), word) {
				return true
			}
		}
	case reflect.Map:
		for _, k := range v.MapKeys() {
			if mentions(k, word) || mentions(v.MapIndex(k), word) {
				return true
			}
		}
	}
	return false
}

// hasWord tells whether a text has a word that is not part of a longer address.
func hasWord(text, word string) bool {
	part := func(c byte) bool {
		return c == '.' || c >= '0' && c <= '9' || c >= 'a' && c <= 'f' || c >= 'A' && c <= 'F'
	}
	for from := 0; ; {
		i := strings.Index(text[from:], word)
		if i < 0 {
			return false
		}
		i += from
		end := i + len(word)
		colon := strings.Contains(word, ":") // of an IPv6 address or MAC, one more part would follow
		before := i > 0 && (part(text[i-1]) || colon && text[i-1] == ':')
		after := end < len(text) && (part(text[end]) || colon && text[end] == ':')
		if !before && !after {
			return true
		}
		from = i + 1
	}
}

// referring are the rows of a node that have a row in a column.
func (x *Index) referring(to *Entry) []Reference {
	var out []Reference
	for _, r := range x.entries {
		if r.Type.DB != to.Type.DB {
			continue
		}
		for _, c := range r.Type.Columns {
			if c.Ref == nil || c.Ref.Name != to.Table || !mentions(reflect.ValueOf(c.Value(r.Model)).Elem(), to.UUID) {
				continue
			}
			out = append(out, Reference{RowRef: r.RowRef, Column: c.Name, For: x.rulesOf(r)})
		}
	}
	return out
}

// rulesOf are the policies whose rules are in a port group.
func (x *Index) rulesOf(r *Entry) []Object {
	group, ok := r.Model.(*nb.PortGroup)
	if !ok {
		return nil
	}
	var out []Object
	for _, uuid := range group.ACLs {
		if acl, ok := x.byUUID[uuid]; ok && acl.Object != (Object{}) && !slices.Contains(out, acl.Object) {
			out = append(out, acl.Object)
		}
	}
	return out
}
