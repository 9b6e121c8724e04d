package reach

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/google/go-cmp/cmp"
	networkingv1 "k8s.io/api/networking/v1"

	"github.com/ovnkctl/ovnkctl/internal/trace"
)

// everything is the matrix of the shop.
const everything = `ns/audit ns/audit icmp same
ns/audit shop/app=cart icmp dropped
ns/audit shop/app=db tcp/5432 dropped
ns/audit shop/app=web tcp/8080 dropped
ns/audit shop/app=web udp/8081 dropped
shop/app=cart ns/audit icmp allowed
shop/app=cart shop/app=cart icmp same
shop/app=cart shop/app=db tcp/5432 allowed
shop/app=cart shop/app=web tcp/8080 allowed
shop/app=cart shop/app=web udp/8081 allowed
shop/app=db ns/audit icmp allowed
shop/app=db shop/app=cart icmp allowed
shop/app=db shop/app=db tcp/5432 same
shop/app=db shop/app=web tcp/8080 allowed
shop/app=db shop/app=web udp/8081 allowed
shop/app=web ns/audit icmp allowed
shop/app=web shop/app=cart icmp allowed
shop/app=web shop/app=db tcp/5432 dropped
shop/app=web shop/app=web tcp/8080 allowed
shop/app=web shop/app=web udp/8081 allowed
`

// TestOraclesAgree: on rows that are what the policies say both oracles give one matrix, and
// no warning.
func TestOraclesAgree(t *testing.T) {
	t.Parallel()
	for _, oracle := range []Oracle{OVN, Policies} {
		r := newShop().run(t, Options{Oracle: oracle})
		if d := cmp.Diff(everything, lines(r)); d != "" {
			t.Errorf("%s: %s", oracle, d)
		}
		want := map[trace.Verdict]int{trace.Allowed: 12, trace.Dropped: 5, Same: 3}
		if d := cmp.Diff(want, r.Summary); d != "" || r.Disagreements > 0 {
			t.Errorf("%s: %d disagreements, %s", oracle, r.Disagreements, d)
		}
		for _, c := range r.Cells {
			// The shop's OVN shows one ACL for all denials, which is the NetworkPolicy's.
			if len(c.Problems) > 0 && c.Source != "ns/audit" || c.Error != "" {
				t.Errorf("%s: %s: %q %s", oracle, c.name(), c.Problems, c.Error)
			}
		}
	}
}

// TestDecisions: each denial names its rule, and the nearest that would have allowed it.
func TestDecisions(t *testing.T) {
	t.Parallel()
	for _, oracle := range []Oracle{OVN, Policies} {
		r := newShop().run(t, Options{Oracle: oracle, Sources: []string{"ns/audit", "shop/app=web"}, Destinations: []string{"shop/app=db"}})
		rule, isolated := r.Cells[0].Decision, r.Cells[1].Decision
		if rule.Rule == nil || rule.Rule.String() != "AdminNetworkPolicy audit-stays-out ingress[0] (no-audit)" {
			t.Errorf("%s: %+v", oracle, rule)
		}
		if len(isolated.Isolating) != 1 || len(isolated.Nearest) != 1 || isolated.Nearest[0].Rule.String() != "NetworkPolicy shop/db-from-cart ingress[0]" {
			t.Errorf("%s: %+v", oracle, isolated)
		}
	}
}

func TestSelections(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name string
		o    Options
		want string
	}{
		{"a namespace to a service", Options{Sources: []string{"ns/audit", "ns/shop"}, Destinations: []string{"svc/shop/web"}}, `
ns/audit svc/shop/web tcp/80 dropped
shop/app=cart svc/shop/web tcp/80 allowed
shop/app=db svc/shop/web tcp/80 allowed
shop/app=web svc/shop/web tcp/80 allowed`},
		{"all services", Options{Sources: []string{"cart"}, Destinations: []string{"svc/shop/*"}, Namespace: "shop"}, `
pod/shop/cart svc/shop/db tcp/5432 allowed
pod/shop/cart svc/shop/mail tcp/25 rejected
pod/shop/cart svc/shop/web tcp/80 allowed`},
		{"a port that a service does not have", Options{Sources: []string{"pod/shop/cart"}, Destinations: []string{"svc/shop/web:81"}}, `
pod/shop/cart svc/shop/web:81 tcp/81 rejected`},
		{"labels that no policy looks at", Options{Sources: []string{"shop/pod-template-hash in (web-1, cart)"}, Destinations: []string{"audit/reader"}}, `
shop/pod-template-hash in (web-1, cart),app=cart pod/audit/reader icmp allowed
shop/pod-template-hash in (web-1, cart),app=web pod/audit/reader icmp allowed`},
		{"a lack of a label", Options{Sources: []string{"shop/!app", "*/app=web"}, Destinations: []string{"203.0.113.9"}}, ``},
		{"labels everywhere", Options{Sources: []string{"*/app=web"}, Destinations: []string{"203.0.113.9"}}, `
shop/app=web 203.0.113.9 icmp allowed`},
		{"each pod", Options{Sources: []string{"shop/app=web"}, Destinations: []string{"shop/app=web"}, Each: true, Ports: []string{"http", "udp/dns", "9"}}, `
pod/shop/web-1 pod/shop/web-1 tcp/8080 same
pod/shop/web-1 pod/shop/web-1 udp/8081 same
pod/shop/web-1 pod/shop/web-1 tcp/9 same
pod/shop/web-1 pod/shop/web-2 tcp/8080 allowed
pod/shop/web-1 pod/shop/web-2 tcp/9 allowed
pod/shop/web-2 pod/shop/web-1 tcp/8080 allowed
pod/shop/web-2 pod/shop/web-1 udp/8081 allowed
pod/shop/web-2 pod/shop/web-1 tcp/9 allowed
pod/shop/web-2 pod/shop/web-2 tcp/8080 same
pod/shop/web-2 pod/shop/web-2 tcp/9 same`},
		{"nodes", Options{Sources: []string{"node/n2", "n1", "shop/agent"}, Destinations: []string{"shop/app=db"}}, `
node/n2 shop/app=db tcp/5432 dropped
node/n1 shop/app=db tcp/5432 allowed
pod/shop/agent shop/app=db tcp/5432 allowed`},
		{"no common family", Options{Sources: []string{"pod/shop/cart"}, Destinations: []string{"2001:db8::1"}}, `
pod/shop/cart 2001:db8::1 icmp impossible`},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			c.o.Oracle = Policies
			r, err := Run(t.Context(), newShop(), c.o)
			if c.want == "" {
				if err == nil || !strings.Contains(err.Error(), "it selects no pod") {
					t.Fatal(err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(strings.TrimPrefix(c.want, "\n")+"\n", lines(r)); d != "" {
				t.Error(d)
			}
		})
	}
}

