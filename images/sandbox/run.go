//go:build linux

package sandbox

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Run runs a command to its end. An error means that it did not run, and is a
// *SetupError when a step of the set-up failed. When ctx is done the workload
// gets TERM, and KILL after Spec.KillMargin.
func Run(ctx context.Context, s Spec) (Result, error) {
	if err := s.validate(); err != nil {
		return Result{}, &SetupError{Step: "spec", Err: err}
	}
	h := s.handover()
	if h.Plain {
		clean, err := h.plain(s.Env)
		if err != nil {
			return Result{}, &SetupError{Step: "plain", Err: err}
		}
		defer clean()
	}
	return launch(ctx, s, h)
}

// launched is a helper that runs.
type launched struct {
	cmd     *exec.Cmd
	control *os.File
	status  *os.File
	done    chan error // the result of cmd.Wait
}

func launch(ctx context.Context, s Spec, h handover) (Result, error) {
	if err := checkMetrics(s.Metrics); err != nil {
		return Result{}, &SetupError{Step: "metrics", Err: err}
	}
	oom := readOOM()
	l, err := start(s, h)
	if err != nil {
		return Result{}, err
	}
	var res Result
	stop := make(chan struct{})
	var ending sync.WaitGroup
	ending.Go(func() { res.Cancelled, res.Killed = l.end(ctx, stop, s.KillMargin) })
	ending.Go(func() { l.signal(s.Signals, stop) })
	last, statusErr := l.follow(s.Started)
	waitErr := <-l.done
	close(stop)
	ending.Wait()
	_ = l.control.Close()
	if err := last.err(); err != nil {
		return Result{}, err
	}
	if errors.Is(waitErr, exec.ErrWaitDelay) {
		waitErr = nil
	}
	if _, exited := errors.AsType[*exec.ExitError](waitErr); waitErr != nil && !exited {
		return Result{}, fmt.Errorf("sandbox: wait: %w", waitErr)
	}
	if !last.Started && !h.Probe {
		return Result{}, &SetupError{Step: "helper", Err: fmt.Errorf("it ended before it started the command: %w", errors.Join(statusErr, waitErr, context.Cause(ctx)))}
	}
	res.ExitCode, res.Signal = last.Exit, last.Signal
	if !last.Ended { // the helper was killed, and with it everything
		res.Signal = int(unix.SIGKILL)
		res.ExitCode = 128 + res.Signal
	}
	res.OOM = res.Signal == int(unix.SIGKILL) && !res.Killed && readOOM() > oom
	return res, nil
}

// start runs the helper. The thread that starts it stays until it has ended,
// because the kernel sends the parent-death signal when that thread ends.
func start(s Spec, h handover) (*launched, error) {
	spec, err := h.file()
	if err != nil {
		return nil, &SetupError{Step: "handover", Err: err}
	}
	defer spec.Close() //nolint:errcheck // the helper has its own
	controlR, controlW, err := os.Pipe()
	if err != nil {
		return nil, &SetupError{Step: "pipe", Err: err}
	}
	statusR, statusW, err := os.Pipe()
	if err != nil {
		return nil, &SetupError{Step: "pipe", Err: errors.Join(err, controlR.Close(), controlW.Close())}
	}
	l := &launched{control: controlW, status: statusR, done: make(chan error, 1)}
	l.cmd = command(s, h, []*os.File{spec, controlR, statusW})
	started := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread ends with this goroutine, after the helper
		err := l.cmd.Start()
		started <- err
		if err == nil {
			l.done <- l.cmd.Wait()
		}
	}()
	err = <-started
	_ = controlR.Close()
	_ = statusW.Close()
	if err != nil {
		return nil, &SetupError{Step: "namespaces", Err: errors.Join(err, controlW.Close(), statusR.Close())}
	}
	return l, nil
}

