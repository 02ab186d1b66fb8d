package layout

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/valico-hpc/valico/images/layer"
)

// checksDir holds one small file for each layer that passed Check.
const checksDir = "checks"

// Check checks a layer of the store by the rules of layer.Check and remembers
// that it passed, so that large layers which are used again are read only once.
// What is remembered is bound to digest, diff id, media type, limits and the
// version of the rules; a failed check is not remembered. It says nothing of
// whether the disk changed since: Verify does, and the node proves it anyway.
func (s *Store) Check(ctx context.Context, l Layer, lim layer.Limits) error {
	d, err := parseDigest(l.Digest)
	if err != nil {
		return err
	}
	size, err := s.size(ctx, l.Digest)
	if err != nil {
		return err
	}
	if size != l.SizeBytes {
		return fmt.Errorf("%w: layer %s has %d bytes, not %d", ErrDigest, l.Digest, size, l.SizeBytes)
	}
	passed := fmt.Sprintf("rules %d\n%s\n%s\n%+v\n", layer.Rules, l.MediaType, l.DiffID, lim.WithDefaults())
	mark := filepath.Join(s.dir, checksDir, d.Encoded())
	if b, err := os.ReadFile(mark); err == nil && string(b) == passed { //nolint:gosec // a digest names the file
		return nil
	}
	r, _, err := s.OpenBlob(ctx, l.Digest)
	if err != nil {
		return err
	}
	defer r.Close() //nolint:errcheck // read only
	want := layer.Layer{MediaType: l.MediaType, Digest: l.Digest, DiffID: l.DiffID, SizeBytes: l.SizeBytes}
	if err := layer.Check(ctx, r, want, lim); err != nil {
		return err //nolint:wrapcheck // a refusal that is shown as it is
	}
	if err := os.Mkdir(filepath.Join(s.dir, checksDir), 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("remember check: %w", err)
	}
	return s.writeFile(filepath.Join(checksDir, d.Encoded()), []byte(passed))
}
