package ipam

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/google/go-cmp/cmp"

	"github.com/ovnkctl/ovnkctl/internal/annotation"
	"github.com/ovnkctl/ovnkctl/internal/world"
	"github.com/ovnkctl/ovnkctl/internal/world/plan"
)

// station is a node's agent with a world that the test changes.
type station struct {
	t       *testing.T
	store   *world.Store
	agent   *Agent
	network world.Network

	mu        sync.Mutex
	annotated map[world.PodKey]map[string]annotation.PodNetwork // last value
	writes    int
	reports   []string
	pokes     map[world.PodKey]int
}

// run starts an agent on a node with the given subnets; recorded is what the northbound
// database knows. before fills the world before it is complete.
func run(t *testing.T, subnets []string, recorded map[Owner][]netip.Prefix, before func(*station)) *station {
	t.Helper()
	s := &station{
		t: t, annotated: map[world.PodKey]map[string]annotation.PodNetwork{}, pokes: map[world.PodKey]int{},
		network: world.Network{
			Name:           world.DefaultNetwork,
			ClusterSubnets: []world.ClusterSubnet{{Prefix: netip.MustParsePrefix("10.244.0.0/16"), HostLength: 24}, {Prefix: netip.MustParsePrefix("fd00:10:244::/48"), HostLength: 64}},
		},
	}
	s.store = world.New(world.Config{LocalNode: "n1", Networks: []world.Network{s.network}})
	s.agent = New(Config{
		Store: s.store, Network: s.network,
		Recorded: func() map[Owner][]netip.Prefix { return recorded },
		Annotate: func(o world.ObjectRef, a map[string]string) {
			value, ok, err := annotation.PodNetworks.Get(a)
			if !ok || err != nil {
				t.Errorf("annotation %v: %v", a, err)
			}
			s.mu.Lock()
			defer s.mu.Unlock()
			s.annotated[world.PodKey{Namespace: o.Namespace, Name: o.Name}] = value
			s.writes++
		},
		Report: func(pod world.ObjectRef, code, message, remedy string) {
			s.mu.Lock()
			defer s.mu.Unlock()
			s.reports = append(s.reports, fmt.Sprintf("%s %s: %s; %s", pod.Name, code, message, remedy))
		},
		Poke: func(k world.PodKey) {
			s.mu.Lock()
			defer s.mu.Unlock()
			s.pokes[k]++
		},
		Logger: slog.New(slog.DiscardHandler),
	})
	s.subnets(subnets...)
	if before != nil {
		before(s)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.agent.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; !errors.Is(err, context.Canceled) {
			t.Errorf("Run: %v", err)
		}
	})
	synctest.Wait()
	if held, why := s.agent.Holds(world.PodKey{Namespace: "ns", Name: "any"}, "uid"); held || why == "" {
		t.Error("the agent answers before the world is complete")
	}
	s.store.MarkSynced()
	synctest.Wait()
	return s
}

// subnets sets the node's subnets.
func (s *station) subnets(subnets ...string) {
	n := &world.Node{Name: "n1", UID: "node", Subnets: map[string][]netip.Prefix{}}
	for _, text := range subnets {
		n.Subnets[world.DefaultNetwork] = append(n.Subnets[world.DefaultNetwork], netip.MustParsePrefix(text))
	}
	s.store.SetNode(n)
}

// pod makes a pod on the node; addresses, if any, are those of its annotation.
func pod(name, uid string, addresses ...string) *world.Pod {
	p := &world.Pod{Namespace: "ns", Name: name, UID: uid, Node: "n1", Created: 100}
	if len(addresses) > 0 {
		p.Networks = map[string]world.PodNetwork{world.DefaultNetwork: {Addresses: prefixes(addresses...), MAC: "0a:58:00:00:00:01"}}
	}
	return p
}

// set shows a pod and returns when the agent has settled it.
func (s *station) set(p *world.Pod) {
	s.store.SetPod(p)
	synctest.Wait()
}

func (s *station) remove(name string) {
	s.store.DeletePod(world.PodKey{Namespace: "ns", Name: name})
	synctest.Wait()
}

// addresses are those that the pod certainly has; "" for none, with the reason.
func (s *station) addresses(name, uid string) (text, why string) {
	s.t.Helper()
	k := world.PodKey{Namespace: "ns", Name: name}
	held, why := s.agent.Holds(k, uid)
	if !held {
		return "", why
	}
	s.store.Read(func(v world.View) {
		p, ok := v.Pod(k)
		if !ok {
			s.t.Fatalf("pod %s is gone", name)
		}
		for _, a := range p.Networks[world.DefaultNetwork].Addresses {
			text = strings.TrimSpace(text + " " + a.String())
		}
	})
	return text, ""
}

