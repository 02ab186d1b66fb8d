package registry

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"regexp"
	"strings"
	"time"
)

// The answers of an Authorizer that are not faults.
var (
	// ErrUnauthorized says that the token proves nothing.
	ErrUnauthorized = errors.New("no token, or one that does not count")
	// ErrDenied says that the token is not for this repository.
	ErrDenied = errors.New("the token is not for this repository")
	// ErrNotFound says that a blob of the grant is not in the store.
	ErrNotFound = errors.New("no such blob")
)

// Grant is what one token opens: one image.
type Grant struct {
	Digest    string // of Manifest
	MediaType string // of Manifest
	Manifest  []byte
	// Sizes lists the blobs that may be read, with their sizes.
	Sizes map[string]int64
	// Open opens one of them; ErrNotFound when it is not there.
	Open func(ctx context.Context, digest string) (Blob, error)
}

// Blob is an open blob.
type Blob interface {
	io.ReadSeeker
	io.Closer
}

// Authorizer says what a bearer token opens in a repository; with "" as the
// repository only whether the token counts. Its errors wrap ErrUnauthorized or
// ErrDenied; any other is a fault.
type Authorizer func(ctx context.Context, repository, bearer string) (Grant, error)

// Handler serves /v2/.
type Handler struct {
	// Authorize is asked for each request.
	Authorize Authorizer
	// Service names the registry in the challenge.
	Service string
	// Log is told of faults.
	Log *slog.Logger
}

// maxBearer bounds a token.
const maxBearer = 8 << 10

var (
	nameForm   = regexp.MustCompile(`^[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*(?:/[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*)*$`)
	digestForm = regexp.MustCompile(`^sha256:[0-9a-f]{64}$`)
)

// ServeHTTP satisfies http.Handler.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Docker-Distribution-Api-Version", "registry/2.0")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.Header().Set("Cache-Control", "private, no-store")
	rest, ok := strings.CutPrefix(r.URL.Path, "/v2/")
	switch {
	case !ok && r.URL.Path != "/v2":
		fail(w, http.StatusNotFound, "UNSUPPORTED", "only /v2/ is served")
		return
	case r.Method != http.MethodGet && r.Method != http.MethodHead:
		w.Header().Set("Allow", "GET, HEAD")
		fail(w, http.StatusMethodNotAllowed, "UNSUPPORTED", "this registry is read-only")
		return
	}
	p, bad := parse(rest)
	if bad != nil {
		fail(w, bad.status, bad.code, bad.message)
		return
	}
	g, err := h.authorize(r, p.repository)
	switch {
	case errors.Is(err, ErrUnauthorized):
		w.Header().Set("WWW-Authenticate", `Bearer realm="https://`+realm(r.Host)+`/v2/",service="`+h.Service+`",error="invalid_token"`)
		fail(w, http.StatusUnauthorized, "UNAUTHORIZED", "a token that counts is required")
	case errors.Is(err, ErrDenied):
		fail(w, http.StatusForbidden, "DENIED", "the token is not for this repository")
	case err != nil:
		h.fault(w, r, err)
	case p.kind == "":
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("Content-Length", "2")
		_, _ = w.Write([]byte("{}")) // the client may have gone
	case p.kind == kindManifests:
		serveManifest(w, r, g, p.reference)
	default:
		h.serveBlob(w, r, g, p.reference)
	}
}

func (h *Handler) authorize(r *http.Request, repository string) (Grant, error) {
	scheme, token, ok := strings.Cut(r.Header.Get("Authorization"), " ")
	if !ok || !strings.EqualFold(scheme, "Bearer") || token == "" || len(token) > maxBearer {
		return Grant{}, ErrUnauthorized
	}
	return h.Authorize(r.Context(), repository, token)
}

// realm keeps what a client sent as its host from breaking out of the header.
func realm(host string) string {
	if strings.ContainsAny(host, "\"\\ \t,;") {
		return "registry.invalid"
	}
	return host
}

func serveManifest(w http.ResponseWriter, r *http.Request, g Grant, reference string) {
	if reference != g.Digest {
		fail(w, http.StatusNotFound, "MANIFEST_UNKNOWN", "no such manifest; there are no tags")
		return
	}
	w.Header().Set("Content-Type", g.MediaType)
	content(w, r, g.Digest, bytes.NewReader(g.Manifest))
}

func (h *Handler) serveBlob(w http.ResponseWriter, r *http.Request, g Grant, digest string) {
	size, ok := g.Sizes[digest]
	if !ok {
		fail(w, http.StatusNotFound, "BLOB_UNKNOWN", "no such blob in this image")
		return
	}
	b, err := g.Open(r.Context(), digest)
	if errors.Is(err, ErrNotFound) {
		fail(w, http.StatusNotFound, "BLOB_UNKNOWN", "no such blob in this image")
		return
	}
	if err != nil {
		h.fault(w, r, err)
		return
	}
	defer b.Close() //nolint:errcheck // only read from
	if end, err := b.Seek(0, io.SeekEnd); err != nil || end != size {
		h.fault(w, r, errors.Join(errors.New("a blob of another size than its image says: "+digest), err))
		return
	}
	w.Header().Set("Content-Type", "application/octet-stream")
	content(w, r, digest, b)
}

// content answers with a body, whole or the ranges asked for.
func content(w http.ResponseWriter, r *http.Request, digest string, body io.ReadSeeker) {
	w.Header().Set("Docker-Content-Digest", digest)
	w.Header().Set("Etag", `"`+digest+`"`)
	http.ServeContent(w, r, "", time.Time{}, body)
}

func (h *Handler) fault(w http.ResponseWriter, r *http.Request, err error) {
	h.Log.WarnContext(r.Context(), "registry", "path", r.URL.Path, "error", err)
	w.Header().Set("Retry-After", "5")
	fail(w, http.StatusServiceUnavailable, "UNAVAILABLE", "the registry cannot answer now")
}

// fail writes the specification's form of an error. Its texts are constants.
func fail(w http.ResponseWriter, status int, code, message string) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, _ = io.WriteString(w, `{"errors":[{"code":"`+code+`","message":"`+message+`"}]}`+"\n") // the client may have gone
}
