//go:build e2e

package e2e

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"

	"github.com/ovnkctl/ovnkctl/internal/explain"
	"github.com/ovnkctl/ovnkctl/internal/inspect"
	"github.com/ovnkctl/ovnkctl/internal/trace"
	"github.com/ovnkctl/ovnkctl/test/sandbox/netspace"
)

const (
	// truthRounds is how often policies are made anew.
	truthRounds = 3
	// questionsOfRound are chosen among some 800 packets: each is a stream to a node and up to
	// four traces there, and other tests want the machine, too.
	questionsOfRound = 210
	// silence is when a packet without an answer counts as dropped; the sandbox answers
	// within milliseconds.
	silence = 2 * time.Second
	// packetsAtOnce is far below what makes the two cores of a small machine lose packets.
	packetsAtOnce = 48
)

// truthSeed makes the policies and chooses the packets; a failure prints it.
var truthSeed = flag.Uint64("truth-seed", 20261123, "makes the policies and chooses the packets of the test of trace")

// place is somewhere that packets come from.
type place struct {
	name  string // as trace takes it; empty for the host outside, which has an address alone
	netns string
	pod   *corev1.Pod // nil for hosts
}

// question is a packet, for trace and for the network.
type question struct {
	from     *place
	to       string // as trace takes it
	via      string // the node that gets it from outside
	at       netip.AddrPort
	protocol trace.Protocol
	// receiver is who gets it in the end, if it gets through and if only one can: for the rules
	// that it meets. port is the receiver's.
	receiver *corev1.Pod
	port     uint16
}

func (q question) String() string {
	from := q.from.name
	if from == "" {
		from = "outside"
	}
	return fmt.Sprintf("%s to %s (%s %s)", from, q.to, q.protocol, q.at)
}

// options are the question for trace.
func (q question) options() trace.Options {
	o := trace.Options{Source: q.from.name, Destination: q.to, Protocol: q.protocol, Family: 4, Via: q.via}
	if q.at.Addr().Is6() {
		o.Family = 6
	}
	if q.from.name == "" {
		o.Source = outsideAddress(q.at.Addr()).String()
	}
	if q.protocol != trace.ICMP {
		o.Port = fmt.Sprint(q.at.Port())
	}
	return o
}

// truth is a crowd of pods and services.
type truth struct {
	*cluster
	spaces    []string
	pods      []*corev1.Pod // two on each node of a namespace's, and hosts those of hosts
	hosts     []*corev1.Pod
	places    []*place
	questions []question
}

// TestTraceTellsTheTruth: what trace says of packets is what becomes of them, and of what is
// dropped it names an object whose row did it.
func TestTraceTellsTheTruth(t *testing.T) {
	c := &truth{cluster: open(t)}
	c.crowd(t)
	c.ask(t)
	all := c.questions
	random := rand.New(rand.NewPCG(*truthSeed, 0))
	for round := range truthRounds {
		t.Run(fmt.Sprintf("round %d", round), func(t *testing.T) {
			if round > 0 { // the first has none
				c.policies(t, random)
			}
			c.inForce(t)
			random.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
			c.questions = all[:min(len(all), questionsOfRound)]
			began := time.Now()
			verdicts, wrong := c.compare(t.Context())
			for _, err := range wrong {
				t.Errorf("%v (seed %d)", err, *truthSeed)
			}
			t.Logf("%d packets, %d disagree, after %s: %v", len(c.questions), len(wrong), time.Since(began).Round(time.Millisecond), verdicts)
			if round > 0 && (verdicts[trace.Dropped] == 0 || verdicts[trace.Allowed] == 0) {
				t.Errorf("the policies of this round say nothing: %v", verdicts)
			}
		})
	}
}

