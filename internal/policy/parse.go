package policy

import (
	"fmt"
	"net/netip"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// selector reads a label selector: an empty one selects everything.
func selector(path *field.Path, s *metav1.LabelSelector, errs *field.ErrorList) labels.Selector {
	out, err := metav1.LabelSelectorAsSelector(s)
	if err != nil {
		*errs = append(*errs, field.Forbidden(path, "is not a selector: "+err.Error()))
		return labels.Nothing()
	}
	return out
}

// cidr reads an address range. Bits behind the prefix are ignored, as the API server does.
// IPv4 addresses written as IPv6 are refused: what they would match is anybody's guess.
func cidr(path *field.Path, s string, errs *field.ErrorList) netip.Prefix {
	p, err := netip.ParsePrefix(s)
	if err != nil || p.Addr().Is4In6() {
		*errs = append(*errs, field.Invalid(path, s, "must be an address range such as 192.0.2.0/24 or 2001:db8::/64"))
	}
	return p.Masked()
}

func checkProtocol(path *field.Path, p corev1.Protocol, errs *field.ErrorList) {
	if p != corev1.ProtocolTCP && p != corev1.ProtocolUDP && p != corev1.ProtocolSCTP {
		*errs = append(*errs, field.Invalid(path, p, "must be TCP, UDP or SCTP"))
	}
}

func checkPorts(path *field.Path, first, last int32, errs *field.ErrorList) {
	for _, n := range []int32{first, last} {
		if n < 1 || n > 65535 {
			*errs = append(*errs, field.Invalid(path, n, "must be a port from 1 to 65535"))
			return
		}
	}
	if last < first {
		*errs = append(*errs, field.Invalid(path, last, fmt.Sprintf("must not be less than the first port, %d", first)))
	}
}

func checkPortName(path *field.Path, name string, errs *field.ErrorList) {
	for _, problem := range validation.IsValidPortName(name) {
		*errs = append(*errs, field.Invalid(path, name, problem))
	}
}

// resolve returns the addresses of all known names that a domain name of a policy stands
// for. A leading "*." stands for one label, or for several if the kind has it so.
func (e *Evaluator) resolve(name string, severalLabels bool) addresses {
	want := canonical(name)
	suffix, wildcard := strings.CutPrefix(want, "*")
	out := addresses{of: "domain name " + name}
	for _, known := range e.names {
		match := known == want
		if wildcard {
			label, ok := strings.CutSuffix(known, suffix)
			match = ok && (severalLabels || !strings.Contains(label, "."))
		}
		if match {
			out.addrs = append(out.addrs, e.domains[known]...)
		}
	}
	return out
}

// canonical is a domain name in lower case without the final dot: DNS knows no difference.
func canonical(name string) string { return strings.TrimSuffix(strings.ToLower(name), ".") }
