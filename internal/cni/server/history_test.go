//go:build linux

package server_test

import (
	"context"
	"encoding/json"
	"errors"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/ovnkctl/ovnkctl/internal/cni/history"
	"github.com/ovnkctl/ovnkctl/internal/cni/port/porttest"
	"github.com/ovnkctl/ovnkctl/internal/cni/server"
	"github.com/ovnkctl/ovnkctl/internal/cni/wire"
	"github.com/ovnkctl/ovnkctl/internal/runtime/repair"
)

// remembered asks as the tools do.
func (n *node) remembered() *history.Document {
	n.t.Helper()
	answer, err := wire.Ask(n.t.Context(), n.socket, wire.Request{Command: wire.History}, time.Minute)
	if err != nil {
		n.t.Fatal(err)
	}
	d := &history.Document{}
	if err := json.Unmarshal(answer, d); err != nil {
		n.t.Fatal(err)
	}
	return d
}

func stageOf(t *testing.T, a history.Add, name string) history.Stage {
	t.Helper()
	at := slices.IndexFunc(a.Stages, func(s history.Stage) bool { return s.Name == name })
	if at < 0 {
		t.Fatalf("no stage %s: %+v", name, a)
	}
	return a.Stages[at]
}

// TestHistory has an ADD that works, one that fails, and one that is under way.
func TestHistory(t *testing.T) {
	t.Parallel()
	n := start(t, func(c *server.Config) { c.History = history.New(nil) })
	porttest.Bind(t, n.db, nil)
	n.addPod("web-0", "u0", 5)
	n.must(request(wire.Add, "sandbox0", "web-0", "u0"))
	n.addPod("web-1", "u1", 6)
	n.links.fail["configure"] = errors.New("no buffer space available")
	n.refused(request(wire.Add, "sandbox1", "web-1", "u1"), wire.CodeStageFailed, "at stage interface")
	conn := n.dial(request(wire.Add, "sandbox2", "unheard-of", "u2")) // waits for its pod
	defer conn.Close()

	var d *history.Document
	for d = n.remembered(); len(d.Adds) < 3 || len(d.Adds[2].Stages) < 3; d = n.remembered() {
		if t.Context().Err() != nil {
			t.Fatalf("the third ADD is not there: %+v", d)
		}
	}
	good, bad, waiting := d.Adds[0], d.Adds[1], d.Adds[2]
	if good.UID != "u0" || good.Sandbox != "sandbox0" || good.Failed || good.Ended.Before(good.Began) || good.Began.Before(d.Since) || len(good.Stages) != 7 {
		t.Errorf("good: %+v", good)
	}
	if f := stageOf(t, good, "flows"); f.Running || f.Error != "" || f.At < stageOf(t, good, "port").At {
		t.Errorf("flows: %+v", f)
	}
	if s := stageOf(t, bad, "interface"); !bad.Failed || bad.Error != "" || s.Error != "no buffer space available" || s.GivenUp {
		t.Errorf("bad: %+v", bad)
	}
	for _, s := range bad.Stages {
		if s.Name != "interface" && s.Error != "" {
			t.Errorf("stage %s has the error of another one: %+v", s.Name, s)
		}
	}
	if s := stageOf(t, waiting, "address"); !waiting.Ended.IsZero() || !s.Running || waiting.Name != "unheard-of" {
		t.Errorf("under way: %+v", waiting)
	}
}

// TestMilestones has a pod that comes and one that is there at the start.
func TestMilestones(t *testing.T) {
	t.Parallel()
	l := history.New(nil)
	n := start(t, nil)
	server.NewWorld(server.WorldConfig{Store: n.store, Allocator: n.alloc, Needs: portOnly, Programmer: n.nb, History: l})
	p := podOf("web-0", "u0", 5)
	p.Networks = nil
	n.store.SetPod(p)
	if d := l.Document(); len(d.Pods) != 1 || d.Pods[0].Heard.IsZero() || !d.Pods[0].Address.IsZero() {
		t.Fatalf("heard of: %+v", d.Pods)
	}
	n.addPod("web-0", "u0", 5)
	other := podOf("elsewhere", "u9", 9)
	other.Node = "node-2"
	n.store.SetPod(other)
	if d := l.Document(); len(d.Pods) != 1 || d.Pods[0].Address.Before(d.Pods[0].Heard) || !d.Pods[0].Port.IsZero() {
		t.Errorf("address: %+v", d.Pods)
	}
}

func TestNobodyAnswers(t *testing.T) {
	t.Parallel()
	_, err := wire.Ask(t.Context(), t.TempDir()+"/none", wire.Request{Command: wire.History}, time.Minute)
	if err == nil || !strings.Contains(err.Error(), "container ovnkube-controller") {
		t.Errorf("no server: %v", err)
	}
	socket := t.TempDir() + "/deaf"
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close() //nolint:errcheck // nobody is connected
	if _, err = wire.Ask(t.Context(), socket, wire.Request{Command: wire.Repair}, 50*time.Millisecond); err == nil || !strings.Contains(err.Error(), "nothing within 50ms") {
		t.Errorf("a server that hangs: %v", err)
	}
}

// Repairs go to the node's program as they were asked for, and so does what it answers.
func TestRepair(t *testing.T) {
	t.Parallel()
	request := repair.Request{Keys: []repair.Key{{Feature: "pods", Key: "shop/cart"}}, Host: true}
	want := repair.Answer{Keys: []repair.Outcome{{Key: request.Keys[0], Result: repair.Failed, Why: "refused"}}, Host: &repair.HostOutcome{Result: repair.Done}}
	n := start(t, func(c *server.Config) {
		c.Repair = func(_ context.Context, r repair.Request) repair.Answer {
			if d := cmp.Diff(request, r); d != "" {
				t.Error(d)
			}
			return want
		}
	})
	text, err := json.Marshal(request)
	if err != nil {
		t.Fatal(err)
	}
	said, err := wire.Ask(t.Context(), n.socket, wire.Request{Command: wire.Repair, Config: text}, time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	var got repair.Answer
	if err := json.Unmarshal(said, &got); err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
	if _, err := wire.Ask(t.Context(), n.socket, wire.Request{Command: wire.Repair, Config: []byte("garbage")}, time.Minute); err == nil || !strings.Contains(err.Error(), "what to repair") {
		t.Errorf("garbage: %v", err)
	}
}

// A defect that a repair hits does not end the program that keeps the node.
func TestRepairWithDefect(t *testing.T) {
	t.Parallel()
	n := start(t, func(c *server.Config) {
		c.Repair = func(context.Context, repair.Request) repair.Answer { panic("a defect") }
	})
	_, err := wire.Ask(t.Context(), n.socket, wire.Request{Command: wire.Repair, Config: []byte("{}")}, time.Minute)
	if err == nil || !strings.Contains(err.Error(), "has a defect: a defect") {
		t.Errorf("got %v", err)
	}
}
