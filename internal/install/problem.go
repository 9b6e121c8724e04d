package install

import "fmt"

// The exit codes that belong to results of this package; see the contract of the CLI.
const (
	exitFailed   = 1
	exitUsage    = 2
	exitFindings = 3
	exitPartial  = 4
	exitTimeout  = 5
)

// Problem is an error in three parts: what failed, why, and what to do next.
type Problem struct {
	What string
	Why  error
	Next string
	Code int // exit code; 0 is 1
}

// Error is what failed and why.
func (p *Problem) Error() string {
	if p.Why == nil {
		return p.What
	}
	return fmt.Sprintf("%s: %v", p.What, p.Why)
}

// Unwrap is the reason.
func (p *Problem) Unwrap() error { return p.Why }

// Hint is what to do next.
func (p *Problem) Hint() string { return p.Next }

// ExitCode is the code that the program ends with.
func (p *Problem) ExitCode() int {
	if p.Code == 0 {
		return exitFailed
	}
	return p.Code
}