func (s *station) want(name, uid, addresses string) {
	s.t.Helper()
	if got, why := s.addresses(name, uid); got != addresses {
		s.t.Errorf("pod %s has %q (%s), want %q", name, got, why, addresses)
	}
}

func (s *station) wantReport(texts ...string) {
	s.t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.reports) != 1 {
		s.t.Errorf("reports %q, want one with %q", s.reports, texts)
	}
	for _, text := range texts {
		if !strings.Contains(strings.Join(s.reports, "\n"), text) {
			s.t.Errorf("reports %q lack %q", s.reports, text)
		}
	}
	s.reports = nil
}

func (s *station) used(subnet string) int {
	s.agent.mu.Lock()
	defer s.agent.mu.Unlock()
	return s.agent.pool.Usage()[netip.MustParsePrefix(subnet)][0]
}

var dual = []string{"10.244.1.0/24", "fd00:10:244:1::/64"}

func TestAllocatesWithEverythingThatFollows(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := run(t, dual, nil, nil)
		s.set(pod("web", "u1"))
		s.want("web", "u1", "10.244.1.3/24 fd00:10:244:1::3/64")
		want := annotation.PodNetwork{
			Addresses: prefixes("10.244.1.3/24", "fd00:10:244:1::3/64"),
			MAC:       "0a:58:0a:f4:01:03",
			Gateways:  []netip.Addr{netip.MustParseAddr("10.244.1.1"), netip.MustParseAddr("fd00:10:244:1::1")},
			Routes: []annotation.Route{
				{Dest: netip.MustParsePrefix("10.244.0.0/16"), NextHop: netip.MustParseAddr("10.244.1.1")},
				{Dest: netip.MustParsePrefix("fd00:10:244::/48"), NextHop: netip.MustParseAddr("fd00:10:244:1::1")},
			},
			Role: annotation.RolePrimary,
		}
		got := s.annotated[world.PodKey{Namespace: "ns", Name: "web"}][world.DefaultNetwork]
		if diff := cmp.Diff(want, got, cmp.Comparer(func(a, b netip.Addr) bool { return a == b }), cmp.Comparer(func(a, b netip.Prefix) bool { return a == b })); diff != "" {
			t.Errorf("annotation (-want +got):\n%s", diff)
		}
		// Another incarnation of that name does not hold it.
		if held, _ := s.agent.Holds(world.PodKey{Namespace: "ns", Name: "web"}, "u2"); held {
			t.Error("held for another UID")
		}
	})
}

func TestWhoGetsNone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := run(t, dual, nil, nil)
		for name, change := range map[string]func(*world.Pod){
			"elsewhere": func(p *world.Pod) { p.Node = "n2" },
			"host":      func(p *world.Pod) { p.HostNetwork = true },
			"finished":  func(p *world.Pod) { p.Finished = true },
			"unbound":   func(p *world.Pod) { p.Node = "" },
		} {
			p := pod(name, "u")
			change(p)
			s.set(p)
			s.want(name, "u", "")
		}
		if s.used("10.244.1.0/24") != 0 || s.writes != 0 {
			t.Errorf("%d addresses in use, %d annotations written", s.used("10.244.1.0/24"), s.writes)
		}
	})
}

func TestReleases(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := run(t, dual, nil, nil)
		s.set(pod("a", "u1"))
		s.set(pod("b", "u1"))
		s.remove("a")
		finished := pod("b", "u1")
		finished.Finished = true
		s.set(finished)
		if s.used("10.244.1.0/24") != 0 || s.used("fd00:10:244:1::/64") != 0 {
			t.Error("addresses of pods that went are still in use")
		}
		// Deleted and created again under the same name: a new address, the old one is free.
		s.set(pod("c", "u1"))
		s.want("c", "u1", "10.244.1.5/24 fd00:10:244:1::5/64")
		s.set(pod("c", "u2"))
		s.want("c", "u2", "10.244.1.6/24 fd00:10:244:1::6/64")
		if s.used("10.244.1.0/24") != 1 {
			t.Errorf("%d addresses in use, want 1", s.used("10.244.1.0/24"))
		}
	})
}

