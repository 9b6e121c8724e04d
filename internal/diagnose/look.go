package diagnose

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/ovnkctl/ovnkctl/internal/config"
	"github.com/ovnkctl/ovnkctl/internal/inspect"
	"github.com/ovnkctl/ovnkctl/internal/output"
	"github.com/ovnkctl/ovnkctl/internal/runtime/feature"
)

// Options say what to look for, and where.
type Options struct {
	// Open opens the source; a live one is opened twice.
	Open func(context.Context) (*inspect.Snapshot, error)
	// Features are those that the nodes run.
	Features func(*config.Config) []feature.Feature
	// Select are codes and areas of checks; none for all.
	Select []string
	// FailOn is the least severity that the exit code tells of; empty for none.
	FailOn Severity
	// Again is how long after a first look with findings the second one is.
	Again time.Duration
	Now   func() time.Time
}

// SecondLook is the usual Options.Again: longer than a change takes from the API server to
// the flows of a node.
const SecondLook = 3 * time.Second

// Look looks for what is wrong. A live cluster changes while it is read, the API server's
// objects and the databases at different moments: what is found there counts if a second
// look finds it, too.
func Look(ctx context.Context, o Options) (*Report, error) {
	checks, err := Select(o.Select)
	if err != nil {
		return nil, err
	}
	first, origin, err := o.look(ctx, checks)
	if err != nil || origin.Kind != inspect.Live || len(first.Findings) == 0 {
		return first, err
	}
	select {
	case <-ctx.Done():
		return nil, ctx.Err()
	case <-time.After(o.Again):
	}
	second, _, err := o.look(ctx, checks)
	if err != nil {
		return nil, err
	}
	second.Findings = both(first.Findings, second.Findings)
	return second, nil
}

func (o *Options) look(ctx context.Context, checks []*Check) (*Report, inspect.Origin, error) {
	s, err := o.Open(ctx)
	if err != nil {
		return nil, inspect.Origin{}, err
	}
	defer s.Close() //nolint:errcheck // only read
	now := o.Now()
	c, err := Read(ctx, s, ReadOptions{Features: o.Features, Now: now, Flows: slices.Contains(checks, flowDrift)})
	if err != nil {
		return nil, inspect.Origin{}, err
	}
	r := &Report{
		Meta: output.Kind(reportKind), Source: s.Origin(), Time: c.Now.UTC(), Result: *Run(c, checks), Problems: s.Problems(), failOn: o.FailOn,
	}
	for _, n := range c.Nodes {
		r.Nodes = append(r.Nodes, n.Name)
	}
	return r, s.Origin(), nil
}

// alike tells whether two looks found the same; what exactly is wrong may have become different.
func alike(a, b *Finding) bool {
	return a.Code == b.Code && a.Node == b.Node && a.repair == b.repair && (a.Object == nil) == (b.Object == nil) && (a.Object == nil || *a.Object == *b.Object)
}

// both are the findings of the second look that the first one has, too.
func both(first, second []Finding) []Finding {
	out := []Finding{}
	for i := range second {
		if slices.ContainsFunc(first, func(f Finding) bool { return alike(&f, &second[i]) }) {
			out = append(out, second[i])
		}
	}
	return out
}

// Select are the checks of codes and areas, in the order of All; without any those that do not
// have to be asked for.
func Select(words []string) ([]*Check, error) {
	if len(words) == 0 {
		return slices.DeleteFunc(All(), func(c *Check) bool { return c.asked }), nil
	}
	wanted := map[string]bool{}
	for _, w := range words {
		known := false
		for _, c := range All() {
			if strings.EqualFold(c.Code, w) || strings.EqualFold(c.Area(), w) {
				wanted[c.Code], known = true, true
			}
		}
		if !known {
			return nil, unknownCheck(w)
		}
	}
	return slices.DeleteFunc(All(), func(c *Check) bool { return !wanted[c.Code] }), nil
}

// Areas are what checks are about.
func Areas() []string {
	var out []string
	for _, c := range All() {
		if !slices.Contains(out, c.Area()) {
			out = append(out, c.Area())
		}
	}
	slices.Sort(out)
	return out
}

type unknownCheck string

func (u unknownCheck) Error() string {
	return fmt.Sprintf("no check and no area is called %q", string(u))
}

// ExitCode says that the command line makes no sense.
func (u unknownCheck) ExitCode() int { return output.Usage }

// Hint says what there is.
func (u unknownCheck) Hint() string {
	return "areas are " + strings.Join(Areas(), ", ") + "; codes are listed by 'ovnkctl diagnose --list'"
}

// ParseSeverity reads the value of --fail-on.
func ParseSeverity(text string) (Severity, error) {
	if text == never {
		return "", nil
	}
	if s := Severity(text); slices.Contains(Severities, s) {
		return s, nil
	}
	return "", errors.New("it is one of info, warning, error, never")
}

const never = "never"
