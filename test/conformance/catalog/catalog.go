// Package catalog says which of Kubernetes' end-to-end specs run, and why the others do
// not. Nothing is left out silently: a spec that the catalog does not know is an error.
package catalog

import (
	_ "embed"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"sigs.k8s.io/yaml"
)

//go:embed specs.yaml
var committed []byte

// SIG is the part of every spec's name that makes it the catalog's business.
const SIG = "[sig-network]"

// Catalog is the whole list.
type Catalog struct {
	Groups     []Group     `json:"groups"`
	Selections []Group     `json:"selections"`
	Exclusions []Exclusion `json:"exclusions"`
}

// Group is a set of specs that run together. A spec belongs to the first group that has
// it; selections take specs of any group.
type Group struct {
	Name  string    `json:"name"`
	About string    `json:"about"`
	Nodes int       `json:"nodes,omitempty"` // that the cluster must have
	Specs []Pattern `json:"specs"`
}

// Exclusion is why specs do not run.
type Exclusion struct {
	Spec   Pattern `json:"spec"`
	Reason string  `json:"reason"`
	// Unless is something that machines may have (see bin/sandbox status); with it the
	// specs run.
	Unless string `json:"unless,omitempty"`
	// Families is "single" for what only dual-stack clusters can do.
	Families string `json:"families,omitempty"`
}

// Pattern is a regular expression on a spec's name.
type Pattern struct{ *regexp.Regexp }

// UnmarshalText compiles it.
func (p *Pattern) UnmarshalText(text []byte) error {
	re, err := regexp.Compile(string(text))
	p.Regexp = re
	return err
}

// MarshalText is its source.
func (p Pattern) MarshalText() ([]byte, error) { return []byte(p.String()), nil }

// Committed is the catalog of this repository.
func Committed() (*Catalog, error) { return Parse(committed) }

// Parse reads a catalog.
func Parse(text []byte) (*Catalog, error) {
	c := &Catalog{}
	if err := yaml.UnmarshalStrict(text, c); err != nil {
		return nil, fmt.Errorf("catalog of specs: %w", err)
	}
	names := map[string]bool{"": true}
	for _, g := range slices.Concat(c.Groups, c.Selections) {
		if names[g.Name] || len(g.Specs) == 0 || g.About == "" {
			return nil, fmt.Errorf("catalog of specs: group %q needs a name of its own, specs, and what it is about", g.Name)
		}
		names[g.Name] = true
	}
	for _, e := range c.Exclusions {
		if e.Spec.Regexp == nil || e.Reason == "" || (e.Families != "" && e.Families != "single") {
			return nil, fmt.Errorf("catalog of specs: exclusion %+v needs a spec and a reason", e)
		}
	}
	return c, nil
}

// Environment is what decides about conditional exclusions.
type Environment struct {
	DualStack bool
	Cannot    []string // what the machine lacks
}

// Excluded is a spec that does not run.
type Excluded struct{ Spec, Reason string }

// Plan is what a run does.
type Plan struct {
	Run      map[string][]string // specs by group
	Excluded []Excluded
}

// Plan sorts the specs of a version of Kubernetes into groups.
func (c *Catalog) Plan(specs []string, env Environment) (*Plan, error) {
	p := &Plan{Run: map[string][]string{}}
	used := map[*regexp.Regexp]bool{}
	var unknown []string
	for _, spec := range specs {
		if !strings.Contains(spec, SIG) {
			continue
		}
		group, grouped := first(c.Groups, spec, used)
		reason := c.excluded(spec, env, used)
		switch {
		case reason != "":
			p.Excluded = append(p.Excluded, Excluded{spec, reason})
		case grouped:
			p.Run[group] = append(p.Run[group], spec)
			for i := range c.Selections {
				if name, ok := first(c.Selections[i:i+1], spec, used); ok {
					p.Run[name] = append(p.Run[name], spec)
				}
			}
		default:
			unknown = append(unknown, spec)
		}
	}
	if len(unknown) > 0 {
		return nil, fmt.Errorf("specs that are in no group and not excluded: put them into test/conformance/catalog/specs.yaml:\n  %s", strings.Join(unknown, "\n  "))
	}
	return p, c.stale(used)
}

// first is the first group that has a spec. Each pattern that matches counts as used.
func first(groups []Group, spec string, used map[*regexp.Regexp]bool) (name string, ok bool) {
	for _, g := range groups {
		for _, p := range g.Specs {
			if p.MatchString(spec) {
				used[p.Regexp] = true
				if !ok {
					name, ok = g.Name, true
				}
			}
		}
	}
	return name, ok
}

func (c *Catalog) excluded(spec string, env Environment, used map[*regexp.Regexp]bool) (reason string) {
	for _, e := range c.Exclusions {
		if !e.Spec.MatchString(spec) {
			continue
		}
		used[e.Spec.Regexp] = true
		applies := (e.Unless == "" || slices.Contains(env.Cannot, e.Unless)) && (e.Families == "" || !env.DualStack)
		if applies && reason == "" {
			reason = e.Reason
		}
	}
	return reason
}

// stale: a pattern that matches nothing hides that a spec has another name by now.
func (c *Catalog) stale(used map[*regexp.Regexp]bool) error {
	var patterns []string
	add := func(p Pattern) {
		if !used[p.Regexp] {
			patterns = append(patterns, p.String())
		}
	}
	for _, e := range c.Exclusions {
		add(e.Spec)
	}
	for _, g := range c.Groups {
		for _, p := range g.Specs {
			add(p)
		}
	}
	if len(patterns) == 0 {
		return nil
	}
	return fmt.Errorf("patterns that match no spec: take them out of test/conformance/catalog/specs.yaml:\n  %s", strings.Join(patterns, "\n  "))
}

// Group finds a group or a selection.
func (c *Catalog) Group(name string) (Group, error) {
	var names []string
	for _, g := range slices.Concat(c.Groups, c.Selections) {
		if g.Name == name {
			return g, nil
		}
		names = append(names, g.Name)
	}
	return Group{}, fmt.Errorf("group %q: the groups are %s", name, strings.Join(names, ", "))
}

// Focus is a regular expression that matches exactly these specs in what ginkgo compares
// it with: the suite's name, a blank, and the spec's.
func Focus(specs []string) string {
	quoted := make([]string, len(specs))
	for i, s := range specs {
		quoted[i] = regexp.QuoteMeta(s)
	}
	return "^[^[]* (" + strings.Join(quoted, "|") + ")$"
}

// GroupOf is the group of a spec, empty for none. It does not look at exclusions.
func (c *Catalog) GroupOf(spec string) string {
	name, _ := first(c.Groups, spec, map[*regexp.Regexp]bool{})
	return name
}