// inForce waits until what the API server has holds for packets: the rows are those that the
// objects ask for, the switches have their flows, and have looked at the packets they know.
func (c *truth) inForce(t *testing.T) {
	t.Helper()
	until(t, "the databases are what the objects ask for", func(ctx context.Context) error {
		found, err := c.diagnose(ctx)
		for _, f := range found {
			for _, told := range append(f.Explains, f.told) {
				if strings.HasPrefix(told.Code, "OVNK-DRIFT-") {
					err = errors.Join(err, errors.New(told.String()))
				}
			}
		}
		return err
	})
	for _, node := range c.nodes(t) {
		for _, step := range []struct {
			app, container string
			argv           []string
		}{
			{"ovnkube-node", "nb-ovsdb", []string{"ovn-nbctl", "--timeout=60", "--wait=hv", "sync"}},
			{"ovs-node", "ovs-daemons", []string{"ovs-appctl", "-t", "ovs-vswitchd", "revalidator/wait"}},
		} {
			pod, err := c.systemPod(t.Context(), step.app, node)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := c.exec(t.Context(), pod, step.container, nil, step.argv...); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// compare asks trace and the network everything once, and says where they differ.
func (c *truth) compare(ctx context.Context) (verdicts map[trace.Verdict]int, wrong []error) {
	s, err := inspect.Connect(inspect.LiveConfig{REST: c.rest, Namespace: system})
	if err != nil {
		return nil, []error{err}
	}
	defer s.Close() //nolint:errcheck // only read
	tracer, err := trace.NewTracer(ctx, trace.FromSnapshot(s))
	if err != nil {
		return nil, []error{err}
	}
	fates := c.fates(ctx)
	verdicts = map[trace.Verdict]int{}
	var mu sync.Mutex
	var g errgroup.Group
	g.SetLimit(4) // each is a stream and an ovn-trace
	for i, q := range c.questions {
		g.Go(func() error {
			r, err := tracer.Run(ctx, q.options())
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				wrong = append(wrong, fmt.Errorf("%s: %w", q, err))
				return nil
			}
			verdicts[r.Verdict]++
			if !agree(r.Verdict, fates[i]) {
				wrong = append(wrong, fmt.Errorf("%s: trace says %s (%s), and the packet was %s", q, r.Verdict, r.Paths[0].Decision.Text, fates[i]))
			} else if err := errors.Join(named(r), c.decided(ctx, tracer, q, r)); err != nil {
				wrong = append(wrong, fmt.Errorf("%s: %w", q, err))
			}
			return nil
		})
	}
	_ = g.Wait()
	for _, p := range s.Problems() {
		wrong = append(wrong, p)
	}
	return verdicts, wrong
}

// agree tells whether a packet's fate is what trace says. Whether nobody got it or somebody
// dropped it cannot be seen from where it was sent.
func agree(v, fate trace.Verdict) bool {
	return v == fate || v == trace.Unreachable && fate == trace.Dropped
}

// named says what is wrong with the names of those that dropped a packet: the row must be of
// the rule's policy, or of the namespace that policies isolate pods of.
func named(r *trace.Result) error {
	d := r.Paths[0].Decision
	switch {
	case len(r.Paths[0].Problems) > 0:
		return errors.New(strings.Join(r.Paths[0].Problems, "; "))
	case r.Verdict != trace.Dropped || !strings.Contains(d.Stage, "_acl"):
		return nil
	case d.Row == nil:
		return fmt.Errorf("dropped, and no row is named: %s", d.Text)
	case d.Rule != nil && d.Row.Object != d.Rule.Object:
		return fmt.Errorf("dropped by rule %s, and the row is of %s", d.Rule, d.Row.Object)
	case d.Rule == nil && (len(d.Isolating) == 0 || d.Row.Object != explain.Object{Kind: "Namespace", Name: d.Isolating[0].Namespace}):
		return fmt.Errorf("dropped by %s, isolated by %v", d.Row, d.Isolating)
	}
	return nil
}

// fates sends all packets and says what became of them.
func (c *truth) fates(ctx context.Context) []trace.Verdict {
	out := make([]trace.Verdict, len(c.questions))
	var g errgroup.Group
	g.SetLimit(packetsAtOnce)
	for i, q := range c.questions {
		g.Go(func() error {
			err := netspace.DoIn(q.from.netns, func() error { return send(ctx, q) })
			switch {
			case err == nil:
				out[i] = trace.Allowed
			case errors.Is(err, syscall.ECONNREFUSED):
				out[i] = trace.Rejected
			default:
				out[i] = trace.Dropped
			}
			return nil
		})
	}
	_ = g.Wait()
	return out
}
