package dns

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/ovnkctl/ovnkctl/internal/world"
)

func testBook(domains ...string) *book {
	return newBook(newWorld(domains...), newHolds(), func(netip.Addr) bool { return true }, slog.New(slog.DiscardHandler))
}

func (b *book) hear(name string, ttl time.Duration, now time.Time, addrs ...string) uint64 {
	var list []found
	for _, a := range addrs {
		list = append(list, found{netip.MustParseAddr(a), ttl})
	}
	return b.learn(name, b.domainsOf(name), list, true, now)
}

func wantKnown(t *testing.T, b *book, want ...string) {
	t.Helper()
	if got := known(b.store, "*.example.com"); !slices.Equal(got, want) {
		t.Errorf("known are %v, want %v", got, want)
	}
}

func TestExpiry(t *testing.T) {
	t.Parallel()
	b, now := testBook("*.example.com"), time.Unix(1000, 0)
	b.hear("a.example.com", time.Minute, now, "192.0.2.1", "192.0.2.2")
	b.hear("b.example.com", time.Second, now, "192.0.2.3") // shorter than believed
	b.sweep(now.Add(grace))
	wantKnown(t, b, "192.0.2.1", "192.0.2.2", "192.0.2.3")
	b.sweep(now.Add(grace + shortestTTL))
	wantKnown(t, b, "192.0.2.1", "192.0.2.2")
	// One of two is given again.
	b.hear("a.example.com", time.Minute, now.Add(time.Minute), "192.0.2.2")
	b.sweep(now.Add(grace + time.Minute))
	wantKnown(t, b, "192.0.2.2")
	// A shorter time does not take back what was promised.
	b.hear("a.example.com", time.Second, now.Add(time.Minute+time.Second), "192.0.2.2")
	b.sweep(now.Add(grace + 2*time.Minute - time.Second))
	wantKnown(t, b, "192.0.2.2")
	b.sweep(now.Add(grace + 2*time.Minute))
	wantKnown(t, b)
	if n, a := b.size(); n != 0 || a != 0 {
		t.Errorf("%d names and %d addresses are left", n, a)
	}
	b.hear("a.example.com", 1e6*time.Hour, now, "192.0.2.1")
	b.sweep(now.Add(grace + longestTTL))
	wantKnown(t, b)
}

// Only what is new is waited for; who learns the same thing meanwhile waits, too.
func TestLearnWaits(t *testing.T) {
	t.Parallel()
	b, now := testBook("*.example.com"), time.Unix(1000, 0)
	first := b.hear("a.example.com", time.Minute, now, "192.0.2.1")
	if again := b.hear("a.example.com", time.Minute, now, "192.0.2.1"); first == 0 || again != first {
		t.Errorf("wait for %d, the second for %d", first, again)
	}
	if more := b.hear("a.example.com", time.Minute, now, "192.0.2.1", "192.0.2.2"); more <= first {
		t.Errorf("a new address waits for %d, not for more than %d", more, first)
	}
	// A policy that is new has sets that are new.
	b.store.SetPolicy(policyOf("*.example.com", "a.example.com"))
	if next := b.hear("a.example.com", time.Minute, now, "192.0.2.1"); next <= first+1 {
		t.Errorf("with a new policy wait for %d", next)
	}
	if none := b.hear("a.example.com", time.Minute, now); none != 0 {
		t.Errorf("without addresses wait for %d", none)
	}
}

// What pods can have the node remember is bounded.
func TestBounds(t *testing.T) {
	t.Parallel()
	b, now := testBook("*.example.com"), time.Unix(1000, 0)
	addr := func(i int) string { return fmt.Sprintf("192.%d.%d.%d", 1+i>>16, i>>8&255, i&255) }
	for i := range maxNames + 10 {
		b.hear(fmt.Sprintf("n%d.example.com", i), time.Minute, now.Add(time.Duration(i)*time.Millisecond), "192.0.2.1")
	}
	if n, a := b.size(); n != maxNames || a != maxNames {
		t.Errorf("%d names and %d addresses", n, a)
	}
	if b.names["n9.example.com"] != nil || b.names[fmt.Sprintf("n%d.example.com", maxNames+9)] == nil {
		t.Error("not the oldest names went")
	}
	for i := range maxAddrs + 10 {
		b.hear("x.example.com", time.Minute, now.Add(time.Duration(i)*time.Second), addr(i))
	}
	got := b.names["x.example.com"].addrs
	if len(got) != maxAddrs || got[netip.MustParseAddr(addr(9))] != nil || got[netip.MustParseAddr(addr(maxAddrs+9))] == nil {
		t.Errorf("%d addresses, or not the oldest went", len(got))
	}
}

