package layout

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"path"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// Fetch opens a blob of a foreign image. What it returns is trusted only after
// its digest was checked. Size is 0 where it is not known yet.
type Fetch func(ctx context.Context, d ocispec.Descriptor) (io.ReadCloser, error)

// Import copies the image with manifest digest dgst from elsewhere, every blob
// checked against its digest, and lists it in index.json once it is whole.
func (s *Store) Import(ctx context.Context, dgst string, fetch Fetch) error {
	d, err := parseDigest(dgst)
	if err != nil {
		return err
	}
	manifest, err := fetchDocument(ctx, fetch, ocispec.Descriptor{MediaType: ocispec.MediaTypeImageManifest, Digest: d})
	if err != nil {
		return fmt.Errorf("import image %s: manifest: %w", dgst, err)
	}
	m, err := parseManifest(manifest)
	if err != nil {
		return fmt.Errorf("import image %s: %w", dgst, err)
	}
	config, err := fetchDocument(ctx, fetch, m.Config)
	if err != nil {
		return fmt.Errorf("import image %s: config: %w", dgst, err)
	}
	img, err := describe(dgst, manifest, m, config)
	if err != nil {
		return fmt.Errorf("import image %s: %w", dgst, err)
	}
	for _, l := range m.Layers {
		if err := s.copyBlob(ctx, fetch, l); err != nil {
			return fmt.Errorf("import image %s: layer: %w", dgst, err)
		}
	}
	if err := s.Put(ctx, m.Config.Digest.String(), m.Config.Size, bytes.NewReader(config)); err != nil {
		return fmt.Errorf("import image %s: %w", dgst, err)
	}
	if err := s.Put(ctx, dgst, int64(len(manifest)), bytes.NewReader(manifest)); err != nil {
		return fmt.Errorf("import image %s: %w", dgst, err)
	}
	p := img.Parsed.Platform
	mediaType := m.MediaType
	if mediaType == "" {
		mediaType = ocispec.MediaTypeImageManifest
	}
	err = s.addToIndex(ocispec.Descriptor{
		MediaType: mediaType, Digest: d, Size: int64(len(manifest)), Platform: &p,
		Annotations: map[string]string{ocispec.AnnotationRefName: d.Encoded()},
	})
	if err != nil {
		return fmt.Errorf("import image %s: %w", dgst, err)
	}
	return nil
}

func (s *Store) copyBlob(ctx context.Context, fetch Fetch, d ocispec.Descriptor) error {
	if have, err := s.Has(ctx, d.Digest.String()); err != nil || have {
		return err
	}
	r, err := fetch(ctx, d)
	if err != nil {
		return err
	}
	defer r.Close() //nolint:errcheck // read only
	return s.Put(ctx, d.Digest.String(), d.Size, r)
}

// fetchDocument reads a small blob whole and checks its digest.
func fetchDocument(ctx context.Context, fetch Fetch, d ocispec.Descriptor) ([]byte, error) {
	r, err := fetch(ctx, d)
	if err != nil {
		return nil, err
	}
	defer r.Close() //nolint:errcheck // read only
	b, err := io.ReadAll(io.LimitReader(ctxReader{ctx, r}, maxDocument+1))
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", d.Digest, err)
	}
	switch {
	case len(b) > maxDocument:
		return nil, fmt.Errorf("%w: %s has more than %d bytes", ErrMalformed, d.Digest, maxDocument)
	case digest.FromBytes(b) != d.Digest, d.Size != 0 && d.Size != int64(len(b)):
		return nil, fmt.Errorf("%w: what came for %s is something else", ErrDigest, d.Digest)
	}
	return b, nil
}

// ImportLayout copies an image from an OCI layout folder and returns its
// manifest digest. The image is named by manifest digest, by its reference name
// in index.json, or not at all ("") where the layout holds exactly one. Nothing
// outside the folder is read, whatever links it holds.
func (s *Store) ImportLayout(ctx context.Context, dir, ref string) (string, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return "", fmt.Errorf("import layout: %w", err)
	}
	defer root.Close() //nolint:errcheck // read only
	if err := checkLayoutFile(root.FS()); err != nil {
		return "", fmt.Errorf("import layout %s: %w", dir, err)
	}
	dgst, err := find(root, ref)
	if err != nil {
		return "", fmt.Errorf("import layout %s: %w", dir, err)
	}
	err = s.Import(ctx, dgst, func(_ context.Context, d ocispec.Descriptor) (io.ReadCloser, error) {
		f, err := root.Open(path.Join(ocispec.ImageBlobsDir, d.Digest.Algorithm().String(), d.Digest.Encoded()))
		if err != nil {
			return nil, fmt.Errorf("%w: %w", ErrNotFound, err)
		}
		return f, nil
	})
	if err != nil {
		return "", err
	}
	return dgst, nil
}

// find names the manifest that ref means in a layout.
func find(root *os.Root, ref string) (string, error) {
	if d, err := parseDigest(ref); err == nil {
		return d.String(), nil
	}
	idx, err := readIndex(root.FS())
	if err != nil {
		return "", err
	}
	var found []string
	for _, m := range idx.Manifests {
		if isImage(m) && (ref == "" || m.Annotations[ocispec.AnnotationRefName] == ref) {
			found = append(found, m.Digest.String())
		}
	}
	switch {
	case len(found) == 1:
		_, err := parseDigest(found[0])
		return found[0], err
	case len(found) == 0:
		return "", fmt.Errorf("%w: no image named %q", ErrNotFound, ref)
	}
	return "", fmt.Errorf("%w: %d images; name one by digest", ErrUnsupported, len(found))
}

// isImage tells images from artifacts. Some tools write an image's config type
// as its artifact type, as the specification has it for referrers.
func isImage(d ocispec.Descriptor) bool {
	return d.ArtifactType == "" || d.ArtifactType == ocispec.MediaTypeImageConfig || d.ArtifactType == dockerConfig
}
