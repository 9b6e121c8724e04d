package collect_test

import (
	"errors"
	"syscall"
	"testing"

	"github.com/ovnkctl/ovnkctl/internal/collect"
)

// full is a disk with so many bytes left.
type full struct{ left int }

func (f *full) Write(b []byte) (int, error) {
	if f.left -= len(b); f.left < 0 {
		return 0, syscall.ENOSPC
	}
	return len(b), nil
}

// A bundle that cannot be written is none, wherever the space ends, and nobody takes what
// there is of it for one.
func TestNoSpace(t *testing.T) {
	t.Parallel()
	whole := &full{left: 1 << 30}
	if _, err := collect.Run(t.Context(), collect.Options{Snapshot: cluster(t).Snapshot(patience), Out: whole, Name: "bundle"}); err != nil {
		t.Fatal(err)
	}
	size := 1<<30 - whole.left
	// Files come in any order, and how well they compress depends on it by a quarter.
	for _, left := range []int{0, size / 4, size / 2} {
		_, err := collect.Run(t.Context(), collect.Options{Snapshot: cluster(t).Snapshot(patience), Out: &full{left: left}, Name: "bundle"})
		var w *collect.WriteError
		if !errors.As(err, &w) || !errors.Is(err, syscall.ENOSPC) || w.Hint() == "" {
			t.Errorf("%d of %d bytes left: %v", left, size, err)
		}
	}
}
