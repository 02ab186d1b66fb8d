package unpack

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"
)

// Blobs reads an OCI layout folder whose content nobody vouches for: what Open
// yields is checked by Unpack, what Document returns is checked already.
type Blobs struct {
	Dir string // the layout's folder
}

// Open opens a blob, to be handed to Unpack.
func (b Blobs) Open(digest string) (io.ReadCloser, error) {
	if !isDigest(digest) {
		return nil, fmt.Errorf("%w: %q is no sha256 digest", ErrMalformed, digest)
	}
	// O_NONBLOCK: a pipe under a blob's name must not hang the launcher.
	name := filepath.Join(b.Dir, "blobs", "sha256", strings.TrimPrefix(digest, "sha256:"))
	f, err := os.OpenFile(name, os.O_RDONLY|syscall.O_NONBLOCK|syscall.O_NOFOLLOW, 0) //nolint:gosec // a digest names the file
	if err != nil {
		return nil, fmt.Errorf("open blob: %w", err)
	}
	fi, err := f.Stat()
	if err == nil && !fi.Mode().IsRegular() {
		err = fmt.Errorf("%w: blob %s is no regular file", ErrRefused, digest)
	}
	if err != nil {
		_ = f.Close() // read only
		return nil, fmt.Errorf("open blob: %w", err)
	}
	return f, nil
}

// Document returns a manifest or config whole, checked against its digest; a
// mismatch is a *TamperedError.
func (b Blobs) Document(digest string) ([]byte, error) {
	f, err := b.Open(digest)
	if err != nil {
		return nil, err
	}
	defer f.Close() //nolint:errcheck // read only
	doc, err := io.ReadAll(io.LimitReader(f, maxDocument+1))
	if err != nil {
		return nil, fmt.Errorf("read blob %s: %w", digest, err)
	}
	if len(doc) > maxDocument {
		return nil, fmt.Errorf("%w: document of more than %d bytes", ErrLimit, maxDocument)
	}
	if got := sum(doc); got != digest {
		return nil, &TamperedError{What: "document", Want: digest, Got: got}
	}
	return doc, nil
}
