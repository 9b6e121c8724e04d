package output

import (
	"fmt"
	"io"
)

// Printer writes text and keeps the first error of writing, after which it writes no more.
type Printer struct {
	W   io.Writer
	Err error
}

// F writes like fmt.Fprintf.
func (p *Printer) F(format string, args ...any) {
	if p.Err == nil {
		_, p.Err = fmt.Fprintf(p.W, format, args...)
	}
}

// Line is F with the end of a line.
func (p *Printer) Line(format string, args ...any) { p.F(format+"\n", args...) }