// A restart gives everybody what he had and writes nothing.
func TestRestartWritesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := run(t, dual, nil, func(s *station) {
			s.store.SetPod(pod("new", "u")) // arrives before the others are known
			for k := range 50 {
				a, _ := plan.Nth(netip.MustParsePrefix("10.244.1.0/24"), uint64(k+3))
				b, _ := plan.Nth(netip.MustParsePrefix("fd00:10:244:1::/64"), uint64(k+3))
				s.store.SetPod(pod(fmt.Sprint("old-", k), "u", a.String()+"/24", b.String()+"/64"))
			}
		})
		s.want("old-0", "u", "10.244.1.3/24 fd00:10:244:1::3/64")
		s.want("old-49", "u", "10.244.1.52/24 fd00:10:244:1::34/64")
		s.want("new", "u", "10.244.1.53/24 fd00:10:244:1::35/64")
		if s.writes != 1 || len(s.reports) != 0 {
			t.Errorf("%d annotations written, want that of the new pod alone; reports %q", s.writes, s.reports)
		}
	})
}

// Decided before a crash, programmed, and not yet annotated.
func TestRecoversFromNorthbound(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := world.PodKey{Namespace: "ns", Name: "web"}
		recorded := map[Owner][]netip.Prefix{
			{k, "u1"}: prefixes("10.244.1.77/24", "fd00:10:244:1::77/64"),
			{world.PodKey{Namespace: "ns", Name: "gone"}, "u"}: prefixes("10.244.1.78/24", "fd00:10:244:1::78/64"),
		}
		s := run(t, dual, recorded, func(s *station) { s.store.SetPod(pod("web", "u1")) })
		s.want("web", "u1", "10.244.1.77/24 fd00:10:244:1::77/64")
		if got := s.annotated[k][world.DefaultNetwork].Addresses; len(got) != 2 || got[0] != netip.MustParsePrefix("10.244.1.77/24") {
			t.Errorf("annotation %v", got)
		}
	})
}

func TestUnusableAnnotations(t *testing.T) {
	for name, test := range map[string]struct {
		addresses []string
		why       string
	}{
		"taken":       {[]string{"10.244.1.3/24", "fd00:10:244:1::3/64"}, "10.244.1.3 belongs to pod ns/first"},
		"outside":     {[]string{"10.244.9.3/24", "fd00:10:244:1::9/64"}, "10.244.9.3/24 is not in the node's subnets"},
		"the gateway": {[]string{"10.244.1.1/24", "fd00:10:244:1::9/64"}, "10.244.1.1 is reserved"},
		"one family":  {[]string{"10.244.1.9/24"}, "1 addresses where the node has 2 subnets"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := run(t, dual, nil, nil)
				s.set(pod("first", "u"))
				// It has not started: it gets another address, and its owner is told.
				s.set(pod("second", "u", test.addresses...))
				s.want("second", "u", "10.244.1.4/24 fd00:10:244:1::4/64")
				s.wantReport("second PodAddressReplaced", test.why, "10.244.1.4/24")
				if s.writes != 2 {
					t.Errorf("%d annotations written, want 2", s.writes)
				}
				// It runs with it: it is left alone, and its owner is told.
				third := pod("third", "u", test.addresses...)
				third.Started = true
				s.set(third)
				if _, why := s.addresses("third", "u"); !strings.Contains(why, test.why) {
					t.Errorf("third: %q, want %q", why, test.why)
				}
				s.wantReport("third PodAddressUnusable", test.why, "delete the pod")
				if s.writes != 2 {
					t.Error("the annotation of a running pod was rewritten")
				}
				s.want("first", "u", "10.244.1.3/24 fd00:10:244:1::3/64")
			})
		})
	}
}

func TestMalformedAnnotation(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := run(t, dual, nil, nil)
		p := pod("web", "u")
		p.Problems = []world.Problem{{Field: annotation.PodNetworks.Key(), Message: `"[]": want a JSON object`}}
		s.set(p)
		s.want("web", "u", "10.244.1.3/24 fd00:10:244:1::3/64")
		s.wantReport("web PodAddressReplaced", "want a JSON object")
	})
}

func TestFullSubnet(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := run(t, []string{"10.244.1.0/29"}, nil, nil) // .3 to .6 are for pods
		for k := range 4 {
			s.set(pod(fmt.Sprint("pod-", k), "u"))
		}
		s.set(pod("late", "u"))
		if _, why := s.addresses("late", "u"); !strings.Contains(why, "node subnet 10.244.1.0/29 is full") {
			t.Errorf("late: %q", why)
		}
		s.wantReport("late PodAddressesExhausted", "10.244.1.0/29 is full: 4 addresses")
		late := pod("late", "u")
		late.Labels = map[string]string{"changed": "yes"}
		s.set(late)
		if len(s.reports) != 0 {
			t.Errorf("the same was reported again: %q", s.reports)
		}
		s.remove("pod-1")
		s.want("late", "u", "10.244.1.4/29")
	})
}

