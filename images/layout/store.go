package layout

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/containerd/v2/plugins/content/local"
	"github.com/containerd/errdefs"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/valico-hpc/valico/images/disk"
)

var (
	// ErrNotFound says that the store does not hold a blob.
	ErrNotFound = errors.New("no such blob")
	// ErrDigest says that bytes are not those that their digest or size names.
	ErrDigest = errors.New("content does not match its digest")
	// ErrMalformed says that a layout, manifest or config cannot be read.
	ErrMalformed = errors.New("malformed image")
	// ErrUnsupported says that an image is of a kind that is not used here.
	ErrUnsupported = errors.New("unsupported image")
	// ErrSpec says that what Assemble was asked for makes no image.
	ErrSpec = errors.New("unusable image spec")
)

// Store is an OCI layout on disk. Its methods may be called concurrently.
type Store struct {
	dir    string
	shared bool
	blobs  content.Store
	mu     sync.Mutex // with index.lock: held while index.json changes
}

// Option changes how a store is opened.
type Option func(*Store)

// Shared makes a store readable for every account of the machine: folders 0755,
// blobs 0444, whatever the umask. The copy that compute nodes read is shared;
// any other is its owner's alone.
func Shared() Option { return func(s *Store) { s.shared = true } }

// Open opens the store in dir and makes it if it is not there.
func Open(dir string, opts ...Option) (*Store, error) {
	s := &Store{dir: dir}
	for _, o := range opts {
		o(s)
	}
	for _, d := range []string{dir, filepath.Join(dir, ocispec.ImageBlobsDir), filepath.Join(dir, ocispec.ImageBlobsDir, "sha256")} {
		if err := s.makeDir(d); err != nil {
			return nil, fmt.Errorf("open image store: %w", err)
		}
	}
	blobs, err := local.NewStore(dir)
	if err != nil {
		return nil, fmt.Errorf("open image store: %w", err)
	}
	s.blobs = blobs
	if err := s.initIndex(); err != nil {
		return nil, fmt.Errorf("open image store: %w", err)
	}
	return s, nil
}

func (s *Store) makeDir(dir string) error {
	mode := os.FileMode(0o700)
	if s.shared {
		mode = 0o755
	}
	if err := os.MkdirAll(dir, mode); err != nil {
		return err //nolint:wrapcheck // it names operation and path
	}
	if s.shared {
		return os.Chmod(dir, mode) //nolint:wrapcheck // it names operation and path
	}
	return nil
}

// parseDigest accepts "sha256:<hex>" alone.
func parseDigest(s string) (digest.Digest, error) {
	d, err := digest.Parse(s)
	if err != nil || d.Algorithm() != digest.SHA256 {
		return "", fmt.Errorf("%w: %q is no sha256 digest", ErrDigest, s)
	}
	return d, nil
}

// Has reports whether the store holds a blob.
func (s *Store) Has(ctx context.Context, dgst string) (bool, error) {
	_, err := s.size(ctx, dgst)
	if errors.Is(err, ErrNotFound) {
		return false, nil
	}
	return err == nil, err
}

// size returns a blob's size or ErrNotFound.
func (s *Store) size(ctx context.Context, dgst string) (int64, error) {
	d, err := parseDigest(dgst)
	if err != nil {
		return 0, err
	}
	info, err := s.blobs.Info(ctx, d)
	if errdefs.IsNotFound(err) {
		return 0, fmt.Errorf("%w: %s", ErrNotFound, dgst)
	}
	if err != nil {
		return 0, fmt.Errorf("stat blob %s: %w", dgst, err)
	}
	return info.Size, nil
}

