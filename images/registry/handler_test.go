package registry_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	ggcr "github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
	"github.com/google/go-containerregistry/pkg/v1/validate"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/stretchr/testify/require"

	"github.com/valico-hpc/valico/images/layer"
	"github.com/valico-hpc/valico/images/layout"
	"github.com/valico-hpc/valico/images/registry"
	"github.com/valico-hpc/valico/images/remote"
)

const (
	repository = "att_0123456789"
	token      = "token-of-one-order"
)

type server struct {
	*httptest.Server
	store *layout.Store
	image layout.Image
	other layout.Image // in the same store, in no grant
	fault atomic.Bool
}

func assemble(t *testing.T, s *layout.Store, content string) layout.Image {
	t.Helper()
	src := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(src, "a"), []byte(content), 0o600))
	var b bytes.Buffer
	l, err := layer.Cut(t.Context(), &b, src, layer.Options{})
	require.NoError(t, err)
	require.NoError(t, s.Put(t.Context(), l.Digest, l.SizeBytes, &b))
	img, err := s.Assemble(t.Context(), layout.Spec{
		Base: layout.BaseNone, Command: []string{"/a"},
		Layers: []layout.Layer{{Class: "source", MediaType: l.MediaType, Digest: l.Digest, DiffID: l.DiffID, SizeBytes: l.SizeBytes}},
	})
	require.NoError(t, err)
	return img
}

func serve(t *testing.T, wrap func(http.Handler) http.Handler) *server {
	t.Helper()
	store, err := layout.Open(filepath.Join(t.TempDir(), "s"))
	require.NoError(t, err)
	s := &server{store: store, image: assemble(t, store, strings.Repeat("content of the image ", 1000)), other: assemble(t, store, "another order's")}
	var h http.Handler = &registry.Handler{Authorize: s.authorize, Service: "valico", Log: slog.New(slog.DiscardHandler)}
	if wrap != nil {
		h = wrap(h)
	}
	s.Server = httptest.NewTLSServer(h)
	t.Cleanup(s.Close)
	return s
}

func (s *server) authorize(_ context.Context, repo, bearer string) (registry.Grant, error) {
	switch {
	case s.fault.Load():
		return registry.Grant{}, errors.New("the record is away: password=hunter2")
	case bearer != token:
		return registry.Grant{}, fmt.Errorf("%w: because", registry.ErrUnauthorized)
	case repo == "":
		return registry.Grant{}, nil
	case repo != repository:
		return registry.Grant{}, registry.ErrDenied
	}
	g := registry.Grant{
		Digest: s.image.Digest, MediaType: ocispec.MediaTypeImageManifest, Manifest: s.image.Manifest, Sizes: map[string]int64{},
		Open: func(ctx context.Context, d string) (registry.Blob, error) {
			r, _, err := s.store.OpenBlob(ctx, d)
			if errors.Is(err, layout.ErrNotFound) {
				return nil, registry.ErrNotFound
			}
			if err != nil {
				return nil, err
			}
			return r.(registry.Blob), nil //nolint:forcetypeassert // of this store
		},
	}
	var m ocispec.Manifest
	if err := json.Unmarshal(s.image.Manifest, &m); err != nil {
		return g, err
	}
	for _, d := range append(m.Layers, m.Config) {
		g.Sizes[d.Digest.String()] = d.Size
	}
	return g, nil
}

func (s *server) host() string { return strings.TrimPrefix(s.URL, "https://") }

// answer is a response whose body was read.
type answer struct {
	StatusCode int
	Header     http.Header
}

func (s *server) do(t *testing.T, method, path, bearer string, header ...string) (got answer, body string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, s.URL+path, http.NoBody)
	require.NoError(t, err)
	if bearer != "" {
		req.Header.Set("Authorization", "Bearer "+bearer)
	}
	for i := 0; i+1 < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	res, err := s.Client().Do(req)
	require.NoError(t, err)
	b, err := io.ReadAll(res.Body)
	require.NoError(t, err)
	require.NoError(t, res.Body.Close())
	return answer{StatusCode: res.StatusCode, Header: res.Header}, string(b)
}

