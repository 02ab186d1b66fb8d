package local

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"

	"github.com/valico-hpc/valico/broker"
)

// gate is what a process is until its record is on the disk: it waits for one
// word and then becomes the program. A pipe that closes without the word ends
// it.
const gate = `read -r word <&3 && [ "$word" = go ] && exec 3<&- && exec "$@"; exit 75`

// start starts a queued launch. On an error nothing has run. A program that
// cannot be started at all ends the launch.
func (s *Scheduler) start(ctx context.Context, j *job) error {
	if !startable(j.record) {
		r := j.record
		r.State, r.Outcome, r.EndedAt = stateEnded, broker.OutcomeLaunchFailed, s.cfg.Now().UTC()
		return s.write(j, &r)
	}
	hold, open, err := os.Pipe()
	if err != nil {
		return fmt.Errorf("make the gate: %w", err)
	}
	defer func() { _ = open.Close() }()                                                  // closing is the signal; it has no answer
	cmd := exec.Command("/bin/sh", append([]string{"-c", gate, "valico"}, j.Argv...)...) //nolint:gosec,noctx // the agent's own argv; the process outlives every context
	cmd.Dir, cmd.Env, cmd.ExtraFiles = j.Dir, append(append([]string{}, s.cfg.Env...), j.Env...), []*os.File{hold}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	err = cmd.Start()
	if err := errors.Join(err, hold.Close()); err != nil {
		return fmt.Errorf("start process: %w", err)
	}
	s.cfg.Step("waiting")
	ticks, err := startTicks(cmd.Process.Pid)
	r := j.record
	r.State, r.Boot, r.PID, r.Ticks, r.StartedAt = stateRunning, s.boot, cmd.Process.Pid, ticks, s.cfg.Now().UTC()
	if err == nil {
		err = s.save(&r)
	}
	if err != nil {
		// The gate was not opened: closing it ends the process, and nothing ran.
		return fmt.Errorf("record process: %w", errors.Join(err, open.Close(), wait(cmd)))
	}
	s.cfg.Step("pid_recorded")
	j.record, j.child = r, true
	go s.reap(context.WithoutCancel(ctx), j, cmd) // for as long as the process lives
	if _, err := open.WriteString("go\n"); err != nil {
		s.cfg.Log.ErrorContext(ctx, "open the gate", "launch", j.Name, "error", err) // it ended first; the reaper records it
	}
	s.cfg.Step("opened")
	return nil
}

// startable reports whether the program and the folder of a launch are there.
func startable(r record) bool {
	fi, err := os.Stat(r.Argv[0])
	if err != nil || fi.IsDir() || fi.Mode()&0o111 == 0 {
		return false
	}
	fi, err = os.Stat(r.Dir)
	return err == nil && fi.IsDir()
}

func wait(cmd *exec.Cmd) error {
	if err := cmd.Wait(); err != nil && cmd.ProcessState == nil {
		return fmt.Errorf("wait for process: %w", err)
	}
	return nil
}

// reap waits for a child and records how it ended. It ends with the child, at
// the latest when this process does.
func (s *Scheduler) reap(ctx context.Context, j *job, cmd *exec.Cmd) {
	err := wait(cmd)
	s.mu.Lock()
	defer s.mu.Unlock()
	j.child = false
	if err != nil || s.closed || j.State != stateRunning {
		return // the next refresh sees it gone
	}
	r := j.record
	s.sweep(r)
	r.State, r.EndedAt = stateEnded, s.cfg.Now().UTC()
	r.ExitCode = exitCode(cmd.ProcessState)
	switch {
	case r.Why != "":
		r.Outcome = r.Why
	case r.ExitCode == 0:
		r.Outcome = broker.OutcomeOK
	default:
		r.Outcome = broker.OutcomeExit
	}
	if err := s.write(j, &r); err != nil {
		s.cfg.Log.ErrorContext(ctx, "record the end of a launch", "launch", j.Name, "error", err) // the next refresh records it as gone
	}
	s.pump(ctx) // a slot is free
}

// exitCode is the exit code, or 128 and the signal as shells write it.
func exitCode(p *os.ProcessState) int {
	if ws, ok := p.Sys().(syscall.WaitStatus); ok && ws.Signaled() {
		return 128 + int(ws.Signal())
	}
	return p.ExitCode()
}

// term records why a process shall end and tells it, and it alone: the program
// passes the word on to its workload and says afterwards how that ended, which
// it could not if both heard it at once.
func (s *Scheduler) term(j *job, why broker.Outcome) error {
	r := j.record
	r.Why, r.TermAt = why, s.cfg.Now().UTC()
	if err := s.write(j, &r); err != nil {
		return err
	}
	return s.signal(j, j.PID, syscall.SIGTERM)
}

// kill ends the whole group of a launch, which its process leads since Setsid.
func (s *Scheduler) kill(j *job) error { return s.signal(j, -j.PID, syscall.SIGKILL) }

// signal never reaches another process that has the pid by now.
func (s *Scheduler) signal(j *job, pid int, sig syscall.Signal) error {
	if !alive(j.record, s.boot) {
		return nil
	}
	if err := syscall.Kill(pid, sig); err != nil && !errors.Is(err, syscall.ESRCH) {
		return fmt.Errorf("signal process %d: %w", j.PID, err)
	}
	return nil
}

// sweep kills what a launch's process left behind in its group, before its end
// is told. The kernel gives a pid that still names a group to nobody, so while
// no process has it, or only our own that nobody has waited for yet, the group
// is ours.
func (s *Scheduler) sweep(r record) {
	if r.PID <= 1 || r.Boot != s.boot {
		return
	}
	st, err := procStat(r.PID)
	dead := err == nil && st.ticks == r.Ticks && (st.state == 'Z' || st.state == 'X')
	if dead || errors.Is(err, fs.ErrNotExist) {
		_ = syscall.Kill(-r.PID, syscall.SIGKILL) // ESRCH: nothing is left
	}
}

// alive reports whether the process of a record still runs: the same pid,
// start time and boot, and no zombie.
func alive(r record, boot string) bool {
	if r.PID <= 1 || r.Boot != boot {
		return false
	}
	st, err := procStat(r.PID)
	return err == nil && st.ticks == r.Ticks && st.state != 'Z' && st.state != 'X'
}

type stat struct {
	state byte
	ticks uint64
}

// procStat reads the two fields of /proc/PID/stat that matter here. The name
// in the second field may hold anything, so fields are counted from its end.
func procStat(pid int) (stat, error) {
	b, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return stat{}, fmt.Errorf("look at process %d: %w", pid, err)
	}
	f := bytes.Fields(b[bytes.LastIndexByte(b, ')')+1:])
	if len(f) < 20 || len(f[0]) != 1 {
		return stat{}, fmt.Errorf("look at process %d: its stat has %d fields", pid, len(f))
	}
	ticks, err := strconv.ParseUint(string(f[19]), 10, 64)
	if err != nil {
		return stat{}, fmt.Errorf("look at process %d: %w", pid, err)
	}
	return stat{state: f[0][0], ticks: ticks}, nil
}

func startTicks(pid int) (uint64, error) {
	st, err := procStat(pid)
	return st.ticks, err
}

// bootID tells one boot of this machine from another.
func bootID() (string, error) {
	b, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return "", fmt.Errorf("local scheduler: read the boot id: %w", err)
	}
	return strings.TrimSpace(string(b)), nil
}
