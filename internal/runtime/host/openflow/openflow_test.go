package openflow

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

// What ovs-ofctl 3.5 prints of differences.
const output = `-priority=100,ip,nw_dst=10.0.0.1 cookie=0xdeff105 actions=ct(commit,zone=64000,exec(set_field:0x1->ct_mark)),output:1
-priority=0 cookie=0xdeff105 actions=NORMAL
+priority=0 actions=NORMAL
+priority=9 cookie=0xdeff105 actions=drop
+priority=7,udp,tp_dst=53 cookie=0x77 idle_timeout=100 actions=drop
-table=1 priority=5,tcp6,ipv6_dst=fd00::1,tp_dst=80 cookie=0xdeff105 actions=drop
+table=1 priority=5,tcp6,ipv6_dst=fd00::1,tp_dst=80 cookie=0x77 hard_timeout=9 actions=drop
-table=2 priority=5 cookie=0xdeff105 actions=drop
+table=2 priority=5 cookie=0xdeff105 actions=LOCAL
+table=3  cookie=0xdeff105 actions=LOCAL
`

func TestParse(t *testing.T) {
	t.Parallel()
	c, err := parse(output, Cookie{}.orDefault())
	if err != nil {
		t.Fatal(err)
	}
	want := Changes{
		Add: []string{
			"priority=100,ip,nw_dst=10.0.0.1 cookie=0xdeff105 actions=ct(commit,zone=64000,exec(set_field:0x1->ct_mark)),output:1",
			"priority=0 cookie=0xdeff105 actions=NORMAL",
			"table=1 priority=5,tcp6,ipv6_dst=fd00::1,tp_dst=80 cookie=0xdeff105 actions=drop",
			"table=2 priority=5 cookie=0xdeff105 actions=drop",
		},
		Delete: []string{"table=0,priority=9", "table=3"},
		Taken: []string{
			"priority=0 actions=NORMAL",
			"table=1 priority=5,tcp6,ipv6_dst=fd00::1,tp_dst=80 cookie=0x77 hard_timeout=9 actions=drop",
		},
	}
	if d := cmp.Diff(want, c); d != "" {
		t.Errorf("(-want +got)\n%s", d)
	}
	const bundle = `delete_strict cookie=0xdeff105/0xffffffffffffffff,table=0,priority=9
delete_strict cookie=0xdeff105/0xffffffffffffffff,table=3
add priority=0 cookie=0xdeff105 actions=NORMAL
`
	c.Add = c.Add[1:2]
	if d := cmp.Diff(bundle, c.bundle(Cookie{}.orDefault())); d != "" {
		t.Errorf("bundle (-want +got)\n%s", d)
	}
	if d := cmp.Diff("-table=0,priority=9\n-table=3\n", Changes{Delete: c.Delete}.String()); d != "" {
		t.Error(d)
	}
	// With a mask, all cookies that end alike are ours.
	masked, err := parse(output, Cookie{Value: 0x1_0077, Mask: 0xff})
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff([]string{"table=0,priority=7,udp,tp_dst=53"}, masked.Delete); d != "" {
		t.Errorf("with a mask (-want +got)\n%s", d)
	}
}

func TestParseRefuses(t *testing.T) {
	t.Parallel()
	for _, out := range []string{"-priority=5", "+priority=5 cookie=deff actions=drop", "+"} {
		if c, err := parse(out, Cookie{}.orDefault()); err == nil {
			t.Errorf("%q: %v", out, c)
		}
	}
}

// Whatever the times of changes, notify is called after each within the time of often, and
// no two calls are closer than that.
func TestCoalesce(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(r *rapid.T) {
		gaps := rapid.SliceOfN(rapid.SampledFrom([]time.Duration{0, time.Millisecond, 15 * time.Millisecond, 300 * time.Millisecond, 3 * time.Second}), 1, 200).Draw(r, "gaps")
		synctest.Test(t, func(t *testing.T) {
			changed, done := make(chan struct{}, 1), make(chan struct{})
			var calls, changes []time.Time
			go func() {
				defer close(done)
				coalesce(changed, quiet, often, func() { calls = append(calls, time.Now()) })
			}()
			for _, g := range gaps {
				time.Sleep(g)
				changes = append(changes, time.Now())
				changed <- struct{}{}
			}
			time.Sleep(2 * often)
			before := len(calls)
			close(changed)
			<-done
			if len(calls) != before {
				r.Fatalf("%d calls at the end though all was told", len(calls)-before)
			}
			checkCalls(r, calls, changes)
		})
	})
}

func checkCalls(t *rapid.T, calls, changes []time.Time) {
	for i := 1; i < len(calls); i++ {
		if d := calls[i].Sub(calls[i-1]); d < often {
			t.Fatalf("two calls within %v", d)
		}
	}
	for _, c := range changes {
		told := false
		for _, call := range calls {
			// A change at the time of a call may be told by the next one.
			told = told || !call.Before(c) && call.Sub(c) <= often+quiet
		}
		if !told {
			t.Fatalf("a change was not told in time: %v of calls at %v", c, calls)
		}
	}
}

// What was not told when the monitor ends is told at its end, at once.
func TestCoalesceEnd(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		changed := make(chan struct{}, 1)
		changed <- struct{}{}
		close(changed)
		start, calls := time.Now(), 0
		coalesce(changed, quiet, often, func() { calls++ })
		if calls != 1 || time.Since(start) > 0 {
			t.Errorf("%d calls after %v", calls, time.Since(start))
		}
	})
}
