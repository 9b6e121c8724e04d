//go:build linux

package server_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/ovnkctl/ovnkctl/internal/cni/server"
	"github.com/ovnkctl/ovnkctl/internal/runtime/feature"
	"github.com/ovnkctl/ovnkctl/internal/world"
)

// cluster is a world as the node process has it.
type cluster struct {
	*server.World
	store *world.Store
	alloc *holder
	nb    *programmer
	ports map[world.PodKey]bool
}

func newCluster() *cluster {
	c := &cluster{
		store: world.New(world.Config{LocalNode: nodeName, Networks: []world.Network{{Name: world.DefaultNetwork}}}),
		alloc: &holder{refuses: map[world.PodKey]string{}}, nb: &programmer{}, ports: map[world.PodKey]bool{},
	}
	c.World = server.NewWorld(server.WorldConfig{
		Store: c.store, Allocator: c.alloc, Needs: portOnly, Programmer: c.nb,
		HasPort: func(k world.PodKey) bool { return c.ports[k] },
	})
	return c
}

var (
	web    = server.Pod{Namespace: "default", Name: "web-0", UID: "uid-1"}
	webKey = world.PodKey{Namespace: "default", Name: "web-0"}
)

// ask calls f in the background and tells, each time it is called, whether f has
// returned and with what.
func ask(f func(context.Context) error) (state func() (returned bool, err error), giveUp func()) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- f(ctx) }()
	return func() (bool, error) {
		synctest.Wait()
		select {
		case err := <-done:
			return true, err
		default:
			return false, nil
		}
	}, cancel
}

func TestAttachmentWaits(t *testing.T) {
	reasons := []struct {
		name string
		set  func(c *cluster)
		why  string
		mend func(c *cluster)
	}{
		{"unknown", func(*cluster) {}, "has not heard of the pod", func(c *cluster) { c.store.SetPod(podOf("web-0", "uid-1", 5)) }},
		{
			"an older incarnation", func(c *cluster) { c.store.SetPod(podOf("web-0", "uid-0", 5)) },
			"shows the pod with UID uid-0, the container runtime asks for UID uid-1", func(c *cluster) { c.store.SetPod(podOf("web-0", "uid-1", 6)) },
		},
		{
			"no address", func(c *cluster) {
				p := podOf("web-0", "uid-1", 5)
				p.Networks = nil
				c.store.SetPod(p)
			},
			"the pod has no address: the node's address allocator has not got to it yet",
			func(c *cluster) {
				c.store.Allocate(webKey, "uid-1", world.DefaultNetwork, podOf("web-0", "uid-1", 5).Networks[world.DefaultNetwork])
			},
		},
		{
			"address of another pod", func(c *cluster) {
				c.alloc.refuses[webKey] = "10.244.1.5 belongs to pod default/other"
				c.store.SetPod(podOf("web-0", "uid-1", 5))
			},
			"the pod has no address: 10.244.1.5 belongs to pod default/other",
			func(c *cluster) {
				c.alloc.mu.Lock()
				delete(c.alloc.refuses, webKey)
				c.alloc.mu.Unlock()
				c.Poke(webKey)
			},
		},
	}
	for _, r := range reasons {
		t.Run(r.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := newCluster()
				r.set(c)
				attach := func(ctx context.Context) error {
					a, err := c.Attachment(ctx, web)
					if err == nil && (a.UID != "uid-1" || len(a.Network.Addresses) != 2) {
						t.Errorf("got %+v", a)
					}
					return err
				}
				state, giveUp := ask(attach)
				if returned, err := state(); returned {
					t.Fatalf("returned at once: %v", err)
				}
				giveUp()
				if returned, err := state(); !returned || err == nil || !strings.Contains(err.Error(), r.why) {
					t.Errorf("given up: %v, want %q", err, r.why)
				}
				state, giveUp = ask(attach)
				defer giveUp()
				r.mend(c)
				if returned, err := state(); !returned || err != nil {
					t.Errorf("mended: returned %t, %v", returned, err)
				}
			})
		})
	}
}

// A pod that is certainly gone is not waited for.
func TestAttachmentOfDeadPod(t *testing.T) {
	t.Parallel()
	c := newCluster()
	c.store.SetPod(podOf("web-0", "uid-1", 5))
	c.store.SetPod(podOf("web-0", "uid-2", 6)) // deleted and created again
	if _, err := c.Attachment(t.Context(), web); err == nil || !strings.Contains(err.Error(), "UID uid-1 was deleted") {
		t.Errorf("got %v", err)
	}
	again := web
	again.UID = "uid-2"
	if a, err := c.Attachment(t.Context(), again); err != nil || a.UID != "uid-2" {
		t.Errorf("the new incarnation: %+v, %v", a, err)
	}
	again.UID = "" // a runtime that passes none
	if a, err := c.Attachment(t.Context(), again); err != nil || a.UID != "uid-2" {
		t.Errorf("without a UID: %+v, %v", a, err)
	}
	// What was deleted long ago is forgotten.
	for range 2000 {
		p := podOf("other", "x", 9)
		c.store.SetPod(p)
		c.store.DeletePod(world.PodKey{Namespace: "default", Name: "other"})
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := c.Attachment(ctx, web); err == nil || strings.Contains(err.Error(), "UID uid-1 was deleted, or") {
		t.Errorf("after 2,000 other pods: %v", err)
	}
}

func TestProgrammed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster()
		c.store.SetPod(podOf("web-0", "uid-1", 5))
		programmed := func(ctx context.Context) error { return c.Programmed(ctx, web) }
		state, giveUp := ask(programmed)
		if returned, _ := state(); returned {
			t.Error("returned without a port in the Northbound database")
		}
		giveUp()
		if _, err := state(); err == nil || !strings.Contains(err.Error(), "has no port for the pod") {
			t.Errorf("given up: %v", err)
		}
		// The node's chassis id was missing; now the port can be made.
		state, giveUp = ask(programmed)
		defer giveUp()
		c.ports[webKey] = true
		c.store.SetNode(&world.Node{Name: nodeName, ChassisID: "c"})
		if returned, err := state(); !returned || err != nil {
			t.Errorf("returned %t, %v", returned, err)
		}
		c.nb.err = errors.New("the Northbound database is not connected")
		state, giveUp = ask(programmed)
		giveUp()
		if _, err := state(); err == nil || !strings.Contains(err.Error(), "not connected") {
			t.Errorf("engine's reason: %v", err)
		}
	})
}

