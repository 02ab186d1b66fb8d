package slurm

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// Config are a Client's settings. One of Socket and BaseURL is required.
type Config struct {
	// Socket is the path of slurmrestd's unix socket (rest_auth/local: no token).
	Socket string
	// BaseURL is where slurmrestd listens, such as "http://127.0.0.1:6820".
	BaseURL string
	// Token returns a JWT for each request; nil sends none.
	Token func(context.Context) (string, error)
	// Refused is told of a token that was not accepted, so that the next request
	// may bring another one; nil does nothing.
	Refused func(token string)
	// User is sent beside the token; "" sends none.
	User string
	// Version pins one of Versions; "" takes the newest that slurmrestd serves
	// and this client speaks, and agrees on one again after an upgrade.
	Version string
	// Timeout bounds one request with its answer; 30 s. slurmrestd itself gives
	// up on slurmctld after Slurm's MessageTimeout, 10 s by default.
	Timeout time.Duration
	// MaxBody bounds an answer, 4 MiB; MaxList bounds the lists of all jobs,
	// which are read as a stream, 512 MiB.
	MaxBody, MaxList int64
	// MaxRequest bounds what is sent, 1 MiB; a larger request is refused here.
	MaxRequest int
	// MaxConns bounds the connections that are open at once; 8.
	MaxConns int
	// Checked is asked about every new connection before anything is sent over
	// it, for example for the peer's uid; nil accepts.
	Checked func(net.Conn) error
}

// Client talks to one slurmrestd. It is safe for concurrent use.
type Client struct {
	cfg  Config
	base string
	http *http.Client
	sent atomic.Int64

	agree  sync.Mutex // held while a version is agreed on
	spoken atomic.Pointer[dialect]
}

// New checks the settings and returns a client. It does not connect.
func New(c Config) (*Client, error) {
	if (c.Socket == "") == (c.BaseURL == "") {
		return nil, errors.New("slurm: exactly one of Socket and BaseURL is needed")
	}
	known := dialects()
	pinned := slices.IndexFunc(known, func(d dialect) bool { return d.version == c.Version })
	if c.Version != "" && pinned < 0 {
		return nil, fmt.Errorf("slurm: version %s is not spoken, only %s", c.Version, strings.Join(Versions(), ", "))
	}
	if c.Timeout <= 0 {
		c.Timeout = 30 * time.Second
	}
	if c.MaxBody <= 0 {
		c.MaxBody = 4 << 20
	}
	if c.MaxList <= 0 {
		c.MaxList = 512 << 20
	}
	if c.MaxRequest <= 0 {
		c.MaxRequest = 1 << 20
	}
	if c.MaxConns <= 0 {
		c.MaxConns = 8
	}
	base := "http://localhost"
	if c.BaseURL != "" {
		u, err := url.Parse(c.BaseURL)
		if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" || u.RawQuery != "" || u.Fragment != "" || u.User != nil {
			return nil, fmt.Errorf("slurm: %q is not an http address", c.BaseURL)
		}
		base = strings.TrimRight(u.String(), "/")
	}
	cl := &Client{cfg: c, base: base}
	if pinned >= 0 {
		cl.spoken.Store(&known[pinned])
	}
	cl.http = &http.Client{
		Transport: &http.Transport{
			DialContext: cl.dial, Proxy: nil, DisableCompression: true,
			MaxConnsPerHost: c.MaxConns, MaxIdleConnsPerHost: c.MaxConns, IdleConnTimeout: 30 * time.Second,
			MaxResponseHeaderBytes: 64 << 10, TLSHandshakeTimeout: 10 * time.Second,
		},
		// a token follows no redirect
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	return cl, nil
}

// Requests returns how many requests were sent.
func (c *Client) Requests() int64 { return c.sent.Load() }

// Close closes idle connections.
func (c *Client) Close() { c.http.CloseIdleConnections() }

func (c *Client) dial(ctx context.Context, network, addr string) (net.Conn, error) {
	d := net.Dialer{Timeout: 10 * time.Second}
	if c.cfg.Socket != "" {
		network, addr = "unix", c.cfg.Socket
	}
	conn, err := d.DialContext(ctx, network, addr)
	if err != nil {
		return nil, &dialError{err}
	}
	if c.cfg.Checked != nil {
		if err := c.cfg.Checked(conn); err != nil {
			return nil, &dialError{errors.Join(err, conn.Close())}
		}
	}
	return conn, nil
}

// dialError marks a failure before anything was sent.
type dialError struct{ error }

func (e *dialError) Unwrap() error { return e.error }

