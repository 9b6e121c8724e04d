package diagnose

import (
	"strings"

	"github.com/ovnkctl/ovnkctl/internal/output"
)

// helpWidth is the length of lines of help, in characters: a terminal has 80.
const helpWidth = 78

// Help is the text of the check's code.
func (c *Check) Help() string {
	var b strings.Builder
	b.WriteString(c.Code + " (" + string(c.Severity) + "): " + c.Title + "\n\n")
	b.WriteString(wrap(c.Meaning) + "\nWhat to do\n\n" + wrap(c.Remedy))
	var codes []string
	for _, x := range c.causes {
		codes = append(codes, x.code)
	}
	if len(codes) > 0 {
		b.WriteString("\nIt may follow from " + strings.Join(codes, ", ") + "; then it is told with that.\n")
	}
	return wrapLong(b.String())
}

func wrap(text string) string {
	var b strings.Builder
	n := 0
	for i, word := range strings.Fields(text) {
		switch {
		case i == 0:
		case n+1+len(word) > helpWidth:
			b.WriteString("\n")
			n = 0
		default:
			b.WriteString(" ")
			n++
		}
		b.WriteString(word)
		n += len(word)
	}
	return b.String() + "\n"
}

// wrapLong breaks the lines that are too long.
func wrapLong(text string) string {
	lines := strings.Split(strings.TrimSuffix(text, "\n"), "\n")
	for i, l := range lines {
		if len(l) > helpWidth {
			lines[i] = strings.TrimSuffix(wrap(l), "\n")
		}
	}
	return strings.Join(lines, "\n") + "\n"
}

// Listing are checks as a document.
type Listing struct {
	output.Meta
	Checks []Listed `json:"checks"`
}

// Listed is what a check is.
type Listed struct {
	Code     string   `json:"code"`
	Severity Severity `json:"severity"`
	Area     string   `json:"area"`
	Title    string   `json:"title"`
	Meaning  string   `json:"meaning"`
	Remedy   string   `json:"remedy"`
}

const listingKind = "CheckList"

// EmptyListing is one for its schema.
func EmptyListing() any { return Listing{Meta: output.Kind(listingKind)} }

// List are the checks of codes and areas, all if none are named.
func List(words []string) (*Listing, error) {
	checks, err := Select(words)
	if err != nil {
		return nil, err
	}
	l := &Listing{Meta: output.Kind(listingKind), Checks: []Listed{}}
	for _, c := range checks {
		l.Checks = append(l.Checks, Listed{c.Code, c.Severity, c.Area(), c.Title, c.Meaning, c.Remedy})
	}
	return l, nil
}

// Table implements output.Tabular.
func (l *Listing) Table(bool) output.Table {
	t := output.Table{Header: []string{"CODE", "SEVERITY", "FAULT"}}
	for _, c := range l.Checks {
		t.Rows = append(t.Rows, []string{c.Code, string(c.Severity), c.Title})
	}
	return t
}

// Names implements output.Named.
func (l *Listing) Names() []string {
	out := []string{}
	for _, c := range l.Checks {
		out = append(out, c.Code)
	}
	return out
}

// Items implements output.Listed.
func (l *Listing) Items() any { return l.Checks }

// logsOf is the command that shows what a container of a node's ovnkube-node pod logs.
func logsOf(container string) string {
	return "`kubectl -n ovn-kubernetes logs -c " + container +
		" $(kubectl -n ovn-kubernetes get pods -o name -l app=ovnkube-node --field-selector spec.nodeName=NODE)`"
}