// The world has, at any time, what was learnt and has not expired, and so has a book that
// begins with the journal.
func TestBookAndJournalAgree(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	count := 0
	rapid.Check(t, func(t *rapid.T) {
		count++
		path := filepath.Join(dir, fmt.Sprint(count))
		now := time.Unix(1e9, 0)
		b := testBook("*.example.com")
		j, _, err := openJournal(path)
		if err != nil {
			t.Fatal(err)
		}
		b.recover(j, nil, now)
		for range rapid.IntRange(1, 30).Draw(t, "steps") {
			now = now.Add(time.Duration(rapid.IntRange(0, 300).Draw(t, "seconds")) * time.Second)
			if rapid.Bool().Draw(t, "sweep") {
				b.sweep(now)
				continue
			}
			name := rapid.SampledFrom([]string{"a", "b", "c"}).Draw(t, "name") + ".example.com"
			b.hear(name, time.Duration(rapid.IntRange(0, 400).Draw(t, "ttl"))*time.Second, now,
				rapid.SliceOfN(rapid.SampledFrom([]string{"192.0.2.1", "192.0.2.2", "2001:db8::1"}), 1, 3).Draw(t, "addrs")...)
		}
		b.sweep(now)
		again := testBook("*.example.com")
		j2, facts, err := openJournal(path)
		if err != nil {
			t.Fatal(err)
		}
		again.recover(j2, facts, now)
		if diff := cmp.Diff(b.leases(), again.leases()); diff != "" {
			t.Fatalf("after a restart (-before +after):\n%s", diff)
		}
		if diff := cmp.Diff(known(b.store, "*.example.com"), known(again.store, "*.example.com")); diff != "" {
			t.Fatalf("the world after a restart (-before +after):\n%s", diff)
		}
		if err := errors.Join(j.close(), j2.close()); err != nil {
			t.Fatal(err)
		}
	})
}

// leases is everything a book knows, in words.
func (b *book) leases() map[string]string {
	out := map[string]string{}
	for name, e := range b.names {
		for a, l := range e.addrs {
			out[name+" "+a.String()] = l.until.UTC().String()
		}
	}
	return out
}

func TestJournal(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "run", "names")
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	// As a crash, a full disk or a hand may leave it.
	text := "2000 a.example.com 192.0.2.1\nrubbish\n\n2000 a.example.com\nx a.example.com 192.0.2.2\n2000 A/b 192.0.2.2\n" +
		"2000 a.example.com fe80::1%eth0\n3000 a.example.com 192.0.2.1\n500 b.example.com 192.0.2.3\n2000 c.example.com 192."
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	b := testBook("*.example.com")
	j, facts, err := openJournal(path)
	if err != nil {
		t.Fatal(err)
	}
	b.recover(j, facts, time.Unix(1000, 0))
	wantKnown(t, b, "192.0.2.1")
	wantFile := func(want string) {
		t.Helper()
		got, err := os.ReadFile(path)
		if diff := cmp.Diff(want, string(got)); diff != "" || err != nil {
			t.Errorf("journal, %v (-want +got):\n%s", err, diff)
		}
	}
	wantFile("3000 a.example.com 192.0.2.1\n")
	b.hear("a.example.com", time.Hour, time.Unix(1000, 0), "192.0.2.1")
	wantFile("3000 a.example.com 192.0.2.1\n4900 a.example.com 192.0.2.1\n")
	for i := range journalSlack + 2 {
		b.hear("a.example.com", time.Hour, time.Unix(int64(2000+i), 0), "192.0.2.1")
	}
	if j.lines > journalSlack {
		t.Errorf("the journal has %d lines for one address", j.lines)
	}
	if err := j.close(); err != nil {
		t.Fatal(err)
	}
	b.hear("a.example.com", time.Hour, time.Unix(9000, 0), "192.0.2.9") // goes on without
	wantKnown(t, b, "192.0.2.1", "192.0.2.9")
	if !b.broken {
		t.Error("a journal that cannot be written is no problem")
	}
}

