package install

import (
	"fmt"
	"strings"
)

// contextLines are shown around each change.
const contextLines = 3

// edit is one line of a comparison: kept (' '), removed ('-') or added ('+').
type edit struct {
	mark byte
	line string
}

// unified is the difference of two texts in unified format, empty if there is none.
func unified(before, after string) string {
	if before == after {
		return ""
	}
	edits := compare(lines(before), lines(after))
	var b strings.Builder
	for start := 0; start < len(edits); {
		from, to := hunk(edits, start)
		if from == to {
			break
		}
		writeHunk(&b, edits, from, to)
		start = to
	}
	return b.String()
}

func lines(text string) []string {
	if text == "" {
		return nil
	}
	return strings.Split(strings.TrimSuffix(text, "\n"), "\n")
}

// compare finds the longest common subsequence. Objects have some hundred lines, so the
// square of it is no matter.
func compare(a, b []string) []edit {
	length := make([][]int, len(a)+1)
	for i := range length {
		length[i] = make([]int, len(b)+1)
	}
	for i := len(a) - 1; i >= 0; i-- {
		for j := len(b) - 1; j >= 0; j-- {
			if a[i] == b[j] {
				length[i][j] = length[i+1][j+1] + 1
			} else {
				length[i][j] = max(length[i+1][j], length[i][j+1])
			}
		}
	}
	var edits []edit
	i, j := 0, 0
	for i < len(a) || j < len(b) {
		switch {
		case i < len(a) && j < len(b) && a[i] == b[j]:
			edits = append(edits, edit{' ', a[i]})
			i, j = i+1, j+1
		case j == len(b) || i < len(a) && length[i+1][j] >= length[i][j+1]:
			edits = append(edits, edit{'-', a[i]})
			i++
		default:
			edits = append(edits, edit{'+', b[j]})
			j++
		}
	}
	return edits
}

// hunk is the next range of edits to show from start on; changes whose contexts touch are
// one hunk.
func hunk(edits []edit, start int) (from, to int) {
	first, last := -1, -1
	for i := start; i < len(edits); i++ {
		if edits[i].mark == ' ' {
			if last >= 0 && i-last > 2*contextLines {
				break
			}
			continue
		}
		if first < 0 {
			first = i
		}
		last = i
	}
	if first < 0 {
		return start, start
	}
	return max(start, first-contextLines), min(len(edits), last+1+contextLines)
}

func writeHunk(b *strings.Builder, edits []edit, from, to int) {
	before, after := 1, 1 // line numbers of the hunk's first line
	for _, e := range edits[:from] {
		if e.mark != '+' {
			before++
		}
		if e.mark != '-' {
			after++
		}
	}
	removed, added := 0, 0
	for _, e := range edits[from:to] {
		if e.mark != '+' {
			removed++
		}
		if e.mark != '-' {
			added++
		}
	}
	fmt.Fprintf(b, "@@ -%s +%s @@\n", span(before, removed), span(after, added))
	for _, e := range edits[from:to] {
		fmt.Fprintf(b, "%c%s\n", e.mark, e.line)
	}
}

// span is a range of lines; an empty one is named by the line before it.
func span(first, count int) string {
	if count == 0 {
		first--
	}
	return fmt.Sprintf("%d,%d", first, count)
}
