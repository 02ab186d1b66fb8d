package remote_test

import (
	"bytes"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/registry"
	"github.com/stretchr/testify/require"

	"github.com/valico-hpc/valico/images/layer"
	"github.com/valico-hpc/valico/images/layout"
	"github.com/valico-hpc/valico/images/remote"
)

func open(tb testing.TB) *layout.Store {
	tb.Helper()
	s, err := layout.Open(filepath.Join(tb.TempDir(), "s"))
	require.NoError(tb, err)
	return s
}

// assemble makes an image in a new store.
func assemble(tb testing.TB) (*layout.Store, layout.Image) {
	tb.Helper()
	s := open(tb)
	src := tb.TempDir()
	require.NoError(tb, os.WriteFile(filepath.Join(src, "a"), []byte("content"), 0o600))
	var b bytes.Buffer
	l, err := layer.Cut(tb.Context(), &b, src, layer.Options{})
	require.NoError(tb, err)
	require.NoError(tb, s.Put(tb.Context(), l.Digest, l.SizeBytes, &b))
	img, err := s.Assemble(tb.Context(), layout.Spec{
		Base: layout.BaseNone, Command: []string{"/a"},
		Layers: []layout.Layer{{Class: "source", MediaType: l.MediaType, Digest: l.Digest, DiffID: l.DiffID, SizeBytes: l.SizeBytes}},
	})
	require.NoError(tb, err)
	return s, img
}

func send(tb testing.TB, method, url, contentType string, body []byte) {
	tb.Helper()
	req, err := http.NewRequestWithContext(tb.Context(), method, url, bytes.NewReader(body))
	require.NoError(tb, err)
	req.Header.Set("Content-Type", contentType)
	res, err := http.DefaultClient.Do(req)
	require.NoError(tb, err)
	require.NoError(tb, res.Body.Close())
	require.Equal(tb, http.StatusCreated, res.StatusCode)
}

// push sends an image to a registry with bare requests.
func push(tb testing.TB, url string, s *layout.Store, img layout.Image) {
	tb.Helper()
	blobs := url + "/v2/team/base/blobs/uploads/?digest="
	for _, l := range img.Layers {
		r, _, err := s.OpenBlob(tb.Context(), l.Digest)
		require.NoError(tb, err)
		b, err := io.ReadAll(r)
		require.NoError(tb, err)
		require.NoError(tb, r.Close())
		send(tb, http.MethodPost, blobs+l.Digest, "application/octet-stream", b)
	}
	m := string(img.Manifest)
	_, config, _ := strings.Cut(m, `"config":{`)
	_, config, _ = strings.Cut(config, `"digest":"`)
	config, _, _ = strings.Cut(config, `"`)
	send(tb, http.MethodPost, blobs+config, "application/octet-stream", img.Config)
	send(tb, http.MethodPut, url+"/v2/team/base/manifests/latest", "application/vnd.oci.image.manifest.v1+json", img.Manifest)
}

func newRegistry(tb testing.TB, wrap func(http.Handler) http.Handler) (url, host string) {
	tb.Helper()
	h := registry.New(registry.Logger(log.New(io.Discard, "", 0)))
	if wrap != nil {
		h = wrap(h)
	}
	srv := httptest.NewServer(h)
	tb.Cleanup(srv.Close)
	return srv.URL, strings.TrimPrefix(srv.URL, "http://")
}

func TestPulledImageIsTheOneThatItsDigestNames(t *testing.T) {
	t.Parallel()
	url, host := newRegistry(t, nil)
	from, img := assemble(t)
	push(t, url, from, img)
	for _, ref := range []string{host + "/team/base@" + img.Digest, host + "/team/base:other@" + img.Digest} {
		to := open(t)
		got, err := remote.Pull(t.Context(), to, ref, remote.Options{PlainHTTP: true})
		require.NoError(t, err)
		require.Equal(t, img.Digest, got)
		again, err := to.Load(t.Context(), got)
		require.NoError(t, err)
		require.Equal(t, img, again)
		require.NoError(t, to.Verify(t.Context(), again))
		_, err = remote.Pull(t.Context(), to, ref, remote.Options{PlainHTTP: true})
		require.NoError(t, err, "pulling again is no error")
	}
	unknown := "sha256:" + strings.Repeat("0", 64)
	_, err := remote.Pull(t.Context(), open(t), host+"/team/base@"+unknown, remote.Options{PlainHTTP: true})
	require.ErrorIs(t, err, layout.ErrNotFound)
	_, err = remote.Pull(t.Context(), open(t), host+"/team/base@"+img.Digest, remote.Options{})
	require.Error(t, err, "HTTPS is the default")
}

