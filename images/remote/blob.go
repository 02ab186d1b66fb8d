package remote

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"

	"github.com/opencontainers/go-digest"
)

// StatusError is a registry's answer that is not the blob.
type StatusError struct {
	Status int
	Digest string
}

// Error names the answer and nothing that the registry wrote.
func (e *StatusError) Error() string {
	return fmt.Sprintf("the registry answers %d %s for %s", e.Status, http.StatusText(e.Status), e.Digest)
}

// Source reads single blobs of a registry.
type Source struct {
	// URL is the registry's address, https or on this machine.
	URL string
	// Client follows no redirect unless it is told to.
	Client *http.Client
	// Bearer gives a token for each request; it may be called again while a
	// blob is read.
	Bearer func(ctx context.Context, repository string) (string, error)
}

// maxStalls is how often in a row a connection may break before a byte came.
const maxStalls = 4

// Open opens a blob and says how large the registry says it is. A connection
// that breaks in the middle is made again from the byte where it broke. The
// bytes are not checked: whoever reads them holds them to the digest.
func (s Source) Open(ctx context.Context, repository, dgst string) (io.ReadCloser, int64, error) {
	d, err := digest.Parse(dgst)
	if err != nil || d.Algorithm() != digest.SHA256 {
		return nil, 0, fmt.Errorf("%w: %.100q is no sha256 digest", ErrReference, dgst)
	}
	u, err := url.Parse(s.URL)
	if err != nil || u.Host == "" || u.User != nil {
		return nil, 0, fmt.Errorf("%w: the registry's address is no URL", ErrReference)
	}
	if u.Scheme != "https" && (u.Scheme != "http" || !loopback(u.Host)) {
		return nil, 0, fmt.Errorf("%w: plain HTTP is for registries on this machine, not for %q; use HTTPS", ErrReference, u.Host)
	}
	b := &resuming{ctx: ctx, source: s, repository: repository, digest: dgst, url: u.JoinPath("v2", repository, "blobs", dgst).String(), size: -1}
	if err := b.connect(); err != nil {
		return nil, 0, err
	}
	return b, b.size, nil
}

// resuming is a blob that is read over as many connections as it takes.
type resuming struct {
	ctx        context.Context //nolint:containedctx // lives for one blob
	source     Source
	repository string
	digest     string
	url        string

	body   io.ReadCloser // nil between connections
	offset int64
	size   int64 // -1 until known
	stalls int
}

func (b *resuming) connect() error {
	req, err := http.NewRequestWithContext(b.ctx, http.MethodGet, b.url, http.NoBody)
	if err != nil {
		return fmt.Errorf("read blob %s: %w", b.digest, err)
	}
	token, err := b.source.Bearer(b.ctx, b.repository)
	if err != nil {
		return fmt.Errorf("read blob %s: %w", b.digest, err)
	}
	req.Header.Set("Authorization", "Bearer "+token)
	if b.offset > 0 {
		req.Header.Set("Range", "bytes="+strconv.FormatInt(b.offset, 10)+"-")
		req.Header.Set("If-Range", `"`+b.digest+`"`)
	}
	res, err := b.source.Client.Do(req)
	if err != nil {
		return fmt.Errorf("read blob %s: %w", b.digest, strip(err))
	}
	if err := b.accept(res); err != nil {
		return errors.Join(err, res.Body.Close())
	}
	b.body = res.Body
	return nil
}

// accept takes an answer over that goes on where the last one broke.
func (b *resuming) accept(res *http.Response) error {
	switch {
	case res.StatusCode == http.StatusOK && b.offset == 0:
		if b.size < 0 {
			b.size = res.ContentLength
		}
		if b.size < 0 || res.ContentLength != b.size {
			return fmt.Errorf("read blob %s: the registry does not say how large it is", b.digest)
		}
		return nil
	case res.StatusCode == http.StatusPartialContent && b.offset > 0:
		want := fmt.Sprintf("bytes %d-%d/%d", b.offset, b.size-1, b.size)
		if got := res.Header.Get("Content-Range"); got != want {
			return fmt.Errorf("read blob %s: asked for %q, the registry gives %.100q", b.digest, want, got)
		}
		return nil
	}
	return &StatusError{Status: res.StatusCode, Digest: b.digest}
}

// Read reads on, over a new connection where the last one broke.
func (b *resuming) Read(p []byte) (int, error) {
	for {
		if b.offset == b.size {
			return 0, io.EOF
		}
		if b.body == nil {
			if err := b.connect(); err != nil {
				if _, answered := errors.AsType[*StatusError](err); answered || b.stall() {
					return 0, err
				}
				continue
			}
		}
		n, err := b.body.Read(p[:min(int64(len(p)), b.size-b.offset)])
		b.offset += int64(n)
		if err != nil { // also an end that comes too early
			_ = b.body.Close() // it is broken already
			b.body = nil
		}
		if n > 0 {
			b.stalls = 0
			return n, nil
		}
		if err != nil && b.stall() {
			return 0, fmt.Errorf("read blob %s: %w", b.digest, strip(err))
		}
	}
}

// stall counts a failure without progress and reports whether to give up.
func (b *resuming) stall() bool {
	b.stalls++
	return b.ctx.Err() != nil || b.stalls > maxStalls
}

// strip keeps an early end from looking like the end.
func strip(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}

// Close ends the connection.
func (b *resuming) Close() error {
	if b.body == nil {
		return nil
	}
	return b.body.Close()
}
