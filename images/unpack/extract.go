package unpack

import (
	"archive/tar"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"strings"
	"time"
)

// maxElement is the kernel's NAME_MAX.
const maxElement = 255

const (
	whiteout       = ".wh."
	whiteoutMeta   = ".wh..wh."     // aufs' own files, and the next one
	whiteoutOpaque = ".wh..wh..opq" // nothing of lower layers in this folder
)

// extractor writes one layer into the root.
type extractor struct {
	u *unpacker
	// seen holds the paths that this layer made: whiteouts are about lower layers.
	seen map[string]struct{}
	// parent is the folder that was made last, to save asking again.
	parent string
}

func refused(name, rule string) error { return fmt.Errorf("%w: %q: %s", ErrRefused, name, rule) }

func (x *extractor) run(r io.Reader) error {
	tr := tar.NewReader(r)
	for {
		h, err := tr.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return readError(err)
		}
		x.u.report.Entries++
		if x.u.report.Entries > x.u.lim.Entries {
			return fmt.Errorf("%w: more than %d entries", ErrLimit, x.u.lim.Entries)
		}
		if err := x.entry(h, tr); err != nil {
			return err
		}
	}
}

// cleanName gives a path below the root, "." for the root itself.
func (x *extractor) cleanName(name string) (string, error) {
	if len(name) > x.u.lim.PathBytes {
		return "", fmt.Errorf("%w: a path of %d bytes, at most %d", ErrLimit, len(name), x.u.lim.PathBytes)
	}
	for e := range strings.SplitSeq(name, "/") {
		if e == ".." || len(e) > maxElement {
			return "", refused(name, "a path does not climb, and no name in it has more than 255 bytes")
		}
	}
	if name == "" || strings.ContainsRune(name, 0) {
		return "", refused(name, "a path is not empty and holds no NUL")
	}
	clean := strings.TrimPrefix(path.Clean("/"+name), "/")
	if clean == "" {
		clean = "."
	}
	return clean, nil
}

func (x *extractor) entry(h *tar.Header, body io.Reader) error {
	if h.Typeflag == tar.TypeXGlobalHeader {
		return nil
	}
	name, err := x.cleanName(h.Name)
	if err != nil {
		return err
	}
	if name == "." {
		if h.Typeflag != tar.TypeDir {
			return refused(h.Name, "the root is a folder")
		}
		return nil
	}
	if err := x.makeParent(path.Dir(name)); err != nil {
		return err
	}
	if base := path.Base(name); strings.HasPrefix(base, whiteout) {
		return x.whiteout(path.Dir(name), base)
	}
	x.drop(h)
	if err := x.place(name, h, body); err != nil {
		return err
	}
	x.seen[name] = struct{}{}
	return nil
}

// drop counts what an entry asks for and does not get.
func (x *extractor) drop(h *tar.Header) {
	if h.Mode&0o7000 != 0 {
		x.u.report.Dropped++
	}
	for key := range h.PAXRecords {
		if strings.HasPrefix(key, "SCHILY.xattr.") || strings.HasPrefix(key, "LIBARCHIVE.xattr.") {
			x.u.report.Dropped++
		}
	}
}

// makeParent makes the folders above an entry where a layer does not list them.
func (x *extractor) makeParent(dir string) error {
	if dir == "." || dir == x.parent {
		return nil
	}
	for p := dir; p != "."; p = path.Dir(p) {
		if strings.HasPrefix(path.Base(p), whiteout) {
			return refused(dir, "a whiteout has nothing below it")
		}
		x.seen[p] = struct{}{}
	}
	if err := x.u.root.MkdirAll(dir, 0o755); err != nil {
		return x.fail(dir, err)
	}
	x.parent = dir
	return nil
}

// fail tells what the layer's own shape forbids from what the system says.
func (x *extractor) fail(name string, err error) error {
	if _, lerr := x.u.root.Stat(path.Dir(name)); lerr != nil {
		return refused(name, "its path leads out of the image or through a file: "+lerr.Error())
	}
	if fi, lerr := x.u.root.Lstat(name); lerr == nil && !fi.IsDir() {
		return refused(name, "its path leads out of the image or through a file: "+err.Error())
	}
	return fmt.Errorf("write %q: %w", name, err)
}

