package report

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// Markdown is the report to read.
func (r *Report) Markdown() string {
	var b strings.Builder
	fmt.Fprintf(&b, "# %s\n\n<!-- Written by make conformance. Do not edit. -->\n\n", r.Title)
	fmt.Fprintf(&b, "%s\n\n", r.About)
	b.WriteString("| tested | |\n|---|---|\n")
	for _, f := range r.Facts {
		fmt.Fprintf(&b, "| %s | %s |\n", cell(f.Name), cell(f.Value))
	}
	fmt.Fprintf(&b, "| duration | %s |\n\n", r.Took.Round(time.Second))
	r.summary(&b)
	r.problems(&b)
	names, by := r.groups()
	for _, name := range names {
		fmt.Fprintf(&b, "\n## %s\n\n| spec | result | seconds |\n|---|---|---:|\n", name)
		for _, s := range by[name] {
			fmt.Fprintf(&b, "| %s | %s | %.1f |\n", cell(s.short()), s.State, s.Took.Seconds())
		}
	}
	r.excluded(&b)
	return b.String()
}

func (r *Report) summary(b *strings.Builder) {
	b.WriteString("| group | specs | passed | failed |\n|---|---:|---:|---:|\n")
	names, by := r.groups()
	for _, name := range names {
		g := Report{Specs: by[name]}
		fmt.Fprintf(b, "| %s | %d | %d | %d |\n", name, len(g.Specs), g.Count(Passed), g.Count(Failed, Skipped, Missing))
	}
	fmt.Fprintf(b, "| all | %d | %d | %d |\n\n", len(r.Specs)-r.Count(Excluded), r.Count(Passed), r.Count(Failed, Skipped, Missing))
	fmt.Fprintf(b, "%d more are excluded, with their reasons below.\n", r.Count(Excluded))
}

func (r *Report) problems(b *strings.Builder) {
	if r.Count(Failed, Skipped, Missing) == 0 {
		return
	}
	b.WriteString("\n## Failures\n\n")
	for _, s := range r.Specs {
		if slices.Contains([]State{Failed, Skipped, Missing}, s.State) {
			fmt.Fprintf(b, "- %s: **%s**: `%s`\n", cell(s.short()), s.State, strings.ReplaceAll(s.Reason, "`", "'"))
		}
	}
}

// excluded lists each reason once, with its specs.
func (r *Report) excluded(b *strings.Builder) {
	if r.Count(Excluded) == 0 {
		return
	}
	b.WriteString("\n## Excluded\n")
	var reasons []string
	by := map[string][]string{}
	for _, s := range r.Specs {
		if s.State != Excluded {
			continue
		}
		if by[s.Reason] == nil {
			reasons = append(reasons, s.Reason)
		}
		by[s.Reason] = append(by[s.Reason], s.short())
	}
	slices.Sort(reasons)
	for _, reason := range reasons {
		fmt.Fprintf(b, "\n%s:\n\n", sentence(reason))
		for _, name := range by[reason] {
			fmt.Fprintf(b, "- %s\n", cell(name))
		}
	}
}

// short leaves out what all names begin with.
func (s Spec) short() string { return strings.TrimPrefix(s.Name, "[sig-network] ") }

// cell is text that a table can hold; brackets would become links.
func cell(text string) string {
	return strings.NewReplacer("|", `\|`, "[", `\[`, "]", `\]`, "<", "&lt;", "\n", " ").Replace(text)
}

func sentence(text string) string { return strings.ToUpper(text[:1]) + text[1:] }
