package layout

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"strings"

	"github.com/go-json-experiment/json"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// Names that this package writes into manifests.
const (
	// AnnotationClass holds a layer's class.
	AnnotationClass = "io.github.valico-hpc.layer.class"
	// AnnotationSubject holds, in index.json, the image that a bundle signs.
	AnnotationSubject = "io.github.valico-hpc.subject"
	// ClassBase is the class of a base image's layers.
	ClassBase = "base"
	// BaseNone is the base of an image that has none.
	BaseNone = "none"
)

// maxLayers bounds the layers of one image, as overlay file systems do.
const maxLayers = 127

const (
	dockerManifest     = "application/vnd.docker.distribution.manifest.v2+json"
	dockerManifestList = "application/vnd.docker.distribution.manifest.list.v2+json"
	dockerConfig       = "application/vnd.docker.container.image.v1+json"
	dockerLayerGzip    = "application/vnd.docker.image.rootfs.diff.tar.gzip"
	dockerLayer        = "application/vnd.docker.image.rootfs.diff.tar"
)

// Layer is one layer of an image.
type Layer struct {
	Class     string
	MediaType string
	Digest    string
	DiffID    string
	SizeBytes int64
}

// Image is an image of the store: exact bytes and what they say.
type Image struct {
	Digest   string // of Manifest
	Base     string // manifest digest of the base, or BaseNone
	Manifest []byte
	Config   []byte
	Layers   []Layer // in order, the base's first
	Parsed   ocispec.Image
}

// Load reads an image. Manifest and config are hashed again, and every layer is
// there in its size; Verify hashes the layers too. An image that Assemble did
// not make counts as a base: all its layers have ClassBase.
func (s *Store) Load(ctx context.Context, dgst string) (Image, error) {
	if _, err := parseDigest(dgst); err != nil {
		return Image{}, err
	}
	manifest, err := s.read(ctx, dgst)
	if err != nil {
		return Image{}, fmt.Errorf("load image: %w", err)
	}
	m, err := parseManifest(manifest)
	if err != nil {
		return Image{}, fmt.Errorf("load image %s: %w", dgst, err)
	}
	config, err := s.read(ctx, m.Config.Digest.String())
	if err != nil {
		return Image{}, fmt.Errorf("load image %s: config: %w", dgst, err)
	}
	img, err := describe(dgst, manifest, m, config)
	if err != nil {
		return Image{}, fmt.Errorf("load image %s: %w", dgst, err)
	}
	for _, l := range img.Layers {
		size, err := s.size(ctx, l.Digest)
		if err != nil {
			return Image{}, fmt.Errorf("load image %s: layer: %w", dgst, err)
		}
		if size != l.SizeBytes {
			return Image{}, fmt.Errorf("load image %s: %w: layer %s has %d bytes, not %d", dgst, ErrDigest, l.Digest, size, l.SizeBytes)
		}
	}
	return img, nil
}

// Verify hashes every layer of an image again.
func (s *Store) Verify(ctx context.Context, img Image) error {
	for _, l := range img.Layers {
		r, _, err := s.OpenBlob(ctx, l.Digest)
		if err != nil {
			return fmt.Errorf("verify image %s: %w", img.Digest, err)
		}
		h := sha256.New()
		n, err := io.CopyBuffer(onlyWriter{h}, ctxReader{ctx, r}, make([]byte, 1<<20))
		_ = r.Close() // read only
		if err != nil {
			return fmt.Errorf("verify image %s: %w", img.Digest, err)
		}
		if got := "sha256:" + hex.EncodeToString(h.Sum(nil)); got != l.Digest || n != l.SizeBytes {
			return fmt.Errorf("verify image %s: %w: layer %s changed on disk", img.Digest, ErrDigest, l.Digest)
		}
	}
	return nil
}