func command(s Spec, h handover, files []*os.File) *exec.Cmd {
	c := exec.Command("/proc/self/exe") //nolint:noctx // this program; the control pipe ends it
	c.Args = []string{nameSetup}
	c.Env = []string{} // not nil: nothing of ours
	c.ExtraFiles = files
	if s.Metrics != nil {
		c.ExtraFiles = append(c.ExtraFiles, s.Metrics)
	}
	// A file given as it is could be opened anew from inside with more rights.
	c.Stdout, c.Stderr = only(s.Stdout), only(s.Stderr)
	c.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if h.Plain {
		c.Args = []string{nameSupervise}
		c.WaitDelay = plainWaitDelay
		return c
	}
	uid, gid := os.Getuid(), os.Getgid()
	c.SysProcAttr.Cloneflags = unix.CLONE_NEWUSER | unix.CLONE_NEWNS | unix.CLONE_NEWPID | unix.CLONE_NEWIPC | unix.CLONE_NEWUTS
	if !h.NodeNetwork {
		c.SysProcAttr.Cloneflags |= unix.CLONE_NEWNET
	}
	c.SysProcAttr.UidMappings = []syscall.SysProcIDMap{{ContainerID: uid, HostID: uid, Size: 1}}
	c.SysProcAttr.GidMappings = []syscall.SysProcIDMap{{ContainerID: gid, HostID: gid, Size: 1}}
	// What the set-up needs beyond its exec, when its user is not root.
	c.SysProcAttr.AmbientCaps = []uintptr{unix.CAP_DAC_OVERRIDE, unix.CAP_SETPCAP, unix.CAP_NET_ADMIN, unix.CAP_SYS_ADMIN, unix.CAP_SYS_RESOURCE}
	c.SysProcAttr.Pdeathsig = syscall.SIGKILL
	return c
}

// plainWaitDelay bounds how long output is awaited from processes that the
// supervisor of isolation none did not find.
const plainWaitDelay = 5 * time.Second

type onlyWriter struct{ io.Writer }

func only(w io.Writer) io.Writer {
	if w == nil {
		w = io.Discard
	}
	return onlyWriter{w}
}

// follow reads the helper's messages to their end and returns their sum.
func (l *launched) follow(started func()) (message, error) {
	defer l.status.Close() //nolint:errcheck // read to its end
	var sum message
	d := json.NewDecoder(l.status)
	for {
		var m message
		if err := d.Decode(&m); err != nil {
			if errors.Is(err, io.EOF) {
				err = nil
			}
			return sum, err
		}
		if m.Started && !sum.Started {
			sum.Started = true
			if started != nil {
				started()
			}
		}
		if m.Ended {
			sum.Ended, sum.Exit, sum.Signal = true, m.Exit, m.Signal
		}
		if m.Step != "" {
			sum.Step, sum.Error, sum.Errno = m.Step, m.Error, m.Errno
		}
	}
}

// end waits for the context or the end of the workload, whichever is first.
func (l *launched) end(ctx context.Context, stop <-chan struct{}, margin time.Duration) (cancelled, killed bool) {
	select {
	case <-stop:
		return false, false
	case <-ctx.Done():
	}
	_, _ = l.control.Write([]byte{controlTerm}) // fails when it has ended meanwhile
	t := time.NewTimer(margin)
	defer t.Stop()
	select {
	case <-stop:
		return true, false
	case <-t.C:
	}
	_ = l.control.Close() // the supervisor of isolation none kills its tree when the lifeline ends
	if l.cmd.SysProcAttr.Cloneflags != 0 {
		_ = l.cmd.Process.Kill() // pid 1: the kernel kills the rest
	}
	return true, true
}

// signal passes signals on until the workload ends.
func (l *launched) signal(signals <-chan syscall.Signal, stop <-chan struct{}) {
	for {
		select {
		case <-stop:
			return
		case s := <-signals:
			if s > 0 && s < controlSignal {
				_, _ = l.control.Write([]byte{controlSignal | byte(s)}) // fails when it has ended meanwhile
			}
		}
	}
}

// checkMetrics refuses a file that, opened anew from inside, would give more
// than a pipe does.
func checkMetrics(f *os.File) error {
	if f == nil {
		return nil
	}
	fi, err := f.Stat()
	if err != nil {
		return err
	}
	if fi.Mode().Type() != os.ModeNamedPipe {
		return errors.New("not a pipe")
	}
	return nil
}
