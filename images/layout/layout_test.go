package layout_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/iotest"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	ggcr "github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/random"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/stretchr/testify/require"

	"github.com/valico-hpc/valico/images/dsse"
	"github.com/valico-hpc/valico/images/layer"
	"github.com/valico-hpc/valico/images/layout"
	"github.com/valico-hpc/valico/images/sign"
)

func sum(b []byte) string {
	s := sha256.Sum256(b)
	return "sha256:" + hex.EncodeToString(s[:])
}

func open(tb testing.TB, opts ...layout.Option) (*layout.Store, string) {
	tb.Helper()
	dir := filepath.Join(tb.TempDir(), "store")
	s, err := layout.Open(dir, opts...)
	require.NoError(tb, err)
	return s, dir
}

// putLayer cuts a folder with one file and stores it.
func putLayer(tb testing.TB, s *layout.Store, class, content string) layout.Layer {
	tb.Helper()
	src := tb.TempDir()
	require.NoError(tb, os.WriteFile(filepath.Join(src, class+".txt"), []byte(content), 0o600))
	var b bytes.Buffer
	l, err := layer.Cut(tb.Context(), &b, src, layer.Options{Prefix: "app"})
	require.NoError(tb, err)
	require.NoError(tb, s.Put(tb.Context(), l.Digest, l.SizeBytes, &b))
	return layout.Layer{Class: class, MediaType: l.MediaType, Digest: l.Digest, DiffID: l.DiffID, SizeBytes: l.SizeBytes}
}

func spec(ls ...layout.Layer) layout.Spec {
	return layout.Spec{Base: layout.BaseNone, Layers: ls, Command: []string{"/app/train", "--epochs=3"}, WorkDir: "/app", User: "1000:1000"}
}

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

