package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/ovnkctl/ovnkctl/test/conformance/catalog"
	"github.com/ovnkctl/ovnkctl/test/conformance/policyapi"
	"github.com/ovnkctl/ovnkctl/test/conformance/report"
)

// outcome is what was to run, and what came of it.
type outcome struct {
	wanted   map[string][]string // by group
	excluded map[string]string   // with reasons
	results  []report.Result
	facts    []report.Fact
}

// run does everything, from the lists of specs to the report.
func (c config) run(ctx context.Context) error {
	box := sandbox{program: c.sandbox}
	status, err := box.status(ctx)
	if err != nil {
		return err
	}
	o := &outcome{wanted: map[string][]string{}, excluded: map[string]string{}}
	kubernetes, versions, about := c.sources()
	rounds, err := c.kubernetes(ctx, box, status, kubernetes, o)
	if err != nil {
		return err
	}
	suites, err := c.suites(ctx, status, versions, o)
	if err != nil {
		return err
	}
	if describe(o, rounds); c.plan {
		return nil
	}
	facts, err := box.facts(ctx, status)
	if err != nil {
		return err
	}
	start := time.Now()
	problems := errors.Join(c.runRounds(ctx, box, rounds, o), c.runSuites(ctx, box, suites, o))
	r := report.New(title(c.name), o.wanted, o.excluded, o.results)
	r.About, r.Took, r.Facts = about, time.Since(start), append(facts, o.facts...)
	if err := c.write(r); err != nil {
		return errors.Join(problems, err)
	}
	fmt.Printf("\n%s: %d passed, %d did not, %d excluded\n", c.file(".md"), r.Count(report.Passed),
		r.Count(report.Failed, report.Skipped, report.Missing), r.Count(report.Excluded))
	if !r.Good() {
		problems = errors.Join(problems, errNotConformant)
	}
	return problems
}

// sources tells the groups of Kubernetes' specs from the suites of other projects, and says
// what the report is about.
func (c config) sources() (kubernetes []string, versions []policyapi.Version, about string) {
	var parts []string
	for _, g := range c.groups {
		i := slices.IndexFunc(policyapi.Versions, func(v policyapi.Version) bool { return suiteGroup(v) == g })
		if i < 0 {
			kubernetes = append(kubernetes, g)
		} else {
			versions = append(versions, policyapi.Versions[i])
		}
	}
	if len(kubernetes) > 0 {
		parts = append(parts, "Kubernetes' own end-to-end specs")
	}
	if len(versions) > 0 {
		parts = append(parts, "The conformance suites of sigs.k8s.io/network-policy-api")
	}
	return kubernetes, versions, strings.Join(parts, ". ") + " against the sandbox: each once, without retries."
}

// kubernetes plans the groups of Kubernetes' specs.
func (c config) kubernetes(ctx context.Context, box sandbox, status status, groups []string, o *outcome) ([]round, error) {
	if len(groups) == 0 {
		return nil, nil
	}
	list, err := catalog.Committed()
	if err != nil {
		return nil, err
	}
	specs, err := box.specs(ctx)
	if err != nil {
		return nil, err
	}
	plan, err := list.Plan(specs, catalog.Environment{DualStack: status.Family == "dual", Cannot: status.cannot()})
	if err != nil {
		return nil, err
	}
	rounds, err := rounds(list, plan, groups, len(status.Nodes))
	if err != nil {
		return nil, err
	}
	for _, r := range rounds {
		maps.Copy(o.wanted, r.specs)
	}
	maps.Copy(o.excluded, excluded(list, plan, groups))
	return rounds, nil
}

// title is the head of a report.
func title(name string) string {
	return "Conformance: " + name
}

// round is groups that run at once, on a number of nodes.
type round struct {
	nodes int
	specs map[string][]string // by group
}

