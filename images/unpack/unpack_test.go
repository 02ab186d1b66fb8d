package unpack_test

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/stretchr/testify/require"

	"github.com/valico-hpc/valico/images/layer"
	"github.com/valico-hpc/valico/images/unpack"
)

func sum(b []byte) string {
	s := sha256.Sum256(b)
	return "sha256:" + hex.EncodeToString(s[:])
}

// image is a built image: its documents and its blobs.
type image struct {
	manifest, config []byte
	blobs            map[string][]byte
	layers           []string
}

func (im image) open(d string) (io.ReadCloser, error) {
	b, ok := im.blobs[d]
	if !ok {
		return nil, fs.ErrNotExist
	}
	return io.NopCloser(bytes.NewReader(b)), nil
}

func build(tb testing.TB, mediaType string, tars ...[]byte) image {
	tb.Helper()
	im := image{blobs: map[string][]byte{}}
	cfg := ocispec.Image{Platform: ocispec.Platform{OS: "linux", Architecture: "amd64"}, RootFS: ocispec.RootFS{Type: "layers"}}
	m := ocispec.Manifest{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageManifest}
	for _, t := range tars {
		var b bytes.Buffer
		switch mediaType {
		case ocispec.MediaTypeImageLayerZstd:
			z, err := zstd.NewWriter(&b)
			require.NoError(tb, err)
			_, err = z.Write(t)
			require.NoError(tb, errors.Join(err, z.Close()))
		case ocispec.MediaTypeImageLayerGzip:
			z := gzip.NewWriter(&b)
			_, err := z.Write(t)
			require.NoError(tb, errors.Join(err, z.Close()))
		default:
			b.Write(t)
		}
		d := sum(b.Bytes())
		im.blobs[d] = b.Bytes()
		im.layers = append(im.layers, d)
		m.Layers = append(m.Layers, ocispec.Descriptor{MediaType: mediaType, Digest: digest.Digest(d), Size: int64(b.Len())})
		cfg.RootFS.DiffIDs = append(cfg.RootFS.DiffIDs, digest.Digest(sum(t)))
	}
	var err error
	im.config, err = json.Marshal(cfg)
	require.NoError(tb, err)
	m.Config = ocispec.Descriptor{MediaType: ocispec.MediaTypeImageConfig, Digest: digest.Digest(sum(im.config)), Size: int64(len(im.config))}
	im.manifest, err = json.Marshal(m)
	require.NoError(tb, err)
	return im
}

type ent struct {
	typ        byte
	name, data string
	mode       int64
	pax        map[string]string
}

func tarOf(tb testing.TB, es ...ent) []byte {
	tb.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, e := range es {
		h := &tar.Header{Typeflag: e.typ, Name: e.name, Mode: e.mode, ModTime: time.Unix(1000, 0), Uid: 12, PAXRecords: e.pax}
		if e.typ == 0 {
			h.Typeflag = tar.TypeReg
		}
		if h.Mode == 0 {
			h.Mode = 0o644
		}
		if h.Typeflag == tar.TypeReg {
			h.Size = int64(len(e.data))
		} else if h.Typeflag != tar.TypeXGlobalHeader {
			h.Linkname = e.data
		} else {
			h = &tar.Header{Typeflag: tar.TypeXGlobalHeader, Name: "g", PAXRecords: map[string]string{"comment": "x"}}
		}
		require.NoError(tb, w.WriteHeader(h))
		if h.Typeflag == tar.TypeReg {
			_, err := w.Write([]byte(e.data))
			require.NoError(tb, err)
		}
	}
	require.NoError(tb, w.Close())
	return b.Bytes()
}

// list shows a folder as "path mode content or target".
func list(tb testing.TB, dir string) []string {
	tb.Helper()
	var out []string
	require.NoError(tb, filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
		rel, relErr := filepath.Rel(dir, p)
		if err != nil || relErr != nil || rel == "." {
			return errors.Join(err, relErr)
		}
		fi, err := d.Info()
		if err != nil {
			return err
		}
		content := ""
		switch {
		case fi.Mode().IsRegular():
			b, err := os.ReadFile(p)
			if err != nil {
				return err
			}
			content = string(b)
		case fi.Mode()&fs.ModeSymlink != 0:
			if content, err = os.Readlink(p); err != nil {
				return err
			}
			out = append(out, rel+" -> "+content)
			return nil
		}
		out = append(out, strings.TrimSpace(fmt.Sprintf("%s %s %s", rel, fi.Mode(), content)))
		return nil
	}))
	return out
}