func TestBlobIsStoredWholeAndTrueOrNotAtAll(t *testing.T) {
	t.Parallel()
	s, dir := open(t)
	data := []byte("hello")
	for name, c := range map[string]struct {
		dgst string
		size int64
		r    io.Reader
		want error
	}{
		"other bytes": {sum([]byte("x")), 5, bytes.NewReader(data), layout.ErrDigest},
		"too short":   {sum(data), 6, bytes.NewReader(data), layout.ErrDigest},
		"too long":    {sum(data), 4, bytes.NewReader(data), layout.ErrDigest},
		"negative":    {sum(data), -1, bytes.NewReader(data), layout.ErrDigest},
		"no digest":   {"x", 5, bytes.NewReader(data), layout.ErrDigest},
		"sha512":      {"sha512:" + strings.Repeat("a", 128), 5, bytes.NewReader(data), layout.ErrDigest},
		"climbs":      {"sha256:../../x", 5, bytes.NewReader(data), layout.ErrDigest},
		"broken":      {sum(data), 5, iotest.ErrReader(io.ErrUnexpectedEOF), io.ErrUnexpectedEOF},
	} {
		require.ErrorIs(t, s.Put(t.Context(), c.dgst, c.size, c.r), c.want, name)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	require.ErrorIs(t, s.Put(ctx, sum(data), 5, bytes.NewReader(data)), context.Canceled)
	left, err := os.ReadDir(filepath.Join(dir, "ingest"))
	require.NoError(t, err)
	require.Empty(t, left)
	ok, err := s.Has(t.Context(), sum(data))
	require.NoError(t, err)
	require.False(t, ok)
	_, _, err = s.OpenBlob(t.Context(), sum(data))
	require.ErrorIs(t, err, layout.ErrNotFound)

	require.NoError(t, s.Put(t.Context(), sum(data), 5, bytes.NewReader(data)))
	require.NoError(t, s.Put(t.Context(), sum(data), 5, iotest.ErrReader(errors.New("must not be read"))))
	require.ErrorIs(t, s.Put(t.Context(), sum(data), 6, bytes.NewReader(data)), layout.ErrDigest)
	r, size, err := s.OpenBlob(t.Context(), sum(data))
	require.NoError(t, err)
	got, err := io.ReadAll(r)
	require.NoError(t, err)
	require.NoError(t, r.Close())
	require.Equal(t, data, got)
	require.EqualValues(t, 5, size)
	require.NoError(t, s.Put(t.Context(), sum(nil), 0, bytes.NewReader(nil)), "the empty blob")
}

func TestSweepRemovesWhatACrashLeft(t *testing.T) {
	t.Parallel()
	s, dir := open(t)
	require.NoError(t, s.Put(t.Context(), sum([]byte("a")), 1, strings.NewReader("a")))
	pr, pw := io.Pipe()
	done := make(chan error, 1)
	go func() { done <- s.Put(t.Context(), sum([]byte("bb")), 2, pr) }()
	_, err := pw.Write([]byte("b"))
	require.NoError(t, err)
	n, err := s.Sweep(t.Context(), time.Unix(0, 0))
	require.NoError(t, err)
	require.Zero(t, n)
	n, err = s.Sweep(t.Context(), time.Now().Add(time.Hour))
	require.NoError(t, err)
	require.Equal(t, 1, n)
	require.NoError(t, pw.CloseWithError(errors.New("cut")))
	require.Error(t, <-done)
	left, err := os.ReadDir(filepath.Join(dir, "ingest"))
	require.NoError(t, err)
	require.Empty(t, left)
}

func TestSharedStoreIsReadableForAllAndAnyOtherForItsOwner(t *testing.T) {
	t.Parallel()
	mode := func(p string) fs.FileMode {
		fi, err := os.Stat(p)
		require.NoError(t, err)
		return fi.Mode().Perm()
	}
	blob := filepath.Join("blobs", "sha256", sum([]byte("a"))[7:])
	s, dir := open(t, layout.Shared())
	require.NoError(t, s.Put(t.Context(), sum([]byte("a")), 1, strings.NewReader("a")))
	require.Equal(t, fs.FileMode(0o755), mode(dir))
	require.Equal(t, fs.FileMode(0o755), mode(filepath.Join(dir, "blobs", "sha256")))
	require.Equal(t, fs.FileMode(0o444), mode(filepath.Join(dir, blob)))
	require.Equal(t, fs.FileMode(0o644), mode(filepath.Join(dir, "index.json")))
	_, private := open(t)
	require.Equal(t, fs.FileMode(0o700), mode(private))
}

func TestSameSpecGivesTheSameImageInEveryStore(t *testing.T) {
	t.Parallel()
	var digests []string
	for range 2 {
		s, _ := open(t)
		sp := spec(putLayer(t, s, "dependencies", "d"), putLayer(t, s, "source", "s"))
		sp.Env = []layout.EnvVar{{Name: "B", Value: "2"}, {Name: "A", Value: "<1>"}}
		for range 2 {
			img, err := s.Assemble(t.Context(), sp)
			require.NoError(t, err)
			digests = append(digests, img.Digest)
			again, err := s.Load(t.Context(), img.Digest)
			require.NoError(t, err)
			require.Equal(t, img, again)
			require.NoError(t, s.Verify(t.Context(), img))
			require.Equal(t, sum(img.Manifest), img.Digest)
			require.Equal(t, sp.Layers, img.Layers)
			require.Equal(t, "none", img.Base)
			require.Equal(t, sp.Command, img.Parsed.Config.Cmd)
			require.Empty(t, img.Parsed.Config.Entrypoint)
			require.Equal(t, []string{"B=2", "A=<1>"}, img.Parsed.Config.Env)
			require.Equal(t, "1000:1000", img.Parsed.Config.User)
			require.Equal(t, "/app", img.Parsed.Config.WorkingDir)
			require.Equal(t, "linux/amd64", img.Parsed.OS+"/"+img.Parsed.Architecture)
			require.True(t, img.Parsed.Created.Equal(time.Unix(0, 0)))
		}
	}
	require.Equal(t, []string{digests[0], digests[0], digests[0], digests[0]}, digests)
}

func TestAnotherLibraryReadsAndValidatesTheLayout(t *testing.T) {
	t.Parallel()
	s, dir := open(t)
	baseDir, base := baseLayout(t, nil)
	_, err := s.ImportLayout(t.Context(), baseDir, base)
	require.NoError(t, err)
	sp := spec(putLayer(t, s, "source", "s"))
	sp.Base = base
	img, err := s.Assemble(t.Context(), sp)
	require.NoError(t, err)
	k, err := dsse.GenerateKey()
	require.NoError(t, err)
	b, err := sign.Sign(k, img.Digest)
	require.NoError(t, err)
	_, err = s.Attach(t.Context(), img.Digest, sign.PredicateType, b)
	require.NoError(t, err)

	p, err := ggcr.FromPath(dir)
	require.NoError(t, err)
	h, err := v1.NewHash(img.Digest)
	require.NoError(t, err)
	got, err := p.Image(h)
	require.NoError(t, err)
	m, err := got.Manifest()
	require.NoError(t, err)
	require.Len(t, m.Layers, 3)
	require.Equal(t, base, m.Annotations[ocispec.AnnotationBaseImageDigest])
	cf, err := got.ConfigFile()
	require.NoError(t, err)
	require.Len(t, cf.History, 3)
	idx, err := p.ImageIndex()
	require.NoError(t, err)
	im, err := idx.IndexManifest()
	require.NoError(t, err)
	require.Len(t, im.Manifests, 3)

	// The library unpacks gzip only, so diff ids are compared on such layers.
	gz, gzDir := open(t)
	_, err = gz.ImportLayout(t.Context(), dir, "")
	require.ErrorIs(t, err, layout.ErrUnsupported, "the layout holds two images")
	got1, err := gz.ImportLayout(t.Context(), baseDir, "")
	require.NoError(t, err)
	require.Equal(t, base, got1)
	_, err = gz.ImportLayout(t.Context(), baseDir, "base:1")
	require.NoError(t, err)
	gzSpec := layout.Spec{Base: base, Command: []string{"/x"}}
	gzImg, err := gz.Assemble(t.Context(), gzSpec)
	require.NoError(t, err)
	p, err = ggcr.FromPath(gzDir)
	require.NoError(t, err)
	h, err = v1.NewHash(gzImg.Digest)
	require.NoError(t, err)
	got, err = p.Image(h)
	require.NoError(t, err)
	ls, err := got.Layers()
	require.NoError(t, err)
	for i, l := range ls {
		r, err := l.Uncompressed()
		require.NoError(t, err)
		b, err := io.ReadAll(r)
		require.NoError(t, err)
		require.Equal(t, gzImg.Layers[i].DiffID, sum(b))
	}
}

func TestOfABaseItsCommandGoesAndItsEnvironmentIsMerged(t *testing.T) {
	t.Parallel()
	s, _ := open(t)
	dir, base := baseLayout(t, func(cf *v1.ConfigFile) {
		cf.Config.Entrypoint, cf.Config.Cmd = []string{"/entry"}, []string{"cmd"}
		cf.Config.Env = []string{"PATH=/bin", "A=base", "C=3"}
		cf.Config.User, cf.Config.WorkingDir, cf.Config.StopSignal = "7", "/base", "SIGINT"
		cf.Config.ExposedPorts = map[string]struct{}{"80/tcp": {}}
		cf.Config.Volumes = map[string]struct{}{"/v": {}}
		cf.Config.Labels = map[string]string{"l": "1"}
		cf.Config.Healthcheck = &v1.HealthConfig{Test: []string{"CMD", "x"}}
		cf.Config.OnBuild = []string{"RUN x"}
		cf.History = []v1.History{{CreatedBy: "RUN secret"}}
	})
	got, err := s.ImportLayout(t.Context(), dir, base)
	require.NoError(t, err)
	require.Equal(t, base, got)
	img, err := s.Assemble(t.Context(), layout.Spec{
		Base: base, Layers: []layout.Layer{putLayer(t, s, "source", "s")}, Command: []string{"/run"},
		Env: []layout.EnvVar{{Name: "A", Value: "1"}, {Name: "A", Value: "2"}, {Name: "B", Value: ""}},
	})
	require.NoError(t, err)
	c := img.Parsed.Config
	require.Empty(t, c.Entrypoint)
	require.Equal(t, []string{"/run"}, c.Cmd)
	require.Equal(t, []string{"PATH=/bin", "C=3", "A=2", "B="}, c.Env)
	require.Equal(t, []string{"7", "/base", "SIGINT"}, []string{c.User, c.WorkingDir, c.StopSignal})
	require.Contains(t, c.ExposedPorts, "80/tcp")
	require.Contains(t, c.Volumes, "/v")
	require.Equal(t, "1", c.Labels["l"])
	require.NotContains(t, string(img.Config), "secret")
	require.NotContains(t, string(img.Config), "Healthcheck")
	require.NotContains(t, string(img.Config), "OnBuild")
	require.Equal(t, []string{"base", "base", "source"}, []string{img.Layers[0].Class, img.Layers[1].Class, img.Layers[2].Class})
	require.Equal(t, base, img.Base)
	require.Equal(t, "arm64", img.Parsed.Architecture)
	_, err = s.Assemble(t.Context(), layout.Spec{Base: base, Command: []string{"/run"}, Architecture: "amd64"})
	require.ErrorIs(t, err, layout.ErrSpec)
}

func TestUnusableSpecsMakeNoImage(t *testing.T) {
	t.Parallel()
	s, dir := open(t)
	l := putLayer(t, s, "source", "s")
	for name, c := range map[string]struct {
		mutate func(*layout.Spec)
		want   error
	}{
		"no layers":        {func(sp *layout.Spec) { sp.Layers = nil }, layout.ErrSpec},
		"no command":       {func(sp *layout.Spec) { sp.Command = nil }, layout.ErrSpec},
		"empty command":    {func(sp *layout.Spec) { sp.Command = []string{""} }, layout.ErrSpec},
		"nul":              {func(sp *layout.Spec) { sp.Command = []string{"a\x00"} }, layout.ErrSpec},
		"invalid utf-8":    {func(sp *layout.Spec) { sp.Command = []string{"a\xff"} }, layout.ErrSpec},
		"env name":         {func(sp *layout.Spec) { sp.Env = []layout.EnvVar{{Name: "A=B"}} }, layout.ErrSpec},
		"env without name": {func(sp *layout.Spec) { sp.Env = []layout.EnvVar{{}} }, layout.ErrSpec},
		"env nul":          {func(sp *layout.Spec) { sp.Env = []layout.EnvVar{{Name: "A", Value: "\x00"}} }, layout.ErrSpec},
		"relative workdir": {func(sp *layout.Spec) { sp.WorkDir = "x" }, layout.ErrSpec},
		"unclean workdir":  {func(sp *layout.Spec) { sp.WorkDir = "/x/../y" }, layout.ErrSpec},
		"user":             {func(sp *layout.Spec) { sp.User = "a b" }, layout.ErrSpec},
		"base":             {func(sp *layout.Spec) { sp.Base = "debian:12" }, layout.ErrSpec},
		"unknown base":     {func(sp *layout.Spec) { sp.Base = sum([]byte("b")) }, layout.ErrNotFound},
		"base is a layer":  {func(sp *layout.Spec) { sp.Base = l.Digest }, layout.ErrMalformed},
		"class base":       {func(sp *layout.Spec) { sp.Layers[0].Class = "base" }, layout.ErrSpec},
		"no class":         {func(sp *layout.Spec) { sp.Layers[0].Class = "" }, layout.ErrSpec},
		"media type":       {func(sp *layout.Spec) { sp.Layers[0].MediaType = "text/plain" }, layout.ErrSpec},
		"layer missing":    {func(sp *layout.Spec) { sp.Layers[0].Digest = sum([]byte("l")) }, layout.ErrNotFound},
		"layer size":       {func(sp *layout.Spec) { sp.Layers[0].SizeBytes++ }, layout.ErrDigest},
		"diff id":          {func(sp *layout.Spec) { sp.Layers[0].DiffID = "x" }, layout.ErrSpec},
		"too many layers": {func(sp *layout.Spec) {
			for range 130 {
				sp.Layers = append(sp.Layers, l)
			}
		}, layout.ErrSpec},
	} {
		sp := spec(l)
		c.mutate(&sp)
		_, err := s.Assemble(t.Context(), sp)
		require.ErrorIs(t, err, c.want, name)
	}
	b, err := os.ReadFile(filepath.Join(dir, "index.json"))
	require.NoError(t, err)
	require.JSONEq(t, `{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[]}`, string(b))
}

func TestAChangedDiskIsFoundOutWhenAnImageIsLoaded(t *testing.T) {
	t.Parallel()
	for _, what := range []string{"manifest", "config", "layer size", "layer bytes", "layer gone"} {
		s, dir := open(t)
		l := putLayer(t, s, "source", "s")
		img, err := s.Assemble(t.Context(), spec(l))
		require.NoError(t, err)
		target := map[string]string{"manifest": img.Digest, "config": sum(img.Config)}[what]
		if target == "" {
			target = l.Digest
		}
		p := filepath.Join(dir, "blobs", "sha256", target[7:])
		b, err := os.ReadFile(p)
		require.NoError(t, err)
		require.NoError(t, os.Remove(p))
		b[len(b)-2] ^= 1
		if what == "layer size" {
			b = append(b, 0)
		}
		if what != "layer gone" {
			require.NoError(t, os.WriteFile(p, b, 0o600))
		}
		_, err = s.Load(t.Context(), img.Digest)
		switch what {
		case "layer bytes":
			require.NoError(t, err)
			require.ErrorIs(t, s.Verify(t.Context(), img), layout.ErrDigest)
		case "layer gone":
			require.ErrorIs(t, err, layout.ErrNotFound)
			require.ErrorIs(t, s.Verify(t.Context(), img), layout.ErrNotFound)
		default:
			require.ErrorIs(t, err, layout.ErrDigest, what)
		}
	}
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

func TestTwentyWritersAtOnceLoseNothing(t *testing.T) {
	t.Parallel()
	s, dir := open(t)
	other, err := layout.Open(dir) // a second process would be like this
	require.NoError(t, err)
	shared := putLayer(t, s, "dependencies", "shared")
	blob := bytes.Repeat([]byte("same blob"), 50_000)
	var wg sync.WaitGroup
	var mu sync.Mutex
	digests := map[string]bool{}
	for i := range 20 {
		st := []*layout.Store{s, other}[i%2]
		own := putLayer(t, st, "source", string(rune('a'+i/2)))
		wg.Go(func() {
			if err := st.Put(t.Context(), sum(blob), int64(len(blob)), bytes.NewReader(blob)); err != nil {
				t.Error(err)
			}
			img, err := st.Assemble(t.Context(), spec(shared, own))
			if err != nil {
				t.Error(err)
				return
			}
			mu.Lock()
			defer mu.Unlock()
			digests[img.Digest] = true
		})
	}
	wg.Wait()
	require.Len(t, digests, 10)
	for d := range digests {
		_, err := s.Load(t.Context(), d)
		require.NoError(t, err)
	}
	b, err := os.ReadFile(filepath.Join(dir, "index.json"))
	require.NoError(t, err)
	var idx ocispec.Index
	require.NoError(t, json.Unmarshal(b, &idx))
	require.Len(t, idx.Manifests, 10)
	left, err := filepath.Glob(filepath.Join(dir, ".tmp-*"))
	require.NoError(t, err)
	require.Empty(t, left)
}

func TestALayerCutStraightIntoTheStoreIsTheSameLayer(t *testing.T) {
	t.Parallel()
	s, _ := open(t)
	src := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(src, "a"), []byte("content"), 0o600))
	in, err := s.Ingest(t.Context())
	require.NoError(t, err)
	var _ layer.Hasher = in
	direct, err := layer.Cut(t.Context(), in, src, layer.Options{})
	require.NoError(t, err)
	require.NoError(t, in.Commit(t.Context(), direct.Digest, direct.SizeBytes))
	require.NoError(t, in.Close())
	var b bytes.Buffer
	buffered, err := layer.Cut(t.Context(), &b, src, layer.Options{})
	require.NoError(t, err)
	require.Equal(t, buffered, direct)
	r, _, err := s.OpenBlob(t.Context(), direct.Digest)
	require.NoError(t, err)
	require.NoError(t, layer.Check(t.Context(), r, direct, layer.Limits{}))
	require.NoError(t, r.Close())
}

