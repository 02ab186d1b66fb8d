package layout

import (
	"bytes"
	"context"
	stdjson "encoding/json"
	"fmt"
	"path"
	"slices"
	"strings"
	"time"
	"unicode"

	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// Spec says what an image is made of.
type Spec struct {
	Base         string  // BaseNone, or the digest of a manifest in the store
	Layers       []Layer // on top of the base's, in order; their blobs are in the store
	Command      []string
	Env          []EnvVar
	WorkDir      string // absolute; "" keeps the base's
	User         string // "" keeps the base's
	Architecture string // without a base; "" is amd64. With a base it is the base's
}

// EnvVar is one environment variable.
type EnvVar struct{ Name, Value string }

// Assemble makes the image of a spec, stores it and lists it in index.json.
// Equal specs give equal digests. It does not read the layers: who cut them is
// nobody we trust, so the caller has them checked (Store.Check) before.
func (s *Store) Assemble(ctx context.Context, spec Spec) (Image, error) {
	if err := spec.validate(); err != nil {
		return Image{}, err
	}
	base, err := s.base(ctx, spec)
	if err != nil {
		return Image{}, fmt.Errorf("assemble image: %w", err)
	}
	for _, l := range spec.Layers {
		size, err := s.size(ctx, l.Digest)
		if err != nil {
			return Image{}, fmt.Errorf("assemble image: layer: %w", err)
		}
		if size != l.SizeBytes {
			return Image{}, fmt.Errorf("assemble image: %w: layer %s has %d bytes, not %d", ErrDigest, l.Digest, size, l.SizeBytes)
		}
	}
	layers := slices.Concat(base.Layers, spec.Layers)
	if len(layers) == 0 || len(layers) > maxLayers {
		return Image{}, fmt.Errorf("%w: %d layers, 1 to %d", ErrSpec, len(layers), maxLayers)
	}
	config, err := encodeConfig(base.Parsed, spec, layers)
	if err != nil {
		return Image{}, err
	}
	manifest, err := encodeManifest(spec.Base, layers, config)
	if err != nil {
		return Image{}, err
	}
	return s.store(ctx, manifest, config)
}

// base loads what the spec builds on; without a base that is an empty image.
func (s *Store) base(ctx context.Context, spec Spec) (Image, error) {
	if spec.Base == BaseNone {
		arch := spec.Architecture
		if arch == "" {
			arch = "amd64"
		}
		return Image{Parsed: ocispec.Image{Platform: ocispec.Platform{OS: "linux", Architecture: arch}}}, nil
	}
	img, err := s.Load(ctx, spec.Base)
	if err != nil {
		return Image{}, fmt.Errorf("base: %w", err)
	}
	if img.Parsed.OS != "linux" {
		return Image{}, fmt.Errorf("%w: base %s is for %q, not linux", ErrUnsupported, spec.Base, img.Parsed.OS)
	}
	if spec.Architecture != "" && spec.Architecture != img.Parsed.Architecture {
		return Image{}, fmt.Errorf("%w: base %s is for %q, not %q", ErrSpec, spec.Base, img.Parsed.Architecture, spec.Architecture)
	}
	for i := range img.Layers {
		img.Layers[i].Class = ClassBase
	}
	return img, nil
}

// store writes config and manifest and lists the image.
func (s *Store) store(ctx context.Context, manifest, config []byte) (Image, error) {
	m, err := parseManifest(manifest)
	if err != nil {
		return Image{}, fmt.Errorf("assemble image: %w", err)
	}
	d := descriptor(ocispec.MediaTypeImageManifest, manifest)
	img, err := describe(d.Digest.String(), manifest, m, config)
	if err != nil {
		return Image{}, fmt.Errorf("assemble image: %w", err)
	}
	if err := s.Put(ctx, m.Config.Digest.String(), m.Config.Size, bytes.NewReader(config)); err != nil {
		return Image{}, fmt.Errorf("assemble image: %w", err)
	}
	if err := s.Put(ctx, img.Digest, d.Size, bytes.NewReader(manifest)); err != nil {
		return Image{}, fmt.Errorf("assemble image: %w", err)
	}
	p := img.Parsed.Platform
	d.Platform = &p
	d.Annotations = map[string]string{ocispec.AnnotationRefName: d.Digest.Encoded()}
	if err := s.addToIndex(d); err != nil {
		return Image{}, fmt.Errorf("assemble image: %w", err)
	}
	return img, nil
}

func encodeConfig(base ocispec.Image, spec Spec, layers []Layer) ([]byte, error) {
	epoch := time.Unix(0, 0).UTC()
	env, err := mergeEnv(base.Config.Env, spec.Env)
	if err != nil {
		return nil, err
	}
	c := base
	c.Created = &epoch
	c.Config.Entrypoint, c.Config.Cmd, c.Config.Env = nil, spec.Command, env
	if spec.WorkDir != "" {
		c.Config.WorkingDir = spec.WorkDir
	}
	if spec.User != "" {
		c.Config.User = spec.User
	}
	c.RootFS, c.History = ocispec.RootFS{Type: "layers"}, nil
	for _, l := range layers {
		c.RootFS.DiffIDs = append(c.RootFS.DiffIDs, digest.Digest(l.DiffID))
		c.History = append(c.History, ocispec.History{Created: &epoch, CreatedBy: l.Class + " layer"})
	}
	b, err := stdjson.Marshal(c)
	if err != nil {
		return nil, fmt.Errorf("encode image config: %w", err)
	}
	return b, nil
}

func encodeManifest(base string, layers []Layer, config []byte) ([]byte, error) {
	m := ocispec.Manifest{
		Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageManifest,
		Config: descriptor(ocispec.MediaTypeImageConfig, config),
	}
	if base != BaseNone {
		m.Annotations = map[string]string{ocispec.AnnotationBaseImageDigest: base}
	}
	for _, l := range layers {
		m.Layers = append(m.Layers, ocispec.Descriptor{
			MediaType: l.MediaType, Digest: digest.Digest(l.Digest), Size: l.SizeBytes,
			Annotations: map[string]string{AnnotationClass: l.Class},
		})
	}
	b, err := stdjson.Marshal(m)
	if err != nil {
		return nil, fmt.Errorf("encode image manifest: %w", err)
	}
	return b, nil
}

// mergeEnv lists the base's variables and then ours; of one name the last wins.
func mergeEnv(base []string, ours []EnvVar) ([]string, error) {
	all := slices.Clone(base)
	for _, v := range ours {
		all = append(all, v.Name+"="+v.Value)
	}
	last := map[string]int{}
	for i, v := range all {
		name, _, ok := strings.Cut(v, "=")
		if !ok || name == "" || odd(v) {
			return nil, fmt.Errorf("%w: environment entry %q", ErrSpec, v)
		}
		last[name] = i
	}
	var out []string
	for i, v := range all {
		if name, _, _ := strings.Cut(v, "="); last[name] == i {
			out = append(out, v)
		}
	}
	return out, nil
}

func (spec Spec) validate() error {
	bad := func(format string, a ...any) error {
		return fmt.Errorf("%w: "+format, append([]any{ErrSpec}, a...)...)
	}
	if spec.Base != BaseNone {
		if _, err := parseDigest(spec.Base); err != nil {
			return bad("base is %q or a digest: %w", BaseNone, err)
		}
	}
	if len(spec.Command) == 0 || spec.Command[0] == "" {
		return bad("no command")
	}
	if slices.ContainsFunc(spec.Command, odd) {
		return bad("the command holds a NUL byte or invalid UTF-8")
	}
	for _, v := range spec.Env {
		if v.Name == "" || strings.Contains(v.Name, "=") {
			return bad("environment variable %q", v.Name)
		}
	}
	if spec.WorkDir != "" && (!path.IsAbs(spec.WorkDir) || path.Clean(spec.WorkDir) != spec.WorkDir || odd(spec.WorkDir)) {
		return bad("working directory %q is not absolute and clean", spec.WorkDir)
	}
	if strings.ContainsFunc(spec.User, func(r rune) bool { return unicode.IsSpace(r) || unicode.IsControl(r) }) || odd(spec.User) {
		return bad("user %q", spec.User)
	}
	for _, l := range spec.Layers {
		if l.Class == "" || l.Class == ClassBase || strings.Trim(l.Class, "abcdefghijklmnopqrstuvwxyz_") != "" {
			return bad("layer class %q", l.Class)
		}
		if _, err := parseDigest(l.Digest); err != nil {
			return bad("layer: %w", err)
		}
		if _, err := parseDigest(l.DiffID); err != nil {
			return bad("layer: diff id: %w", err)
		}
		if oci, err := layerType(l.MediaType); err != nil || oci != l.MediaType || l.SizeBytes <= 0 {
			return bad("layer %s of type %q and %d bytes", l.Digest, l.MediaType, l.SizeBytes)
		}
	}
	return nil
}

// odd reports what no kernel takes in an argument, or JSON would alter.
func odd(s string) bool { return strings.ContainsRune(s, 0) || strings.ToValidUTF8(s, "") != s }