// Put stores a blob of exactly size bytes with digest dgst. It reads at most
// size + 1 bytes of r, and none when the blob is there already. After an error
// nothing is kept. Equal blobs may be put at once.
func (s *Store) Put(ctx context.Context, dgst string, size int64, r io.Reader) error {
	d, err := parseDigest(dgst)
	if err != nil {
		return err
	}
	if size < 0 {
		return fmt.Errorf("%w: size %d", ErrDigest, size)
	}
	have, err := s.size(ctx, dgst)
	if err == nil && have != size {
		return fmt.Errorf("%w: %s has %d bytes, not %d", ErrDigest, dgst, have, size)
	}
	if !errors.Is(err, ErrNotFound) {
		return err
	}
	if err := disk.Room(s.dir, size); err != nil {
		return fmt.Errorf("put blob %s: %w", dgst, err)
	}
	in, err := s.Ingest(ctx)
	if err != nil {
		return fmt.Errorf("put blob %s: %w", dgst, err)
	}
	defer in.Close() //nolint:errcheck,contextcheck // nothing is kept of what was not committed, whatever became of ctx
	buf := make([]byte, min(size+1, 1<<20))
	n, err := io.CopyBuffer(onlyWriter{in}, io.LimitReader(ctxReader{ctx, r}, size+1), buf)
	if err == nil && n != size {
		err = fmt.Errorf("%w: not the %d bytes announced", ErrDigest, size)
	}
	if err == nil {
		err = in.Commit(ctx, d.String(), size)
	}
	if err != nil {
		return fmt.Errorf("put blob %s: %w", dgst, err)
	}
	return nil
}

// OpenBlob opens a blob and returns its size. The bytes are not hashed again:
// whoever must not be deceived by a changed disk hashes what it reads.
func (s *Store) OpenBlob(ctx context.Context, dgst string) (io.ReadCloser, int64, error) {
	d, err := parseDigest(dgst)
	if err != nil {
		return nil, 0, err
	}
	ra, err := s.blobs.ReaderAt(ctx, ocispec.Descriptor{Digest: d})
	if errdefs.IsNotFound(err) {
		return nil, 0, fmt.Errorf("%w: %s", ErrNotFound, dgst)
	}
	if err != nil {
		return nil, 0, fmt.Errorf("open blob %s: %w", dgst, err)
	}
	return blob{io.NewSectionReader(ra, 0, ra.Size()), ra}, ra.Size(), nil
}

// Sweep removes uploads that were not written to since olderThan: what a crash
// left behind. It returns how many.
func (s *Store) Sweep(ctx context.Context, olderThan time.Time) (int, error) {
	all, err := s.blobs.ListStatuses(ctx)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return 0, fmt.Errorf("sweep image store: %w", err)
	}
	n := 0
	for _, st := range all {
		if !st.UpdatedAt.Before(olderThan) {
			continue
		}
		if err := s.blobs.Abort(ctx, st.Ref); err != nil {
			return n, fmt.Errorf("sweep image store: %w", err)
		}
		n++
	}
	return n, nil
}

func (s *Store) path(d digest.Digest) string {
	return filepath.Join(s.dir, ocispec.ImageBlobsDir, d.Algorithm().String(), d.Encoded())
}

// read returns a small blob whole, hashed again.
func (s *Store) read(ctx context.Context, dgst string) ([]byte, error) {
	r, size, err := s.OpenBlob(ctx, dgst)
	if err != nil {
		return nil, err
	}
	defer r.Close() //nolint:errcheck // read only
	if size > maxDocument {
		return nil, fmt.Errorf("%w: %s has %d bytes, at most %d", ErrMalformed, dgst, size, maxDocument)
	}
	b, err := io.ReadAll(r)
	if err != nil {
		return nil, fmt.Errorf("read blob %s: %w", dgst, err)
	}
	if digest.FromBytes(b).String() != dgst {
		return nil, fmt.Errorf("%w: %s changed on disk", ErrDigest, dgst)
	}
	return b, nil
}

// blob can be read from any place, as a request for a range does.
type blob struct {
	*io.SectionReader
	io.Closer
}

// onlyWriter hides every method but Write, so that the copy uses our buffer.
type onlyWriter struct{ io.Writer }

// ctxReader ends a copy when its context does.
type ctxReader struct {
	ctx context.Context //nolint:containedctx // lives for one copy
	r   io.Reader
}

// Read reads on unless the context is done.
func (c ctxReader) Read(p []byte) (int, error) {
	if c.ctx.Err() != nil {
		return 0, context.Cause(c.ctx)
	}
	return c.r.Read(p) //nolint:wrapcheck // an io.Reader hands its reader's error on
}
