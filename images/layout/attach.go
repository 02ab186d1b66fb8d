package layout

import (
	"bytes"
	"context"
	stdjson "encoding/json"
	"fmt"

	"github.com/go-json-experiment/json"
	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// Names of the OCI 1.1 referrer that carries a Sigstore bundle.
const (
	bundleType              = "application/vnd.dev.sigstore.bundle.v0.3+json"
	annotationContent       = "dev.sigstore.bundle.content"
	annotationPredicateType = "dev.sigstore.bundle.predicateType"
)

// Attach stores a Sigstore bundle beside the image it is about, as an OCI 1.1
// referrer, and returns the referrer's manifest digest. The bundle is not
// verified: whoever reads it back does that.
func (s *Store) Attach(ctx context.Context, image, predicateType string, bundle []byte) (string, error) {
	if _, err := s.Load(ctx, image); err != nil {
		return "", fmt.Errorf("attach bundle: %w", err)
	}
	size, err := s.size(ctx, image)
	if err != nil {
		return "", fmt.Errorf("attach bundle: %w", err)
	}
	empty := []byte("{}")
	m := ocispec.Manifest{
		Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageManifest, ArtifactType: bundleType,
		Config: descriptor(ocispec.MediaTypeEmptyJSON, empty), Layers: []ocispec.Descriptor{descriptor(bundleType, bundle)},
		Subject:     &ocispec.Descriptor{MediaType: ocispec.MediaTypeImageManifest, Digest: digest.Digest(image), Size: size},
		Annotations: map[string]string{annotationContent: "dsse-envelope", annotationPredicateType: predicateType},
	}
	manifest, err := stdjson.Marshal(m)
	if err != nil {
		return "", fmt.Errorf("attach bundle: %w", err)
	}
	d := descriptor(ocispec.MediaTypeImageManifest, manifest)
	for _, b := range [][]byte{empty, bundle, manifest} {
		if err := s.Put(ctx, digest.FromBytes(b).String(), int64(len(b)), bytes.NewReader(b)); err != nil {
			return "", fmt.Errorf("attach bundle: %w", err)
		}
	}
	d.ArtifactType = bundleType
	d.Annotations = map[string]string{AnnotationSubject: image, annotationPredicateType: predicateType}
	if err := s.addToIndex(d); err != nil {
		return "", fmt.Errorf("attach bundle: %w", err)
	}
	return d.Digest.String(), nil
}

// Bundles returns the bundles about an image, in the order of their referrers'
// digests; none is no error. They are unverified.
func (s *Store) Bundles(ctx context.Context, image, predicateType string) ([][]byte, error) {
	idx, err := s.index()
	if err != nil {
		return nil, fmt.Errorf("read bundles: %w", err)
	}
	var out [][]byte
	for _, d := range idx.Manifests {
		if d.ArtifactType != bundleType || d.Annotations[AnnotationSubject] != image || d.Annotations[annotationPredicateType] != predicateType {
			continue
		}
		b, err := s.bundle(ctx, d, image)
		if err != nil {
			return nil, fmt.Errorf("read bundle %s: %w", d.Digest, err)
		}
		out = append(out, b)
	}
	return out, nil
}

func (s *Store) bundle(ctx context.Context, d ocispec.Descriptor, image string) ([]byte, error) {
	b, err := s.read(ctx, d.Digest.String())
	if err != nil {
		return nil, err
	}
	var m ocispec.Manifest
	if err := json.Unmarshal(b, &m, json.RejectUnknownMembers(true)); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrMalformed, err)
	}
	if m.Subject == nil || m.Subject.Digest.String() != image || len(m.Layers) != 1 || m.Layers[0].MediaType != bundleType {
		return nil, fmt.Errorf("%w: not a referrer of %s", ErrMalformed, image)
	}
	return s.read(ctx, m.Layers[0].Digest.String())
}