func (x *extractor) place(name string, h *tar.Header, body io.Reader) error {
	if h.Size > x.u.lim.FileBytes {
		return fmt.Errorf("%w: %q has %d bytes, at most %d", ErrLimit, name, h.Size, x.u.lim.FileBytes)
	}
	switch h.Typeflag {
	case tar.TypeDir:
		return x.folder(name, h)
	case tar.TypeReg:
		for key := range h.PAXRecords {
			if strings.HasPrefix(key, "GNU.sparse.") {
				return refused(name, "sparse files are not unpacked")
			}
		}
		return x.file(name, h, body)
	case tar.TypeSymlink:
		if h.Linkname == "" || len(h.Linkname) > x.u.lim.PathBytes || strings.ContainsRune(h.Linkname, 0) {
			return refused(name, "a link has a target")
		}
		return x.replace(name, func() error { return x.u.root.Symlink(h.Linkname, name) })
	case tar.TypeLink:
		return x.hardLink(name, h)
	}
	return refused(name, fmt.Sprintf("an image holds files, folders and links, not type %q", h.Typeflag))
}

// replace does what makes a new name; whatever had the name goes first.
func (x *extractor) replace(name string, create func() error) error {
	err := create()
	if errors.Is(err, fs.ErrExist) {
		if err := x.u.root.RemoveAll(name); err != nil {
			return x.fail(name, err)
		}
		x.parent = ""
		err = create()
	}
	if err != nil {
		return x.fail(name, err)
	}
	return nil
}

func (x *extractor) folder(name string, h *tar.Header) error {
	mode := h.FileInfo().Mode().Perm() | 0o700
	if fi, err := x.u.root.Lstat(name); err != nil || !fi.IsDir() {
		if err := x.replace(name, func() error { return x.u.root.Mkdir(name, mode) }); err != nil {
			return err
		}
	}
	if err := x.u.root.Chmod(name, mode); err != nil {
		return x.fail(name, err)
	}
	return nil
}

func (x *extractor) file(name string, h *tar.Header, body io.Reader) error {
	var f *os.File
	err := x.replace(name, func() (err error) {
		f, err = x.u.root.OpenFile(name, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
		return err //nolint:wrapcheck // fail wraps it
	})
	if err != nil {
		return err
	}
	n, err := io.CopyBuffer(onlyWriter{f}, onlyReader{body}, x.u.buf)
	chmodErr := f.Chmod(h.FileInfo().Mode().Perm() | 0o400)
	closeErr := f.Close()
	switch {
	case err != nil:
		if _, disk := errors.AsType[*fs.PathError](err); disk {
			return fmt.Errorf("write %q: %w", name, err)
		}
		return readError(err)
	case n != h.Size:
		return fmt.Errorf("%w: %q has %d bytes, not %d", ErrMalformed, name, n, h.Size)
	case chmodErr != nil || closeErr != nil:
		return fmt.Errorf("write %q: %w", name, errors.Join(chmodErr, closeErr))
	}
	if err := x.u.root.Chtimes(name, time.Time{}, h.ModTime); err != nil {
		return x.fail(name, err)
	}
	return nil
}

// hardLink links to a file that is in the image already; its target is never
// followed through a link.
func (x *extractor) hardLink(name string, h *tar.Header) error {
	target, err := x.cleanName(h.Linkname)
	if err != nil {
		return err
	}
	fi, err := x.u.root.Lstat(target)
	if err != nil || !fi.Mode().IsRegular() || target == name {
		return refused(name, fmt.Sprintf("a hard link leads to a file that is in the image, not to %q", h.Linkname))
	}
	return x.replace(name, func() error { return x.u.root.Link(target, name) })
}

func (x *extractor) whiteout(dir, base string) error {
	x.u.report.Whiteouts++
	switch {
	case base == whiteoutOpaque:
		return x.removeBelow(dir)
	case strings.HasPrefix(base, whiteoutMeta):
		return nil // a work file of aufs, nothing to anybody else
	}
	name := strings.TrimPrefix(base, whiteout)
	if name == "" || name == "." || name == ".." {
		return refused(path.Join(dir, base), "a whiteout names a file")
	}
	return x.removeLower(path.Join(dir, name))
}

// removeLower removes what lower layers put at name, not what this one did.
func (x *extractor) removeLower(name string) error {
	if _, ours := x.seen[name]; ours {
		return x.removeBelow(name)
	}
	x.parent = ""
	if err := x.u.root.RemoveAll(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return x.fail(name, err)
	}
	return nil
}

// removeBelow removes what lower layers put into a folder.
func (x *extractor) removeBelow(dir string) error {
	if fi, err := x.u.root.Lstat(dir); err != nil || !fi.IsDir() {
		return nil //nolint:nilerr // not a folder: nothing below it
	}
	d, err := x.u.root.Open(dir)
	if err != nil {
		return x.fail(dir, err)
	}
	names, err := d.Readdirnames(-1)
	_ = d.Close() // read only
	if err != nil {
		return x.fail(dir, err)
	}
	for _, n := range names {
		if err := x.removeLower(path.Join(dir, n)); err != nil {
			return err
		}
	}
	return nil
}

// onlyWriter hides every method but Write, so that copies use our buffer.
type onlyWriter struct{ io.Writer }