func TestAnotherProjectsClientPullsTheImageOfItsToken(t *testing.T) {
	t.Parallel()
	s := serve(t, nil)
	ref, err := name.NewDigest(s.host() + "/" + repository + "@" + s.image.Digest)
	require.NoError(t, err)
	with := func(tok string) []ggcr.Option {
		return []ggcr.Option{
			ggcr.WithContext(t.Context()), ggcr.WithTransport(s.Client().Transport),
			ggcr.WithAuth(authn.FromConfig(authn.AuthConfig{RegistryToken: tok})),
		}
	}
	img, err := ggcr.Image(ref, with(token)...)
	require.NoError(t, err)
	require.NoError(t, validate.Image(img, validate.Fast), "manifest and config as their digests say")
	layers, err := img.Layers()
	require.NoError(t, err)
	require.Len(t, layers, len(s.image.Layers))
	for i, l := range layers {
		r, err := l.Compressed()
		require.NoError(t, err)
		n, err := io.Copy(io.Discard, r)
		require.NoError(t, err, "the client holds it to its digest")
		require.NoError(t, r.Close())
		require.Equal(t, s.image.Layers[i].SizeBytes, n)
	}
	d, err := ggcr.Head(ref, with(token)...)
	require.NoError(t, err)
	require.Equal(t, s.image.Digest, d.Digest.String())

	_, err = ggcr.Image(ref, with("another")...)
	var te *transport.Error
	require.ErrorAs(t, err, &te)
	require.Equal(t, http.StatusUnauthorized, te.StatusCode)

	foreign, err := name.NewDigest(s.host() + "/att_another@" + s.other.Digest)
	require.NoError(t, err)
	_, err = ggcr.Image(foreign, with(token)...)
	require.ErrorAs(t, err, &te)
	require.Equal(t, http.StatusForbidden, te.StatusCode)
	require.Equal(t, transport.DeniedErrorCode, te.Errors[0].Code)

	inside, err := name.NewDigest(s.host() + "/" + repository + "@" + s.other.Digest)
	require.NoError(t, err)
	_, err = ggcr.Image(inside, with(token)...)
	require.ErrorAs(t, err, &te)
	require.Equal(t, http.StatusNotFound, te.StatusCode)
	require.Equal(t, transport.ManifestUnknownErrorCode, te.Errors[0].Code)

	tag, err := name.NewTag(s.host() + "/" + repository + ":latest")
	require.NoError(t, err)
	_, err = ggcr.Image(tag, with(token)...)
	require.ErrorAs(t, err, &te)
	require.Equal(t, http.StatusNotFound, te.StatusCode, "there are no tags")
	_, err = ggcr.Layer(inside, with(token)...)
	require.NoError(t, err, "it is asked for when it is read")
	l, err := ggcr.Layer(s.ref(t, s.other.Layers[0].Digest), with(token)...)
	require.NoError(t, err)
	_, err = l.Compressed()
	require.ErrorAs(t, err, &te)
	require.Equal(t, transport.BlobUnknownErrorCode, te.Errors[0].Code, "a blob of the same store that the order does not name")
	require.Error(t, ggcr.Write(tag, img, with(token)...), "nothing is pushed")
}

func (s *server) ref(t *testing.T, d string) name.Digest {
	t.Helper()
	r, err := name.NewDigest(s.host() + "/" + repository + "@" + d)
	require.NoError(t, err)
	return r
}

func TestEachAnswerIsTheSpecifications(t *testing.T) {
	t.Parallel()
	s := serve(t, nil)
	blob := "/v2/" + repository + "/blobs/" + s.image.Layers[0].Digest
	manifest := "/v2/" + repository + "/manifests/" + s.image.Digest
	for name, tc := range map[string]struct {
		method, path, token string
		status              int
		code                string
	}{
		"the registry":            {"GET", "/v2/", token, 200, ""},
		"the registry, bare":      {"HEAD", "/v2", token, 200, ""},
		"no token":                {"GET", "/v2/", "", 401, "UNAUTHORIZED"},
		"a wrong token":           {"GET", blob, "x", 401, "UNAUTHORIZED"},
		"a token that is too big": {"GET", blob, strings.Repeat("x", 9000), 401, "UNAUTHORIZED"},
		"manifest":                {"HEAD", manifest, token, 200, ""},
		"blob":                    {"HEAD", blob, token, 200, ""},
		"another repository":      {"GET", strings.Replace(blob, repository, "att_another", 1), token, 403, "DENIED"},
		"no digest":               {"GET", "/v2/" + repository + "/blobs/latest", token, 400, "DIGEST_INVALID"},
		"no name":                 {"GET", "/v2/UPPER/blobs/" + s.image.Digest, token, 400, "NAME_INVALID"},
		"a name that climbs":      {"GET", "/v2/../x/blobs/" + s.image.Digest, token, 400, "NAME_INVALID"},
		"tags":                    {"GET", "/v2/" + repository + "/tags/list", token, 404, "UNSUPPORTED"},
		"referrers":               {"GET", "/v2/" + repository + "/referrers/" + s.image.Digest, token, 404, "UNSUPPORTED"},
		"catalogue":               {"GET", "/v2/_catalog", token, 404, "NAME_UNKNOWN"},
		"elsewhere":               {"GET", "/v1/jobs", token, 404, "UNSUPPORTED"},
		"upload":                  {"POST", "/v2/" + repository + "/blobs/uploads/", token, 405, "UNSUPPORTED"},
		"delete":                  {"DELETE", manifest, token, 405, "UNSUPPORTED"},
	} {
		res, body := s.do(t, tc.method, tc.path, tc.token)
		require.Equal(t, tc.status, res.StatusCode, name)
		if tc.code == "" {
			continue
		}
		require.Equal(t, "application/json", res.Header.Get("Content-Type"), name)
		var e struct {
			Errors []struct{ Code, Message string }
		}
		require.NoError(t, json.Unmarshal([]byte(body), &e), name)
		require.Len(t, e.Errors, 1, name)
		require.Equal(t, tc.code, e.Errors[0].Code, name)
		require.Equal(t, tc.status == 401, strings.HasPrefix(res.Header.Get("WWW-Authenticate"), `Bearer realm="https://`), name)
	}
	res, _ := s.do(t, "GET", manifest, token)
	require.Equal(t, s.image.Digest, res.Header.Get("Docker-Content-Digest"))
	require.Equal(t, ocispec.MediaTypeImageManifest, res.Header.Get("Content-Type"))

	s.fault.Store(true)
	res, body := s.do(t, "GET", blob, token)
	require.Equal(t, 503, res.StatusCode)
	require.NotContains(t, body, "hunter2", "what went wrong inside is never shown")
}

