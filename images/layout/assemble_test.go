package layout_test

import (
	"bytes"
	"encoding/json"
	"io"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	ggcr "github.com/google/go-containerregistry/pkg/v1/layout"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/stretchr/testify/require"

	"github.com/valico-hpc/valico/images/dsse"
	"github.com/valico-hpc/valico/images/layout"
	"github.com/valico-hpc/valico/images/sign"
)

func spec(ls ...layout.Layer) layout.Spec {
	return layout.Spec{Base: layout.BaseNone, Layers: ls, Command: []string{"/app/train", "--epochs=3"}, WorkDir: "/app", User: "1000:1000"}
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
