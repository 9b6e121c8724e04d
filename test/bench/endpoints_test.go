//go:build linux

package main

import (
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/netip"
	"sync/atomic"
	"testing"
)

// A client that follows tells who answers first, and notices a backend that answers before
// its time.
func TestFollow(t *testing.T) {
	t.Parallel()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close() //nolint:errcheck // the test is over
	var name atomic.Value
	name.Store("old")
	go func() {
		for {
			c, err := listener.Accept()
			if err != nil {
				return
			}
			_, _ = io.WriteString(c, name.Load().(string))
			_ = c.Close()
		}
	}()
	at := netip.MustParseAddrPort(listener.Addr().String())
	running, done := client{}.follow(t.Context(), at, "new", false)
	<-running
	select {
	case a := <-done:
		t.Fatalf("ended before the change: %+v", a)
	default:
	}
	name.Store("new")
	if a := <-done; a.err != nil || a.asked == 0 || a.lost != 0 || a.first.IsZero() {
		t.Errorf("after the change: %+v", a)
	}
	if _, done := (client{}).follow(t.Context(), at, "new", false); (<-done).err == nil {
		t.Error("a backend that answers before the change is taken for changed")
	}
	if _, done := (client{}).follow(t.Context(), at, "new", true); (<-done).err != nil {
		t.Error("a fresh service is not followed")
	}
}

func TestRowWatch(t *testing.T) {
	t.Parallel()
	w := &rowWatch{vips: map[string]json.RawMessage{}}
	at, one, two := netip.MustParseAddrPort("10.96.0.1:80"), netip.MustParseAddrPort("10.244.0.5:8080"), netip.MustParseAddrPort("10.244.0.6:8080")
	row := func(to netip.AddrPort) map[string]json.RawMessage {
		return map[string]json.RawMessage{"vips": fmt.Appendf(nil, `["map",[["10.96.0.9:80",""],%s]]`, pair(at, to))}
	}
	seen := w.expect(at, two)
	w.changed("a", row(one))
	if len(seen) != 0 || !w.has(at, one) || w.count() != 1 {
		t.Errorf("another backend: seen %d, count %d", len(seen), w.count())
	}
	w.changed("a", row(two))
	w.changed("a", row(two)) // no second time
	if len(seen) != 1 || w.has(at, one) {
		t.Errorf("the backend: seen %d", len(seen))
	}
	if w.changed("a", nil); w.count() != 0 {
		t.Errorf("%d rows after their deletion", w.count())
	}
}
