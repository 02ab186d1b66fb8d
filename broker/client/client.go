package client

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	gojson "github.com/go-json-experiment/json"

	"github.com/valico-hpc/valico/broker"
	"github.com/valico-hpc/valico/broker/httpapi/wire"
)

const (
	maxTries     = 4
	firstBackoff = 200 * time.Millisecond
	maxBackoff   = 5 * time.Second
	callTimeout  = 60 * time.Second
	maxAnswer    = 32 << 20
)

// Config says which broker and who asks. HTTP and Rand may be nil.
type Config struct {
	Server string        // for example "https://broker.example"
	Token  broker.Secret // "" for the calls that anyone may make
	HTTP   *http.Client
	Rand   *rand.Rand // jitter of retries; not shared between goroutines
	Agent  string     // User-Agent
}

// Client calls one broker as one person. It is safe for concurrent use.
type Client struct {
	base  *url.URL
	token broker.Secret
	http  *http.Client
	agent string
	// jitter holds the generator while nobody draws from it.
	jitter chan *rand.Rand
}

// New makes a Client. A token is sent over https, or to this machine only.
func New(c Config) (*Client, error) {
	u, err := url.Parse(c.Server)
	if err != nil || (u.Scheme != "http" && u.Scheme != "https") || u.Host == "" || u.User != nil || u.RawQuery != "" {
		return nil, &broker.Error{
			Kind: broker.KindInvalid, Code: "server_invalid", Message: "the server's address is not valid", Value: c.Server,
			Rule: "an address is https://HOST[:PORT]", Help: "set --server or VALICO_SERVER", Who: "the broker's operator knows the address",
		}
	}
	if u.Scheme == "http" && !loopback(u.Hostname()) && c.Token != "" {
		return nil, &broker.Error{
			Kind: broker.KindInvalid, Code: "server_insecure", Message: "a token is not sent over plain http to another machine", Value: c.Server,
			Rule: "tokens travel over https, or within this machine", Help: "use the broker's https address", Who: "the broker's operator",
		}
	}
	base := c.HTTP
	if base == nil {
		base = &http.Client{}
	}
	h := *base
	h.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	r := c.Rand
	if r == nil {
		r = rand.New(rand.NewPCG(rand.Uint64(), rand.Uint64())) //nolint:gosec // jitter, not a secret
	}
	cl := &Client{base: u, token: c.Token, http: &h, agent: c.Agent, jitter: make(chan *rand.Rand, 1)}
	cl.jitter <- r
	return cl, nil
}

func loopback(host string) bool {
	if host == "localhost" {
		return true
	}
	ip := net.ParseIP(host)
	return ip != nil && ip.IsLoopback()
}

// call is one request that may be repeated if again is set.
type call struct {
	method, path string
	query        url.Values
	header       http.Header
	in           any // JSON body; nil for none
	again        bool
}

// do makes a call and decodes the answer into out, unless out is nil.
func (c *Client) do(ctx context.Context, k call, out any) error {
	var body []byte
	if k.in != nil {
		b, err := json.Marshal(k.in)
		if err != nil {
			return fmt.Errorf("encode request: %w", err)
		}
		body = b
	}
	return c.retry(ctx, k.again, func() error {
		ctx, cancel := context.WithTimeout(ctx, callTimeout)
		defer cancel()
		req, err := c.request(ctx, k, bytes.NewReader(body))
		if err != nil {
			return err
		}
		if k.in != nil {
			req.Header.Set("Content-Type", "application/json")
		}
		res, err := c.http.Do(req)
		if err != nil {
			return c.unreachable(ctx, err)
		}
		defer res.Body.Close() //nolint:errcheck // read only
		if err := check(res); err != nil {
			return err
		}
		return decode(res, out)
	})
}

