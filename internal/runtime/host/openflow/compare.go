package openflow

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// Compare does without ovs-ofctl what Diff does, for the flows that this program makes: wanted
// are flows as they are given to Diff, dump is what `ovs-ofctl --no-names dump-flows` printed of
// the bridge. It knows the names of fields and the order of arguments that ovs-ofctl changes in
// these flows, and would find others to differ that are the same.
func Compare(wanted, dump string, c Cookie) (Changes, error) {
	c = c.orDefault()
	type entry struct {
		text   string // as it was read
		flow   flow
		cookie uint64
	}
	read := func(text string) (map[string]entry, []string, error) {
		all, order := map[string]entry{}, []string{}
		for line := range strings.Lines(text) {
			line = strings.TrimSpace(line)
			if line == "" || strings.Contains(line, "FLOW reply") {
				continue // the first line
			}
			f, cookie, err := parseFlow(line)
			if err != nil {
				return nil, nil, err
			}
			if _, twice := all[f.key]; !twice {
				order = append(order, f.key)
			}
			all[f.key] = entry{f.key + " actions=" + f.actions, f, cookie}
		}
		return all, order, nil
	}
	want, wantOrder, err := read(wanted)
	if err != nil {
		return Changes{}, err
	}
	have, haveOrder, err := read(dump)
	if err != nil {
		return Changes{}, err
	}
	var out Changes
	for _, key := range wantOrder {
		h, ok := have[key]
		if ok && c.has(h.cookie) && h.flow.actions == want[key].flow.actions {
			continue
		}
		out.Add = append(out.Add, want[key].text)
		if ok && !c.has(h.cookie) {
			out.Taken = append(out.Taken, h.text)
		}
	}
	for _, key := range haveOrder {
		if _, ok := want[key]; !ok && c.has(have[key].cookie) {
			out.Delete = append(out.Delete, key)
		}
	}
	return out, nil
}

// flow is a flow in one form, whoever wrote it.
type flow struct {
	key     string // table, priority and match
	actions string
}

// sameField are the names that ovs-ofctl prints for others (ovs-fields(7)).
var sameField = map[string]string{
	"eth_src": "dl_src", "eth_dst": "dl_dst", "vlan_vid": "dl_vlan", "ip_src": "nw_src", "ip_dst": "nw_dst",
	"tcp_src": "tp_src", "udp_src": "tp_src", "sctp_src": "tp_src", "tcp_dst": "tp_dst", "udp_dst": "tp_dst", "sctp_dst": "tp_dst",
	"icmpv6_type": "icmp_type", "icmpv6_code": "icmp_code",
}

// parseFlow reads a flow as ovs-ofctl takes it or prints it.
func parseFlow(line string) (f flow, cookie uint64, err error) {
	head, actions, ok := strings.Cut(line, "actions=")
	if !ok {
		return flow{}, 0, fmt.Errorf("what is the flow %q?", line)
	}
	table, priority, match := "0", "32768", []string{} // ovs-ofctl(8), FLOW SYNTAX
	for _, word := range strings.FieldsFunc(head, func(r rune) bool { return r == ',' || r == ' ' }) {
		name, value, _ := strings.Cut(word, "=")
		switch name {
		case "cookie":
			if cookie, err = strconv.ParseUint(value, 0, 64); err != nil {
				return flow{}, 0, fmt.Errorf("cookie of %q: %w", line, err)
			}
		case "table":
			table = value
		case "priority":
			priority = value
		case "duration", "n_packets", "n_bytes", "idle_age", "hard_age", "idle_timeout", "hard_timeout", "importance", "reset_counts":
		default:
			match = append(match, field(name, value))
		}
	}
	slices.Sort(match)
	f.key = strings.Join(append([]string{"table=" + table, "priority=" + priority}, match...), ",")
	f.actions = strings.Join(arguments(strings.TrimSpace(actions), false), ",")
	return f, cookie, nil
}

func field(name, value string) string {
	if same, ok := sameField[name]; ok {
		name = same
	}
	switch {
	case value == "":
		return name
	case name == "ct_state" || name == "tcp_flags":
		value = sortedFlags(value)
	case strings.HasSuffix(name, "_src") || strings.HasSuffix(name, "_dst"):
		for _, whole := range []string{"/32", "/128"} {
			if whole == "/32" && strings.Contains(value, ":") {
				continue
			}
			value = strings.TrimSuffix(value, whole)
		}
	}
	return name + "=" + value
}

// sortedFlags puts "+trk-inv" in the order of the flags' names.
func sortedFlags(text string) string {
	var flags []string
	for i := 0; i < len(text); {
		end := strings.IndexAny(text[i+1:], "+-")
		if end < 0 {
			end = len(text) - i - 1
		}
		flags = append(flags, text[i:i+1+end])
		i += 1 + end
	}
	slices.SortFunc(flags, func(a, b string) int { return strings.Compare(a[1:], b[1:]) })
	return strings.Join(flags, "")
}

// arguments splits a list at its commas outside of parentheses; the arguments of ct() have no
// order, those of actions have.
func arguments(text string, sorted bool) []string {
	var out []string
	depth, from := 0, 0
	for i := range len(text) {
		switch text[i] {
		case '(':
			depth++
		case ')':
			depth--
		case ',':
			if depth == 0 {
				out = append(out, text[from:i])
				from = i + 1
			}
		}
	}
	out = append(out, text[from:])
	for i, a := range out {
		if inner, ok := strings.CutPrefix(a, "ct("); ok && strings.HasSuffix(inner, ")") {
			out[i] = "ct(" + strings.Join(arguments(strings.TrimSuffix(inner, ")"), true), ",") + ")"
		}
	}
	if sorted {
		slices.Sort(out)
	}
	return out
}

// ByFlow has the flows of a map in the form that Compare gives them in.
func ByFlow[T any](flows map[string]T) (map[string]T, error) {
	out := make(map[string]T, len(flows))
	for line, v := range flows {
		f, _, err := parseFlow(line)
		if err != nil {
			return nil, err
		}
		out[f.key+" actions="+f.actions] = v
	}
	return out, nil
}