func TestReferencesThatNameNoSingleImageAreRefused(t *testing.T) {
	t.Parallel()
	d := "@sha256:" + strings.Repeat("a", 64)
	s := open(t)
	for _, ref := range []string{
		"", "debian", "debian:12", "localhost:5000/x", "localhost:5000/x:latest", "localhost:5000/x@latest",
		"localhost:5000/x@sha256:abc", "localhost:5000/x@sha512:" + strings.Repeat("a", 128), "debian" + d, "library/debian" + d,
		"localhost:5000" + d, "localhost:5000/" + d, "http://localhost:5000/x" + d, "localhost:5000/../x" + d, "user@localhost:5000/x" + d,
		"localhost:5000/x" + d + d, "localhost:5000/x\n" + d, "localhost:5000/" + strings.Repeat("x", 2000) + d,
	} {
		_, err := remote.Pull(t.Context(), s, ref, remote.Options{PlainHTTP: true})
		require.ErrorIs(t, err, remote.ErrReference, ref)
	}
	_, err := remote.Pull(t.Context(), s, "localhost:5000/x:latest", remote.Options{})
	require.ErrorContains(t, err, "a tag can be moved")
	for _, host := range []string{"registry.example", "10.0.0.1:5000", "localhost.example:5000"} {
		_, err := remote.Pull(t.Context(), s, host+"/x"+d, remote.Options{PlainHTTP: true})
		require.ErrorIs(t, err, remote.ErrReference)
		require.ErrorContains(t, err, "use HTTPS")
	}
}

func TestARegistryThatLiesIsFoundOut(t *testing.T) {
	t.Parallel()
	from, img := assemble(t)
	for name, lie := range map[string]struct{ path, from, to string }{
		"manifest": {"/manifests/", `"schemaVersion":2`, `"schemaVersion":3`},
		"config":   {"/blobs/", `"os":"linux"`, `"os":"minix"`},
		"layer":    {"/blobs/", "\x28\xb5\x2f\xfd", "\x28\xb5\x2f\xfe"},
	} {
		url, host := newRegistry(t, func(next http.Handler) http.Handler {
			return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if r.Method != http.MethodGet || !strings.Contains(r.URL.Path, lie.path) {
					next.ServeHTTP(w, r)
					return
				}
				rec := httptest.NewRecorder()
				next.ServeHTTP(rec, r)
				body := strings.ReplaceAll(rec.Body.String(), lie.from, lie.to)
				for k, v := range rec.Header() {
					if k != "Content-Length" {
						w.Header()[k] = v
					}
				}
				w.WriteHeader(rec.Code)
				_, _ = io.WriteString(w, body) // the client may have gone
			})
		})
		push(t, url, from, img)
		to := open(t)
		_, err := remote.Pull(t.Context(), to, host+"/team/base@"+img.Digest, remote.Options{PlainHTTP: true})
		require.ErrorIs(t, err, layout.ErrDigest, name)
		_, err = to.Load(t.Context(), img.Digest)
		require.ErrorIs(t, err, layout.ErrNotFound, name)
	}
}

func TestAnIndexIsRefusedWithTheImagesInIt(t *testing.T) {
	t.Parallel()
	url, host := newRegistry(t, nil)
	from, img := assemble(t)
	push(t, url, from, img)
	idx := []byte(`{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[{"mediaType":"application/vnd.oci.image.manifest.v1+json","digest":"` +
		img.Digest + `","size":1,"platform":{"architecture":"amd64","os":"linux"}}]}`)
	send(t, http.MethodPut, url+"/v2/team/base/manifests/multi", "application/vnd.oci.image.index.v1+json", idx)
	req, err := http.NewRequestWithContext(t.Context(), http.MethodHead, url+"/v2/team/base/manifests/multi", http.NoBody)
	require.NoError(t, err)
	res, err := http.DefaultClient.Do(req)
	require.NoError(t, err)
	require.NoError(t, res.Body.Close())
	_, err = remote.Pull(t.Context(), open(t), host+"/team/base@"+res.Header.Get("Docker-Content-Digest"), remote.Options{PlainHTTP: true})
	require.ErrorIs(t, err, layout.ErrUnsupported)
	require.ErrorContains(t, err, "linux/amd64 "+img.Digest)
}

func TestCredentialsAreAskedForByHostAndNeverShown(t *testing.T) {
	t.Parallel()
	url, host := newRegistry(t, func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if u, p, ok := r.BasicAuth(); r.Method == http.MethodGet || r.Method == http.MethodHead {
				if !ok || u != "me" || p != "hunter2" {
					w.Header().Set("WWW-Authenticate", `Basic realm="x"`)
					w.WriteHeader(http.StatusUnauthorized)
					return
				}
			}
			next.ServeHTTP(w, r)
		})
	})
	from, img := assemble(t)
	push(t, url, from, img)
	ref := host + "/team/base@" + img.Digest
	creds := func(secret string) remote.Options {
		return remote.Options{PlainHTTP: true, Credentials: func(h string) (string, string, error) {
			require.Equal(t, host, h)
			return "me", secret, nil
		}}
	}
	_, err := remote.Pull(t.Context(), open(t), ref, creds("hunter2"))
	require.NoError(t, err)
	_, err = remote.Pull(t.Context(), open(t), ref, creds("wrong-secret"))
	require.Error(t, err)
	require.NotContains(t, err.Error(), "wrong-secret")
	_, err = remote.Pull(t.Context(), open(t), ref, remote.Options{PlainHTTP: true})
	require.Error(t, err)
}
