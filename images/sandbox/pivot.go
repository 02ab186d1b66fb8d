//go:build linux

package sandbox

import (
	"errors"
	"fmt"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// The supervisor must come out of an exec, because that alone takes
// capabilities from all threads of a Go program, and it must exec before the
// root changes, because a program that is not static finds its loader on the
// host only. But to change the root takes a capability. So a third process
// does it: pivot_root moves every process of the mount namespace.
//
//	setup ── starts ──▶ pivot, waits for a byte
//	  └ drops, execs ─▶ supervisor ── byte ──▶ pivot_root, lets go of the host, ends
//	                        └ reaps it, checks, starts the workload

// startPivot runs the helper and leaves the pipe that releases it at fdGo.
func startPivot() error {
	var p [2]int
	if err := unix.Pipe2(p[:], unix.O_CLOEXEC); err != nil {
		return fmt.Errorf("pipe: %w", err)
	}
	attr := &syscall.ProcAttr{Env: []string{}, Files: []uintptr{0, 1, 2, fdHandover, uintptr(p[0]), fdStatus}}
	if _, err := syscall.ForkExec("/proc/self/exe", []string{namePivot}, attr); err != nil { //nolint:gosec // this program
		return err
	}
	if err := unix.Dup3(p[1], fdGo, 0); err != nil && p[1] != fdGo {
		return fmt.Errorf("dup: %w", err)
	}
	if p[1] == fdGo {
		_, err := unix.FcntlInt(fdGo, unix.F_SETFD, 0)
		return errors.Join(err, unix.Close(p[0]))
	}
	return errors.Join(unix.Close(p[0]), unix.Close(p[1]))
}

// pivot is the helper: it makes the tree the root of this mount namespace and
// lets go of the host's. fdControl is the pipe that releases it.
func pivot() {
	h, err := readHandover()
	if err != nil {
		fail("handover", err)
	}
	if n, err := unix.Read(fdControl, make([]byte, 1)); n != 1 {
		unix.Exit(1) // setup failed and has said why
	} else if err != nil {
		fail("pivot", err)
	}
	if err := changeRoot(h.Root); err != nil {
		fail("pivot", err)
	}
	unix.Exit(0)
}

func changeRoot(root string) error {
	if err := os.Chdir(root); err != nil {
		return err
	}
	if err := unix.PivotRoot(".", "."); err != nil {
		return fmt.Errorf("pivot_root: %w", err)
	}
	if err := unix.Unmount(".", unix.MNT_DETACH); err != nil {
		return fmt.Errorf("let go of the host: %w", err)
	}
	return nil
}

// enterRoot releases the helper, waits for its end and looks where we are.
func enterRoot(h handover) error {
	if _, err := unix.Write(fdGo, []byte{1}); err != nil {
		return fmt.Errorf("release pivot: %w", err)
	}
	var ws unix.WaitStatus
	for {
		_, err := unix.Wait4(-1, &ws, 0, nil)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return fmt.Errorf("wait for pivot: %w", err)
		}
		break
	}
	if !ws.Exited() || ws.ExitStatus() != 0 {
		return errPivot
	}
	if err := os.Chdir("/"); err != nil {
		return err
	}
	return errors.Join(h.checkMounts(), unix.Close(fdGo))
}

// errPivot: the helper failed and has told the launcher why.
var errPivot = errors.New("the root was not changed")