// rounds puts the groups that need no more nodes than there are into one run, and those
// that need more into runs of their own, the smallest first.
func rounds(list *catalog.Catalog, plan *catalog.Plan, groups []string, nodes int) ([]round, error) {
	by := map[int]round{}
	for _, name := range groups {
		g, err := list.Group(name)
		if err != nil {
			return nil, err
		}
		if len(plan.Run[name]) == 0 {
			fmt.Printf("group %s: no spec of it can run here\n", name)
			continue
		}
		n := max(nodes, g.Nodes)
		if by[n].specs == nil {
			by[n] = round{nodes: n, specs: map[string][]string{}}
		}
		by[n].specs[name] = plan.Run[name]
	}
	var out []round
	for _, n := range slices.Sorted(maps.Keys(by)) {
		out = append(out, by[n])
	}
	if len(out) == 0 {
		return nil, errors.New("there is nothing to run")
	}
	return out, nil
}

// excluded are the excluded specs that a report speaks of: those that one of its groups
// would have, and with the services those of no group, as of cloud providers.
func excluded(list *catalog.Catalog, plan *catalog.Plan, groups []string) map[string]string {
	out := map[string]string{}
	for _, e := range plan.Excluded {
		group := list.GroupOf(e.Spec)
		if group == "" {
			group = "services"
		}
		if slices.Contains(groups, group) {
			out[e.Spec] = e.Reason
		}
	}
	return out
}

func describe(o *outcome, rounds []round) {
	for _, r := range rounds {
		for _, name := range slices.Sorted(maps.Keys(r.specs)) {
			fmt.Printf("group %s: %d specs on %d nodes\n", name, len(r.specs[name]), r.nodes)
		}
	}
	fmt.Printf("excluded: %d\n", len(o.excluded))
	for _, spec := range slices.Sorted(maps.Keys(o.excluded)) {
		fmt.Printf("  %s\n    %s\n", spec, o.excluded[spec])
	}
}

// runRounds runs all, whatever fails.
func (c config) runRounds(ctx context.Context, box sandbox, rounds []round, o *outcome) error {
	var problems error
	for i, r := range rounds {
		added, err := box.grow(ctx, r.nodes)
		if err == nil {
			var some []report.Result
			some, err = c.runRound(ctx, box, i, r)
			o.results = append(o.results, some...)
		}
		// Also after Ctrl-C: the sandbox is left as it was found.
		problems = errors.Join(problems, err, box.shrink(context.WithoutCancel(ctx), added))
	}
	return problems
}

func (c config) runRound(ctx context.Context, box sandbox, i int, r round) ([]report.Result, error) {
	if err := os.MkdirAll(c.logs, 0o755); err != nil {
		return nil, err
	}
	var specs []string
	for _, name := range slices.Sorted(maps.Keys(r.specs)) {
		specs = append(specs, r.specs[name]...)
	}
	kept := filepath.Join(c.logs, fmt.Sprintf("%s-%d", c.name, i+1))
	fmt.Printf("running %d specs on %d nodes; log: %s.log\n", len(specs), r.nodes, kept)
	ranErr := box.e2e(ctx, kept+".log", catalog.Focus(specs), c.procs, c.timeout)
	data, err := os.ReadFile(filepath.Join(c.state, "report.json"))
	if err != nil {
		return nil, errors.Join(ranErr, fmt.Errorf("the tests left no report: %w", err))
	}
	if err := os.WriteFile(kept+".json", data, 0o644); err != nil {
		return nil, err
	}
	results, err := report.Ginkgo(data)
	if err == nil && ranErr != nil && !slices.ContainsFunc(results, func(r report.Result) bool { return r.State != report.Passed }) {
		err = ranErr // it failed, but no spec did
	}
	return results, err
}

func (c config) write(r *report.Report) error {
	if err := os.MkdirAll(c.out, 0o755); err != nil {
		return err
	}
	junit, err := r.JUnit()
	if err != nil {
		return err
	}
	for file, text := range map[string][]byte{c.file(".md"): []byte(r.Markdown()), c.file(".xml"): junit} {
		if strings.Contains(string(text), "/root/") || strings.Contains(string(text), "/home/") {
			return fmt.Errorf("%s would name a path of this machine", file)
		}
		if err := os.WriteFile(file, text, 0o644); err != nil {
			return err
		}
	}
	return nil
}
