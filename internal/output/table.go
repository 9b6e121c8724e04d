package output

import (
	"io"
	"strings"
	"unicode/utf8"
)

// Table is a result for people: no lines, headings in capitals, one blank cell never.
type Table struct {
	Header []string
	Rows   [][]string
	// Before and After are lines around the table.
	Before, After []string
}

const (
	columnGap = 3   // blanks between columns
	emptyCell = "-" // so that columns can be counted
)

// Write writes the table.
func (t *Table) Write(w io.Writer, s Style) error { return t.write(w, s, false) }

func (t *Table) write(w io.Writer, s Style, noHeaders bool) error {
	var b strings.Builder
	for _, line := range t.Before {
		b.WriteString(line + "\n")
	}
	widths := make([]int, len(t.Header))
	rows := t.Rows
	if !noHeaders && len(t.Header) > 0 {
		rows = append([][]string{t.Header}, rows...)
	}
	for _, row := range rows {
		for i, cell := range row {
			if i == len(widths) {
				widths = append(widths, 0)
			}
			widths[i] = max(widths[i], width(orEmpty(cell)))
		}
	}
	for n, row := range rows {
		var line strings.Builder
		for i, cell := range row {
			cell = orEmpty(cell)
			line.WriteString(cell)
			if i < len(row)-1 {
				line.WriteString(strings.Repeat(" ", widths[i]-width(cell)+columnGap))
			}
		}
		text := line.String()
		if n == 0 && !noHeaders && len(t.Header) > 0 {
			text = s.Bold(text)
		}
		b.WriteString(text + "\n")
	}
	for _, line := range t.After {
		b.WriteString(line + "\n")
	}
	_, err := io.WriteString(w, b.String())
	return err
}

func orEmpty(cell string) string {
	if cell == "" {
		return emptyCell
	}
	return cell
}

// width is how wide a text is on a terminal, without its marks.
func width(text string) int {
	n := 0
	for len(text) > 0 {
		if strings.HasPrefix(text, "\x1b[") {
			_, rest, ok := strings.Cut(text, "m")
			if !ok {
				return n
			}
			text = rest
			continue
		}
		_, size := utf8.DecodeRuneInString(text)
		text = text[size:]
		n++
	}
	return n
}
