package adaptertest

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/valico-hpc/valico/broker"
)

// Program is what a launch of the suite does, once it has written down that it
// started: it runs for a time, or until it is released, and ends with a code.
type Program struct {
	For  time.Duration
	Wait bool // for Release, instead of For
	Exit int
	Term Term
}

// Term is what TERM does to a program.
type Term string

// What TERM may do.
const (
	TermEnds  Term = ""
	TermNoted Term = "noted" // the program writes it down and ends with code 5
	TermDeaf  Term = "deaf"  // nothing
)

// Programs runs the suite's programs and knows what they wrote down.
type Programs interface {
	// Make makes a launch run a program.
	Make(l *broker.Launch, p Program)
	// Starts counts how often a launch's program really started.
	Starts(t *testing.T, l broker.Launch) int
	// Noted reports whether a program has noted TERM.
	Noted(t *testing.T, l broker.Launch) bool
	// Release lets a program that waits end.
	Release(t *testing.T, l broker.Launch)
}

// Shell are programs as shell scripts that write into the launch's folder.
type Shell struct{}

// Make makes a launch run a program.
func (Shell) Make(l *broker.Launch, p Program) {
	var b strings.Builder
	fmt.Fprintf(&b, "d='%s'; ", l.Dir)
	switch p.Term {
	case TermNoted:
		b.WriteString(`trap 'echo term >"$d/term"; exit 5' TERM; `)
	case TermDeaf:
		b.WriteString(`trap '' TERM; `)
	case TermEnds:
	}
	b.WriteString(`echo start >>"$d/starts"; `)
	if p.Wait {
		b.WriteString(`while [ ! -e "$d/end" ]; do sleep 0.05; done; `)
	} else if p.For > 0 {
		fmt.Fprintf(&b, "sleep %.2f; ", p.For.Seconds())
	}
	fmt.Fprintf(&b, "exit %d", p.Exit)
	l.Argv = []string{"/bin/sh", "-c", b.String()}
}

// Starts counts how often a launch's program really started.
func (Shell) Starts(t *testing.T, l broker.Launch) int {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(l.Dir, "starts"))
	if errors.Is(err, fs.ErrNotExist) {
		return 0
	}
	require.NoError(t, err)
	return strings.Count(string(b), "\n")
}

// Noted reports whether a program has noted TERM.
func (Shell) Noted(t *testing.T, l broker.Launch) bool {
	t.Helper()
	_, err := os.Lstat(filepath.Join(l.Dir, "term"))
	return err == nil
}

// Release lets a program that waits end.
func (Shell) Release(t *testing.T, l broker.Launch) {
	t.Helper()
	require.NoError(t, os.WriteFile(filepath.Join(l.Dir, "end"), nil, 0o600))
}

// launch makes a launch that runs a program.
func (s suite) launch(t *testing.T, p Program) broker.Launch {
	t.Helper()
	l := s.Launch(t)
	s.Programs.Make(&l, p)
	if l.Resources.Walltime <= 0 {
		l.Resources.Walltime = max(time.Minute, s.Walltime)
	}
	return l
}

// waits is a launch that runs until it is released or ended.
func (s suite) waits(t *testing.T) broker.Launch {
	t.Helper()
	return s.launch(t, Program{Wait: true})
}

// short is a launch that runs for a moment.
func (s suite) short(t *testing.T) broker.Launch {
	t.Helper()
	return s.launch(t, Program{For: 200 * time.Millisecond})
}
