package diagnose

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"

	"github.com/ovnkctl/ovnkctl/internal/inspect"
	"github.com/ovnkctl/ovnkctl/internal/output"
	"github.com/ovnkctl/ovnkctl/internal/runtime/repair"
)

const repairKind = "Repair"

// RepairReport is what the programs of nodes were asked to look at again, and what is found
// after they did.
type RepairReport struct {
	output.Meta
	// Asked are in order of nodes, features and keys.
	Asked []Repaired `json:"asked"`
	// Before is how many findings there were before.
	Before int `json:"before"`
	// After is what is found now.
	After *Report `json:"after"`
}

// Repaired is one thing that a node's program looked at again.
type Repaired struct {
	Node string `json:"node"`
	// Feature and Key name rows of the node's databases; both are empty for the host.
	Feature string        `json:"feature,omitempty"`
	Key     string        `json:"key,omitempty"`
	Result  repair.Result `json:"result"`
	// Why is why it is not done.
	Why string `json:"why,omitempty"`
}

// RepairDocument is an empty report, for its schema.
func RepairDocument() any { return &RepairReport{Meta: output.Kind(repairKind), After: &Report{}} }

// ExitCode implements output.Coded.
func (r *RepairReport) ExitCode() int {
	if code := r.After.ExitCode(); code != output.OK {
		return code
	}
	if r.done() < len(r.Asked) {
		return output.Partial
	}
	return output.OK
}

func (r *RepairReport) done() int {
	n := 0
	for i := range r.Asked {
		if r.Asked[i].Result == repair.Done {
			n++
		}
	}
	return n
}

// Text implements output.Textual.
func (r *RepairReport) Text(w io.Writer, s output.Style, wide bool) error {
	p := &output.Printer{W: w}
	for i := range r.Asked {
		a := &r.Asked[i]
		what := "the host"
		if a.Feature != "" {
			what = a.Feature + " of " + a.Key
		}
		line := fmt.Sprintf("node %s: %s: %s", a.Node, what, a.Result)
		if a.Why != "" {
			line += ": " + a.Why
		}
		p.Line("%s", line)
	}
	if len(r.Asked) == 0 {
		p.Line("nothing to repair")
	} else {
		p.Line("%d of %d done; findings: %d before, %d now", r.done(), len(r.Asked), r.Before, len(r.After.Findings))
	}
	if len(r.After.Findings) > 0 || len(r.After.Problems) > 0 {
		p.Line("")
		if p.Err == nil {
			p.Err = r.After.Text(w, s, wide)
		}
	}
	return p.Err
}

// Names implements output.Named: the objects that findings are about still.
func (r *RepairReport) Names() []string { return r.After.Names() }

// request is what is asked of one node.
type request struct {
	node string
	repair.Request
}

// requests are what the findings, and what they explain, would have looked at again.
func requests(findings []Finding) []request {
	byNode := map[string]*request{}
	add := func(node string, t target) {
		if node == "" || t == (target{}) {
			return
		}
		r := byNode[node]
		if r == nil {
			r = &request{node: node}
			byNode[node] = r
		}
		if k := (repair.Key{Feature: t.feature, Key: t.key}); t.host {
			r.Host = true
		} else if !slices.Contains(r.Keys, k) {
			r.Keys = append(r.Keys, k)
		}
	}
	for i := range findings {
		f := &findings[i]
		add(f.Node, f.repair)
		for _, x := range f.Explains {
			add(x.Node, x.repair)
		}
	}
	var out []request
	for _, r := range byNode {
		slices.SortFunc(r.Keys, func(a, b repair.Key) int { return cmp.Or(cmp.Compare(a.Feature, b.Feature), cmp.Compare(a.Key, b.Key)) })
		out = append(out, *r)
	}
	slices.SortFunc(out, func(a, b request) int { return cmp.Compare(a.node, b.node) })
	return out
}

// describe says what is about to be asked.
func describe(list []request) string {
	keys, hosts := 0, 0
	for _, r := range list {
		keys += len(r.Keys)
		if r.Host {
			hosts++
		}
	}
	what := output.Counted(keys, "key")
	if hosts > 0 {
		what += " and " + output.Counted(hosts, "host")
	}
	return fmt.Sprintf("The programs of %s are to look again at %s, and to put them right.", output.Counted(len(list), "node"), what)
}

