package explain

import (
	"fmt"
	"slices"

	"github.com/ovnkctl/ovnkctl/internal/output"
	"github.com/ovnkctl/ovnkctl/internal/world"
)

// policy is whom a policy is for, and each of its rules in words.
func (f *factList) policy(p *world.Policy) {
	switch p.Kind {
	case world.KindAdminNetworkPolicy, world.KindClusterNetworkPolicy:
		f.say("order", "tier %s, priority %d", tierName(p.Tier), p.Priority)
	case world.KindBaselineAdminNetworkPolicy:
		f.say("order", "tier %s, the last of it", tierName(p.Tier))
	}
	if p.Stateless {
		f.say("stateless", "its rules do not follow connections: answers need rules of their own")
	}
	if p.Subject == nil {
		f.say("for", "nobody: its subject is not understood")
	} else {
		var pods []string
		f.view.Selected(p.Subject, func(pod *world.Pod) { pods = append(pods, pod.Namespace+"/"+pod.Name) })
		slices.Sort(pods)
		if len(pods) == 0 {
			f.say("for", "no pod now, of %s", selectorText(p.Subject))
		} else {
			f.say("for", "%s: %s", output.Counted(len(pods), "pod"), some(pods))
		}
	}
	for _, d := range world.Directions {
		if p.Isolates[d] {
			f.say("isolates", "%s: what no NetworkPolicy allows is dropped", way(d))
		}
	}
	for i := range p.Rules {
		f.say("rule", "%s", ruleText(&p.Rules[i]))
	}
	f.problems(p.Problems)
}

func tierName(t world.PolicyTier) string {
	switch t {
	case world.TierAdmin:
		return "Admin"
	case world.TierNetworkPolicy:
		return "of NetworkPolicies"
	}
	return "Baseline"
}

func actionText(a world.RuleAction) string {
	switch a {
	case world.Deny:
		return "deny"
	case world.Pass:
		return "pass"
	}
	return "allow"
}

// ruleText is a rule in a sentence.
func ruleText(r *world.PolicyRule) string {
	name := fmt.Sprintf("%s %d", way(r.Direction), r.Index)
	if r.Name != "" {
		name += " (" + r.Name + ")"
	}
	side := "from"
	if r.Direction == world.Egress {
		side = "to"
	}
	peers := make([]string, 0, len(r.Peers))
	for _, p := range r.Peers {
		peers = append(peers, peerText(p))
	}
	who := "anybody"
	if len(peers) > 0 {
		who = some(peers)
	}
	ports := make([]string, 0, len(r.Ports))
	for _, p := range r.Ports {
		ports = append(ports, portText(p))
	}
	where := "on any port"
	if len(ports) > 0 {
		where = "on " + some(ports)
	}
	return fmt.Sprintf("%s: %s %s %s %s", name, actionText(r.Action), side, who, where)
}

func peerText(p world.Peer) string {
	switch {
	case p.Pods != nil:
		return selectorText(p.Pods)
	case p.Nodes != nil:
		if p.Nodes.Nodes.Everything() {
			return "all nodes"
		}
		return "nodes with " + p.Nodes.Nodes.String()
	case p.Domain != nil:
		return p.Domain.String()
	}
	if len(p.Except) > 0 {
		return fmt.Sprintf("%s but not %s", p.Block, texts(p.Except))
	}
	return p.Block.String()
}

// selectorText is a selector of pods in words.
func selectorText(s *world.PodSelector) string {
	pods := "all pods"
	if !s.Pods.Everything() {
		pods = "pods with " + s.Pods.String()
	}
	switch {
	case s.Namespace != "":
		return pods + " of namespace " + s.Namespace
	case s.Namespaces.Everything():
		return pods + " of all namespaces"
	}
	return pods + " of namespaces with " + s.Namespaces.String()
}

func portText(p world.PolicyPort) string {
	switch {
	case p.Name != "":
		return fmt.Sprintf("the port named %s/%s", p.Name, p.Protocol)
	case p.Last == 0:
		return string(p.Protocol)
	case p.First == p.Last:
		return fmt.Sprintf("%d/%s", p.First, p.Protocol)
	}
	return fmt.Sprintf("%d-%d/%s", p.First, p.Last, p.Protocol)
}
