package demo

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"

	"github.com/valico-hpc/valico/broker"
)

// shell runs the program's own commands as a person would type them.
type shell struct {
	exe   string
	world *World
	out   io.Writer // the narrative
	bold  string    // escape sequences, empty where they would be noise
	red   string
	plain string
	quiet bool // nobody reads the narrative
}

func newShell(exe string, out io.Writer, tty, quiet bool) *shell {
	s := &shell{exe: exe, out: out, quiet: quiet}
	if tty {
		s.bold, s.red, s.plain = "\x1b[1m", "\x1b[31;1m", "\x1b[0m"
	}
	return s
}

// say writes a line of the narrative.
func (s *shell) say(format string, args ...any) {
	fmt.Fprintf(s.out, format+"\n", args...)
}

// title begins a part of the story.
func (s *shell) title(text string) { s.say("\n%s%s%s", s.bold, text, s.plain) }

// warn says what must not be overlooked.
func (s *shell) warn(text string) { s.say("%s%s%s", s.red, text, s.plain) }

// command prepares one command line as a person.
func (s *shell) command(ctx context.Context, as broker.PersonID, args ...string) *exec.Cmd {
	c := exec.CommandContext(ctx, s.exe, args...) //nolint:gosec // this program itself
	c.Dir = s.world.Dir
	for _, e := range os.Environ() {
		if !strings.HasPrefix(e, "VALICO_") {
			c.Env = append(c.Env, e)
		}
	}
	token := s.world.TokenFile(as)
	c.Env = append(c.Env, "VALICO_SERVER="+s.world.URL, "VALICO_TOKEN_FILE="+token)
	return c
}

// show runs a command for the reader and checks its exit code.
func (s *shell) show(ctx context.Context, as broker.PersonID, wantExit int, args ...string) error {
	if s.quiet {
		return nil
	}
	name, _, _ := strings.Cut(string(as), "@")
	s.say("\n%s%s$ valico %s%s", s.bold, name, strings.Join(args, " "), s.plain)
	c := s.command(ctx, as, args...)
	c.Stdout, c.Stderr = s.out, s.out
	return expect(c.Run(), wantExit, args, "see above")
}

// ask runs a command for its JSON and checks its exit code. On an exit code
// other than 0 the JSON is that of the problem.
func (s *shell) ask(ctx context.Context, as broker.PersonID, wantExit int, to any, args ...string) error {
	c := s.command(ctx, as, append(args, "-o", "json")...)
	var stdout, stderr bytes.Buffer
	c.Stdout, c.Stderr = &stdout, &stderr
	if err := expect(c.Run(), wantExit, args, stderr.String()); err != nil {
		return err
	}
	if to == nil {
		return nil
	}
	b := stdout.Bytes()
	if len(bytes.TrimSpace(b)) == 0 {
		b = stderr.Bytes()
	}
	if err := json.Unmarshal(b, to); err != nil {
		return fmt.Errorf("valico %s: read its JSON: %w", strings.Join(args, " "), err)
	}
	return nil
}

func expect(err error, want int, args []string, said string) error {
	got := 0
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		got = exit.ExitCode()
	} else if err != nil {
		return fmt.Errorf("valico %s: %w", strings.Join(args, " "), err)
	}
	if got != want {
		return fmt.Errorf("valico %s: exit status %d where the story has %d: %s", strings.Join(args, " "), got, want, strings.TrimSpace(said))
	}
	return nil
}