func TestAnyChangedByteIsTamperingWhereverItIs(t *testing.T) {
	t.Parallel()
	for _, mt := range []string{ocispec.MediaTypeImageLayerZstd, ocispec.MediaTypeImageLayerGzip, ocispec.MediaTypeImageLayer} {
		im := build(t, mt, tarOf(t, ent{name: "a", data: "data"}), tarOf(t, ent{name: "b", data: strings.Repeat("data", 100)}))
		blob := im.blobs[im.layers[1]]
		for i := range blob {
			bad := bytes.Clone(blob)
			bad[i] ^= 0x20
			im.blobs[im.layers[1]] = bad
			_, err := unpack.Unpack(t.Context(), im.open, im.manifest, im.config, filepath.Join(t.TempDir(), "r"), unpack.Limits{})
			te, ok := errors.AsType[*unpack.TamperedError](err)
			require.True(t, ok, "%s byte %d: %v", mt, i, err)
			require.ErrorIs(t, err, unpack.ErrTampered)
			require.Equal(t, "layer 2", te.What)
			require.Equal(t, im.layers[1], te.Want)
			if mt == ocispec.MediaTypeImageLayer && i > 600 {
				break // the rest of a plain tar is more of the same
			}
		}
	}
}

func TestEveryOtherMismatchIsNamed(t *testing.T) {
	t.Parallel()
	good := build(t, ocispec.MediaTypeImageLayer, tarOf(t, ent{name: "a", data: "data"}))
	other := build(t, ocispec.MediaTypeImageLayer, tarOf(t, ent{name: "a", data: "evil"}))
	run := func(im image) error {
		_, err := unpack.Unpack(t.Context(), im.open, im.manifest, im.config, filepath.Join(t.TempDir(), "r"), unpack.Limits{})
		return err
	}
	what := func(im image) string {
		t.Helper()
		te, ok := errors.AsType[*unpack.TamperedError](run(im))
		require.True(t, ok)
		return te.What
	}
	require.NoError(t, run(good))
	blob := good.blobs[good.layers[0]]
	with := func(b []byte) image {
		im := good
		im.blobs = map[string][]byte{good.layers[0]: b}
		return im
	}
	require.Equal(t, "layer 1", what(with(other.blobs[other.layers[0]])))
	require.Equal(t, "layer 1 size", what(with(append(bytes.Clone(blob), 0))))
	require.Equal(t, "layer 1 size", what(with(blob[:len(blob)-1])))
	require.Equal(t, "layer 1 size", what(with(nil)))
	swapped := good
	swapped.config = other.config
	require.Equal(t, "config", what(swapped))

	// A manifest that was signed with a diff id that is not the layer's.
	lying := good
	lying.config = other.config
	lying.manifest = []byte(strings.NewReplacer(sum(good.config), sum(other.config)).Replace(string(good.manifest)))
	require.Equal(t, "diff id of layer 1", what(lying))

	missing := good
	missing.blobs = nil
	require.ErrorIs(t, run(missing), fs.ErrNotExist)
}

func TestBrokenDocumentsAreMalformed(t *testing.T) {
	t.Parallel()
	good := build(t, ocispec.MediaTypeImageLayer, tarOf(t, ent{name: "a"}))
	for name, mutate := range map[string]func(im *image){
		"no manifest":    func(im *image) { im.manifest = nil },
		"unknown member": func(im *image) { im.manifest = bytes.Replace(im.manifest, []byte("{"), []byte(`{"x":1,`), 1) },
		"schema version": func(im *image) { im.manifest = bytes.Replace(im.manifest, []byte(`:2`), []byte(`:1`), 1) },
		"no layers": func(im *image) {
			im.manifest = im.manifest[:bytes.Index(im.manifest, []byte(`"layers"`))]
			im.manifest = append(bytes.Clone(im.manifest), []byte(`"layers":[]}`)...)
		},
		"layer digest": func(im *image) {
			im.manifest = bytes.Replace(im.manifest, []byte(im.layers[0]), []byte("sha512:00"), 1)
		},
		"config is no json":  func(im *image) { withConfig(im, []byte("x")) },
		"config without ids": func(im *image) { withConfig(im, []byte(`{"rootfs":{"type":"layers","diff_ids":[]}}`)) },
		"config twice":       func(im *image) { withConfig(im, append([]byte(`{"rootfs":{},`), im.config[1:]...)) },
		"diff id":            func(im *image) { withConfig(im, []byte(`{"rootfs":{"type":"layers","diff_ids":["x"]}}`)) },
	} {
		im := good
		mutate(&im)
		_, err := unpack.Unpack(t.Context(), im.open, im.manifest, im.config, filepath.Join(t.TempDir(), "r"), unpack.Limits{})
		require.ErrorIs(t, err, unpack.ErrMalformed, name)
	}
	// A layer that was signed although it is no tar.
	im := build(t, ocispec.MediaTypeImageLayer, bytes.Repeat([]byte("no tar"), 200))
	_, err := unpack.Unpack(t.Context(), im.open, im.manifest, im.config, filepath.Join(t.TempDir(), "r"), unpack.Limits{})
	require.ErrorIs(t, err, unpack.ErrMalformed)
	im = build(t, "application/octet-stream", tarOf(t, ent{name: "a"}))
	_, err = unpack.Unpack(t.Context(), im.open, im.manifest, im.config, filepath.Join(t.TempDir(), "r"), unpack.Limits{})
	require.ErrorIs(t, err, unpack.ErrMalformed)
}

