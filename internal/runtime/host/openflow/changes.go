package openflow

import (
	"fmt"
	"strconv"
	"strings"
)

// Cookie tells whose a flow is: it is ours if its cookie has Value in the bits of Mask. A
// Mask of zero means all bits.
type Cookie struct{ Value, Mask uint64 }

// DefaultCookie is the one that OVN-Kubernetes gives to its flows.
const DefaultCookie = 0xdeff105

func (c Cookie) orDefault() Cookie {
	if c == (Cookie{}) {
		c.Value = DefaultCookie
	}
	if c.Mask == 0 {
		c.Mask = ^uint64(0)
	}
	return c
}

// has tells whether a flow with this cookie is ours.
func (c Cookie) has(cookie uint64) bool { return cookie&c.Mask == c.Value&c.Mask }

// Changes are differences between a bridge's flows and those wanted, in ovs-ofctl's
// language.
type Changes struct {
	// Add are flows to add, or to put in the place of one with other actions.
	Add []string
	// Delete are the tables, priorities and matches of flows of ours that nobody wants.
	Delete []string
	// Taken are flows of others that Add replaces, because they have the table, priority
	// and match of one of ours.
	Taken []string
}

// Empty tells that nothing differs.
func (c Changes) Empty() bool { return len(c.Add) == 0 && len(c.Delete) == 0 }

// String lists the changes, one per line: "+" is added, "-" deleted, "!" taken.
func (c Changes) String() string {
	var b strings.Builder
	for _, list := range []struct {
		sign  string
		flows []string
	}{{"-", c.Delete}, {"!", c.Taken}, {"+", c.Add}} {
		for _, f := range list.flows {
			b.WriteString(list.sign + f + "\n")
		}
	}
	return b.String()
}

// bundle is the input of `ovs-ofctl add-flows`. A flow that somebody took over since Diff
// looked keeps its new cookie and so is not deleted.
func (c Changes) bundle(cookie Cookie) string {
	var b strings.Builder
	for _, f := range c.Delete {
		fmt.Fprintf(&b, "delete_strict cookie=%#x/%#x,%s\n", cookie.Value, cookie.Mask, f)
	}
	for _, f := range c.Add {
		b.WriteString("add " + f + "\n")
	}
	return b.String()
}

// parse reads the output of `ovs-ofctl diff-flows wanted bridge`: "-" is missing from the
// bridge, "+" is too much. A flow that differs in cookie or actions is there with both.
func parse(out string, cookie Cookie) (Changes, error) {
	var c Changes
	wanted := map[string]bool{}
	for line := range strings.Lines(out) {
		if flow, ok := strings.CutPrefix(strings.TrimSpace(line), "-"); ok {
			c.Add = append(c.Add, flow)
			key, _, err := identity(flow)
			if err != nil {
				return Changes{}, err
			}
			wanted[key] = true
		}
	}
	for line := range strings.Lines(out) {
		flow, ok := strings.CutPrefix(strings.TrimSpace(line), "+")
		if !ok {
			continue
		}
		key, has, err := identity(flow)
		if err != nil {
			return Changes{}, err
		}
		switch ours := cookie.has(has); {
		case ours && !wanted[key]:
			c.Delete = append(c.Delete, key)
		case !ours && wanted[key]:
			c.Taken = append(c.Taken, flow)
		}
	}
	return c, nil
}

// identity splits the text of a flow, "[table=N ][priority,]match [cookie=N ][timeouts
// ]actions=…", into what makes it one flow of its table, and its cookie.
func identity(flow string) (key string, cookie uint64, err error) {
	head, _, ok := strings.Cut(flow, "actions=")
	if !ok {
		return "", 0, fmt.Errorf("ovs-ofctl diff-flows: what is the flow %q?", flow)
	}
	var match []string
	for _, word := range strings.Fields(head) {
		name, value, _ := strings.Cut(word, "=")
		switch name {
		case "cookie":
			if cookie, err = strconv.ParseUint(value, 0, 64); err != nil {
				return "", 0, fmt.Errorf("ovs-ofctl diff-flows: cookie of %q: %w", flow, err)
			}
		case "idle_timeout", "hard_timeout", "importance":
		default:
			match = append(match, word)
		}
	}
	key = strings.Join(match, ",")
	if !strings.HasPrefix(key, "table=") {
		key = "table=0," + key // to delete without a table is to delete from all
	}
	return key, cookie, nil
}
