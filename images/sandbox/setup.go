//go:build linux

package sandbox

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"strings"

	"golang.org/x/sys/unix"
)

// MaybeInit must be the first call of main. It returns in an ordinary process,
// after marking files that the process inherited so that no child inherits
// them in turn. In the helper it never returns.
func MaybeInit() {
	name := ""
	if len(os.Args) > 0 {
		name = os.Args[0]
	}
	switch name {
	case nameSetup:
		setup()
	case namePivot:
		pivot()
	case nameSupervise:
		supervise()
	default:
		_ = closeOnExec(3) // the helper does so itself, and fails if it cannot
	}
}

// setup turns fresh namespaces into the sandbox and becomes the supervisor.
// Capabilities and no_new_privs belong to a thread, and exec takes the one
// that calls it: everything here happens on one thread.
func setup() {
	runtime.LockOSThread()
	h, err := readHandover()
	if err != nil {
		fail("handover", err)
	}
	m := mounter{h: h, root: -1}
	for _, step := range []struct {
		name string
		do   func() error
	}{
		{"parent death", dieWithParent},
		{"loopback", func() error {
			if h.NodeNetwork {
				return nil // the node's own is up
			}
			return loopbackUp()
		}},
		{"hostname", func() error { return unix.Sethostname([]byte(h.Hostname)) }},
		{"private mounts", func() error { return unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, "") }},
		{"root", m.bindRoot},
		{"mounts", m.bindAll},
		{"proc", m.proc},
		{"dev", m.dev},
		{"scratch", m.scratch},
		{"read-only root", m.rootReadOnly},
		{"pivot helper", startPivot},
		{"drop privileges", dropPrivileges},
		{"filter system calls", filterCalls},
		{"inherited files", func() error { return closeOnExec(fdGo + 1) }},
		{"become supervisor", func() error { return unix.Exec("/proc/self/exe", []string{nameSupervise}, nil) }},
	} {
		if err := step.do(); err != nil {
			fail(step.name, err)
		}
	}
}

func dieWithParent() error {
	return unix.Prctl(unix.PR_SET_PDEATHSIG, uintptr(unix.SIGKILL), 0, 0, 0)
}

func loopbackUp() error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd) //nolint:errcheck // only carried the ioctl
	r, err := unix.NewIfreq("lo")
	if err != nil {
		return err
	}
	r.SetUint16(unix.IFF_UP | unix.IFF_RUNNING)
	return unix.IoctlIfreq(fd, unix.SIOCSIFFLAGS, r)
}

// securebits, all locked: root is nobody special, a change of uid restores no
// capability, none can be kept or made ambient.
const securebits = 1<<0 | 1<<1 | 1<<2 | 1<<3 | 1<<5 | 1<<6 | 1<<7

// dropPrivileges gives up every capability in every set, for good. Ambient
// capabilities survive an exec: left in place they once made a remount of the
// data as writable possible.
func dropPrivileges() error {
	if err := unix.Setrlimit(unix.RLIMIT_CORE, &unix.Rlimit{}); err != nil {
		return fmt.Errorf("core dumps: %w", err)
	}
	if err := unix.Prctl(unix.PR_SET_SECUREBITS, securebits, 0, 0, 0); err != nil {
		return fmt.Errorf("securebits: %w", err)
	}
	for c := uintptr(0); ; c++ {
		err := unix.Prctl(unix.PR_CAPBSET_DROP, c, 0, 0, 0)
		if errors.Is(err, unix.EINVAL) && c > unix.CAP_AUDIT_READ {
			break // beyond the kernel's last capability
		}
		if err != nil {
			return fmt.Errorf("bounding set, capability %d: %w", c, err)
		}
	}
	if err := unix.Prctl(unix.PR_CAP_AMBIENT, unix.PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0); err != nil {
		return fmt.Errorf("ambient set: %w", err)
	}
	var none [2]unix.CapUserData
	if err := unix.Capset(&unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}, &none[0]); err != nil {
		return fmt.Errorf("capset: %w", err)
	}
	return noNewPrivs()
}

func noNewPrivs() error {
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return fmt.Errorf("no_new_privs: %w", err)
	}
	return nil
}

// checkPrivileges reads back what dropPrivileges did, after the exec.
func checkPrivileges() error {
	b, err := os.ReadFile("/proc/thread-self/status")
	if err != nil {
		return err
	}
	seen := 0
	for line := range strings.Lines(string(b)) {
		name, value, _ := strings.Cut(line, ":")
		value = strings.TrimSpace(value)
		switch {
		case strings.HasPrefix(name, "Cap"):
			seen++
			if strings.Trim(value, "0") != "" {
				return fmt.Errorf("%s is still %s", name, value)
			}
		case name == "NoNewPrivs":
			seen++
			if value != "1" {
				return errors.New("no_new_privs is not set")
			}
		case name == "Seccomp":
			seen++
			if value != "2" {
				return errors.New("the filter of system calls is not set")
			}
		}
	}
	if seen != 7 {
		return fmt.Errorf("found %d of 7 lines on privileges", seen)
	}
	return nil
}
