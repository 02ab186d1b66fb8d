package agent

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"unicode/utf8"

	"golang.org/x/sys/unix"

	"github.com/valico-hpc/valico/broker"
)

// Bounds of what is sealed that nobody needs to set.
const (
	maxDepth   = 32
	maxPath    = 1024
	maxSkipped = 100
)

// sealOutputs copies what an attempt wrote into the quarantine, and only when
// copy and manifest are on the disk it says so and clears up. Files are copied,
// not renamed: a file that has another name or is open somewhere else could
// still be written to after its digest was taken.
func (a *Agent) sealOutputs(ctx context.Context, e *entry) error {
	r, _ := e.snapshot()
	now, out := a.now(), filepath.Join(a.attemptDir(r.Attempt), "out")
	manifest, notices := broker.Digest(""), []notice{}
	if _, err := os.Lstat(out); err == nil {
		m, skipped, err := a.sealed(ctx, r, out)
		if err != nil {
			return fmt.Errorf("seal outputs: %w", err)
		}
		manifest = m.Digest
		notices = append(notices, notice{Name: "outputs_sealed", Text: fmt.Sprintf("%d files sealed", len(m.Files)), At: now})
		for _, s := range skipped {
			notices = append(notices, notice{Name: "output_skipped", Text: s.Path + ": " + s.Reason, At: now})
		}
		a.cfg.Step("outputs_sealed")
	} else if !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("seal outputs: %w", err)
	}
	err := a.update(e, func(r *record) bool {
		r.State, r.Manifest, r.SealedAt = stateSealed, manifest, now
		if r.Telemetry == "full" {
			r.Notices = notices
		} else {
			r.Notices = notices[:min(1, len(notices))] // names of files are the workload's own words
		}
		return true
	})
	if err != nil {
		return err
	}
	a.clear(ctx, r)
	return nil
}

// clear removes what is not needed any more. Order, start mark and spool stay:
// together they refuse a second start and say what happened.
func (a *Agent) clear(ctx context.Context, r record) {
	for _, name := range []string{"root", "out"} {
		if err := removeTree(filepath.Join(a.attemptDir(r.Attempt), name)); err != nil {
			a.cfg.Log.WarnContext(ctx, "clear up after an attempt", "attempt_id", r.Attempt, "folder", name, "error", err)
		}
	}
}

func (a *Agent) quarantine(id broker.AttemptID) string {
	return filepath.Join(a.cfg.Dir, "quarantine", string(id))
}

// sealed returns the manifest that an earlier try left, or makes it.
func (a *Agent) sealed(ctx context.Context, r record, out string) (broker.OutputManifest, []skipped, error) {
	dir := a.quarantine(r.Attempt)
	if b, err := os.ReadFile(filepath.Join(dir, "manifest.json")); err == nil { //nolint:gosec // the agent's own folder
		return decodeManifest(b)
	}
	parent := filepath.Dir(dir)
	tmp, err := os.MkdirTemp(parent, tempPrefix+"*")
	if err != nil {
		return broker.OutputManifest{}, nil, fmt.Errorf("open the quarantine: %w", err)
	}
	m, skips, err := a.fillQuarantine(ctx, r, out, tmp)
	if err == nil {
		err = os.Rename(tmp, dir)
	}
	if err != nil {
		return broker.OutputManifest{}, nil, errors.Join(err, removeTree(tmp))
	}
	return m, skips, syncDir(parent)
}

func (a *Agent) fillQuarantine(ctx context.Context, r record, out, tmp string) (broker.OutputManifest, []skipped, error) {
	to := filepath.Join(tmp, "out")
	if err := os.Mkdir(to, 0o700); err != nil {
		return broker.OutputManifest{}, nil, fmt.Errorf("open the quarantine: %w", err)
	}
	root, err := os.OpenRoot(to)
	if err != nil {
		return broker.OutputManifest{}, nil, fmt.Errorf("open the quarantine: %w", err)
	}
	s := &sealer{ctx: ctx, to: root, files: a.cfg.SealFiles, bytes: a.cfg.SealBytes}
	err = errors.Join(s.tree(out), root.Close())
	if err != nil {
		return broker.OutputManifest{}, nil, err
	}
	slices.SortFunc(s.done, func(x, y broker.OutputFile) int { return strings.Compare(x.Path, y.Path) })
	m, err := encodeManifest(broker.OutputManifest{Attempt: r.Attempt, Sandbox: r.Sandbox, Files: s.done, SealedAt: a.now()}, s.skips)
	if err != nil {
		return broker.OutputManifest{}, nil, err
	}
	if err := writeFile(filepath.Join(tmp, "manifest.json"), m.Bytes, 0o400); err != nil {
		return broker.OutputManifest{}, nil, err
	}
	return m, s.skips, nil
}

