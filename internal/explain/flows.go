package explain

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/ovnkctl/ovnkctl/internal/inspect"
	"github.com/ovnkctl/ovnkctl/internal/ovn/sb"
)

// flows finds logical flows and what they are for.
func (e *explainer) flows(ctx context.Context, start, uuid string) error {
	for _, n := range e.nodes {
		list, err := e.source.LogicalFlows(ctx, n, []string{start})
		if err != nil {
			if ctx.Err() != nil {
				return ctx.Err()
			}
			e.out.Problems = append(e.out.Problems, fmt.Sprintf("logical flows of node %s: %v", n, err))
			continue
		}
		for _, f := range list {
			if uuid == "" || f.UUID == uuid {
				e.flow(n, f)
			}
		}
	}
	return nil
}

// flow adds a logical flow that the text names, and the row that it was made for.
func (e *explainer) flow(node string, f *sb.LogicalFlow) {
	d := detailOf(node, f)
	what := fmt.Sprintf("logical flow of stage %s on node %s", d.Stage, node)
	if x := e.rows[node]; x != nil {
		if found, ok := x.OfFlow(KeyOf(f)); ok {
			row := found.RowRef
			d.Row = &row
			e.out.Object = row.Object
			what += ", for " + row.String()
			if row.Object != (Object{}) {
				what += " of " + row.Object.String()
			}
			e.add(x, found)
		}
	}
	e.out.Flows = append(e.out.Flows, d)
	if e.out.What == "" {
		e.out.What = what
	}
}

func detailOf(node string, f *sb.LogicalFlow) FlowDetail {
	return FlowDetail{
		Node: node, UUID: f.UUID, Stage: f.ExternalIDs["stage-name"], Pipeline: f.Pipeline, Table: f.TableID,
		Priority: f.Priority, Match: f.Match, Actions: f.Actions,
	}
}

// flowsOfRows adds the logical flows that were made of the rows. Of flows that are the same
// for several rows ovn-northd names one of these.
func (e *explainer) flowsOfRows(ctx context.Context) error {
	starts, rows := map[string][]string{}, map[string]*RowRef{}
	for i := range e.out.Rows {
		if r := &e.out.Rows[i].RowRef; r.Database == "nb" && len(r.UUID) > prefixDigits {
			starts[r.Node] = append(starts[r.Node], r.UUID[:prefixDigits])
			rows[r.UUID[:prefixDigits]] = r
		}
	}
	for _, n := range e.nodes {
		if len(starts[n]) == 0 {
			continue
		}
		list, err := e.source.FlowsFor(ctx, n, starts[n])
		if err != nil {
			if ctx.Err() != nil {
				return ctx.Err()
			}
			e.out.Problems = append(e.out.Problems, fmt.Sprintf("logical flows of node %s: %v", n, err))
			continue
		}
		for _, f := range list {
			d := detailOf(n, f)
			if row, ok := e.rows[n].OfFlow(KeyOf(f)); ok {
				d.Row = rows[row.UUID[:prefixDigits]]
			}
			e.out.Flows = append(e.out.Flows, d)
		}
	}
	slices.SortStableFunc(e.out.Flows, func(a, b FlowDetail) int {
		return cmp.Or(
			cmp.Compare(a.Node, b.Node), -cmp.Compare(a.Pipeline, b.Pipeline), cmp.Compare(a.Table, b.Table),
			-cmp.Compare(a.Priority, b.Priority), cmp.Compare(a.Match, b.Match),
		)
	})
	return nil
}

// The first 32 bits of a logical flow's UUID are the cookie of the OpenFlow flows made of it
// (ovn-architecture(7)).
var (
	flowCookie  = regexp.MustCompile(`^ *cookie=0x([0-9a-f]+),`)
	flowPackets = regexp.MustCompile(` n_packets=(\d+),`)
)

// packets adds the OpenFlow flows of the logical flows, and how many packets met them.
func (e *explainer) packets(ctx context.Context) error {
	wanted := map[string]map[string]*FlowDetail{}
	for i := range e.out.Flows {
		f := &e.out.Flows[i]
		if wanted[f.Node] == nil {
			wanted[f.Node] = map[string]*FlowDetail{}
		}
		wanted[f.Node][f.UUID[:prefixDigits]] = f
	}
	for _, n := range e.nodes {
		if len(wanted[n]) == 0 {
			continue
		}
		text, err := e.source.Text(ctx, n, inspect.TextFlows+"br-int")
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case errors.Is(err, inspect.ErrAbsent): // a record may lack it
			continue
		case err != nil:
			e.out.Problems = append(e.out.Problems, fmt.Sprintf("flows of br-int on node %s: %v", n, err))
			continue
		}
		for line := range strings.Lines(text) {
			m := flowCookie.FindStringSubmatch(line)
			if m == nil {
				continue
			}
			f := wanted[n][strings.Repeat("0", max(0, prefixDigits-len(m[1])))+m[1]]
			if f == nil {
				continue
			}
			f.OpenFlow = append(f.OpenFlow, strings.TrimSpace(flowCounters.ReplaceAllString(line, "")))
			if c := flowPackets.FindStringSubmatch(line); c != nil {
				count, _ := strconv.ParseUint(c[1], 10, 64) // it is digits
				f.Packets += count
			}
		}
	}
	return nil
}