func TestARangeIsServedAsOne(t *testing.T) {
	t.Parallel()
	s := serve(t, nil)
	l := s.image.Layers[0]
	path := "/v2/" + repository + "/blobs/" + l.Digest
	_, whole := s.do(t, "GET", path, token)
	require.Len(t, whole, int(l.SizeBytes))
	res, part := s.do(t, "GET", path, token, "Range", "bytes=10-", "If-Range", `"`+l.Digest+`"`)
	require.Equal(t, http.StatusPartialContent, res.StatusCode)
	require.Equal(t, whole[10:], part)
	res, _ = s.do(t, "GET", path, token, "Range", fmt.Sprintf("bytes=%d-", l.SizeBytes))
	require.Equal(t, http.StatusRequestedRangeNotSatisfiable, res.StatusCode)
}

// breaking ends each answer with a body after some bytes, and counts them.
func breaking(after int, requests *atomic.Int32) func(http.Handler) http.Handler {
	return func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			requests.Add(1)
			next.ServeHTTP(&short{ResponseWriter: w, left: after}, r)
		})
	}
}

type short struct {
	http.ResponseWriter
	left int
}

func (s *short) Write(p []byte) (int, error) {
	if len(p) > s.left {
		n, _ := s.ResponseWriter.Write(p[:s.left])
		s.left = 0
		if f, ok := s.ResponseWriter.(http.Flusher); ok && n > 0 {
			f.Flush()
		}
		panic(http.ErrAbortHandler)
	}
	s.left -= len(p)
	return s.ResponseWriter.Write(p)
}

func source(s *server, bearer string) remote.Source {
	return remote.Source{URL: s.URL, Client: s.Client(), Bearer: func(_ context.Context, repo string) (string, error) {
		if repo != repository {
			return "", errors.New("another repository")
		}
		return bearer, nil
	}}
}

func TestABlobIsReadOnWhereTheConnectionBroke(t *testing.T) {
	t.Parallel()
	var requests atomic.Int32
	s := serve(t, breaking(64, &requests))
	l := s.image.Layers[0]
	r, size, err := source(s, token).Open(t.Context(), repository, l.Digest)
	require.NoError(t, err)
	require.Equal(t, l.SizeBytes, size)
	got, err := io.ReadAll(r)
	require.NoError(t, err)
	require.NoError(t, r.Close())
	require.Len(t, got, int(size))
	want, _, err := s.store.OpenBlob(t.Context(), l.Digest)
	require.NoError(t, err)
	all, err := io.ReadAll(want)
	require.NoError(t, err)
	require.NoError(t, want.Close())
	require.Equal(t, all, got)
	require.Greater(t, requests.Load(), int32(1), "%d bytes", size)
}

func TestAConnectionThatNeverGetsOnIsGivenUp(t *testing.T) {
	t.Parallel()
	var requests atomic.Int32
	s := serve(t, breaking(0, &requests))
	r, _, err := source(s, token).Open(t.Context(), repository, s.image.Layers[0].Digest)
	if err == nil {
		_, err = io.ReadAll(r)
	}
	require.Error(t, err)
	require.NotErrorIs(t, err, io.EOF, "an early end never looks like the end")
	require.Less(t, requests.Load(), int32(20))
}

func TestARefusalIsToldFromAFault(t *testing.T) {
	t.Parallel()
	s := serve(t, nil)
	status := func(bearer, digest string) int {
		_, _, err := source(s, bearer).Open(t.Context(), repository, digest)
		var se *remote.StatusError
		require.ErrorAs(t, err, &se)
		return se.Status
	}
	require.Equal(t, 401, status("x", s.image.Layers[0].Digest))
	require.Equal(t, 404, status(token, s.other.Layers[0].Digest))
	s.fault.Store(true)
	require.Equal(t, 503, status(token, s.image.Layers[0].Digest))
	s.Close()
	_, _, err := source(s, token).Open(t.Context(), repository, s.image.Layers[0].Digest)
	var se *remote.StatusError
	require.Error(t, err)
	require.NotErrorAs(t, err, &se)
	for _, bad := range []remote.Source{{URL: "http://registry.example"}, {URL: "::"}, {URL: "https://user@registry.example"}} {
		_, _, err = bad.Open(t.Context(), repository, s.image.Digest)
		require.ErrorIs(t, err, remote.ErrReference)
	}
	_, _, err = source(s, token).Open(t.Context(), repository, "latest")
	require.ErrorIs(t, err, remote.ErrReference)
}
