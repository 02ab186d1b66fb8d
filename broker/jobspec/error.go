package jobspec

import (
	"fmt"
	"strings"

	"github.com/valico-hpc/valico/broker"
)

// CodeInvalid is the code of every error of this package.
const CodeInvalid = "job_invalid"

// Problem is one fault of a job: where it is, what the rule is, what was
// written and what helps.
type Problem struct {
	Path  string // for example "datasets[0].mount"
	Line  int    // in job.yaml; 0 when the fault is not at a line
	Rule  string
	Value string
	Help  string
}

// String gives the problem in one line.
func (p Problem) String() string {
	var b strings.Builder
	if p.Line > 0 {
		fmt.Fprintf(&b, "line %d: ", p.Line)
	}
	b.WriteString(p.Path + ": " + p.Rule)
	if p.Value != "" {
		fmt.Fprintf(&b, ", got %q", p.Value)
	}
	if p.Help != "" {
		b.WriteString(" (" + p.Help + ")")
	}
	return b.String()
}

// Error is a job with one or more faults. It unwraps to a *broker.Error of
// kind invalid that tells the first of them.
type Error struct{ Problems []Problem }

// Error lists every problem, one a line.
func (e *Error) Error() string {
	lines := make([]string, 0, len(e.Problems))
	for _, p := range e.Problems {
		lines = append(lines, p.String())
	}
	return "the job is not valid:\n  " + strings.Join(lines, "\n  ")
}

// Unwrap gives the form in which errors reach a person.
func (e *Error) Unwrap() error {
	p := e.Problems[0]
	msg := "the job is not valid: " + p.Path
	if n := len(e.Problems) - 1; n > 0 {
		msg += fmt.Sprintf(" (and %d more)", n)
	}
	return &broker.Error{
		Kind: broker.KindInvalid, Code: CodeInvalid, Message: msg,
		Rule: p.Path + ": " + p.Rule, Value: p.Value, Help: p.Help, Who: "whoever wrote the job",
	}
}

// problems is nil, or the error that carries ps.
func problems(ps []Problem) error {
	if len(ps) == 0 {
		return nil
	}
	return &Error{Problems: ps}
}
