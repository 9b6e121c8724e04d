package replica

import (
	"os"
	"path/filepath"
	"runtime"
	"testing"
	"time"
)

// TestProgramsOutliveThreads: a program is not ended by the end of the thread that asked for
// it, and is by stop.
func TestProgramsOutliveThreads(t *testing.T) {
	t.Parallel()
	script := filepath.Join(t.TempDir(), "program")
	if err := os.WriteFile(script, []byte("#!/bin/sh\nexec sleep 60\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	r := &replica{Config: Config{Find: func(string) (string, error) { return script, nil }}}
	type result struct {
		p   *process
		err error
	}
	results := make(chan result)
	go func() {
		runtime.LockOSThread() // and not unlocked: the thread ends with the goroutine
		p, err := r.run("program")
		results <- result{p, err}
	}()
	got := <-results
	if got.err != nil {
		t.Fatal(got.err)
	}
	select {
	case <-got.p.done:
		t.Error("the program has ended with the thread")
	case <-time.After(200 * time.Millisecond): // the end of the thread and a kill take less
	}
	got.p.stop()
}
