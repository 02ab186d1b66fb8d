package layer

import (
	"archive/tar"
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"os"
	"path"
	"strings"
	"syscall"
	"time"
)

// Hasher is a destination that hashes what it is given, as a content store does.
// Cut takes its word for the layer's digest and does not hash a second time.
type Hasher interface {
	io.Writer
	// Digest is the "sha256:<hex>" of all bytes written so far.
	Digest() string
}

// Cut writes the folder dir to dst as one layer. It reads a file only once and
// keeps nothing in memory but the list of paths. After an error, what dst got
// must be thrown away.
func Cut(ctx context.Context, dst io.Writer, dir string, o Options) (Layer, error) {
	mediaType, err := o.Compression.mediaType()
	if err != nil {
		return Layer{}, err
	}
	o.Limits = o.Limits.WithDefaults()
	o.Prefix = strings.Trim(o.Prefix, "/")
	if o.Prefix != "" {
		if e := checkName(o.Prefix, o.Limits); e != nil {
			return Layer{}, e
		}
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return Layer{}, asError(err, dir, "the folder cannot be opened")
	}
	defer root.Close() //nolint:errcheck // read only
	entries, err := list(ctx, root, o)
	if err != nil {
		return Layer{}, err
	}

	packed := newMeter(dst)
	hasher, hashes := dst.(Hasher)
	if hashes {
		packed.h = nil
	}
	buffered := bufio.NewWriterSize(packed, copyBuffer)
	z, err := compressor(buffered, o.Compression)
	if err != nil {
		return Layer{}, err
	}
	raw := newMeter(z)
	err = writeTar(ctx, raw, root, entries, o.Prefix)
	if closeErr := z.Close(); err == nil {
		err = closeErr
	}
	if err == nil {
		err = buffered.Flush()
	}
	if err != nil {
		return Layer{}, fmt.Errorf("cut layer: %w", err)
	}
	count := len(entries)
	if o.Prefix != "" {
		count += 1 + strings.Count(o.Prefix, "/")
	}
	var digest string
	if hashes {
		digest = hasher.Digest()
	} else {
		digest = packed.digest()
	}
	return Layer{
		MediaType: mediaType, Digest: digest, DiffID: raw.digest(),
		SizeBytes: packed.n, RawBytes: raw.n, Entries: count,
	}, nil
}

func epoch() time.Time { return time.Unix(0, 0).UTC() }

// writeTar writes the tar of entries under prefix, with the folders of prefix.
func writeTar(ctx context.Context, w io.Writer, root *os.Root, entries []entry, prefix string) error {
	tw := tar.NewWriter(w)
	for i := range prefix {
		if prefix[i] == '/' {
			if err := tw.WriteHeader(header(prefix[:i], fs.ModeDir, 0, "")); err != nil {
				return fmt.Errorf("write folder of prefix: %w", err)
			}
		}
	}
	if prefix != "" {
		if err := tw.WriteHeader(header(prefix, fs.ModeDir, 0, "")); err != nil {
			return fmt.Errorf("write folder of prefix: %w", err)
		}
	}
	buf := make([]byte, copyBuffer)
	at := folder{top: root}
	defer at.close()
	for _, e := range entries {
		if err := ctx.Err(); err != nil {
			return context.Cause(ctx)
		}
		if err := tw.WriteHeader(header(path.Join(prefix, e.rel), e.info.Mode(), e.info.Size(), e.target)); err != nil {
			return fmt.Errorf("write header of %s: %w", quote(e.rel), err)
		}
		if !e.info.Mode().IsRegular() {
			continue
		}
		here, err := at.open(path.Dir(e.rel))
		if err != nil {
			return changed(e, err)
		}
		if err := writeFile(ctx, tw, here, e, buf); err != nil {
			return err
		}
	}
	if err := tw.Close(); err != nil {
		return fmt.Errorf("end tar: %w", err)
	}
	return nil
}

// openSame opens the very file that was listed, as name in the folder here. A
// link put in its place leads to another inode and is found out; one that leaves
// the folder does not open.
func openSame(here *os.Root, name string, e entry) (*os.File, error) {
	// O_NONBLOCK: a pipe put in the file's place must not hang the open.
	f, err := here.OpenFile(name, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, changed(e, err)
	}
	if fi, err := f.Stat(); err != nil || !same(e.info, fi) {
		_ = f.Close() // read only
		return nil, changed(e, err)
	}
	return f, nil
}

func same(a, b fs.FileInfo) bool {
	return os.SameFile(a, b) && a.Mode() == b.Mode() && a.Size() == b.Size() && a.ModTime().Equal(b.ModTime())
}

func changed(e entry, err error) *Error {
	if errors.Is(err, fs.ErrPermission) {
		return asError(err, e.rel, "it cannot be read")
	}
	return &Error{
		Code: CodeChanged, Path: quote(e.rel), Rule: "a file does not change while it is packaged",
		Help: "stop what writes to it, then try again", Err: err,
	}
}

// folder keeps the folder of the last file open, since most files follow one of
// the same folder.
type folder struct {
	top  *os.Root
	rel  string
	here *os.Root // nil before the first
}

func (f *folder) open(rel string) (*os.Root, error) {
	if f.here != nil && f.rel == rel {
		return f.here, nil
	}
	here, err := f.top.OpenRoot(rel)
	if err != nil {
		return nil, err //nolint:wrapcheck // the caller turns it into a refusal
	}
	f.close()
	f.rel, f.here = rel, here
	return here, nil
}

func (f *folder) close() {
	if f.here != nil {
		_ = f.here.Close() // read only
	}
}

func writeFile(ctx context.Context, w io.Writer, here *os.Root, e entry, buf []byte) error {
	f, err := openSame(here, path.Base(e.rel), e)
	if err != nil {
		return err
	}
	defer f.Close() //nolint:errcheck // read only
	for left, first := e.info.Size(), true; left > 0; first = false {
		if err := ctx.Err(); err != nil {
			return context.Cause(ctx)
		}
		n, err := io.ReadFull(f, buf[:min(left, int64(len(buf)))])
		if err != nil {
			return changed(e, err)
		}
		if first && bytes.HasPrefix(buf[:n], []byte("-----BEGIN ")) && holdsKey(buf[:min(n, secretHead)]) {
			return secretError(e.rel, "a private key does not belong in an image")
		}
		if _, err := w.Write(buf[:n]); err != nil {
			return fmt.Errorf("write %s: %w", quote(e.rel), err)
		}
		left -= int64(n)
	}
	fi, err := f.Stat()
	if err != nil || !same(e.info, fi) {
		return changed(e, err)
	}
	return nil
}

// meter counts and hashes what it passes on.
type meter struct {
	w io.Writer
	h hash.Hash // nil: counts only
	n int64
}

func newMeter(w io.Writer) *meter { return &meter{w: w, h: sha256.New()} }

// Write passes p on and accounts for what was taken.
func (m *meter) Write(p []byte) (int, error) {
	n, err := m.w.Write(p)
	if m.h != nil {
		m.h.Write(p[:n])
	}
	m.n += int64(n)
	return n, err //nolint:wrapcheck // an io.Writer hands its writer's error on
}

func (m *meter) digest() string { return "sha256:" + hex.EncodeToString(m.h.Sum(nil)) }
