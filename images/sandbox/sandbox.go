//go:build linux

package sandbox

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"
	"unicode/utf8"
)

// Isolation is how a workload is shut in.
type Isolation string

// The isolations.
const (
	IsolationUserNS Isolation = "userns"
	IsolationNone   Isolation = "none"
)

// Paths that every workload under IsolationUserNS finds.
const (
	Home    = "/home/job"
	OutDir  = "/out"
	CkptDir = "/ckpt"
	DataDir = "/data"
)

// MetricsFD is the number under which the workload finds Spec.Metrics.
const MetricsFD = 3

const defaultTmpSizeMiB = 1024

// Mount shows a host file or folder to the workload. Target is absolute; it is
// made when the image lacks it.
type Mount struct {
	Source   string
	Target   string
	ReadOnly bool
}

// Spec is what to run.
type Spec struct {
	Isolation Isolation
	Root      string // the unpacked image; mount points are made in it
	Mounts    []Mount
	Out       string // host folder that is /out; "" for none
	Ckpt      string // host folder that is /ckpt, writable too; "" for none
	// NodeNetwork leaves the node's own network to the command, for ranks that
	// have to reach each other: nothing keeps it from anybody else on it.
	NodeNetwork bool
	Env         []string
	Argv        []string
	WorkDir     string    // absolute, inside the image; "" is "/"
	Stdout      io.Writer `json:"-"`
	Stderr      io.Writer `json:"-"`
	// Metrics is the write end of a pipe, or nil. The caller closes it.
	Metrics    *os.File `json:"-"`
	Hostname   string   // "" is "job"
	TmpSizeMiB int      // bound of each of /tmp, HOME and /dev/shm; 0 is 1024
	// KillMargin is the time from TERM to KILL once the context is done.
	KillMargin time.Duration
	// Signals are sent to the command's first process, one by one, until it ends.
	Signals <-chan syscall.Signal `json:"-"`
	// Started is called once the command runs; it may be nil.
	Started func() `json:"-"`
}

// Result is how a command that started has ended.
type Result struct {
	ExitCode  int  // as a shell gives it: 128 + Signal when a signal ended it
	Signal    int  // 0 unless a signal ended it
	OOM       bool // ended by KILL while the node's accounting counted an out-of-memory kill here
	Cancelled bool // the context was done before it ended
	Killed    bool // it had to be killed after KillMargin
}

// SetupError says which step of the set-up failed. The workload did not run.
type SetupError struct {
	Step string
	Err  error
}

func (e *SetupError) Error() string { return "sandbox: " + e.Step + ": " + e.Err.Error() }

// Unwrap returns the cause.
func (e *SetupError) Unwrap() error { return e.Err }

// StepExec is the step that replaces the set-up by the workload; it fails when
// the image does not hold the command.
const StepExec = "exec"

func (s Spec) validate() error {
	if s.Isolation != IsolationUserNS && s.Isolation != IsolationNone {
		return fmt.Errorf("unknown isolation %q", s.Isolation)
	}
	if len(s.Argv) == 0 || s.Argv[0] == "" {
		return errors.New("no command")
	}
	for _, p := range append(s.sources(), s.Root) {
		if !filepath.IsAbs(p) {
			return fmt.Errorf("%q is not an absolute path", p)
		}
	}
	if s.WorkDir != "" && !path.IsAbs(s.WorkDir) {
		return fmt.Errorf("the working folder %q is not absolute", s.WorkDir)
	}
	for _, v := range slices.Concat(s.Env, s.Argv, s.sources(), []string{s.WorkDir, s.Root, s.Hostname}) {
		if strings.ContainsRune(v, 0) || !utf8.ValidString(v) { // the handover would change it silently
			return errors.New("a zero byte, or what is not UTF-8, in command, environment or a path")
		}
	}
	return s.validateTargets()
}

func (s Spec) sources() []string {
	var all []string
	for _, m := range s.Mounts {
		all = append(all, m.Source)
	}
	for _, p := range []string{s.Out, s.Ckpt} {
		if p != "" {
			all = append(all, p)
		}
	}
	return all
}

// validateTargets keeps mounts off each other and off what the sandbox mounts.
func (s Spec) validateTargets() error {
	taken := []string{"/proc", "/dev", "/sys", "/tmp", OutDir, CkptDir, Home}
	for _, m := range s.Mounts {
		if !path.IsAbs(m.Target) || path.Clean(m.Target) != m.Target || m.Target == "/" {
			return fmt.Errorf("the mount point %q is not a clean absolute path", m.Target)
		}
		for _, t := range taken {
			if t == m.Target || within(t, m.Target) || within(m.Target, t) {
				return fmt.Errorf("the mount point %q meets %q", m.Target, t)
			}
		}
		taken = append(taken, m.Target)
	}
	return nil
}

// within reports whether p lies below dir.
func within(dir, p string) bool { return strings.HasPrefix(p, dir+"/") }

func (s Spec) handover() handover {
	h := handover{
		Plain: s.Isolation == IsolationNone, Root: s.Root, Mounts: s.Mounts, Out: s.Out, Ckpt: s.Ckpt, NodeNetwork: s.NodeNetwork,
		Argv: s.Argv, WorkDir: s.WorkDir, Hostname: s.Hostname, TmpSizeMiB: s.TmpSizeMiB,
		Metrics: s.Metrics != nil,
	}
	if h.WorkDir == "" {
		h.WorkDir = "/"
	}
	if h.Hostname == "" {
		h.Hostname = "job"
	}
	if h.TmpSizeMiB <= 0 {
		h.TmpSizeMiB = defaultTmpSizeMiB
	}
	if !h.Plain {
		own := []string{"HOME=" + Home, "TMPDIR=/tmp", "VALICO_DATA=" + DataDir, "VALICO_OUT=" + OutDir}
		if h.Ckpt != "" {
			own = append(own, "VALICO_CKPT="+CkptDir)
		}
		h.Env = environment(s.Env, own...)
	}
	return h
}

// environment is the caller's with what the sandbox knows better in its place.
func environment(env []string, own ...string) []string {
	name := func(v string) string { n, _, _ := strings.Cut(v, "="); return n }
	kept := slices.DeleteFunc(slices.Clone(env), func(v string) bool {
		return slices.ContainsFunc(own, func(o string) bool { return name(o) == name(v) })
	})
	if !slices.ContainsFunc(kept, func(v string) bool { return name(v) == "PATH" }) {
		kept = append(kept, "PATH="+defaultPath)
	}
	return append(kept, own...)
}

const defaultPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