// call is one request and what shall become of its answer.
type call struct {
	op, method string
	api, path  string // such as "slurm" and "job/1"; the version stands between them
	query      url.Values
	body       []byte
	max        int64
	// read decodes a 200 answer. It must read no more than it needs.
	read func(io.Reader) error
}

// do sends one request in the version that is spoken. Every error is an *Error.
func (c *Client) do(ctx context.Context, q call) error {
	d, err := c.speak(ctx, q.op)
	if err != nil {
		return err
	}
	return c.in(ctx, d, q)
}

// in sends one request in a version that was agreed on.
func (c *Client) in(ctx context.Context, d *dialect, q call) error {
	err := c.send(ctx, d.version, q)
	if e, ok := errors.AsType[*Error](err); ok && e.class == ClassVersion {
		c.forget(d)
		c.explain(ctx, e)
	}
	return err
}

// send sends one request. Every error is an *Error.
func (c *Client) send(ctx context.Context, version string, q call) error {
	ctx, cancel := context.WithTimeout(ctx, c.cfg.Timeout)
	defer cancel()
	req, err := c.request(ctx, version, q)
	if err != nil {
		return err
	}
	err = c.exchange(req, q)
	if e, ok := errors.AsType[*Error](err); ok && e.class == ClassAuth && c.cfg.Refused != nil {
		c.cfg.Refused(req.Header.Get(tokenHeader))
	}
	return err
}

const tokenHeader = "X-Slurm-User-Token" //nolint:gosec // a header's name

func (c *Client) exchange(req *http.Request, q call) error {
	c.sent.Add(1)
	resp, err := c.http.Do(req)
	if err != nil {
		e := &Error{Op: q.op, Err: err, class: ClassOutage}
		if d, ok := errors.AsType[*dialError](err); ok {
			e.Err, e.unsent = d, true
		}
		return e
	}
	defer func() { _ = resp.Body.Close() }() // read to its end or given up
	limit := q.max
	if limit == 0 {
		limit = c.cfg.MaxBody
	}
	body := &bounded{r: resp.Body, left: limit}
	if resp.StatusCode != http.StatusOK {
		return failure(q.op, resp.StatusCode, body)
	}
	if err := q.read(body); err != nil {
		if e, ok := errors.AsType[*Error](err); ok {
			e.Op, e.Status = q.op, resp.StatusCode
			return e
		}
		return &Error{Op: q.op, Status: resp.StatusCode, Err: err, class: ClassProtocol}
	}
	return nil
}

func (c *Client) request(ctx context.Context, version string, q call) (*http.Request, error) {
	if len(q.body) > c.cfg.MaxRequest {
		return nil, &Error{
			Op: q.op, Description: fmt.Sprintf("the request has %d bytes and at most %d are sent", len(q.body), c.cfg.MaxRequest),
			class: ClassRefused, unsent: true,
		}
	}
	u := c.base + "/" + q.path
	if version != "" {
		u = c.base + "/" + q.api + "/" + version + "/" + q.path
	}
	if len(q.query) > 0 {
		u += "?" + q.query.Encode()
	}
	var body io.Reader = http.NoBody
	if q.body != nil {
		body = bytes.NewReader(q.body) // its length is known: slurmrestd answers 406 to a chunked body
	}
	req, err := http.NewRequestWithContext(ctx, q.method, u, body)
	if err != nil {
		return nil, &Error{Op: q.op, Err: err, class: ClassRefused, unsent: true}
	}
	req.GetBody = nil // the transport must not send a request again by itself
	req.Header.Set("Accept", "application/json")
	if q.body != nil {
		req.Header.Set("Content-Type", "application/json") // without it: 400
	}
	if c.cfg.User != "" {
		req.Header.Set("X-Slurm-User-Name", c.cfg.User)
	}
	if c.cfg.Token != nil {
		t, err := c.cfg.Token(ctx)
		if err != nil {
			return nil, &Error{Op: q.op, Err: err, class: ClassAuth, unsent: true}
		}
		req.Header.Set(tokenHeader, t)
	}
	return req, nil
}

// bounded refuses the byte after the last one allowed.
type bounded struct {
	r    io.Reader
	left int64
}

var errTooLarge = errors.New("the answer is larger than the bound")

func (b *bounded) Read(p []byte) (int, error) {
	if b.left <= 0 {
		var one [1]byte
		n, err := b.r.Read(one[:])
		if n > 0 {
			return 0, errTooLarge
		}
		return 0, err //nolint:wrapcheck // io.EOF must stay itself
	}
	if int64(len(p)) > b.left {
		p = p[:b.left]
	}
	n, err := b.r.Read(p)
	b.left -= int64(n)
	return n, err //nolint:wrapcheck // io.EOF must stay itself
}