func withConfig(im *image, config []byte) {
	var m ocispec.Manifest
	if json.Unmarshal(im.manifest, &m) != nil {
		return
	}
	m.Config.Digest, m.Config.Size = digest.Digest(sum(config)), int64(len(config))
	im.manifest, _ = json.Marshal(m) // a manifest always encodes
	im.config = config
}

func TestLimitsHoldOverAllLayers(t *testing.T) {
	t.Parallel()
	im := build(t, ocispec.MediaTypeImageLayerZstd,
		tarOf(t, ent{name: "a", data: strings.Repeat("a", 3000)}), tarOf(t, ent{name: "b", data: strings.Repeat("b", 3000)}))
	for name, lim := range map[string]unpack.Limits{
		"layers": {Layers: 1}, "entries": {Entries: 1}, "raw": {RawBytes: 5000}, "raw used up": {RawBytes: 4608},
		"file": {FileBytes: 2000}, "blob": {BlobBytes: 10},
	} {
		_, err := unpack.Unpack(t.Context(), im.open, im.manifest, im.config, filepath.Join(t.TempDir(), "r"), lim)
		require.ErrorIs(t, err, unpack.ErrLimit, name)
	}
	long := build(t, ocispec.MediaTypeImageLayer, tarOf(t, ent{name: strings.Repeat("a/", 50) + "x"}))
	_, err := unpack.Unpack(t.Context(), long.open, long.manifest, long.config, filepath.Join(t.TempDir(), "r"), unpack.Limits{PathBytes: 64})
	require.ErrorIs(t, err, unpack.ErrLimit)
	huge := bytes.Repeat([]byte(" "), 5<<20)
	_, err = unpack.Unpack(t.Context(), im.open, huge, im.config, filepath.Join(t.TempDir(), "r"), unpack.Limits{})
	require.ErrorIs(t, err, unpack.ErrLimit)
}

func TestOnlyAnEmptyFolderIsUnpackedInto(t *testing.T) {
	t.Parallel()
	im := build(t, ocispec.MediaTypeImageLayer, tarOf(t, ent{name: "a"}))
	dir := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(dir, "x"), nil, 0o600))
	_, err := unpack.Unpack(t.Context(), im.open, im.manifest, im.config, dir, unpack.Limits{})
	require.ErrorIs(t, err, unpack.ErrRefused)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err = unpack.Unpack(ctx, im.open, im.manifest, im.config, filepath.Join(t.TempDir(), "r"), unpack.Limits{})
	require.ErrorIs(t, err, context.Canceled)
}

func TestWhatWasCutComesOutAgain(t *testing.T) {
	t.Parallel()
	src := t.TempDir()
	require.NoError(t, os.MkdirAll(filepath.Join(src, "d"), 0o755))
	require.NoError(t, os.WriteFile(filepath.Join(src, "d", "run"), []byte("#!"), 0o700))
	require.NoError(t, os.Symlink("d/run", filepath.Join(src, "l")))
	var b bytes.Buffer
	_, err := layer.Cut(t.Context(), &b, src, layer.Options{Prefix: "app", Compression: layer.Plain})
	require.NoError(t, err)
	im := build(t, ocispec.MediaTypeImageLayerZstd, b.Bytes())
	dir := filepath.Join(t.TempDir(), "root")
	_, err = unpack.Unpack(t.Context(), im.open, im.manifest, im.config, dir, unpack.Limits{})
	require.NoError(t, err)
	require.Equal(t, []string{"app drwxr-xr-x", "app/d drwxr-xr-x", "app/d/run -rwxr-xr-x #!", "app/l -> d/run"}, list(t, dir))
}

func TestPackageReachesNeitherNetworkNorContainerd(t *testing.T) {
	t.Parallel()
	out, err := exec.CommandContext(t.Context(), "go", "list", "-deps", ".").Output()
	require.NoError(t, err)
	require.NotContains(t, strings.Fields(string(out)), "net/http")
	require.NotContains(t, string(out), "containerd")
}
