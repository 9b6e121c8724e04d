package reach

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"github.com/ovnkctl/ovnkctl/internal/trace"
	"github.com/ovnkctl/ovnkctl/internal/world"
)

// port is what a packet is for.
type port struct {
	protocol trace.Protocol
	number   uint16
}

// String is "tcp/80", or "icmp".
func (p port) String() string {
	if p.protocol == trace.ICMP {
		return string(p.protocol)
	}
	return fmt.Sprintf("%s/%d", p.protocol, p.number)
}

// wanted is a port that was asked for.
type wanted struct {
	text     string
	protocol trace.Protocol // empty for any
	number   uint16
	name     string
}

// CheckPort tells what is wrong with a port, without a cluster.
func CheckPort(text string) error {
	_, err := parsePort(text)
	return err
}

// parsePort reads "tcp/80", "80", "udp/dns", "http" or "icmp".
func parsePort(text string) (wanted, error) {
	w := wanted{text: text}
	protocol, rest, cut := strings.Cut(strings.ToLower(text), "/")
	if !cut {
		rest = protocol
		protocol = ""
	}
	switch {
	case text == string(trace.ICMP):
		w.protocol = trace.ICMP
		return w, nil
	case cut && protocol != string(trace.TCP) && protocol != string(trace.UDP) && protocol != string(trace.SCTP):
		return w, unknown(text, "the protocol is tcp, udp or sctp", "write tcp/80, 80, udp/dns, http or icmp")
	case rest == "":
		return w, unknown(text, "not a port", "write tcp/80, 80, udp/dns, http or icmp")
	}
	w.protocol = trace.Protocol(protocol)
	n, err := strconv.ParseUint(rest, 10, 16)
	switch {
	case err == nil && n > 0:
		w.number, w.protocol = uint16(n), cmp.Or(w.protocol, trace.TCP)
	case err == nil || rest[0] >= '0' && rest[0] <= '9' || rest[0] == '-':
		return w, unknown(text, "a port is from 1 to 65535", "write tcp/80, 80, udp/dns, http or icmp")
	default:
		w.name = rest
	}
	return w, nil
}

// column is a destination and a port.
type column struct {
	*End
	at port
	// members are the pods that have the port; all pods of the end if none declares it.
	members []*world.Pod
}

// columns are those of destinations: of the ports that are wanted, or else of those that the
// destinations have.
func (c *cluster) columns(ends []*End, texts []string, declared map[world.PodKey][]world.PodPort) ([]column, error) {
	var all []wanted
	for _, text := range texts {
		w, err := parsePort(text)
		if err != nil {
			return nil, fmt.Errorf("port: %w", err)
		}
		all = append(all, w)
	}
	var out []column
	used := make([]bool, len(all))
	for _, e := range ends {
		has := e.ports(declared)
		if len(all) == 0 {
			out = append(out, e.defaults(has)...)
			continue
		}
		for i, w := range all {
			for _, at := range w.of(e, has) {
				used[i] = true
				out = append(out, e.column(at, has))
			}
		}
	}
	for i, w := range all {
		if !used[i] && len(ends) > 0 {
			return nil, unknown(w.text, "no destination has such a port", "write the number, tcp/80; services have neither ICMP nor ports of their pods")
		}
	}
	return out, nil
}

// declaration is a port that somebody of an end has.
type declaration struct {
	port
	name string
	by   *world.Pod // nil for a service
}

// ports are those that an end has, in order.
func (e *End) ports(declared map[world.PodKey][]world.PodPort) []declaration {
	var out []declaration
	if e.service != nil {
		for _, p := range e.service.Ports {
			d := declaration{port: port{trace.Protocol(p.Protocol), p.Port}, name: p.Name}
			if e.port == "" || e.port == p.Name || e.port == strconv.Itoa(int(p.Port)) {
				out = append(out, d)
			}
		}
	}
	for _, pod := range e.members {
		list, ok := declared[world.PodKey{Namespace: pod.Namespace, Name: pod.Name}]
		if !ok {
			list = pod.Ports
		}
		for _, p := range list {
			out = append(out, declaration{port: port{trace.Protocol(p.Protocol), p.Port}, name: p.Name, by: pod})
		}
	}
	slices.SortStableFunc(out, func(a, b declaration) int {
		return cmp.Or(cmp.Compare(a.protocol, b.protocol), cmp.Compare(a.number, b.number))
	})
	return out
}

// defaults are the columns of an end where no port is asked for.
func (e *End) defaults(has []declaration) []column {
	var out []column
	for i, d := range has {
		if i == 0 || has[i-1].port != d.port {
			out = append(out, e.column(d.port, has))
		}
	}
	switch {
	case len(out) > 0:
	case e.service != nil: // of which somebody asks for a port that it does not have
		if n, err := strconv.ParseUint(e.port, 10, 16); err == nil && n > 0 {
			out = append(out, column{End: e, at: port{trace.TCP, uint16(n)}})
		}
	default:
		out = append(out, e.column(port{protocol: trace.ICMP}, has))
	}
	return out
}

func (e *End) column(at port, has []declaration) column {
	c := column{End: e, at: at}
	for _, d := range has {
		if d.port == at && d.by != nil && !slices.Contains(c.members, d.by) {
			c.members = append(c.members, d.by)
		}
	}
	if len(c.members) == 0 {
		c.members = e.members
	}
	return c
}

// of are the ports of an end that are wanted.
func (w wanted) of(e *End, has []declaration) []port {
	switch {
	case e.service != nil && w.protocol == trace.ICMP:
		return nil
	case w.name == "":
		return []port{{w.protocol, w.number}}
	}
	var out []port
	for _, d := range has {
		if d.name == w.name && (w.protocol == "" || w.protocol == d.protocol) && !slices.Contains(out, d.port) {
			out = append(out, d.port)
		}
	}
	return out
}

// DeclaredPorts are the container ports of pods, with those that have no name.
func DeclaredPorts(pods []corev1.Pod) map[world.PodKey][]world.PodPort {
	out := map[world.PodKey][]world.PodPort{}
	for i := range pods {
		key := world.PodKey{Namespace: pods[i].Namespace, Name: pods[i].Name}
		for _, container := range pods[i].Spec.Containers {
			for _, p := range container.Ports {
				if p.ContainerPort < 1 || p.ContainerPort > 65535 {
					continue
				}
				protocol := cmp.Or(p.Protocol, corev1.ProtocolTCP)
				out[key] = append(out[key], world.PodPort{
					Name: p.Name, Protocol: world.Protocol(strings.ToLower(string(protocol))), Port: uint16(p.ContainerPort),
				})
			}
		}
	}
	return out
}