func TestOnGone(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		before, change func(c *cluster)
		want           string
	}{
		"already gone": {before: func(c *cluster) { c.store.DeletePod(webKey) }, want: "deleted meanwhile"},
		"deleted":      {change: func(c *cluster) { c.store.DeletePod(webKey) }, want: "deleted meanwhile"},
		"replaced":     {change: func(c *cluster) { c.store.SetPod(podOf("web-0", "uid-2", 5)) }, want: "with UID uid-2"},
		"finished": {change: func(c *cluster) {
			p := podOf("web-0", "uid-1", 5)
			p.Finished = true
			c.store.SetPod(p)
		}, want: "finished meanwhile"},
		"changed otherwise": {change: func(c *cluster) {
			p := podOf("web-0", "uid-1", 5)
			p.Started = true
			c.store.SetPod(p)
			c.Poke(webKey)
		}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := newCluster()
			c.store.SetPod(podOf("web-0", "uid-1", 5))
			if test.before != nil {
				test.before(c)
			}
			var got []string
			cancel := c.OnGone(web, func(why error) { got = append(got, why.Error()) })
			if test.change != nil {
				test.change(c)
				c.store.DeletePod(webKey) // tells once only
			}
			switch {
			case test.want == "" && len(got) == 1 && strings.Contains(got[0], "deleted"):
			case len(got) != 1 || !strings.Contains(got[0], test.want) || test.want == "":
				t.Errorf("told %q, want %q once", got, test.want)
			}
			cancel()
			c.store.SetPod(podOf("web-0", "uid-3", 5))
			c.store.DeletePod(webKey)
			if len(got) != 1 {
				t.Errorf("told %q after cancel", got)
			}
		})
	}
}

func TestExists(t *testing.T) {
	t.Parallel()
	c := newCluster()
	c.store.SetPod(podOf("web-0", "uid-1", 5))
	if _, known := c.Exists(web); known {
		t.Error("knows before the world is complete")
	}
	c.store.MarkSynced()
	for pod, want := range map[server.Pod]bool{
		web: true,
		{Namespace: "default", Name: "web-0", UID: "uid-2"}: false,
		{Namespace: "default", Name: "web-1", UID: "uid-1"}: false,
	} {
		if exists, known := c.Exists(pod); exists != want || !known {
			t.Errorf("%v: %t, %t", pod, exists, known)
		}
	}
}

// TestAttachmentWaitsForNamespace: policies select pods by the labels of their namespace, so a
// pod does not start before it is known.
func TestAttachmentWaitsForNamespace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster()
		c.World = server.NewWorld(server.WorldConfig{
			Store: c.store, Allocator: c.alloc, Needs: portOnly, Programmer: c.nb, Namespaces: true,
		})
		c.store.SetPod(podOf("web-0", "uid-1", 5))
		state, giveUp := ask(func(ctx context.Context) error {
			_, err := c.Attachment(ctx, web)
			return err
		})
		defer giveUp()
		if returned, err := state(); returned {
			t.Fatalf("returned without the namespace: %v", err)
		}
		c.store.SetNamespace(&world.Namespace{Name: "other"})
		if returned, err := state(); returned {
			t.Fatalf("returned with another namespace: %v", err)
		}
		c.store.SetNamespace(&world.Namespace{Name: "default"})
		if returned, err := state(); !returned || err != nil {
			t.Errorf("with the namespace: returned %t, %v", returned, err)
		}
	})
}

// TestProgrammedWaitsForAllNeeds: a pod waits for what protects it, too.
func TestProgrammedWaitsForAllNeeds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster()
		gate := gates{"port": make(chan struct{}), "policy": make(chan struct{})}
		c.World = server.NewWorld(server.WorldConfig{
			Store: c.store, Allocator: c.alloc, Programmer: gate,
			Needs: func(k world.PodKey) []server.Need {
				key := feature.Key{Namespace: k.Namespace, Name: k.Name}
				return []server.Need{{Feature: "policy", Key: key}, {Feature: "port", Key: key}}
			},
		})
		state, giveUp := ask(func(ctx context.Context) error { return c.Programmed(ctx, web) })
		defer giveUp()
		for _, open := range []string{"port", "policy"} {
			if returned, err := state(); returned {
				t.Fatalf("returned before %s: %v", open, err)
			}
			close(gate[open])
		}
		if returned, err := state(); !returned || err != nil {
			t.Errorf("returned %t, %v", returned, err)
		}
	})
}

// gates is a Programmer whose features are done when their channel is closed.
type gates map[string]chan struct{}

func (g gates) Wait(ctx context.Context, name string, _ feature.Key) error {
	select {
	case <-g[name]:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
