//go:build linux

package sandbox

import (
	"errors"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// mounter builds the tree below the image's root. The image is a stranger's:
// no path inside it is ever given to the kernel as text, because a link in it
// would be followed on the host; every mount point is reached by walking open
// folders, and named by its file descriptor.
type mounter struct {
	h    handover
	root int // the root's own mount, O_PATH
}

// quiet is on every mount: no set-uid programs, no devices.
const quiet = unix.MS_NOSUID | unix.MS_NODEV

func (m *mounter) bindRoot() error {
	if err := unix.Mount(m.h.Root, m.h.Root, "", unix.MS_BIND, ""); err != nil {
		return fmt.Errorf("bind: %w", err)
	}
	fd, err := unix.Open(m.h.Root, unix.O_PATH|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("open: %w", err)
	}
	m.root = fd
	return nil
}

// bindAll shows the caller's mounts, /out and /ckpt. Binds take along nothing that is
// mounted below their source.
func (m *mounter) bindAll() error {
	all := m.h.Mounts
	all = all[:len(all):len(all)]
	if m.h.Out != "" {
		all = append(all, Mount{Source: m.h.Out, Target: OutDir})
	}
	if m.h.Ckpt != "" {
		all = append(all, Mount{Source: m.h.Ckpt, Target: CkptDir})
	}
	for _, b := range all {
		var flags uintptr = quiet
		if b.ReadOnly {
			flags |= unix.MS_RDONLY
		}
		if err := m.bind(b.Source, b.Target, flags); err != nil {
			return err
		}
	}
	return nil
}

func (m *mounter) bind(source, target string, flags uintptr) error {
	src, err := unix.Open(source, unix.O_PATH|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("open the source of %s: %w", target, err)
	}
	defer unix.Close(src) //nolint:errcheck // only a name
	var st unix.Stat_t
	if err := unix.Fstat(src, &st); err != nil {
		return fmt.Errorf("stat the source of %s: %w", target, err)
	}
	at, err := m.point(target, st.Mode&unix.S_IFMT == unix.S_IFDIR)
	if err != nil {
		return err
	}
	defer unix.Close(at) //nolint:errcheck // only a name
	if err := unix.Mount(procFD(src), procFD(at), "", unix.MS_BIND, ""); err != nil {
		return fmt.Errorf("bind %s: %w", target, err)
	}
	return m.restrict(target, flags)
}

// restrict adds flags to a mount and keeps those it has: a user namespace may
// not take flags away that the host set, and asking for it is EPERM.
func (m *mounter) restrict(target string, flags uintptr) error {
	fd, err := m.walk(target)
	if err != nil {
		return err
	}
	defer unix.Close(fd) //nolint:errcheck // only a name
	var st unix.Statfs_t
	if err := unix.Fstatfs(fd, &st); err != nil {
		return fmt.Errorf("statfs %s: %w", target, err)
	}
	if err := unix.Mount("", procFD(fd), "", unix.MS_BIND|unix.MS_REMOUNT|flags|mountFlags(st.Flags), ""); err != nil {
		return fmt.Errorf("restrict %s: %w", target, err)
	}
	return nil
}

// mountFlags turns the flags of statfs into those of mount.
func mountFlags(st int64) uintptr {
	var f uintptr
	for _, p := range []struct {
		st    int64
		mount uintptr
	}{
		{unix.ST_RDONLY, unix.MS_RDONLY},
		{unix.ST_NOSUID, unix.MS_NOSUID},
		{unix.ST_NODEV, unix.MS_NODEV},
		{unix.ST_NOEXEC, unix.MS_NOEXEC},
		{unix.ST_NOATIME, unix.MS_NOATIME},
		{unix.ST_NODIRATIME, unix.MS_NODIRATIME},
		{unix.ST_RELATIME, unix.MS_RELATIME},
	} {
		if st&p.st != 0 {
			f |= p.mount
		}
	}
	return f
}

// point opens a mount point below the root and makes what is missing of it.
func (m *mounter) point(target string, dir bool) (int, error) {
	parent, name := path.Split(target)
	at, err := m.descend(parent, true)
	if err != nil {
		return -1, err
	}
	defer unix.Close(at) //nolint:errcheck // only a name
	if dir {
		return step(at, name, true)
	}
	fd, err := unix.Openat(at, name, unix.O_CREAT|unix.O_EXCL|unix.O_WRONLY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0o644)
	if err == nil {
		return fd, nil
	}
	if !errors.Is(err, unix.EEXIST) {
		return -1, fmt.Errorf("make %s: %w", target, err)
	}
	return file(at, name)
}

// walk opens what is at a path below the root, mounts included.
func (m *mounter) walk(target string) (int, error) {
	parent, name := path.Split(target)
	at, err := m.descend(parent, false)
	if err != nil || name == "" {
		return at, err
	}
	defer unix.Close(at) //nolint:errcheck // only a name
	return file(at, name)
}

// file opens a name that is no link.
func file(at int, name string) (int, error) {
	fd, err := unix.Openat(at, name, unix.O_PATH|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return -1, fmt.Errorf("open %s: %w", name, err)
	}
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil || st.Mode&unix.S_IFMT == unix.S_IFLNK {
		return -1, errors.Join(fmt.Errorf("the image has a link at the mount point %s", name), err, unix.Close(fd))
	}
	return fd, nil
}

func (m *mounter) descend(dir string, create bool) (int, error) {
	at, err := unix.Openat(m.root, ".", unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	for name := range strings.SplitSeq(strings.Trim(dir, "/"), "/") {
		if err != nil {
			return -1, fmt.Errorf("reach %s: %w", dir, err)
		}
		if name == "" {
			continue
		}
		parent := at
		at, err = step(parent, name, create)
		_ = unix.Close(parent)
	}
	if err != nil {
		return -1, fmt.Errorf("reach %s: %w", dir, err)
	}
	return at, nil
}

// step opens the folder name in at. O_DIRECTORY with O_NOFOLLOW refuses links.
func step(at int, name string, create bool) (int, error) {
	if create {
		if err := unix.Mkdirat(at, name, 0o755); err != nil && !errors.Is(err, unix.EEXIST) {
			return -1, fmt.Errorf("make %s: %w", name, err)
		}
	}
	fd, err := unix.Openat(at, name, unix.O_PATH|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return -1, fmt.Errorf("open folder %s: %w", name, err)
	}
	return fd, nil
}

// fresh mounts a new file system at a folder below the root.
func (m *mounter) fresh(kind, target string, flags uintptr, data string) error {
	at, err := m.point(target, true)
	if err != nil {
		return err
	}
	defer unix.Close(at) //nolint:errcheck // only a name
	if err := unix.Mount(kind, procFD(at), kind, unix.MS_NOSUID|flags, data); err != nil {
		return fmt.Errorf("mount %s: %w", target, err)
	}
	return nil
}

// proc mounts this pid namespace's /proc, forbids further user namespaces, and
// makes it read-only: a caller who is root on the host owns its sysctls, and
// the kernel checks their owner, not a capability.
func (m *mounter) proc() error {
	if err := m.fresh("proc", "/proc", unix.MS_NODEV|unix.MS_NOEXEC, ""); err != nil {
		return err
	}
	fd, err := m.walk("/proc/sys/user/max_user_namespaces")
	if err != nil {
		return err
	}
	defer unix.Close(fd) //nolint:errcheck // only a name
	if err := os.WriteFile(procFD(fd), []byte("0"), 0); err != nil {
		return fmt.Errorf("forbid user namespaces: %w", err)
	}
	return m.restrict("/proc", quiet|unix.MS_RDONLY|unix.MS_NOEXEC)
}

// dev makes a /dev of harmless devices. Their mounts are read-only, which
// leaves them writable as devices but keeps their owner and mode as they are.
func (m *mounter) dev() error {
	if err := m.fresh("tmpfs", "/dev", unix.MS_NOEXEC, "mode=755,size=64k"); err != nil {
		return err
	}
	for _, name := range []string{"null", "zero", "full", "random", "urandom"} {
		if err := m.bind("/dev/"+name, "/dev/"+name, unix.MS_RDONLY|unix.MS_NOSUID|unix.MS_NOEXEC); err != nil {
			return err
		}
	}
	dir, err := m.descend("/dev", false)
	if err != nil {
		return err
	}
	defer unix.Close(dir) //nolint:errcheck // only a name
	for _, l := range [][2]string{
		{"/proc/self/fd", "fd"},
		{"/proc/self/fd/0", "stdin"},
		{"/proc/self/fd/1", "stdout"},
		{"/proc/self/fd/2", "stderr"},
	} {
		if err := unix.Symlinkat(l[0], dir, l[1]); err != nil {
			return fmt.Errorf("link %s: %w", l[1], err)
		}
	}
	if err := m.fresh("tmpfs", "/dev/shm", unix.MS_NODEV, m.size("1777")); err != nil {
		return err
	}
	return m.restrict("/dev", unix.MS_RDONLY|unix.MS_NOSUID|unix.MS_NOEXEC)
}

func (m *mounter) size(mode string) string {
	return fmt.Sprintf("mode=%s,size=%dm", mode, m.h.TmpSizeMiB)
}

func (m *mounter) scratch() error {
	if err := m.fresh("tmpfs", "/tmp", unix.MS_NODEV, m.size("1777")); err != nil {
		return err
	}
	return m.fresh("tmpfs", Home, unix.MS_NODEV, m.size("700"))
}

func (m *mounter) rootReadOnly() error { return m.restrict("/", quiet|unix.MS_RDONLY) }

// check reads back that what must be read-only is.
func (h handover) checkMounts() error {
	want := []string{"/", "/proc", "/dev", "/dev/null"}
	for _, b := range h.Mounts {
		if b.ReadOnly {
			want = append(want, filepath.Clean(b.Target))
		}
	}
	for _, p := range want {
		var st unix.Statfs_t
		if err := unix.Statfs(p, &st); err != nil {
			return fmt.Errorf("statfs %s: %w", p, err)
		}
		if st.Flags&unix.ST_RDONLY == 0 {
			return fmt.Errorf("%s is not read-only", p)
		}
	}
	return nil
}
