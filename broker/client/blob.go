package client

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"net/http"
	"net/url"
	"strings"

	"github.com/valico-hpc/valico/broker"
)

// HasBlob reports whether the tenant has a layer.
func (c *Client) HasBlob(ctx context.Context, d broker.Digest) (bool, error) {
	err := c.do(ctx, call{method: http.MethodHead, path: "/v1/blobs/" + string(d), again: true}, nil)
	if broker.KindOf(err) == broker.KindNotFound {
		return false, nil
	}
	return err == nil, err
}

// PutBlob uploads a layer. open is called once per try.
func (c *Client) PutBlob(ctx context.Context, d broker.Digest, sizeBytes int64, open func() (io.ReadCloser, error)) error {
	return c.retry(ctx, true, func() error {
		r, err := open()
		if err != nil {
			return fmt.Errorf("open layer: %w", err)
		}
		defer r.Close() //nolint:errcheck // read only
		req, err := c.request(ctx, call{method: http.MethodPut, path: "/v1/blobs/" + string(d), in: r}, r)
		if err != nil {
			return err
		}
		req.ContentLength = sizeBytes
		req.Header.Set("Content-Type", "application/octet-stream")
		res, err := c.http.Do(req)
		if err != nil {
			return c.unreachable(ctx, err)
		}
		defer res.Body.Close() //nolint:errcheck // read only
		return check(res)
	})
}

// Fetch opens a released output. Reading it to its end fails unless the bytes
// are those of the digest wanted.
func (c *Client) Fetch(ctx context.Context, id, path string, want broker.Digest) (io.ReadCloser, error) {
	parts := strings.Split(path, "/")
	for i, p := range parts {
		parts[i] = url.PathEscape(p)
	}
	var res *http.Response
	err := c.retry(ctx, true, func() error {
		req, err := c.request(ctx, call{method: http.MethodGet, path: jobPath(id, "outputs", strings.Join(parts, "/"))}, nil)
		if err != nil {
			return err
		}
		//nolint:bodyclose // closed below, or by whoever reads
		if res, err = c.http.Do(req); err != nil {
			return c.unreachable(ctx, err)
		}
		if err := check(res); err != nil {
			res.Body.Close() //nolint:errcheck // read only
			return err
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return &checked{r: res.Body, hash: sha256.New(), want: want}, nil
}

// checked compares what was read with a digest at its end.
type checked struct {
	r    io.ReadCloser
	hash hash.Hash
	want broker.Digest
}

// Read reads some bytes; the last read tells whether all were right.
func (c *checked) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.hash.Write(p[:n])
	if err == nil {
		return n, nil
	}
	if !errors.Is(err, io.EOF) {
		return n, &broker.Error{
			Kind: broker.KindUnavailable, Code: "fetch_cut", Message: "the output was cut on its way",
			Rule: "a file is kept whole or not at all", Help: "fetch it again", Who: "the site operator, if it stays", Err: err,
		}
	}
	if got := broker.Digest("sha256:" + hex.EncodeToString(c.hash.Sum(nil))); got != c.want {
		return n, &broker.Error{
			Kind: broker.KindConflict, Code: "output_digest", Message: "the output is not what the reviewer released", Value: string(got),
			Rule: "a released file has the digest of the sealed manifest, " + string(c.want),
			Help: "do not use the file; tell the site operator", Who: "the site operator",
		}
	}
	return n, io.EOF
}

// Close ends the answer.
func (c *checked) Close() error { return c.r.Close() }
