package agent

import (
	"bytes"
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
	"unicode"
	"unicode/utf8"

	"golang.org/x/sys/unix"

	"github.com/valico-hpc/valico/adapters/agent/layout"
	"github.com/valico-hpc/valico/broker"
	"github.com/valico-hpc/valico/images/disk"
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
	a.countEnded(e)
	return nil
}

// clear removes what is not needed any more. Order, start mark and spool stay:
// together they refuse a second start and say what happened (keep.go).
func (a *Agent) clear(ctx context.Context, r record) {
	a.clearFolder(ctx, r)
	a.leaveCkpt(ctx, r)
}

func (a *Agent) clearFolder(ctx context.Context, r record) {
	dir := a.attemptDir(r.Attempt)
	over := []string{filepath.Join(dir, "out")}
	for rank := range max(1, r.Limits.Nodes) {
		over = append(over, layout.Root(dir, rank))
	}
	for _, p := range over {
		if err := removeTree(p); err != nil {
			a.cfg.Log.WarnContext(ctx, "clear up after an attempt", "attempt_id", r.Attempt, "folder", filepath.Base(p), "error", err)
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
	uid, _, err := a.cfg.Accounts(r.Account)
	if err != nil {
		return broker.OutputManifest{}, nil, fmt.Errorf("look up whose outputs they are: %w", errors.Join(err, root.Close()))
	}
	s := &sealer{
		ctx: ctx, to: root, owner: uint32(uid), files: a.cfg.SealFiles, bytes: a.cfg.SealBytes, //nolint:gosec // a uid
		names: 2*a.cfg.SealFiles + 1000,
	}
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
// each through its parent's descriptor and following no link. What is not the
// account's own is not sealed: the agent may be root, and a second name of
// somebody else's file must not make its content the account's output.
type sealer struct {
	ctx   context.Context //nolint:containedctx // lives for one call of tree
	to    *os.Root
	owner uint32
	files int   // how many more may be sealed
	bytes int64 // how many more may be sealed
	names int   // how many more are looked at, folders and what is skipped included
	done  []broker.OutputFile
	skips []skipped
}

const openFlags = unix.O_RDONLY | unix.O_NOFOLLOW | unix.O_NONBLOCK | unix.O_CLOEXEC

func (s *sealer) tree(out string) error {
	fd, err := unix.Open(out, openFlags|unix.O_DIRECTORY, 0)
	if why := passing(err); why != "" {
		s.skip(".", why)
		return nil
	}
	if errors.Is(err, unix.ENOTDIR) {
		s.skip(".", "not a folder")
		return nil
	}
	if err != nil {
		return fmt.Errorf("open out: %w", err)
	}
	return s.folder(os.NewFile(uintptr(fd), "out"), "", 0)
}

// passing says why a name that cannot be opened is no fault of the site: who
// owns the folder can close it, or take the name away meanwhile, and would hold
// the attempt up for ever.
func passing(err error) string {
	switch {
	case errors.Is(err, unix.ELOOP):
		return "a link"
	case errors.Is(err, unix.EACCES), errors.Is(err, unix.EPERM):
		return "not readable"
	case errors.Is(err, unix.ENOENT), errors.Is(err, unix.ENXIO):
		return "gone while it was sealed"
	}
	return ""
}

// folder seals what lies in an open folder and closes it.
func (s *sealer) folder(d *os.File, at string, depth int) error {
	defer func() { _ = d.Close() }() // only read
	names, err := d.Readdirnames(s.names + 1)
	if err != nil && !errors.Is(err, io.EOF) {
		return fmt.Errorf("list out: %w", err)
	}
	if len(names) > s.names {
		names = names[:s.names]
		s.skip(path.Join(".", at), "holds more names than one attempt may leave")
	}
	s.names -= len(names)
	slices.Sort(names)
	for _, name := range names {
		if err := s.ctx.Err(); err != nil {
			return context.Cause(s.ctx)
		}
		p := path.Join(at, name)
		if !utf8.ValidString(p) || len(p) > maxPath || strings.ContainsFunc(p, unicode.IsControl) {
			s.skip(strings.Map(printable, strings.ToValidUTF8(p, "\uFFFD")), "a name that cannot stand in a manifest")
			continue
		}
		if err := s.one(d, name, p, depth); err != nil {
			return err
		}
	}
	return nil
}

// printable keeps a name from steering the terminal of whoever reads of it.
func printable(r rune) rune {
	if unicode.IsControl(r) {
		return unicode.ReplacementChar
	}
	return r
}

// one seals one name of a folder. Its kind is asked of the descriptor that is
// read, never of the name.
func (s *sealer) one(parent *os.File, name, p string, depth int) error {
	var st unix.Stat_t
	err := unix.Fstatat(int(parent.Fd()), name, &st, unix.AT_SYMLINK_NOFOLLOW)
	if err == nil {
		if why := s.unfit(st); why != "" { // opening a device could do something
			s.skip(p, why)
			return nil
		}
	}
	fd := -1
	if err == nil {
		fd, err = unix.Openat(int(parent.Fd()), name, openFlags, 0)
	}
	if why := passing(err); why != "" {
		s.skip(p, why)
		return nil
	}
	if err != nil {
		return fmt.Errorf("open an output: %w", err)
	}
	f := os.NewFile(uintptr(fd), name)
	if err := unix.Fstat(fd, &st); err != nil {
		return fmt.Errorf("look at an output: %w", errors.Join(err, f.Close()))
	}
	why, dir := s.unfit(st), st.Mode&unix.S_IFMT == unix.S_IFDIR
	if why == "" && dir && depth+1 >= maxDepth {
		why = "too deep"
	}
	switch {
	case why != "":
		s.skip(p, why)
		return f.Close()
	case dir:
		if err := s.to.Mkdir(p, 0o700); err != nil {
			return fmt.Errorf("copy an output: %w", errors.Join(err, f.Close()))
		}
		return s.folder(f, p, depth+1)
	}
	return errors.Join(s.file(f, p, st), f.Close())
}

// unfit says why something is not sealed; "" for the account's own files and
// folders.
func (s *sealer) unfit(st unix.Stat_t) string {
	if why := kind(st.Mode); why != "" {
		return why
	}
	if st.Uid != s.owner {
		return "not the account's own"
	}
	return ""
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

func (s *sealer) file(f *os.File, p string, st unix.Stat_t) error {
	if s.files <= 0 || st.Size > s.bytes {
		s.skip(p, "beyond what one attempt may leave")
		return nil
	}
	if err := disk.Room(s.to.Name(), st.Blocks*512); err != nil { // the journals of others lie there too
		return fmt.Errorf("copy an output: %w", err)
	}
	w, err := s.to.OpenFile(p, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o400)
	if err != nil {
		return fmt.Errorf("copy an output: %w", err)
	}
	h := sha256.New()
	n, err := io.Copy(io.MultiWriter(&holes{f: w}, h), io.LimitReader(f, st.Size)) // what grows meanwhile is not sealed
	if err := errors.Join(err, w.Truncate(n), w.Sync(), w.Close()); err != nil {
		return fmt.Errorf("copy an output: %w", err)
	}
	s.files--
	s.bytes -= n
	s.done = append(s.done, broker.OutputFile{Path: p, SizeBytes: n, Digest: broker.Digest("sha256:" + hex.EncodeToString(h.Sum(nil)))})
	return nil
}

// holes writes blocks of zeros as holes, so that a file which claims a large
// size takes no more of the quarantine's disk than it took of its owner's.
type holes struct {
	f   *os.File
	off int64
}

const block = 4096

// Write writes what is not zero.
func (h *holes) Write(p []byte) (int, error) {
	for rest := p; len(rest) > 0; {
		b := rest[:min(block, len(rest))]
		if bytes.Count(b, []byte{0}) != len(b) {
			if _, err := h.f.WriteAt(b, h.off); err != nil {
				return len(p) - len(rest), err
			}
		}
		h.off += int64(len(b))
		rest = rest[len(b):]
	}
	return len(p), nil
}

func (s *sealer) skip(p, why string) {
	switch {
	case len(s.skips) < maxSkipped:
		s.skips = append(s.skips, skipped{Path: p, Reason: why})
	case len(s.skips) == maxSkipped:
		s.skips = append(s.skips, skipped{Path: "", Reason: "more was skipped than is listed"})
	}
}
