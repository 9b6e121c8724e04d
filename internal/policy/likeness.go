package policy

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// Likeness tells which pods of one namespace the policies of a cluster cannot tell apart.
type Likeness struct {
	// Labels are the keys of pod labels that policies look at, in order.
	Labels []string

	ports     []string // names of container ports in rules
	byAddress []peer   // which name pods by their addresses
}

// Likeness is what the cluster's policies look at in pods.
func (e *Evaluator) Likeness() Likeness {
	keys, ports, byAddress := map[string]bool{}, map[string]bool{}, map[string]peer{}
	note := func(p podPeer) {
		if p.pods == nil {
			return // of a subject that cannot be understood
		}
		requirements, _ := p.pods.Requirements()
		for _, r := range requirements {
			keys[r.Key()] = true
		}
	}
	for _, p := range e.policies {
		note(p.subject)
		for _, rules := range p.rules {
			for _, r := range rules {
				for _, p := range r.peers {
					if pods, ok := p.(podPeer); ok {
						note(pods)
					} else {
						byAddress[p.String()] = p
					}
				}
				for _, p := range r.ports {
					if p.name != "" {
						ports[p.name] = true
					}
				}
			}
		}
	}
	l := Likeness{Labels: slices.Sorted(maps.Keys(keys)), ports: slices.Sorted(maps.Keys(ports))}
	for _, name := range slices.Sorted(maps.Keys(byAddress)) {
		l.byAddress = append(l.byAddress, byAddress[name])
	}
	return l
}

// Of is the same for pods of one namespace that no policy tells apart.
func (l Likeness) Of(p Pod) string {
	var s strings.Builder
	for _, key := range l.Labels {
		value, has := p.Labels[key]
		fmt.Fprintf(&s, "%t %q ", has, value)
	}
	for _, c := range p.Ports {
		if slices.Contains(l.ports, c.Name) {
			fmt.Fprintf(&s, "%q %s/%d ", c.Name, c.Protocol, c.Port)
		}
	}
	for _, by := range l.byAddress {
		for _, a := range p.IPs {
			fmt.Fprintf(&s, "%t ", by.matches(end{addr: a}))
		}
	}
	return s.String()
}