// What somebody writes into the annotation of a pod that has addresses changes nothing,
// whether this process gave them to it or found them.
func TestAnnotationChangedByHand(t *testing.T) {
	k := world.PodKey{Namespace: "ns", Name: "web"}
	started := func(addresses ...string) *world.Pod {
		p := pod("web", "u", addresses...)
		p.Started = true
		return p
	}
	for name, begin := range map[string]func(t *testing.T) *station{
		"found": func(t *testing.T) *station {
			return run(t, dual, nil, func(s *station) { s.store.SetPod(started("10.244.1.3/24", "fd00:10:244:1::3/64")) })
		},
		"given": func(t *testing.T) *station {
			s := run(t, dual, nil, nil)
			s.set(pod("web", "u"))
			return s
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := begin(t)
				was := "10.244.1.3/24 fd00:10:244:1::3/64"
				s.want("web", "u", was)
				writes := s.writes
				var own world.PodNetwork
				s.store.Read(func(v world.View) { p, _ := v.Pod(k); own = p.Networks[world.DefaultNetwork] })
				annotated := started()
				annotated.Networks = map[string]world.PodNetwork{world.DefaultNetwork: own}
				s.set(annotated)
				// The second change is seen as the first one was.
				for i, by := range []*world.Pod{started("10.244.1.20/24", "fd00:10:244:1::20/64"), started()} {
					s.set(by)
					s.want("web", "u", was)
					s.wantReport("web PodAddressReplaced", "put back to [10.244.1.3/24")
					if got := s.annotated[k][world.DefaultNetwork].Addresses; s.writes != writes+i+1 || len(got) == 0 || got[0] != netip.MustParsePrefix("10.244.1.3/24") {
						t.Errorf("the annotation was not put back: %v", got)
					}
					other := *by // an event that was on its way before the patch
					other.Labels = map[string]string{"some": fmt.Sprint(i)}
					s.set(&other)
					s.set(annotated)
				}
				if s.writes != writes+2 || len(s.reports) != 0 {
					t.Errorf("%d annotations written, reports %q", s.writes, s.reports)
				}
				if s.used("10.244.1.0/24") != 1 {
					t.Errorf("%d addresses in use, want 1", s.used("10.244.1.0/24"))
				}
				s.remove("web")
				if s.used("10.244.1.0/24") != 0 {
					t.Errorf("%d addresses leaked", s.used("10.244.1.0/24"))
				}
			})
		})
	}
}

func TestNodeSubnetsComeLateAndChange(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := run(t, nil, nil, nil)
		s.set(pod("early", "u"))
		if _, why := s.addresses("early", "u"); !strings.Contains(why, "no pod subnets yet") {
			t.Errorf("early: %q", why)
		}
		s.subnets("10.244.1.0/24")
		synctest.Wait()
		s.want("early", "u", "10.244.1.3/24")
		s.subnets() // the annotation vanishes for a moment
		synctest.Wait()
		s.want("early", "u", "10.244.1.3/24")
		s.subnets("10.244.7.0/24")
		synctest.Wait()
		s.want("early", "u", "10.244.7.3/24")
		s.wantReport("early PodAddressReplaced", "10.244.1.3/24 is not in the node's subnets")
	})
}

// Whatever happens in whichever order, no two pods hold one address, and nothing leaks.
func TestBurst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := run(t, dual, nil, nil)
		for round := range 5 {
			for k := range 100 {
				s.store.SetPod(pod(fmt.Sprint("pod-", k), fmt.Sprint("u", round)))
			}
			synctest.Wait()
			seen := map[string]string{}
			for k := range 100 {
				name := fmt.Sprint("pod-", k)
				got, why := s.addresses(name, fmt.Sprint("u", round))
				if got == "" || seen[got] != "" {
					t.Fatalf("round %d: %s has %q (%s), as %s", round, name, got, why, seen[got])
				}
				seen[got] = name
			}
			if s.used("10.244.1.0/24") != 100 {
				t.Fatalf("%d addresses in use", s.used("10.244.1.0/24"))
			}
		}
		for k := range 100 {
			s.store.DeletePod(world.PodKey{Namespace: "ns", Name: fmt.Sprint("pod-", k)})
		}
		synctest.Wait()
		if s.used("10.244.1.0/24") != 0 || len(s.agent.waiting) != 0 {
			t.Errorf("%d addresses leaked", s.used("10.244.1.0/24"))
		}
	})
}