func TestALayerIsCheckedOnceForEachClaimAboutIt(t *testing.T) {
	t.Parallel()
	s, dir := open(t)
	l := putLayer(t, s, "source", strings.Repeat("content ", 100))
	require.NoError(t, s.Check(t.Context(), l, layer.Limits{}))
	blob := filepath.Join(dir, "blobs", "sha256", l.Digest[7:])
	b, err := os.ReadFile(blob)
	require.NoError(t, err)
	b[len(b)/2] ^= 1
	require.NoError(t, os.Remove(blob))
	require.NoError(t, os.WriteFile(blob, b, 0o600))
	require.NoError(t, s.Check(t.Context(), l, layer.Limits{}), "it is remembered, and Verify looks at the disk")
	for _, mutate := range []func(*layout.Layer){
		func(l *layout.Layer) { l.DiffID = sum(nil) },
		func(l *layout.Layer) { l.MediaType = "application/vnd.oci.image.layer.v1.tar" },
		func(l *layout.Layer) { l.SizeBytes++ },
		func(l *layout.Layer) { l.Digest = sum([]byte("none")) },
	} {
		other := l
		mutate(&other)
		require.Error(t, s.Check(t.Context(), other, layer.Limits{}))
		require.Error(t, s.Check(t.Context(), other, layer.Limits{}), "a failure is not remembered")
	}
	require.Error(t, s.Check(t.Context(), l, layer.Limits{Entries: 7}), "other limits are another question")
}

