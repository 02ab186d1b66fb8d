//go:build linux

package sandbox

import (
	"context"
	"errors"
	"io"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// probeTimeout bounds Available; the set-up takes some 30 ms.
const probeTimeout = 10 * time.Second

// Available measures which isolation works here, by setting up an empty
// sandbox whole. With IsolationNone it says why nothing better does. The
// calling program's main must begin with MaybeInit.
func Available(ctx context.Context) (Isolation, string) {
	dir, err := os.MkdirTemp("", "sandbox-")
	if err != nil {
		return IsolationNone, err.Error()
	}
	defer os.RemoveAll(dir) //nolint:errcheck // an empty tree in the temporary folder
	ctx, cancel := context.WithTimeout(ctx, probeTimeout)
	defer cancel()
	s := Spec{Isolation: IsolationUserNS, Root: dir, Stdout: io.Discard, Stderr: io.Discard}
	h := s.handover()
	h.Probe = true
	res, err := launch(ctx, s, h)
	if err == nil && res.Cancelled {
		err = context.Cause(ctx)
	}
	if err == nil && res.ExitCode != 0 {
		err = errors.New("the probe ended early")
	}
	if err != nil {
		return IsolationNone, err.Error() + hint(err)
	}
	return IsolationUserNS, ""
}

// hint says what usually is behind an error.
func hint(err error) string {
	e, ok := errors.AsType[*SetupError](err)
	if !ok {
		return ""
	}
	switch {
	case errors.Is(err, unix.ENOSPC):
		return " (user.max_user_namespaces is 0 or used up)"
	case errors.Is(err, unix.EPERM) && e.Step == "namespaces":
		return " (unprivileged user namespaces are switched off, or this runs inside chroot)"
	case errors.Is(err, unix.EPERM) && e.Step == "proc":
		return " (/proc is masked here, as in a container)"
	case errors.Is(err, unix.EPERM), errors.Is(err, unix.EACCES):
		return " (a security module such as AppArmor takes privileges away inside user namespaces)"
	case errors.Is(err, unix.EINVAL) && e.Step == "pivot":
		return " (the node runs from its initial memory file system)"
	}
	return ""
}
