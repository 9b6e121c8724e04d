package history_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/ovnkctl/ovnkctl/internal/cni/history"
	"github.com/ovnkctl/ovnkctl/internal/cni/wire"
)

// clock is one second later each time.
func clock() func() time.Time {
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	return func() time.Time {
		now = now.Add(time.Second)
		return now
	}
}

func TestPods(t *testing.T) {
	t.Parallel()
	now := clock()
	since := now().Add(time.Second)
	l := history.New(now)
	l.HasPort("unheard-of")
	l.Heard("shop", "cart", "u1")
	l.HasAddress("u1")
	l.Heard("shop", "cart", "u1") // again: the first time counts
	l.HasPort("u1")
	l.HasPort("u1")
	want := &history.Document{
		Since: since, Adds: []history.Add{},
		Pods: []history.Pod{{Namespace: "shop", Name: "cart", UID: "u1", Heard: since.Add(time.Second), Address: since.Add(2 * time.Second), Port: since.Add(3 * time.Second)}},
	}
	if diff := cmp.Diff(want, l.Document()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// The last ones are remembered, the oldest first, and pods that are forgotten do not change
// those in whose place they were.
func TestBounded(t *testing.T) {
	t.Parallel()
	l := history.New(clock())
	for i := range history.Kept + 3 {
		l.Heard("ns", fmt.Sprint(i), fmt.Sprint("u", i))
		l.Answered(history.Add{Name: fmt.Sprint(i)})
	}
	l.HasPort("u0")
	d := l.Document()
	if len(d.Pods) != history.Kept || len(d.Adds) != history.Kept || d.Pods[0].Name != "3" || d.Adds[0].Name != "3" {
		t.Errorf("%d pods from %s, %d ADDs from %s", len(d.Pods), d.Pods[0].Name, len(d.Adds), d.Adds[0].Name)
	}
	for _, p := range d.Pods {
		if !p.Port.IsZero() {
			t.Errorf("pod %s has the port of one that is forgotten", p.Name)
		}
	}
}

// All that can be remembered fits one message of the CNI server.
func TestFits(t *testing.T) {
	t.Parallel()
	l := history.New(nil)
	long := strings.Repeat("x", 1000)
	for i := range history.Kept {
		name, uid := strings.Repeat("n", 253), fmt.Sprintf("%036d", i)
		l.Heard(strings.Repeat("n", 63), name, uid)
		l.HasAddress(uid)
		l.HasPort(uid)
		a := history.Add{
			Namespace: strings.Repeat("n", 63), Name: name, UID: uid, Sandbox: strings.Repeat("s", 64), Began: time.Now(), Ended: time.Now(), Failed: true,
		}
		for _, stage := range []string{"turn", "address", "veth", "interface", "nb", "port", "flows"} {
			a.Stages = append(a.Stages, history.Stage{Name: stage, At: 20_000_000, Took: 60_000_000, GivenUp: true})
		}
		a.Stages[6].Error = history.Cut(long)
		l.Answered(a)
	}
	data, err := json.Marshal(l.Document())
	if err != nil || len(data)+100 > wire.MaxMessage {
		t.Errorf("%d bytes, %v", len(data), err)
	}
}

func TestCut(t *testing.T) {
	t.Parallel()
	if got := history.Cut("short"); got != "short" {
		t.Error(got)
	}
	if got := history.Cut(strings.Repeat("x", 1000)); !strings.HasSuffix(got, "x …") || len(got) > 480 {
		t.Errorf("%d bytes: %s", len(got), got)
	}
}

// Who has no memory remembers nothing.
func TestNone(t *testing.T) {
	t.Parallel()
	var l *history.Log
	l.Heard("a", "b", "c")
	l.HasPort("c")
	l.Answered(history.Add{})
	if d := l.Document(); len(d.Pods)+len(d.Adds) != 0 {
		t.Errorf("%+v", d)
	}
}