// Those who wait are told together; a look that fails is repeated.
func TestHolds(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h := newHolds()
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		looks := make(chan []world.DomainName)
		results := make(chan error)
		go h.run(ctx, func(_ context.Context, d []world.DomainName) error {
			looks <- d
			return <-results
		}, slog.New(slog.DiscardHandler))
		x, y := world.DomainName{Name: "x"}, world.DomainName{Name: "y"}
		done := make(chan string, 3)
		wait := func(who string, seq uint64) {
			go func() {
				if h.wait(ctx, seq) {
					done <- who
				}
			}()
		}
		wait("first", h.add([]world.DomainName{x}))
		if d := <-looks; !slices.Equal(d, []world.DomainName{x}) {
			t.Errorf("looks for %v", d)
		}
		wait("second", h.add([]world.DomainName{y})) // came while the look was under way
		synctest.Wait()
		if len(done) > 0 {
			t.Errorf("%s is told too early", <-done)
		}
		results <- errors.New("no database")
		start := time.Now()
		if d := <-looks; len(d) != 2 || time.Since(start) != installPause {
			t.Errorf("after a failure looks for %v after %v", d, time.Since(start))
		}
		results <- nil
		if a, b := <-done, <-done; a == b {
			t.Errorf("told are %s and %s", a, b)
		}
		limited, stop := context.WithTimeout(ctx, time.Second)
		defer stop()
		if h.wait(limited, h.add([]world.DomainName{x})) {
			t.Error("in force without a look")
		}
		<-looks
		cancel()
		results <- errors.New("ended")
	})
}

func TestTargets(t *testing.T) {
	t.Parallel()
	now := time.Unix(1000, 0)
	s := targets{names: map[string]*target{}}
	s.set(map[string]time.Duration{"a": soonest, "b": soonest, "c": soonest, "w": soonestWild}, now)
	if got := s.due(now, 2); len(got) != 2 {
		t.Errorf("due are %v, want two", got)
	}
	if got := s.due(now, 9); len(got) != 1 {
		t.Errorf("due are %v, want the third", got)
	}
	s.set(map[string]time.Duration{"a": soonest, "b": soonest}, now)
	s.done("c", time.Hour, true, now)
	s.done("a", time.Second, true, now)
	if got := s.due(now.Add(soonest-1), 9); len(got) != 0 {
		t.Errorf("%v is due sooner than soonest", got)
	}
	if got := s.due(now.Add(soonest), 9); !slices.Equal(got, []string{"a"}) {
		t.Errorf("due are %v, want a", got)
	}
	last := time.Duration(0)
	for range 8 { // failures
		s.done("b", 0, false, now)
		wait := s.names["b"].at.Sub(now)
		if wait < last*3/4 || wait > latestRetry*5/4 {
			t.Errorf("after %v it waits %v", last, wait)
		}
		last = wait
	}
	s.set(map[string]time.Duration{"b": soonest, "w": soonestWild}, now)
	if got := s.due(now.Add(soonestWild-1), 9); slices.Contains(got, "w") {
		t.Error("a name below a wildcard, of which all is known, is asked for")
	}
	if got := s.due(now.Add(soonestWild), 9); !slices.Contains(got, "w") {
		t.Errorf("due are %v, want w, too", got)
	}
	s.done("w", time.Second, true, now)
	if got := s.names["w"].at.Sub(now); got != soonestWild {
		t.Errorf("a name below a wildcard waits %v, want %v", got, soonestWild)
	}
	s.set(map[string]time.Duration{"b": soonest, "w": soonest}, now)
	if got := s.due(now, 9); !slices.Equal(got, []string{"w"}) {
		t.Errorf("due are %v, want w, which a policy has begun to speak of", got)
	}
	s.done("b", 24*time.Hour, true, now)
	if got := s.names["b"].at.Sub(now); got != latest {
		t.Errorf("a long time to live waits %v, want %v", got, latest)
	}
}
