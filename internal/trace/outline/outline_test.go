package outline

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

// text prints a tree as the programs do.
func text(out *[]Line, nodes []*Node, level int) {
	for i, n := range nodes {
		more := 0
		if n.Leaf || i < len(nodes)-1 {
			more = 1
		}
		*out = append(*out, Line{Column: step * (level + more), Leaf: n.Leaf, Text: n.Text, Number: len(*out) + 1})
		text(out, n.Children, level+2*more)
	}
}

func show(b *strings.Builder, nodes []*Node) {
	for _, n := range nodes {
		b.WriteString("(" + n.Text)
		show(b, n.Children)
		b.WriteString(")")
	}
}

// tree draws what the programs make: a branch begins with a leaf or has one branch alone, as
// tables have actions, and titles a table.
func tree(t *rapid.T, depth int, count *int) []*Node {
	leaf := func() *Node {
		*count++
		return &Node{Line: Line{Leaf: true, Text: fmt.Sprint(*count)}}
	}
	branch := func() *Node {
		*count++
		n := &Node{Line: Line{Text: fmt.Sprint(*count)}}
		n.Children = tree(t, depth-1, count)
		return n
	}
	if depth > 0 && rapid.IntRange(0, 3).Draw(t, "alone") == 0 {
		return []*Node{branch()}
	}
	out := []*Node{leaf()}
	for range rapid.IntRange(0, 3).Draw(t, "further") {
		if depth > 0 && rapid.Bool().Draw(t, "branch") {
			out = append(out, branch())
		} else {
			out = append(out, leaf())
		}
	}
	return out
}

// TestBuildUndoesPrinting: the tree of a printed tree is that tree.
func TestBuildUndoesPrinting(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		count := 0
		want := []*Node{{Line: Line{Text: "root"}}}
		want[0].Children = tree(t, 6, &count)
		var lines []Line
		text(&lines, want, 0)
		got, misplaced := Build(lines)
		var a, b strings.Builder
		show(&a, want)
		show(&b, got)
		if d := cmp.Diff(a.String(), b.String()); d != "" || len(misplaced) > 0 {
			var plain strings.Builder
			for _, l := range lines {
				fmt.Fprintf(&plain, "%*s%s leaf=%v\n", l.Column, "", l.Text, l.Leaf)
			}
			t.Fatalf("%s\n%s\nmisplaced: %v\n%s", a.String(), b.String(), misplaced, plain.String())
		}
	})
}

func TestBuildKeepsMisplaced(t *testing.T) {
	t.Parallel()
	roots, misplaced := Build([]Line{{Text: "a"}, {Column: 4, Leaf: true, Text: "b"}, {Column: 20, Leaf: true, Text: "c"}})
	if len(misplaced) != 1 || misplaced[0].Text != "c" || len(roots) != 2 {
		t.Errorf("roots %d, misplaced %v", len(roots), misplaced)
	}
}
