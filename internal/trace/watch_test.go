package trace

import (
	"context"
	"errors"
	"slices"
	"testing"
	"testing/synctest"
	"time"
)

// answer is what one look finds.
func answer(v Verdict, why string) *Result {
	return &Result{Verdict: v, Paths: []*Path{{Verdict: v, Decision: Decision{Text: why}}}}
}

// TestWatch: changes alone are told, things that come and go end nothing, and the watch ends
// when it shall.
func TestWatch(t *testing.T) {
	t.Parallel()
	gone, broken := &UnknownError{Text: "a/b", Why: "no pod"}, errors.New("no route to host")
	type look struct {
		r   *Result
		err error
	}
	allowed, deny := look{answer(Allowed, "nothing forbids it"), nil}, look{answer(Dropped, "a policy"), nil}
	for _, c := range []struct {
		name  string
		looks []look // the last one stays
		until Verdict
		told  []string
		took  time.Duration
		err   error
	}{
		{"until allowed", []look{{err: gone}, {err: gone}, deny, deny, allowed}, Allowed, []string{"Unknown < : \"a/b\": no pod", "Dropped < Unknown: a policy", "Allowed < Dropped: nothing forbids it"}, 8 * time.Second, nil},
		{"at once", []look{allowed}, Allowed, []string{"Allowed < : nothing forbids it"}, 0, nil},
		{"another rule", []look{deny, {r: answer(Dropped, "another policy")}, allowed}, Allowed, []string{"Dropped < : a policy", "Dropped < Dropped: another policy", "Allowed < Dropped: nothing forbids it"}, 4 * time.Second, nil},
		{"no cluster", []look{{err: broken}}, "", nil, 0, broken},
		{"a node goes and comes", []look{allowed, {err: broken}, allowed}, "", []string{"Allowed < : nothing forbids it", "Unknown < Allowed: no route to host", "Allowed < Unknown: nothing forbids it"}, time.Minute, context.DeadlineExceeded},
		{"never", []look{deny}, Allowed, []string{"Dropped < : a policy"}, time.Minute, context.DeadlineExceeded},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
				defer cancel()
				began := time.Now()
				var told []string
				i := -1
				w := Watching{
					Every: 2 * time.Second,
					Look: func(context.Context) (*Result, error) {
						i = min(i+1, len(c.looks)-1)
						return c.looks[i].r, c.looks[i].err
					},
					Tell: func(n Change) error {
						told = append(told, string(n.Verdict)+" < "+string(n.Was)+": "+n.Why)
						return nil
					},
				}
				if c.until != "" {
					w.Until = func(r *Result) bool { return r.Verdict == c.until }
				}
				err := Watch(ctx, w)
				if !errors.Is(err, c.err) || !slices.Equal(told, c.told) || time.Since(began) != c.took {
					t.Errorf("%v after %s, told %q; want %v after %s, %q", err, time.Since(began), told, c.err, c.took, c.told)
				}
			})
		})
	}
}
