package diagnose

import (
	"fmt"
	"strings"
)

// Reference is the page of all codes, in Markdown.
func Reference() string {
	var b strings.Builder
	b.WriteString(`# Findings

What ` + "`ovnkctl diagnose`" + ` finds, by code. ` + "`ovnkctl help CODE`" + ` says the same without a network. This page is
generated: ` + "`go test ./internal/diagnose -update`" + `.

| code | severity | fault |
|---|---|---|
`)
	for _, c := range All() {
		fmt.Fprintf(&b, "| [%s](#%s) | %s | %s |\n", c.Code, strings.ToLower(c.Code), c.Severity, c.Title)
	}
	for _, c := range All() {
		fmt.Fprintf(&b, "\n## %s\n\n**%s.** %s\n\n%s\n", c.Code, upper(c.Title), c.Meaning, c.Remedy)
	}
	return b.String()
}

func upper(text string) string { return strings.ToUpper(text[:1]) + text[1:] }