func TestAnIngestIsKeptOnlyIfCommittedUnderItsOwnDigest(t *testing.T) {
	t.Parallel()
	s, dir := open(t)
	data := []byte("cut straight in")
	in, err := s.Ingest(t.Context())
	require.NoError(t, err)
	_, err = in.Write(data)
	require.NoError(t, err)
	require.ErrorIs(t, in.Commit(t.Context(), sum([]byte("x")), int64(len(data))), layout.ErrDigest)
	require.ErrorIs(t, in.Commit(t.Context(), sum(data), 1), layout.ErrDigest)
	require.ErrorIs(t, in.Commit(t.Context(), "x", 1), layout.ErrDigest)
	require.NoError(t, in.Commit(t.Context(), sum(data), int64(len(data))))
	require.ErrorIs(t, in.Commit(t.Context(), sum(data), int64(len(data))), os.ErrClosed)
	_, err = in.Write(data)
	require.ErrorIs(t, err, os.ErrClosed)
	require.NoError(t, in.Close())
	ok, err := s.Has(t.Context(), sum(data))
	require.NoError(t, err)
	require.True(t, ok)

	in, err = s.Ingest(t.Context())
	require.NoError(t, err)
	_, err = in.Write([]byte("abandoned"))
	require.NoError(t, err)
	require.NoError(t, in.Close())
	left, err := os.ReadDir(filepath.Join(dir, "ingest"))
	require.NoError(t, err)
	require.Empty(t, left)
}
