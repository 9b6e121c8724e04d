package trace

import (
	"context"
	"fmt"
	"slices"
	"strings"
)

// Many is a Zone that traces several packets in one go, for little more than one.
type Many interface {
	// OVNTraces has ovn-trace trace packets that have the same CT and no Backend, and returns
	// an answer for each. An error means that they can only be traced one by one.
	OVNTraces(ctx context.Context, requests []Request) ([]Answer, error)
}

// Answer is what ovn-trace printed, or why it did not.
type Answer struct {
	Text string
	Err  error
}

// OVNTraces implements Many.
func (z *snapshotZone) OVNTraces(ctx context.Context, requests []Request) ([]Answer, error) {
	// The daemon takes the states of connections from its own command line, the next one at
	// each look-up: what one trace has used is gone for those behind it.
	var same []string
	var calls [][]string
	for _, r := range requests {
		var args []string
		for _, arg := range r.Args() {
			if strings.HasPrefix(arg, "--ct=") {
				same = append(same, arg)
			} else {
				args = append(args, arg)
			}
		}
		calls = append(calls, args)
	}
	outs, err := z.node.Traces(ctx, same, calls)
	if err != nil {
		return nil, err
	}
	if len(outs) != len(calls) {
		return nil, fmt.Errorf("%d answers to %d traces", len(outs), len(calls))
	}
	answers := make([]Answer, len(outs))
	for i, out := range outs {
		if answers[i].Text = out.Text; out.Failure != "" {
			answers[i].Err = fmt.Errorf("%s", out.Failure)
		}
	}
	return slices.Clip(answers), nil
}