func (c *Client) request(ctx context.Context, k call, body io.Reader) (*http.Request, error) {
	u := c.base.JoinPath(k.path)
	u.RawQuery = k.query.Encode()
	if k.in == nil {
		body = http.NoBody
	}
	req, err := http.NewRequestWithContext(ctx, k.method, u.String(), body)
	if err != nil {
		return nil, fmt.Errorf("make request: %w", err)
	}
	maps.Copy(req.Header, k.header)
	if c.token != "" {
		req.Header.Set("Authorization", "Bearer "+string(c.token))
	}
	if c.agent != "" {
		req.Header.Set("User-Agent", c.agent)
	}
	return req, nil
}

// retry repeats f while the broker does not answer, up to maxTries in all.
func (c *Client) retry(ctx context.Context, again bool, f func() error) error {
	for try := 1; ; try++ {
		err := f()
		if err == nil || !again || try == maxTries || broker.KindOf(err) != broker.KindUnavailable {
			return err
		}
		if werr := c.wait(ctx, try); werr != nil {
			return err
		}
	}
}

// wait pauses before the next try: exponential, with full jitter in its upper half.
func (c *Client) wait(ctx context.Context, try int) error {
	d := min(firstBackoff<<min(try-1, 10), maxBackoff)
	r := <-c.jitter
	d = d/2 + time.Duration(r.Int64N(int64(d/2)))
	c.jitter <- r
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-t.C:
		return nil
	}
}

// unreachable is the error of a broker that did not answer. The cause holds the
// address, never the token.
func (c *Client) unreachable(ctx context.Context, err error) error {
	if ctx.Err() != nil && errors.Is(context.Cause(ctx), context.Canceled) {
		return context.Canceled
	}
	return &broker.Error{
		Kind: broker.KindUnavailable, Code: "broker_unreachable", Message: "the broker does not answer", Value: c.base.Redacted(),
		Rule: "a broker is asked over HTTP", Help: "check the address (--server, VALICO_SERVER) and that the broker runs", Who: "the broker's operator", Err: err,
	}
}

// check gives the error that an answer tells of; nil for success.
func check(res *http.Response) error {
	if res.StatusCode >= 200 && res.StatusCode < 300 {
		return nil
	}
	b, _ := io.ReadAll(io.LimitReader(res.Body, 1<<20)) // what was cut is no problem's JSON
	var p wire.Problem
	if strings.HasPrefix(res.Header.Get("Content-Type"), wire.ProblemType) && gojson.Unmarshal(b, &p) == nil && p.Type != "" {
		return p.Err()
	}
	return foreign(res.StatusCode)
}

// foreign is the error of an answer that is not the broker's own: a proxy's, or
// the bare status of a HEAD.
func foreign(status int) error {
	e := &broker.Error{
		Kind: broker.KindInternal, Code: "answer_unexpected", Message: "the answer is not a broker's", Value: fmt.Sprintf("HTTP %d", status),
		Rule: "a broker answers with JSON", Help: "check the address; a proxy may have answered", Who: "the broker's operator",
	}
	switch status {
	case http.StatusUnauthorized:
		e.Kind, e.Message = broker.KindUnauthenticated, "not signed in"
	case http.StatusForbidden:
		e.Kind = broker.KindForbidden
	case http.StatusNotFound:
		e.Kind = broker.KindNotFound
	case http.StatusTooManyRequests, http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		e.Kind, e.Message = broker.KindUnavailable, "the broker does not answer"
	}
	return e
}

func decode(res *http.Response, out any) error {
	if out == nil {
		return nil
	}
	b, err := io.ReadAll(io.LimitReader(res.Body, maxAnswer))
	if err == nil {
		// Unknown members are a newer broker's and pass; repeated ones do not.
		err = gojson.Unmarshal(b, out)
	}
	if err != nil {
		return &broker.Error{
			Kind: broker.KindUnavailable, Code: "answer_broken", Message: "the broker's answer is not whole",
			Rule: "a broker answers with JSON", Help: "try again", Who: "the broker's operator", Err: err,
		}
	}
	return nil
}
