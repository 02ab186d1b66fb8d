package main

import (
	"bytes"
	"net/http"
	"net/http/httptest"
	"os"
	"path"
	"path/filepath"
	"strings"
	"testing"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/stretchr/testify/require"

	"github.com/valico-hpc/valico/broker"
	"github.com/valico-hpc/valico/broker/client"
	"github.com/valico-hpc/valico/images/layer"
	"github.com/valico-hpc/valico/images/layout"
)

// registryOf serves one assembled image as a registry would and says its digest.
func registryOf(t *testing.T) (host, digest string) {
	t.Helper()
	dir, src := filepath.Join(t.TempDir(), "s"), t.TempDir()
	s, err := layout.Open(dir)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(filepath.Join(src, "a"), []byte("content"), 0o600))
	var b bytes.Buffer
	l, err := layer.Cut(t.Context(), &b, src, layer.Options{})
	require.NoError(t, err)
	require.NoError(t, s.Put(t.Context(), l.Digest, l.SizeBytes, &b))
	img, err := s.Assemble(t.Context(), layout.Spec{
		Base: layout.BaseNone, Command: []string{"/a"},
		Layers: []layout.Layer{{Class: "source", MediaType: l.MediaType, Digest: l.Digest, DiffID: l.DiffID, SizeBytes: l.SizeBytes}},
	})
	require.NoError(t, err)
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, hex, ok := strings.Cut(path.Base(r.URL.Path), "sha256:")
		if !ok {
			return
		}
		if strings.Contains(r.URL.Path, "/manifests/") {
			w.Header().Set("Content-Type", ocispec.MediaTypeImageManifest)
			w.Header().Set("Docker-Content-Digest", "sha256:"+hex)
		}
		http.ServeFile(w, r, filepath.Join(dir, "blobs", "sha256", hex))
	}))
	t.Cleanup(srv.Close)
	return strings.TrimPrefix(srv.URL, "http://"), img.Digest
}

// A base image from a registry becomes blobs of the tenant: config, layers and,
// last, the manifest.
func TestARegistrysBaseIsPulledByDigestAndUploadedWithItsManifestLast(t *testing.T) {
	t.Parallel()
	host, digest := registryOf(t)
	api := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNotFound) }))
	t.Cleanup(api.Close)
	c, err := client.New(client.Config{Server: api.URL})
	require.NoError(t, err)
	dir := t.TempDir()
	file := filepath.Join(dir, "job.yaml")
	write := func(base string) {
		text := "permit: p\npurpose: 53(1)(e)(ii)\nactivity: train\nimage: {base: '" + base + "', command: [/x]}\nresources: {walltime: 1m}\n"
		require.NoError(t, os.WriteFile(file, []byte(text), 0o600))
	}
	write(host + "/team/base@" + digest)
	j, err := loadJob(file)
	require.NoError(t, err)
	require.Equal(t, digest, j.base, "a plan needs no pull")
	require.Empty(t, j.baseBlobs)
	require.NoError(t, j.pullBase(t.Context(), c, dir))
	require.Len(t, j.baseBlobs, 3)
	for _, b := range j.baseBlobs {
		content, err := os.ReadFile(b.path)
		require.NoError(t, err)
		require.Equal(t, b.digest, broker.DigestOf(content))
		require.Equal(t, b.sizeBytes, int64(len(content)))
	}
	require.Equal(t, broker.Digest(digest), j.baseBlobs[2].digest)

	write("oci:" + filepath.Join(dir, "base"))
	again, err := loadJob(file)
	require.NoError(t, err)
	require.Equal(t, j.base, again.base)
	require.Equal(t, j.baseBlobs, again.baseBlobs)

	write(host + "/team/base:latest")
	_, err = loadJob(file)
	require.Equal(t, "base_invalid", broker.CodeOf(err), "a tag may move")
}