// TestNamesSelectAgain: the names of rows and columns are selectors of the same pods.
func TestNamesSelectAgain(t *testing.T) {
	t.Parallel()
	s := newShop()
	first := s.run(t, Options{Oracle: Policies})
	var names []string
	for _, e := range first.Sources {
		names = append(names, e.Name)
	}
	again := s.run(t, Options{Oracle: Policies, Sources: names, Destinations: names})
	if d := cmp.Diff(lines(first), lines(again)); d != "" {
		t.Error(d)
	}
}

// TestPodsThatOnlyPortsTellApart: rules with named ports can tell pods apart that have the same
// labels; then a name of its own must be found for each group.
func TestPodsThatOnlyPortsTellApart(t *testing.T) {
	t.Parallel()
	s := newShop()
	named := dbFromCart()
	named.Spec.Ingress[0].Ports[0].Port.Type, named.Spec.Ingress[0].Ports[0].Port.StrVal = 1, "dns"
	s.policies.NetworkPolicies = []networkingv1.NetworkPolicy{named}
	r := s.run(t, Options{Oracle: Policies, Sources: []string{"pod/shop/cart"}, Destinations: []string{"shop/app=web"}})
	want := `pod/shop/cart pod/shop/web-2 tcp/8080 allowed
pod/shop/cart shop/app=web tcp/8080 allowed
pod/shop/cart shop/app=web udp/8081 allowed
`
	if d := cmp.Diff(want, lines(r)); d != "" {
		t.Error(d)
	}
}

func TestNotes(t *testing.T) {
	t.Parallel()
	r := newShop().run(t, Options{Oracle: Policies})
	if len(r.Notes) != 1 || !strings.Contains(r.Notes[0], "1 pods of namespace shop have no address yet") {
		t.Errorf("%q", r.Notes)
	}
}

func TestQuestionsThatMakeNoSense(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		o    Options
		want string
	}{
		{Options{Sources: []string{"svc/shop/web"}}, `source: "svc/shop/web": a service does not send packets`},
		{Options{Sources: []string{"ns/none"}}, `source: "ns/none": there is no namespace none`},
		{Options{Sources: []string{"ns/idle"}}, `source: "ns/idle": it selects no pod`},
		{Options{Destinations: []string{"shop"}}, `destination: "shop": no pod or service of that name in namespace default, and no node`},
		{Options{Destinations: []string{"pod/shop/pending"}}, `destination: "pod/shop/pending": no pod of that name in namespace shop has an address`},
		{Options{Destinations: []string{"svc/shop/none"}}, `destination: "svc/shop/none": there is no such service`},
		{Options{Destinations: []string{"node/n9"}}, `destination: "node/n9": there is no such node`},
		{Options{Destinations: []string{"shop/a=b=c"}}, `destination: "shop/a=b=c": `},
		{Options{Destinations: []string{"a/b/c"}}, `destination: "a/b/c": neither a name nor labels nor an address`},
		{Options{Ports: []string{"grpc"}}, `"grpc": no destination has such a port`},
		{Options{Ports: []string{"icmp"}, Destinations: []string{"svc/shop/web"}}, `"icmp": no destination has such a port`},
		{Options{Ports: []string{"tcp/0"}}, `port: "tcp/0": a port is from 1 to 65535`},
		{Options{Ports: []string{"tcp/65536"}}, `port: "tcp/65536": a port is from 1 to 65535`},
		{Options{Ports: []string{"igmp/5"}}, `port: "igmp/5": the protocol is tcp, udp or sctp`},
		{Options{Ports: []string{""}}, `port: "": not a port`},
	} {
		_, err := Run(t.Context(), newShop(), c.o)
		var hint interface{ Hint() string }
		if err == nil || !strings.HasPrefix(err.Error(), c.want) || !errors.As(err, &hint) || hint.Hint() == "" {
			t.Errorf("%+v: %v, want %s, with a hint", c.o, err, c.want)
		}
	}
}

