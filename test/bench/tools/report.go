//go:build linux

package main

import (
	"bufio"
	"fmt"
	"io"
	"slices"
	"time"
)

// report writes Markdown.
func report(w io.Writer, list []*command, rounds int) error {
	b := bufio.NewWriter(w)
	fmt.Fprintf(b, "## Tools\n\n")
	fmt.Fprintf(b, "Whole processes on the sandbox's machine, which the three nodes share: milliseconds, %d of each, in turn. The floor is `kubectl exec` of the same ovn-trace in the pod of the network, by somebody who knows its arguments.\n\n", rounds)
	fmt.Fprintf(b, "| command | p50 | p90 | target | p50 to floor |\n|---|---|---|---|---|\n")
	for _, c := range list {
		target, ratio := "–", "–"
		if c.target > 0 {
			target = fmt.Sprintf("≤ %d", c.target.Milliseconds())
		}
		for _, floor := range list {
			if c.floor != "" && floor.name == c.floor {
				ratio = fmt.Sprintf("%.2f", float64(c.percentile(50))/float64(floor.percentile(50)))
			}
		}
		fmt.Fprintf(b, "| %s | %d | %d | %s | %s |\n", c.name, c.percentile(50).Milliseconds(), c.percentile(90).Milliseconds(), target, ratio)
	}
	return b.Flush()
}

// percentile is the time that p of 100 runs did not exceed.
func (c *command) percentile(p int) time.Duration {
	sorted := slices.Sorted(slices.Values(c.took))
	if len(sorted) == 0 {
		return 0
	}
	return sorted[(len(sorted)-1)*p/100]
}
