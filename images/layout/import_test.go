package layout_test

import (
	"context"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	ggcr "github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/random"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/stretchr/testify/require"

	"github.com/valico-hpc/valico/images/dsse"
	"github.com/valico-hpc/valico/images/layout"
	"github.com/valico-hpc/valico/images/sign"
)

// baseLayout writes an OCI layout with one random image of two layers.
func baseLayout(tb testing.TB, mutateConfig func(*v1.ConfigFile)) (dir, dgst string) {
	tb.Helper()
	img, err := random.Image(300, 2)
	require.NoError(tb, err)
	cf, err := img.ConfigFile()
	require.NoError(tb, err)
	cf = cf.DeepCopy()
	cf.OS, cf.Architecture = "linux", "arm64"
	if mutateConfig != nil {
		mutateConfig(cf)
	}
	img, err = mutate.ConfigFile(img, cf)
	require.NoError(tb, err)
	dir = tb.TempDir()
	p, err := ggcr.Write(dir, mutate.IndexMediaType(emptyIndex(tb), "application/vnd.oci.image.index.v1+json"))
	require.NoError(tb, err)
	require.NoError(tb, p.AppendImage(img, ggcr.WithAnnotations(map[string]string{ocispec.AnnotationRefName: "base:1"})))
	h, err := img.Digest()
	require.NoError(tb, err)
	return dir, h.String()
}

func emptyIndex(tb testing.TB) v1.ImageIndex {
	tb.Helper()
	idx, err := random.Index(1, 1, 0)
	require.NoError(tb, err)
	return idx
}

func TestForeignLayoutsAreReadWithCare(t *testing.T) {
	t.Parallel()
	s, _ := open(t)
	fails := func(want error, prepare func(dir, dgst string)) {
		t.Helper()
		dir, dgst := baseLayout(t, nil)
		prepare(dir, dgst)
		_, err := s.ImportLayout(t.Context(), dir, dgst)
		require.ErrorIs(t, err, want)
	}
	blob := func(dir, dgst string) string { return filepath.Join(dir, "blobs", "sha256", dgst[7:]) }
	fails(layout.ErrDigest, func(dir, dgst string) { require.NoError(t, os.WriteFile(blob(dir, dgst), []byte("{}"), 0o600)) })
	fails(layout.ErrNotFound, func(dir, dgst string) { require.NoError(t, os.Remove(blob(dir, dgst))) })
	fails(layout.ErrNotFound, func(dir, dgst string) { // a link out of the layout
		b, err := os.ReadFile(blob(dir, dgst))
		require.NoError(t, err)
		out := filepath.Join(t.TempDir(), "m")
		require.NoError(t, os.WriteFile(out, b, 0o600))
		require.NoError(t, os.Remove(blob(dir, dgst)))
		require.NoError(t, os.Symlink(out, blob(dir, dgst)))
	})
	fails(layout.ErrUnsupported, func(dir, _ string) {
		require.NoError(t, os.WriteFile(filepath.Join(dir, "oci-layout"), []byte(`{"imageLayoutVersion":"9"}`), 0o600))
	})
	fails(fs.ErrNotExist, func(dir, _ string) { require.NoError(t, os.Remove(filepath.Join(dir, "oci-layout"))) })

	dir, _ := baseLayout(t, nil)
	_, err := s.ImportLayout(t.Context(), dir, "base:2")
	require.ErrorIs(t, err, layout.ErrNotFound)
	_, err = layout.Open(dir)
	require.NoError(t, err, "any layout is a store")
	require.NoError(t, os.WriteFile(filepath.Join(dir, "index.json"), []byte(`{"schemaVersion":2,"manifests":[],"x":1}`), 0o600))
	_, err = layout.Open(dir)
	require.ErrorIs(t, err, layout.ErrMalformed)
}

func TestOnlyImageManifestsAreImported(t *testing.T) {
	t.Parallel()
	s, _ := open(t)
	d := sum([]byte("x"))
	desc := func(mediaType string) string {
		return `{"mediaType":"` + mediaType + `","digest":"` + d + `","size":1}`
	}
	const config, tar = "application/vnd.oci.image.config.v1+json", "application/vnd.oci.image.layer.v1.tar"
	for doc, want := range map[string]error{
		`null`: layout.ErrUnsupported,
		`[]`:   layout.ErrMalformed,
		`{"schemaVersion":2,"manifests":[{"mediaType":"a","digest":"` + d + `","size":1,"platform":{"os":"linux","architecture":"arm64"}}]}`: layout.ErrUnsupported,
		`{"schemaVersion":1,"config":` + desc(config) + `,"layers":[` + desc(tar) + `]}`:                                                     layout.ErrUnsupported,
		`{"schemaVersion":2,"config":` + desc("text/plain") + `,"layers":[` + desc(tar) + `]}`:                                               layout.ErrUnsupported,
		`{"schemaVersion":2,"config":` + desc(config) + `,"layers":[]}`:                                                                      layout.ErrUnsupported,
		`{"schemaVersion":2,"x":1,"config":` + desc(config) + `,"layers":[` + desc(tar) + `]}`:                                               layout.ErrMalformed,
		`{"schemaVersion":2,"schemaVersion":2,"config":` + desc(config) + `,"layers":[` + desc(tar) + `]}`:                                   layout.ErrMalformed,
		`{"schemaVersion":2,"subject":` + desc(tar) + `,"config":` + desc(config) + `,"layers":[` + desc(tar) + `]}`:                         layout.ErrUnsupported,
		`{"schemaVersion":2,"config":` + desc(config) + `,"layers":[` + strings.Replace(desc(tar), "sha256", "sha512", 1) + `]}`:             layout.ErrDigest,
	} {
		err := s.Import(t.Context(), sum([]byte(doc)), func(context.Context, ocispec.Descriptor) (io.ReadCloser, error) {
			return io.NopCloser(strings.NewReader(doc)), nil
		})
		require.ErrorIs(t, err, want, doc)
	}
}

func TestBundlesComeBackForTheirImageAndPredicateOnly(t *testing.T) {
	t.Parallel()
	s, _ := open(t)
	one, err := s.Assemble(t.Context(), spec(putLayer(t, s, "source", "1")))
	require.NoError(t, err)
	two, err := s.Assemble(t.Context(), spec(putLayer(t, s, "source", "2")))
	require.NoError(t, err)
	k, err := dsse.GenerateKey()
	require.NoError(t, err)
	b, err := sign.Sign(k, one.Digest)
	require.NoError(t, err)
	for range 2 { // attaching twice changes nothing
		_, err = s.Attach(t.Context(), one.Digest, sign.PredicateType, b)
		require.NoError(t, err)
	}
	got, err := s.Bundles(t.Context(), one.Digest, sign.PredicateType)
	require.NoError(t, err)
	require.Equal(t, [][]byte{b}, got)
	for _, q := range [][2]string{{two.Digest, sign.PredicateType}, {one.Digest, "https://other.example/v1"}} {
		got, err = s.Bundles(t.Context(), q[0], q[1])
		require.NoError(t, err)
		require.Empty(t, got)
	}
	_, err = s.Attach(t.Context(), sum([]byte("none")), sign.PredicateType, b)
	require.ErrorIs(t, err, layout.ErrNotFound)
}