// sealer copies regular files below one folder that a stranger owns, reaching
// each through its parent's descriptor and following no link.
type sealer struct {
	ctx   context.Context //nolint:containedctx // lives for one call of tree
	to    *os.Root
	files int   // how many more may be sealed
	bytes int64 // how many more may be sealed
	done  []broker.OutputFile
	skips []skipped
}

const openFlags = unix.O_RDONLY | unix.O_NOFOLLOW | unix.O_NONBLOCK | unix.O_CLOEXEC

func (s *sealer) tree(out string) error {
	fd, err := unix.Open(out, openFlags|unix.O_DIRECTORY, 0)
	if errors.Is(err, unix.ELOOP) || errors.Is(err, unix.ENOTDIR) {
		s.skip(".", "not a folder")
		return nil
	}
	if err != nil {
		return fmt.Errorf("open out: %w", err)
	}
	return s.folder(os.NewFile(uintptr(fd), "out"), "", 0)
}

// folder seals what lies in an open folder and closes it.
func (s *sealer) folder(d *os.File, at string, depth int) error {
	defer func() { _ = d.Close() }() // only read
	names, err := d.Readdirnames(-1)
	if err != nil {
		return fmt.Errorf("list out: %w", err)
	}
	slices.Sort(names)
	for _, name := range names {
		if err := s.ctx.Err(); err != nil {
			return context.Cause(s.ctx)
		}
		p := path.Join(at, name)
		if !utf8.ValidString(p) || len(p) > maxPath || strings.ContainsFunc(p, func(r rune) bool { return r < 0x20 || r == 0x7f }) {
			s.skip(strings.ToValidUTF8(p, "\uFFFD"), "a name that cannot stand in a manifest")
			continue
		}
		if err := s.one(d, name, p, depth); err != nil {
			return err
		}
	}
	return nil
}

// one seals one name of a folder. Its kind is asked of the descriptor that is
// read, never of the name.
func (s *sealer) one(parent *os.File, name, p string, depth int) error {
	var st unix.Stat_t
	if err := unix.Fstatat(int(parent.Fd()), name, &st, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return fmt.Errorf("look at an output: %w", err)
	}
	if why := kind(st.Mode); why != "" { // opening a device could do something
		s.skip(p, why)
		return nil
	}
	fd, err := unix.Openat(int(parent.Fd()), name, openFlags, 0)
	if errors.Is(err, unix.ELOOP) {
		s.skip(p, "a link")
		return nil
	}
	if errors.Is(err, unix.EACCES) {
		s.skip(p, "not readable")
		return nil
	}
	if err != nil {
		return fmt.Errorf("open an output: %w", err)
	}
	f := os.NewFile(uintptr(fd), name)
	if err := unix.Fstat(fd, &st); err != nil {
		return fmt.Errorf("look at an output: %w", errors.Join(err, f.Close()))
	}
	switch {
	case st.Mode&unix.S_IFMT == unix.S_IFDIR && depth+1 >= maxDepth:
		s.skip(p, "too deep")
		return f.Close()
	case st.Mode&unix.S_IFMT == unix.S_IFDIR:
		if err := s.to.Mkdir(p, 0o700); err != nil {
			return fmt.Errorf("copy an output: %w", errors.Join(err, f.Close()))
		}
		return s.folder(f, p, depth+1)
	case kind(st.Mode) != "":
		s.skip(p, kind(st.Mode))
		return f.Close()
	}
	return errors.Join(s.file(f, p, st.Size), f.Close())
}

// kind says why something is not sealed; "" for files and folders.
func kind(mode uint32) string {
	switch mode & unix.S_IFMT {
	case unix.S_IFREG, unix.S_IFDIR:
		return ""
	case unix.S_IFLNK:
		return "a link"
	case unix.S_IFSOCK:
		return "a socket"
	case unix.S_IFIFO:
		return "a pipe"
	}
	return "a device"
}

func (s *sealer) file(f *os.File, p string, size int64) error {
	if s.files <= 0 || size > s.bytes {
		s.skip(p, "beyond what one attempt may leave")
		return nil
	}
	w, err := s.to.OpenFile(p, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o400)
	if err != nil {
		return fmt.Errorf("copy an output: %w", err)
	}
	h := sha256.New()
	n, err := io.Copy(io.MultiWriter(w, h), io.LimitReader(f, size)) // what grows meanwhile is not sealed
	if err := errors.Join(err, w.Sync(), w.Close()); err != nil {
		return fmt.Errorf("copy an output: %w", err)
	}
	s.files--
	s.bytes -= n
	s.done = append(s.done, broker.OutputFile{Path: p, SizeBytes: n, Digest: broker.Digest("sha256:" + hex.EncodeToString(h.Sum(nil)))})
	return nil
}

func (s *sealer) skip(p, why string) {
	switch {
	case len(s.skips) < maxSkipped:
		s.skips = append(s.skips, skipped{Path: p, Reason: why})
	case len(s.skips) == maxSkipped:
		s.skips = append(s.skips, skipped{Path: "", Reason: "more was skipped than is listed"})
	}
}