// parseManifest reads an image manifest and refuses whatever else a digest may
// name.
func parseManifest(b []byte) (ocispec.Manifest, error) {
	var m ocispec.Manifest
	var kind struct {
		MediaType string               `json:"mediaType"`
		Manifests []ocispec.Descriptor `json:"manifests"`
	}
	if err := json.Unmarshal(b, &kind); err != nil {
		return m, fmt.Errorf("%w: manifest: %w", ErrMalformed, err)
	}
	if kind.MediaType == ocispec.MediaTypeImageIndex || kind.MediaType == dockerManifestList || kind.Manifests != nil {
		return m, fmt.Errorf("%w: this is an index of several images; name one of them by digest%s", ErrUnsupported, platforms(kind.Manifests))
	}
	if err := json.Unmarshal(b, &m, json.RejectUnknownMembers(true)); err != nil {
		return m, fmt.Errorf("%w: manifest: %w", ErrMalformed, err)
	}
	switch {
	case m.SchemaVersion != 2:
		return m, fmt.Errorf("%w: schema version %d", ErrUnsupported, m.SchemaVersion)
	case m.MediaType != ocispec.MediaTypeImageManifest && m.MediaType != dockerManifest && m.MediaType != "":
		return m, fmt.Errorf("%w: media type %q", ErrUnsupported, m.MediaType)
	case m.Config.MediaType != ocispec.MediaTypeImageConfig && m.Config.MediaType != dockerConfig:
		return m, fmt.Errorf("%w: config of type %q is no image's", ErrUnsupported, m.Config.MediaType)
	case m.ArtifactType != "" || m.Subject != nil:
		return m, fmt.Errorf("%w: an artifact, not an image", ErrUnsupported)
	case len(m.Layers) == 0 || len(m.Layers) > maxLayers:
		return m, fmt.Errorf("%w: %d layers, 1 to %d", ErrUnsupported, len(m.Layers), maxLayers)
	}
	for _, d := range append([]ocispec.Descriptor{m.Config}, m.Layers...) {
		if _, err := parseDigest(d.Digest.String()); err != nil {
			return m, err
		}
		if d.Size <= 0 || len(d.URLs) > 0 {
			return m, fmt.Errorf("%w: %s has no size or is kept elsewhere", ErrUnsupported, d.Digest)
		}
	}
	return m, nil
}

func platforms(ms []ocispec.Descriptor) string {
	var b strings.Builder
	for i, m := range ms {
		if m.Platform == nil || i >= 16 {
			continue
		}
		fmt.Fprintf(&b, ", %s/%s %s", m.Platform.OS, m.Platform.Architecture, m.Digest)
	}
	return b.String()
}

// layerType gives the OCI media type of a layer that can be unpacked.
func layerType(mediaType string) (string, error) {
	switch mediaType {
	case ocispec.MediaTypeImageLayerZstd, ocispec.MediaTypeImageLayerGzip, ocispec.MediaTypeImageLayer:
		return mediaType, nil
	case dockerLayerGzip:
		return ocispec.MediaTypeImageLayerGzip, nil
	case dockerLayer:
		return ocispec.MediaTypeImageLayer, nil
	}
	return "", fmt.Errorf("%w: layer of type %q", ErrUnsupported, mediaType)
}

// describe puts an image together from its documents.
func describe(dgst string, manifest []byte, m ocispec.Manifest, config []byte) (Image, error) {
	img := Image{Digest: dgst, Base: BaseNone, Manifest: manifest, Config: config}
	// Members that the specification does not know are read over here and are
	// not carried into any image that Assemble makes.
	if err := json.Unmarshal(config, &img.Parsed); err != nil {
		return img, fmt.Errorf("%w: config: %w", ErrMalformed, err)
	}
	if img.Parsed.RootFS.Type != "layers" || len(img.Parsed.RootFS.DiffIDs) != len(m.Layers) {
		return img, fmt.Errorf("%w: %d diff ids for %d layers", ErrMalformed, len(img.Parsed.RootFS.DiffIDs), len(m.Layers))
	}
	if base, ok := m.Annotations[ocispec.AnnotationBaseImageDigest]; ok {
		img.Base = base
	}
	for i, l := range m.Layers {
		mediaType, err := layerType(l.MediaType)
		if err != nil {
			return img, err
		}
		diffID := img.Parsed.RootFS.DiffIDs[i].String()
		if _, err := parseDigest(diffID); err != nil {
			return img, err
		}
		class := l.Annotations[AnnotationClass]
		if class == "" {
			class = ClassBase
		}
		img.Layers = append(img.Layers, Layer{Class: class, MediaType: mediaType, Digest: l.Digest.String(), DiffID: diffID, SizeBytes: l.Size})
	}
	return img, nil
}

// descriptor names bytes.
func descriptor(mediaType string, b []byte) ocispec.Descriptor {
	return ocispec.Descriptor{MediaType: mediaType, Digest: digest.FromBytes(b), Size: int64(len(b))}
}
