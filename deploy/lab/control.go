package lab

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// Daemon names a process of the lab, as up remembers it in run/.
type Daemon string

// The daemons of a lab, besides those of its nodes.
const (
	Slurmctld Daemon = "slurmctld"
	Slurmdbd  Daemon = "slurmdbd"
)

// Slurmd is the daemon of a node.
func Slurmd(node string) Daemon { return Daemon("slurmd-" + node) }

// Kill kills a daemon and waits until it is gone. Jobs outlive it.
func (l *Lab) Kill(ctx context.Context, d Daemon) error {
	if err := l.signal(d, syscall.SIGKILL); err != nil {
		return err
	}
	return until(ctx, "end of "+string(d), func() error {
		if _, err := l.pid(d); err == nil {
			return errors.New("it is still there")
		}
		return nil
	})
}

// Pause stops a daemon as a hang does: its connections stay open and nothing
// answers. Resume lets it go on.
func (l *Lab) Pause(d Daemon) error { return l.signal(d, syscall.SIGSTOP) }

// Resume ends Pause.
func (l *Lab) Resume(d Daemon) error { return l.signal(d, syscall.SIGCONT) }

// Begin starts a daemon that was killed, by the command that up started it with.
// It ends with the lab. Ready tells when it works.
func (l *Lab) Begin(d Daemon) error {
	if _, err := l.pid(d); err == nil {
		return fmt.Errorf("begin %s: it runs", d)
	}
	b, err := os.ReadFile(filepath.Join(l.Dir, "run", string(d)+".argv"))
	if err != nil {
		return fmt.Errorf("begin %s: %w", d, err)
	}
	argv := strings.Split(strings.TrimSuffix(string(b), "\x00"), "\x00")
	out, err := os.OpenFile(filepath.Join(l.Logs, string(d)+".out"), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return fmt.Errorf("begin %s: %w", d, err)
	}
	defer out.Close()                         //nolint:errcheck // the daemon has its own
	cmd := exec.Command(argv[0], argv[1:]...) //nolint:gosec,noctx // up's own command; down ends it
	cmd.Stdout, cmd.Stderr, cmd.SysProcAttr = out, out, &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("begin %s: %w", d, err)
	}
	started, err := startOf(cmd.Process.Pid)
	if err == nil {
		line := fmt.Sprintf("%d %s\n", cmd.Process.Pid, started)
		err = os.WriteFile(l.pidFile(d), []byte(line), 0o600)
	}
	go func() { _ = cmd.Wait() }() // whoever looks for it sees that it ended
	if err != nil {
		return fmt.Errorf("begin %s: %w", d, err)
	}
	return nil
}

// Ready waits until slurmctld answers, every node can take jobs and the
// accounting database answers. Nodes that a failure drained are resumed.
func (l *Lab) Ready(ctx context.Context) error {
	return until(ctx, "the cluster", func() error {
		for _, n := range l.Nodes {
			out, err := l.Command(ctx, "root", "scontrol", "show", "node", n).CombinedOutput()
			if err != nil {
				return fmt.Errorf("%w: %s", err, out)
			}
			state := field(string(out), "State=")
			if strings.Contains(state, "DRAIN") {
				_ = l.Command(ctx, "root", "scontrol", "update", "nodename="+n, "state=resume").Run() // looked at again
			}
			if strings.ContainsAny(state, "*") || strings.Contains(state, "DOWN") || strings.Contains(state, "DRAIN") {
				return fmt.Errorf("node %s is %s", n, state)
			}
		}
		if out, err := l.Command(ctx, "root", "sacctmgr", "-n", "show", "cluster").CombinedOutput(); err != nil {
			return fmt.Errorf("%w: %s", err, out)
		}
		return nil
	})
}

// Refuse makes the start of every job on a node fail, as a site's prolog does
// that refuses a job; Slurm then drains the node. Allow ends that, and Ready
// gives the node back.
func (l *Lab) Refuse(node string) error {
	if err := os.WriteFile(l.refusal(node), nil, 0o600); err != nil {
		return fmt.Errorf("refuse jobs on %s: %w", node, err)
	}
	return nil
}

// Allow ends Refuse.
func (l *Lab) Allow(node string) error {
	if err := os.Remove(l.refusal(node)); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("allow jobs on %s: %w", node, err)
	}
	return nil
}

func (l *Lab) refusal(node string) string { return filepath.Join(l.Dir, "run", "refuse-"+node) }

func (l *Lab) pidFile(d Daemon) string { return filepath.Join(l.Dir, "run", string(d)+".pid") }

// signal signals a daemon of this lab and never another process that has its
// pid by now.
func (l *Lab) signal(d Daemon, s syscall.Signal) error {
	pid, err := l.pid(d)
	if err == nil {
		err = syscall.Kill(pid, s)
	}
	if err != nil {
		return fmt.Errorf("signal %s: %w", d, err)
	}
	return nil
}

// pid is a daemon's pid while it is the process that was started.
func (l *Lab) pid(d Daemon) (int, error) {
	b, err := os.ReadFile(l.pidFile(d))
	if err != nil {
		return 0, fmt.Errorf("find the process: %w", err)
	}
	f := strings.Fields(string(b))
	if len(f) != 2 {
		return 0, fmt.Errorf("find the process: %q is no pid and start time", b)
	}
	pid, err := strconv.Atoi(f[0])
	if err != nil || pid <= 1 {
		return 0, fmt.Errorf("find the process: %q is no pid", f[0])
	}
	if started, err := startOf(pid); err != nil || started != f[1] {
		return 0, fmt.Errorf("find the process: %d ended", pid)
	}
	return pid, nil
}

// startOf is when a process started, in the kernel's ticks; an error when it has
// ended, waited for or not.
func startOf(pid int) (string, error) {
	b, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return "", fmt.Errorf("look at process %d: %w", pid, err)
	}
	f := strings.Fields(string(b[bytes.LastIndexByte(b, ')')+1:]))
	if len(f) < 20 || f[0] == "Z" || f[0] == "X" {
		return "", fmt.Errorf("look at process %d: it ended", pid)
	}
	return f[19], nil
}

func field(out, name string) string {
	_, rest, _ := strings.Cut(out, " "+name)
	word, _, _ := strings.Cut(strings.TrimSpace(rest), " ")
	return word
}

// until asks again until it works or ctx ends, two minutes at the latest.
func until(ctx context.Context, what string, try func() error) error {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	for {
		err := try()
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("wait for %s: %w", what, err)
		case <-time.After(100 * time.Millisecond):
		}
	}
}
