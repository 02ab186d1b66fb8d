package layout

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/errdefs"
)

// Ingest is a blob on its way in whose digest its writer does not know yet, as
// when a layer is cut straight into the store: it is a layer.Hasher. It belongs
// to one goroutine.
type Ingest struct {
	s   *Store
	ref string
	w   content.Writer // nil once committed or closed
	n   int64
}

// Ingest begins a blob. Whoever begins one closes it.
func (s *Store) Ingest(ctx context.Context) (*Ingest, error) {
	ref := "put-" + rand.Text()
	w, err := s.blobs.Writer(ctx, content.WithRef(ref))
	if err != nil {
		return nil, fmt.Errorf("begin blob: %w", err)
	}
	return &Ingest{s: s, ref: ref, w: w}, nil
}

// Write adds to the blob.
func (in *Ingest) Write(p []byte) (int, error) {
	if in.w == nil {
		return 0, fmt.Errorf("write blob: %w", os.ErrClosed)
	}
	n, err := in.w.Write(p)
	in.n += int64(n)
	return n, err //nolint:wrapcheck // it names operation and path
}

// Digest is the digest of what was written so far, "" once it is committed or
// closed.
func (in *Ingest) Digest() string {
	if in.w == nil {
		return ""
	}
	return in.w.Digest().String()
}

// Commit stores what was written, synced, if it has this digest and size.
func (in *Ingest) Commit(ctx context.Context, dgst string, size int64) error {
	d, err := parseDigest(dgst)
	switch {
	case err != nil:
		return err
	case in.w == nil:
		return fmt.Errorf("commit blob: %w", os.ErrClosed)
	case in.n != size:
		return fmt.Errorf("%w: %d bytes were written, not %d", ErrDigest, in.n, size)
	case in.w.Digest() != d:
		return fmt.Errorf("%w: the bytes have %s", ErrDigest, in.w.Digest())
	}
	if err := in.w.Commit(ctx, size, d); err != nil && !errdefs.IsAlreadyExists(err) {
		return fmt.Errorf("commit blob %s: %w", dgst, err)
	}
	in.w = nil
	if in.s.shared {
		if err := os.Chmod(in.s.path(d), 0o444); err != nil { //nolint:gosec // shared stores are read by every account
			return fmt.Errorf("commit blob %s: %w", dgst, err)
		}
	}
	return nil
}

// Close abandons the blob unless it was committed; after Commit it does nothing.
func (in *Ingest) Close() error {
	if in.w == nil {
		return nil
	}
	err := in.w.Close()
	in.w = nil
	// A clean-up of two file operations must happen although the request is over.
	abortErr := in.s.blobs.Abort(context.Background(), in.ref)
	if errdefs.IsNotFound(abortErr) {
		abortErr = nil
	}
	return errors.Join(err, abortErr)
}
