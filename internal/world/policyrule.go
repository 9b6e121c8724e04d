package world

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation"

	"github.com/ovnkctl/ovnkctl/internal/world/selector"
)

// ruleReader reads the parts of one rule and remembers the first that is not understood.
type ruleReader struct {
	rule  PolicyRule
	field string // of the rule, e.g. "spec.ingress[0]"
	at    string // of the faulty part
	err   error
}

func (r *ruleReader) fault(field string, err error) {
	if err != nil && r.err == nil {
		r.at, r.err = r.field+field, err
	}
}

// addRule adds the rule to the policy: as it is, or closed if it has a fault.
func (p *Policy) addRule(r *ruleReader) {
	if r.err == nil {
		p.Rules = append(p.Rules, r.rule)
		return
	}
	rule := "rule"
	if r.rule.Name != "" {
		rule = fmt.Sprintf("rule %q", r.rule.Name)
	}
	effect := "the whole " + rule + " is left out, nothing is allowed by it"
	if r.rule.Action != Allow {
		effect = "the " + rule + " denies everything in its direction"
		r.rule.Action, r.rule.Peers, r.rule.Ports = Deny, nil, nil
		p.Rules = append(p.Rules, r.rule)
	}
	p.problem(r.at, r.err, effect)
}

func (p *Policy) problem(field string, err error, effect string) {
	p.Problems = append(p.Problems, Problem{
		Field: field, Message: fmt.Sprintf("%v: %s", err, effect), Remedy: "correct " + field + " of the " + string(p.Kind),
	})
}

// labels reads a label selector.
func (r *ruleReader) labels(field string, s *metav1.LabelSelector) selector.Labels {
	l, err := selector.From(s)
	r.fault(field, err)
	return l
}

// prefix reads a range. It is stricter than for other objects: what a range with leading
// zeros or an IPv4 range written as IPv6 is meant to match is anybody's guess.
func (r *ruleReader) prefix(field, text string) netip.Prefix {
	p, err := netip.ParsePrefix(text)
	if err != nil || p.Addr().Is4In6() {
		r.fault(field, fmt.Errorf("%q is not an address range such as 192.0.2.0/24 or 2001:db8::/64", text))
	}
	return p.Masked()
}

// ports reads a range of ports.
func (r *ruleReader) ports(field string, protocol Protocol, first, last int32) {
	const highest = 65535
	switch {
	case first < 1 || first > highest:
		r.fault(field, fmt.Errorf("%d is not a port from 1 to %d", first, highest))
	case last < first || last > highest:
		r.fault(field, fmt.Errorf("%d to %d is not a range of ports", first, last))
	}
	r.rule.Ports = append(r.rule.Ports, PolicyPort{Protocol: protocol, First: uint16(first), Last: uint16(last)})
}

// portName reads the name of a port, for some protocols.
func (r *ruleReader) portName(field, name string, protocols ...Protocol) {
	if wrong := validation.IsValidPortName(name); len(wrong) > 0 {
		r.fault(field, fmt.Errorf("%q is not the name of a port: %s", name, strings.Join(wrong, ", ")))
	}
	for _, p := range protocols {
		r.rule.Ports = append(r.rule.Ports, PolicyPort{Protocol: p, Name: name})
	}
}

func (r *ruleReader) domain(field, name string, deep bool) {
	canonical := strings.TrimSuffix(strings.ToLower(name), ".")
	if wrong := validation.IsDNS1123Subdomain(strings.TrimPrefix(canonical, "*.")); len(wrong) > 0 {
		r.fault(field, fmt.Errorf("%q is not a domain name: %s", name, strings.Join(wrong, ", ")))
	}
	r.rule.Peers = append(r.rule.Peers, Peer{Domain: &DomainName{Name: interned(canonical), Deep: deep}})
}

var (
	errNotOne      = errors.New("exactly one known field must be set")
	errNotProtocol = errors.New("the protocol is none of TCP, UDP and SCTP")
)

// fieldOf is the path of a rule's field.
func fieldOf(d Direction, index int) string {
	return fmt.Sprintf("spec.%s[%d]", strings.ToLower(d.String()), index)
}

// peersOf is the name of the field with the peers.
func peersOf(d Direction) string {
	if d == Ingress {
		return "from"
	}
	return "to"
}
