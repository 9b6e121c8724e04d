package relay

import (
	"strings"
	"sync"
)

// tailSize is how much of what a program says is kept, in bytes: it goes into trailers of HTTP,
// which are bounded.
const tailSize = 8 << 10

// Tail keeps the end of what is written: what a program says before it ends is why.
type Tail struct {
	mu   sync.Mutex
	data []byte
}

// Write implements io.Writer.
func (t *Tail) Write(b []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.data = append(t.data, b...)
	if len(t.data) > tailSize {
		t.data = append(t.data[:0], t.data[len(t.data)-tailSize:]...)
	}
	return len(b), nil
}

// String is what was kept.
func (t *Tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return string(t.data)
}

// LastLine is the last line of a text.
func LastLine(text string) string {
	text = strings.TrimSpace(text)
	return text[strings.LastIndexByte(text, '\n')+1:]
}
