package output

import (
	"errors"
	"fmt"
	"io"
)

// Error is an error as a document, for those who asked for documents.
type Error struct {
	Meta
	Message  string `json:"message"`
	Hint     string `json:"hint,omitempty"` // what to do about it
	ExitCode int    `json:"exitCode"`
}

// WriteError writes what failed and why on one line, and what to do next on another where
// the error knows it; as a document when machine is set.
func WriteError(w io.Writer, program string, err error, exitCode int, machine bool) {
	hint := hintOf(err)
	if machine {
		_ = JSON(w, Error{Meta: Kind("Error"), Message: err.Error(), Hint: hint, ExitCode: exitCode})
		return
	}
	fmt.Fprintf(w, "%s: %v\n", program, err)
	if hint != "" {
		fmt.Fprintf(w, "  → %s\n", hint)
	}
}

func hintOf(err error) string {
	var hint interface{ Hint() string }
	if errors.As(err, &hint) {
		return hint.Hint()
	}
	return ""
}

// ProblemLines are problems for people, behind a table: what was missing, and what to do.
func ProblemLines(problems []error) []string {
	if len(problems) == 0 {
		return nil
	}
	out := []string{"", "partial: some of it could not be read"}
	for _, p := range problems {
		out = append(out, "  "+p.Error())
		if hint := hintOf(p); hint != "" {
			out = append(out, "    → "+hint)
		}
	}
	return out
}
