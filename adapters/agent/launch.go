package agent

import (
	"path/filepath"
	"strings"

	"github.com/valico-hpc/valico/broker"
)

// CheckLaunch refuses a launch that no cluster's scheduler may be given. Its
// adapter checks what is its scheduler's own besides. Names of variables that
// begin with reserved are the scheduler's.
func CheckLaunch(l broker.Launch, reserved string) error {
	res := l.Resources
	bad := func(value, rule string) error {
		return &broker.Error{
			Kind: broker.KindInvalid, Code: "launch_invalid", Message: "the launch cannot be given to a scheduler", Value: value, Rule: rule,
			Help: "this is a matter of the site's agent or its configuration", Who: "the site operator",
		}
	}
	switch {
	case !SafeName(l.Name):
		return bad(l.Name, "a launch's name is made of letters, digits, - and _")
	case !l.OrderDigest.Valid():
		return bad(string(l.OrderDigest), "a launch names the digest of its order")
	case len(l.Argv) == 0 || !filepath.IsAbs(l.Argv[0]):
		return bad(l.Name, "a launch's program is an absolute path")
	case !filepath.IsAbs(l.Dir):
		return bad(l.Dir, "a launch's folder is an absolute path")
	case res.Nodes < 1 || res.GPUsPerNode < 0 || res.CPUsPerNode < 0 || res.MemoryMiB < 0 || res.Walltime <= 0:
		return bad(l.Name, "a launch has at least one node and a time limit, and no size below zero")
	}
	for _, s := range l.Argv {
		if !oneLine(s) {
			return bad(l.Name, "an argument is one line")
		}
	}
	for _, e := range l.Env {
		if !SafeName(e.Name) || strings.HasPrefix(e.Name, reserved) || strings.HasPrefix(e.Name, "LD_") || e.Name == "PATH" || !oneLine(e.Value) {
			return bad(e.Name, "a launch's variable has a plain name that is not the scheduler's or the loader's, nor PATH, and one line")
		}
	}
	return nil
}

func oneLine(s string) bool { return !strings.ContainsAny(s, "\x00\n\r") }

// SafeName reports whether a launch's name is one that we give; it is safe in a
// path, a filter and a job's name.
func SafeName(s string) bool {
	return s != "" && len(s) <= 100 &&
		strings.Trim(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-") == ""
}
