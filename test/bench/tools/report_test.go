//go:build linux

package main

import (
	"bytes"
	"strings"
	"testing"
	"time"
)

func TestReport(t *testing.T) {
	t.Parallel()
	took := func(ms ...int) (out []time.Duration) {
		for _, n := range ms {
			out = append(out, time.Duration(n)*time.Millisecond)
		}
		return out
	}
	var b bytes.Buffer
	if err := report(&b, []*command{
		{name: "floor", took: took(40, 20, 30, 10, 50)},
		{name: "ours", took: took(60, 60, 60, 60, 100), target: traceTarget, floor: "floor"},
	}, 5); err != nil {
		t.Fatal(err)
	}
	for _, line := range []string{"| floor | 30 | 40 | – | – |\n", "| ours | 60 | 60 | ≤ 500 | 2.00 |\n"} {
		if !strings.Contains(b.String(), line) {
			t.Errorf("no %q in\n%s", line, b.String())
		}
	}
}
