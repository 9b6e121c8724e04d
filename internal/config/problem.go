package config

import (
	"fmt"
	"strings"
)

// Problem is one thing that is wrong with a configuration.
type Problem struct {
	Field  string // the key, e.g. network.mtu
	Value  string
	Why    string
	Remedy string
}

// String is the problem on one line and the remedy on another.
func (p Problem) String() string {
	s := p.Field
	if p.Value != "" {
		s += fmt.Sprintf(" %q", p.Value)
	}
	s += ": " + p.Why
	if p.Remedy != "" {
		s += "\n    → " + p.Remedy
	}
	return s
}

// InvalidError is everything that is wrong with a configuration, at once.
type InvalidError struct {
	// Source is where it was read: a file name, "flags", or empty.
	Source   string
	Problems []Problem
}

// Error lists the problems, one to a line, each with its remedy.
func (e *InvalidError) Error() string {
	var b strings.Builder
	b.WriteString("configuration")
	if e.Source != "" {
		b.WriteString(" " + e.Source)
	}
	if len(e.Problems) == 1 {
		b.WriteString(" is not valid:")
	} else {
		fmt.Fprintf(&b, " is not valid, %d problems:", len(e.Problems))
	}
	for _, p := range e.Problems {
		b.WriteString("\n  " + p.String())
	}
	return b.String()
}

func invalid(source string, problems []Problem) error {
	if len(problems) == 0 {
		return nil
	}
	return &InvalidError{Source: source, Problems: problems}
}
