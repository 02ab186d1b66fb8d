package nomad

import (
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"
	"sync/atomic"
	"time"

	"github.com/hashicorp/nomad/api"
)

const (
	maxBody   = 64 << 20  // of one answer; a page of 2,000 allocations has about 6 MiB
	maxStream = 256 << 20 // of one event stream, which is then opened again
	maxSent   = 1 << 20   // of one request; a larger one is refused here
	pageSize  = 2000
)

// TLS are the files of a connection with TLS.
type TLS struct{ CACert, Cert, Key, ServerName string }

// newClient makes a client that reads no environment, follows no redirect (its
// token would go along), uses no proxy and reads no body without an end.
func newClient(c Config, sent *atomic.Int64) (*api.Client, error) {
	u, err := url.Parse(c.Address)
	if err != nil {
		return nil, fmt.Errorf("nomad: address: %w", err)
	}
	ip := net.ParseIP(u.Hostname())
	switch {
	case u.Host == "" || (u.Scheme != "http" && u.Scheme != "https"):
		return nil, fmt.Errorf("nomad: %q is no http or https address", c.Address)
	case u.Scheme == "http" && u.Hostname() != "localhost" && (ip == nil || !ip.IsLoopback()):
		return nil, fmt.Errorf("nomad: %q: the token would travel in clear text, so use https", c.Address)
	}
	t, ok := http.DefaultTransport.(*http.Transport)
	if !ok {
		return nil, errors.New("nomad: no default transport")
	}
	t = t.Clone()
	t.Proxy, t.MaxConnsPerHost, t.ResponseHeaderTimeout = nil, 16, c.CallTimeout
	h := &http.Client{Transport: t, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	if u.Scheme == "https" {
		tc := &api.TLSConfig{CACert: c.TLS.CACert, ClientCert: c.TLS.Cert, ClientKey: c.TLS.Key, TLSServerName: c.TLS.ServerName}
		t.TLSClientConfig = minTLS()
		if err := api.ConfigureTLS(h, tc); err != nil {
			return nil, fmt.Errorf("nomad: TLS: %w", err)
		}
	}
	h.Transport = &bounded{next: t, sent: sent}
	cl, err := api.NewClient(&api.Config{Address: c.Address, Region: c.Region, HttpClient: h})
	if err != nil {
		return nil, fmt.Errorf("nomad: %w", err)
	}
	return cl, nil
}

// bounded counts requests, sends none that is too long, and ends bodies that are.
type bounded struct {
	next *http.Transport
	sent *atomic.Int64
}

// RoundTrip sends a request.
func (b *bounded) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.ContentLength < 0 || r.ContentLength > maxSent { // below zero it is not known
		if r.Body != nil {
			_ = r.Body.Close() // never read
		}
		return nil, errTooMuch
	}
	b.sent.Add(1)
	resp, err := b.next.RoundTrip(r)
	if err != nil {
		return nil, err //nolint:wrapcheck // http.Client names the request
	}
	left := int64(maxBody)
	if r.URL.Path == "/v1/event/stream" {
		left = maxStream
	}
	if resp.Header.Get("Content-Encoding") == "gzip" { // bounded is what comes out of it
		resp.Header.Del("Content-Encoding")
		resp.ContentLength = -1
		resp.Body = &unzipped{ReadCloser: resp.Body}
	}
	resp.Body = &body{ReadCloser: resp.Body, left: left}
	return resp, nil
}

// unzipped reads a compressed body. It begins with the first Read: a stream may
// say nothing for long.
type unzipped struct {
	io.ReadCloser

	z *gzip.Reader
}

// Read reads what was compressed.
func (u *unzipped) Read(p []byte) (int, error) {
	if u.z == nil {
		z, err := gzip.NewReader(u.ReadCloser)
		if errors.Is(err, io.EOF) { // nothing was compressed
			return 0, io.EOF
		}
		if err != nil {
			return 0, fmt.Errorf("decompress the answer: %w", err)
		}
		u.z = z
	}
	return u.z.Read(p) //nolint:wrapcheck // io.EOF travels as it is
}

type body struct {
	io.ReadCloser

	left int64
}

var (
	errTooLong = errors.New("the answer is too long")
	errTooMuch = fmt.Errorf("the request has more than %d bytes", maxSent)
)

// Read reads up to the limit and then fails.
func (b *body) Read(p []byte) (int, error) {
	if b.left <= 0 {
		return 0, errTooLong
	}
	if int64(len(p)) > b.left {
		p = p[:b.left]
	}
	n, err := b.ReadCloser.Read(p)
	b.left -= int64(n)
	return n, err //nolint:wrapcheck // io.EOF travels as it is
}

// token reads the token anew for each call, so that a site can renew it.
func (s *Scheduler) token() (string, error) {
	if s.cfg.TokenFile == "" {
		return "", nil
	}
	b, err := os.ReadFile(s.cfg.TokenFile)
	if err != nil {
		return "", unavailable("read the agent's Nomad token", err)
	}
	return strings.TrimSpace(string(b)), nil
}

// query returns the options of one read; done gives its deadline back. The
// client writes into them, so no two calls share them.
func (s *Scheduler) query(ctx context.Context, namespace string) (*api.QueryOptions, context.CancelFunc, error) {
	tok, err := s.token()
	if err != nil {
		return nil, nil, err
	}
	ctx, done := context.WithTimeout(ctx, s.cfg.CallTimeout)
	return (&api.QueryOptions{Namespace: namespace, AuthToken: tok}).WithContext(ctx), done, nil
}

func (s *Scheduler) write(ctx context.Context, namespace string) (*api.WriteOptions, context.CancelFunc, error) {
	tok, err := s.token()
	if err != nil {
		return nil, nil, err
	}
	ctx, done := context.WithTimeout(ctx, s.cfg.CallTimeout)
	return (&api.WriteOptions{Namespace: namespace, AuthToken: tok}).WithContext(ctx), done, nil
}

// list reads all pages of a list.
func list[T any](ctx context.Context, s *Scheduler, op, namespace, filter string, params map[string]string,
	page func(*api.QueryOptions) ([]T, *api.QueryMeta, error),
) ([]T, error) {
	var out []T
	next := ""
	for {
		q, done, err := s.query(ctx, namespace)
		if err != nil {
			return nil, err
		}
		q.Filter, q.PerPage, q.NextToken, q.Params = filter, pageSize, next, map[string]string{}
		maps.Copy(q.Params, params)
		some, meta, err := page(q)
		done()
		if err != nil {
			return nil, translate(op, err)
		}
		out = append(out, some...)
		if meta != nil && meta.NextToken == "" && len(some) >= pageSize && !meta.KnownLeader {
			// The client reads no headers behind one that is not there.
			return nil, unavailable(op+": a page came without saying whether it is the last", nil)
		}
		if meta == nil || meta.NextToken == "" || meta.NextToken == next {
			return out, nil
		}
		next = meta.NextToken
	}
}

// pause waits unless ctx ends first.
func pause(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-t.C:
		return true
	}
}