// ErrNotRepaired says that nobody wanted it.
var ErrNotRepaired = errors.New("nothing was repaired")

// Repair looks for what is wrong, has the nodes' programs look again at what two looks found
// to have drifted, and looks anew. confirm is asked before, with what was found; nil is for yes.
func Repair(ctx context.Context, o Options, confirm func(before *Report, what string) (bool, error)) (*RepairReport, error) {
	before, err := Look(ctx, o)
	if err != nil {
		return nil, err
	}
	out := &RepairReport{Meta: output.Kind(repairKind), Asked: []Repaired{}, Before: len(before.Findings), After: before}
	list := requests(before.Findings)
	if len(list) == 0 {
		return out, nil
	}
	if confirm != nil {
		if yes, err := confirm(before, describe(list)); err != nil || !yes {
			return nil, cmp.Or(err, ErrNotRepaired)
		}
	}
	if out.Asked, err = o.ask(ctx, list); err != nil {
		return nil, err
	}
	out.After, err = Look(ctx, o)
	return out, err
}

// ask asks all nodes at once.
func (o *Options) ask(ctx context.Context, list []request) ([]Repaired, error) {
	s, err := o.Open(ctx)
	if err != nil {
		return nil, err
	}
	defer s.Close() //nolint:errcheck // only asked
	answers := make([][]Repaired, len(list))
	var all sync.WaitGroup
	for i, r := range list {
		all.Go(func() { answers[i] = r.ask(ctx, s.Node(r.node)) })
	}
	all.Wait()
	return slices.Concat(answers...), ctx.Err()
}

// repairCommand is the program in a node's pod that asks the one that keeps the node.
var repairCommand = []string{"/usr/bin/ovnkctl", "run", "repair", "--config=/etc/ovnkctl/config.yaml"}

// keysPerCall bounds the length of a command line.
const keysPerCall = 100

// ask asks one node. What it does not answer is not done, and one that does not answer is not
// asked for the rest.
func (r *request) ask(ctx context.Context, n *inspect.Node) []Repaired {
	chunks := slices.Collect(slices.Chunk(r.Keys, keysPerCall))
	if len(chunks) == 0 {
		chunks = append(chunks, nil)
	}
	var out []Repaired
	var err error
	for i, keys := range chunks {
		ask, answer := repair.Request{Keys: keys, Host: r.Host && i == len(chunks)-1}, repair.Answer{}
		if err == nil {
			answer, err = exchange(ctx, n, ask)
		}
		out = append(out, r.outcomes(ask, answer, err)...)
	}
	return out
}

// outcomes are what came of all that was asked for.
func (r *request) outcomes(ask repair.Request, answer repair.Answer, err error) []Repaired {
	silent := Repaired{Node: r.node, Result: repair.Failed, Why: "the node's program says nothing of it"}
	if err != nil {
		silent.Why = err.Error() + "; 'ovnkctl diagnose' tells what is wrong with the node"
	}
	var out []Repaired
	for _, k := range ask.Keys {
		x := silent
		x.Feature, x.Key = k.Feature, k.Key
		if i := slices.IndexFunc(answer.Keys, func(o repair.Outcome) bool { return o.Key == k }); i >= 0 {
			x.Result, x.Why = answer.Keys[i].Result, answer.Keys[i].Why
		}
		out = append(out, x)
	}
	if ask.Host {
		x := silent
		if answer.Host != nil {
			x.Result, x.Why = answer.Host.Result, answer.Host.Why
		}
		out = append(out, x)
	}
	return out
}

func exchange(ctx context.Context, n *inspect.Node, ask repair.Request) (repair.Answer, error) {
	text, err := json.Marshal(ask)
	if err != nil {
		return repair.Answer{}, err
	}
	said, err := n.Exec(ctx, "ovnkube-controller", append(slices.Clone(repairCommand), string(text))...)
	if err != nil {
		return repair.Answer{}, err
	}
	var answer repair.Answer
	if said.Code != 0 || json.Unmarshal(said.Stdout, &answer) != nil {
		stderr, _, _ := strings.Cut(strings.TrimPrefix(strings.TrimSpace(string(said.Stderr)), "ovnkctl: "), "\n")
		return repair.Answer{}, errors.New(cmp.Or(stderr, strings.TrimSpace(string(said.Stdout)), fmt.Sprintf("exit code %d", said.Code)))
	}
	return answer, nil
}
