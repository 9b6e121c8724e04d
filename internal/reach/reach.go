// Package reach says who reaches whom: the matrix of sources, destinations and ports.
//
//	selectors ─> ends: pods that no policy tells apart are one
//	          ─> cells ─┬─ ovn-trace: a trace each, those of one node in one go
//	                    └─ policies:  the reference evaluator, which needs no OVN
//	          ─> matrix ─> differences from what was expected
//
// Each cell has the object and rule that decided. Where ovn-trace is asked the policies are
// asked, too, and a cell in which the two disagree says so.
package reach

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/ovnkctl/ovnkctl/internal/output"
	"github.com/ovnkctl/ovnkctl/internal/policy"
	"github.com/ovnkctl/ovnkctl/internal/trace"
	"github.com/ovnkctl/ovnkctl/internal/world"
)

// Oracle is who answers.
type Oracle string

// The oracles.
const (
	// OVN: ovn-trace, on the rows and flows that the nodes have.
	OVN Oracle = "ovn-trace"
	// Policies: the reference evaluator, on the policies as they are written.
	Policies Oracle = "policies"
)

// Options are a question.
type Options struct {
	// Sources and Destinations are selectors; nil for the pods of all namespaces.
	Sources, Destinations []string
	// Ports are "tcp/80", "80", "http", "icmp"; nil for those that destinations declare.
	Ports []string
	// Namespace is that of selectors without one.
	Namespace string
	// Family is 4 or 6; 0 is the first that both ends have.
	Family int
	// Each asks for each pod, and for each backend of services, instead of one for all that
	// no policy tells apart.
	Each   bool
	Oracle Oracle
	// Declared are the container ports of pods; those that the source does not know are of
	// the objects' ports that have names.
	Declared map[world.PodKey][]world.PodPort
	// EndpointSlices are those of services, where the source's world has none.
	EndpointSlices []*world.EndpointSlice
	// Expected is compared with what is found, if not nil. Without selectors it also says
	// what is asked for.
	Expected *Expected
	// Progress hears how many cells are done, from several goroutines at a time; nil for nobody.
	Progress func(done, all int)
}

// The verdicts that cells have besides those of traces.
const (
	// Same: source and destination are one pod.
	Same trace.Verdict = "Same"
	// Impossible: there is no such packet, as when the ends have no common family.
	Impossible trace.Verdict = "Impossible"
	// NotAsked: the run ended before.
	NotAsked trace.Verdict = "NotAsked"
)

// Result is the matrix.
type Result struct {
	Oracle       Oracle `json:"oracle"`
	Sources      []*End `json:"sources"`
	Destinations []*End `json:"destinations"`
	// Cells are by source, destination and port, in this order.
	Cells []*Cell `json:"cells"`
	// Summary is how many cells have each verdict.
	Summary map[trace.Verdict]int `json:"summary"`
	// Disagreements is how many cells have one.
	Disagreements int `json:"disagreements,omitempty"`
	// Expected is where expectations are from, Differences what is not as they say.
	Expected    string       `json:"expected,omitempty"`
	Differences []Difference `json:"differences,omitempty"`
	Notes       []string     `json:"notes,omitempty"`

	// Style is how text is marked.
	Style output.Style `json:"-"`
}

// Cell is one question with its answer.
type Cell struct {
	Source      string        `json:"source"`
	Destination string        `json:"destination"`
	Port        string        `json:"port"`
	Verdict     trace.Verdict `json:"verdict"`
	// From and To are who was asked for, of those that the ends stand for.
	From string `json:"from,omitempty"`
	To   string `json:"to,omitempty"`
	// Decision is what decided, with the nearest rules that would have allowed a packet that
	// is denied.
	Decision *trace.Decision `json:"decision,omitempty"`
	// Backend is the one of a service that the verdict is about.
	Backend string `json:"backend,omitempty"`
	// Policies is what the policies say where ovn-trace was asked, and they can be asked.
	Policies trace.Verdict `json:"policies,omitempty"`
	// Disagreement says how OVN does another thing than the policies say.
	Disagreement string `json:"disagreement,omitempty"`
	// Problems are what makes the answer uncertain.
	Problems []string `json:"problems,omitempty"`
	// Error is why there is no answer.
	Error string `json:"error,omitempty"`

	ask      question
	expected []*Expectation
}

// Run fills the matrix. When ctx ends before, the result is there with what was found.
func Run(ctx context.Context, s trace.Source, o Options) (*Result, error) {
	c, err := readCluster(ctx, s, o)
	if err != nil {
		return nil, err
	}
	r := &Result{Oracle: o.Oracle}
	if err := c.plan(r, o); err != nil {
		return nil, err
	}
	a := asker{cluster: c, options: o, progress: o.Progress, cells: r.Cells}
	switch o.Oracle {
	case Policies:
		err = a.evaluate(ctx)
	default:
		r.Oracle = OVN
		err = a.trace(ctx, s)
	}
	if err != nil && ctx.Err() == nil {
		return nil, err
	}
	r.Notes = append(r.Notes, c.notes...)
	r.finish(o)
	return r, ctx.Err()
}