// TestDisagreement: what OVN does is the verdict, and that the policies say another thing is
// told of each cell.
func TestDisagreement(t *testing.T) {
	t.Parallel()
	s := newShop()
	s.does.NetworkPolicies = nil // the nodes have not heard of it
	r := s.run(t, Options{Oracle: OVN, Sources: []string{"shop/app=web"}, Destinations: []string{"shop/app=db"}})
	c := r.Cells[0]
	if c.Verdict != trace.Allowed || c.Policies != trace.Dropped || !strings.Contains(c.Disagreement, "the policies deny it: denied: isolated by NetworkPolicy shop/db-from-cart") || r.Disagreements != 1 {
		t.Errorf("%+v", c)
	}
	s = newShop()
	s.policies.NetworkPolicies = nil // the nodes have rows of what is gone
	r = s.run(t, Options{Oracle: OVN, Sources: []string{"pod/shop/web-1"}, Destinations: []string{"pod/shop/db-0"}})
	c = r.Cells[0]
	if c.Verdict != trace.Dropped || c.Policies != trace.Allowed || !strings.Contains(c.Disagreement, "an ACL of OVN drops the packet, and the policies allow it") {
		t.Errorf("%+v", c)
	}
}

// TestTracesOneByOne: packets are traced one by one where they cannot be traced in one go.
func TestTracesOneByOne(t *testing.T) {
	t.Parallel()
	const asked = 17 // cells of everything with different pods
	for name, change := range map[string]func(*shop){
		"it cannot":     func(s *shop) { s.alone = true },
		"it is too old": func(s *shop) { s.unread["many"] = errors.New("404 page not found") },
	} {
		s := newShop()
		change(s)
		r := s.run(t, Options{Oracle: OVN})
		if d := cmp.Diff(everything, lines(r)); d != "" || s.single != asked || len(s.batches) > 1 {
			t.Errorf("%s: batches of %d, %d alone: %s", name, s.batches, s.single, d)
		}
	}
}

// TestTracesComeTogether: packets that are asked for while others are traced are traced in one
// go, those of connections of one state.
func TestTracesComeTogether(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		started, gate := make(chan struct{}), make(chan struct{})
		s := newShop()
		s.started = func() { started <- struct{}{}; <-gate }
		p := newPool(t.Context(), s)
		z, err := p.Zone(t.Context(), "n1")
		if err != nil {
			t.Fatal(err)
		}
		ask := func(ct string) {
			go func() { _, _ = z.OVNTrace(t.Context(), trace.Request{CT: ct}) }()
			synctest.Wait()
		}
		ask("new")
		<-started
		for range batch + 3 {
			ask("new")
		}
		ask("est,rpl")
		for range 3 {
			gate <- struct{}{}
			<-started
		}
		gate <- struct{}{}
		p.close()
		if d := cmp.Diff([]int{1, batch, 3, 1}, s.batches); d != "" {
			t.Error(d)
		}
	})
}

// TestUnreadNodes: what cannot be asked does not keep the other cells from their answers.
func TestUnreadNodes(t *testing.T) {
	t.Parallel()
	s := newShop()
	s.pod("audit", "far", "10.244.2.5", "")
	s.unread["n2"] = errors.New("its pods do not answer")
	r := s.run(t, Options{Oracle: OVN, Sources: []string{"pod/audit/far", "pod/audit/reader"}, Destinations: []string{"pod/shop/cart"}})
	far, near := r.Cells[0], r.Cells[1]
	if far.Verdict != trace.Unknown || far.Error != "ovn-trace on node n2: its pods do not answer" || near.Verdict != trace.Dropped {
		t.Errorf("%+v, %+v", far, near)
	}
}

// TestInterrupted: what was found until then is there.
func TestInterrupted(t *testing.T) {
	t.Parallel()
	for _, oracle := range []Oracle{OVN, Policies} {
		s := newShop()
		ctx, cancel := context.WithCancel(t.Context())
		s.stop = cancel
		if oracle == Policies {
			cancel()
		}
		r, err := Run(ctx, s, Options{Oracle: oracle})
		if !errors.Is(err, context.Canceled) || r == nil || r.Summary[NotAsked] == 0 || r.Summary[Same] != 3 {
			t.Errorf("%s: %v, %+v", oracle, err, r)
		}
		cancel()
	}
}

func TestProgress(t *testing.T) {
	t.Parallel()
	heard := make(chan string, 100)
	newShop().run(t, Options{Oracle: Policies, Progress: func(done, all int) { heard <- fmt.Sprint(done, "/", all) }})
	if len(heard) != 20 {
		t.Errorf("heard %d times", len(heard))
	}
}
