//go:build linux

package sandbox

import (
	"errors"
	"fmt"
	"os"
	"os/signal"
	"path"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
)

// supervise starts the workload, passes TERM on, reaps what it leaves behind
// and reports how it ended. As pid 1 of its namespace its own end is the end
// of everything in it. It may not be looked into: through /proc/PID/exe and
// /proc/PID/fd the workload would reach files of the host.
func supervise() {
	runtime.LockOSThread()
	if err := unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0); err != nil {
		fail("hide the supervisor", err)
	}
	h, err := readHandover()
	if err != nil {
		fail("handover", err)
	}
	if err := secure(h); errors.Is(err, errPivot) {
		unix.Exit(70)
	} else if err != nil {
		fail("supervisor", err)
	}
	if h.Probe {
		tell(message{Ended: true})
		unix.Exit(0)
	}
	terms := make(chan os.Signal, 1)
	signal.Notify(terms, unix.SIGTERM, unix.SIGINT, unix.SIGHUP)
	w := &workload{plain: h.Plain}
	if w.pid, err = forkExec(h); err != nil {
		fail(StepExec, err)
	}
	tell(message{Started: true})
	go w.passOn(terms)
	go w.obey()
	m := w.wait()
	w.killRest()
	tell(m)
	unix.Exit(0)
}

func secure(h handover) error {
	if err := closeOnExec(3); err != nil {
		return err
	}
	unix.Umask(0o077)
	if !h.Plain {
		return errors.Join(dieWithParent(), enterRoot(h), checkPrivileges())
	}
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		return fmt.Errorf("subreaper: %w", err)
	}
	return noNewPrivs()
}

// closeOnExec marks every file from first on.
func closeOnExec(first uint) error {
	err := unix.CloseRange(first, ^uint(0)>>32, unix.CLOSE_RANGE_CLOEXEC)
	if err == nil {
		return nil
	}
	fds, err := os.ReadDir("/proc/self/fd") // kernels before 5.11
	if err != nil {
		return fmt.Errorf("mark inherited files: %w", err)
	}
	for _, e := range fds {
		if fd, err := strconv.Atoi(e.Name()); err == nil && fd >= int(first) {
			unix.CloseOnExec(fd)
		}
	}
	return nil
}

func forkExec(h handover) (int, error) {
	program := h.Program
	if !h.Plain {
		var err error
		if program, err = lookPath(h.Argv[0], h.WorkDir, h.Env, os.Stat); err != nil {
			return 0, err
		}
	}
	attr := &syscall.ProcAttr{Dir: h.WorkDir, Env: h.Env, Files: []uintptr{0, 1, 2}, Sys: &syscall.SysProcAttr{}}
	if h.Metrics {
		attr.Files = append(attr.Files, fdMetrics)
	}
	if h.Plain {
		attr.Sys.Pdeathsig = syscall.SIGKILL
	}
	pid, err := syscall.ForkExec(program, h.Argv, attr) //nolint:gosec // running the caller's command is what this is for
	if err != nil {
		return 0, fmt.Errorf("start %s: %w", h.Argv[0], err)
	}
	return pid, nil
}

// lookPath finds a program as a shell would, in the image's own PATH.
func lookPath(name, workDir string, env []string, stat func(string) (os.FileInfo, error)) (string, error) {
	if strings.Contains(name, "/") {
		if !path.IsAbs(name) {
			name = path.Join(workDir, name)
		}
		return name, nil
	}
	list := defaultPath
	for _, v := range env {
		if p, ok := strings.CutPrefix(v, "PATH="); ok {
			list = p
		}
	}
	for _, dir := range filepath.SplitList(list) {
		p := path.Join("/", dir, name)
		if fi, err := stat(p); err == nil && fi.Mode().IsRegular() && fi.Mode()&0o111 != 0 {
			return p, nil
		}
	}
	return "", fmt.Errorf("%s is not in PATH: %w", name, unix.ENOENT)
}

// workload is the command and everything it starts.
type workload struct {
	pid   int
	plain bool
	term  sync.Once
}

// askToEnd sends TERM once: the launcher and the node's scheduler may both
// ask, and a program may take a second TERM for impatience.
func (w *workload) askToEnd() { w.term.Do(func() { w.signal(unix.SIGTERM) }) }

// signal sends to everything: as pid 1, -1 is all the others.
func (w *workload) signal(s unix.Signal) {
	if !w.plain {
		_ = unix.Kill(-1, s) // ESRCH when nothing is left
		return
	}
	for _, pid := range descendants(os.Getpid()) {
		_ = unix.Kill(pid, s)
	}
}

func (w *workload) passOn(terms <-chan os.Signal) {
	for range terms {
		w.askToEnd()
	}
}

// obey follows the control pipe. Its end means that the launcher is gone, and
// then nothing may go on.
func (w *workload) obey() {
	b := make([]byte, 1)
	for {
		n, err := unix.Read(fdControl, b)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if n <= 0 {
			w.killRest()
			unix.Exit(128 + int(unix.SIGKILL))
		}
		switch {
		case b[0] == controlTerm:
			w.askToEnd()
		case b[0]&controlSignal != 0:
			_ = unix.Kill(w.pid, unix.Signal(b[0]&^controlSignal)) // ESRCH when it has ended
		}
	}
}

// wait reaps children until the workload is among them.
func (w *workload) wait() message {
	for {
		var ws unix.WaitStatus
		pid, err := unix.Wait4(-1, &ws, 0, nil)
		switch {
		case errors.Is(err, unix.EINTR):
		case err != nil:
			return message{Ended: true, Exit: 128 + int(unix.SIGKILL), Signal: int(unix.SIGKILL)}
		case pid == w.pid && ws.Signaled():
			return message{Ended: true, Exit: 128 + int(ws.Signal()), Signal: int(ws.Signal())}
		case pid == w.pid && ws.Exited():
			return message{Ended: true, Exit: ws.ExitStatus()}
		}
	}
}

// killRest ends what the workload left behind. In a namespace the supervisor's
// own end does that, and the kernel waits for it.
func (w *workload) killRest() {
	if !w.plain {
		return
	}
	for range 100 { // each round catches those that a dying parent left to us
		left := descendants(os.Getpid())
		if len(left) == 0 {
			return
		}
		for _, pid := range left {
			_ = unix.Kill(pid, unix.SIGKILL)
		}
		for _, pid := range left {
			_, _ = unix.Wait4(pid, nil, 0, nil) // ECHILD for those that are not ours yet
		}
	}
}

// descendants lists the processes below pid. The supervisor is their subreaper,
// so none can leave.
func descendants(pid int) []int {
	tasks, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", pid))
	if err != nil {
		return nil
	}
	var all []int
	for _, t := range tasks {
		b, err := os.ReadFile(t) //nolint:gosec // a file of /proc
		if err != nil {
			continue // it ended meanwhile
		}
		for f := range strings.FieldsSeq(string(b)) {
			if child, err := strconv.Atoi(f); err == nil {
				all = append(append(all, child), descendants(child)...)
			}
		}
	}
	return all
}