// plan decides which cells there are.
func (c *cluster) plan(r *Result, o Options) error {
	if o.Expected != nil && o.Sources == nil && o.Destinations == nil {
		r.Expected = o.Expected.Name
		return c.planExpected(r, o)
	}
	sources, err := c.ends(o.Sources, o, true)
	if err != nil {
		return fmt.Errorf("source: %w", err)
	}
	destinations, err := c.ends(o.Destinations, o, false)
	if err != nil {
		return fmt.Errorf("destination: %w", err)
	}
	columns, err := c.columns(destinations, o.Ports, o.Declared)
	if err != nil {
		return err
	}
	r.Sources, r.Destinations = sources, destinations
	for _, from := range sources {
		for _, to := range columns {
			r.Cells = append(r.Cells, newCell(from, to))
		}
	}
	if len(r.Cells) == 0 {
		return &trace.UnknownError{Text: "reach", Why: "nothing is there to ask: no pod of the cluster has an address yet", Next: "ovnkctl status"}
	}
	return nil
}

// finish counts, and compares with what was expected.
func (r *Result) finish(o Options) {
	r.Summary = map[trace.Verdict]int{}
	for _, c := range r.Cells {
		r.Summary[c.Verdict]++
		if c.Disagreement != "" {
			r.Disagreements++
		}
	}
	if o.Expected != nil {
		r.Expected = o.Expected.Name
		r.Differences = append(r.Differences, o.Expected.compare(r, o)...)
	}
}

// cluster is what selectors choose from.
type cluster struct {
	namespaces []string
	pods       []*world.Pod // that have a network of their own, by namespace and name
	waiting    map[string]int
	services   []*world.Service
	slices     map[world.ServiceKey][]*world.EndpointSlice
	nodes      []*world.Node
	byAddress  map[string]*world.Pod
	host       map[world.PodKey]*world.Pod // pods on their host's network

	evaluator *policy.Evaluator
	likeness  policy.Likeness
	notes     []string
}

func readCluster(ctx context.Context, s trace.Source, o Options) (*cluster, error) {
	w, err := s.World(ctx)
	if err != nil {
		return nil, fmt.Errorf("objects of the cluster: %w", err)
	}
	policies, err := s.Policies(ctx, "")
	if err != nil {
		return nil, fmt.Errorf("policies of the cluster: %w", err)
	}
	c := &cluster{
		waiting: map[string]int{}, slices: map[world.ServiceKey][]*world.EndpointSlice{},
		byAddress: map[string]*world.Pod{}, host: map[world.PodKey]*world.Pod{}, evaluator: policy.New(policies),
	}
	c.likeness = c.evaluator.Likeness()
	if o.Oracle == Policies && domainRules(policies) {
		c.notes = append(c.notes, "rules by domain name match nothing here: only nodes know the addresses of names; without --evaluate they are asked")
	}
	for _, slice := range o.EndpointSlices {
		c.slices[slice.ServiceKey()] = append(c.slices[slice.ServiceKey()], slice)
	}
	known := false
	w.Read(func(v world.View) {
		_, known = v.Network("")
		for n := range v.Namespaces {
			c.namespaces = append(c.namespaces, n.Name)
		}
		for p := range v.Pods {
			c.add(p)
		}
		for s := range v.Services {
			c.services = append(c.services, s)
			if o.EndpointSlices == nil {
				c.slices[s.Key()] = v.Slices(s.Key())
			}
		}
		c.nodes = v.Nodes()
	})
	if !known {
		return nil, errors.New("the default network is not configured")
	}
	slices.Sort(c.namespaces)
	slices.SortFunc(c.pods, func(a, b *world.Pod) int { return compareKeys(a.Namespace, a.Name, b.Namespace, b.Name) })
	slices.SortFunc(c.services, func(a, b *world.Service) int { return compareKeys(a.Namespace, a.Name, b.Namespace, b.Name) })
	return c, nil
}

func (c *cluster) add(p *world.Pod) {
	switch {
	case p.Finished:
	case p.HostNetwork:
		c.host[world.PodKey{Namespace: p.Namespace, Name: p.Name}] = p
	case len(p.Addrs()) == 0 || p.Node == "":
		c.waiting[p.Namespace]++
	default:
		c.pods = append(c.pods, p)
		for _, a := range p.Addrs() {
			c.byAddress[a.String()] = p
		}
	}
}

// domainRules tells whether there are rules by domain name.
func domainRules(c policy.Cluster) bool {
	for _, f := range c.EgressFirewalls {
		for _, r := range f.Spec.Egress {
			if r.To.DNSName != "" {
				return true
			}
		}
	}
	for _, p := range c.AdminNetworkPolicies {
		for _, r := range p.Spec.Egress {
			for _, to := range r.To {
				if len(to.DomainNames) > 0 {
					return true
				}
			}
		}
	}
	for _, p := range c.ClusterNetworkPolicies {
		for _, r := range p.Spec.Egress {
			for _, to := range r.To {
				if len(to.DomainNames) > 0 {
					return true
				}
			}
		}
	}
	return false
}
