package link

import (
	"bufio"
	"context"
	"crypto/tls"
	"encoding/base64"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"time"

	"golang.org/x/net/http/httpproxy"

	"github.com/valico-hpc/valico/broker"
)

// DialFunc connects to host:port. It is what http.Transport.DialContext takes,
// so that blobs go the same way as the link.
type DialFunc func(ctx context.Context, network, address string) (net.Conn, error)

// dialTimeout bounds one way out, proxy and all.
const dialTimeout = 20 * time.Second

// ProxyNone as the proxy of Via means that none is used, whatever the
// environment says.
const ProxyNone = "none"

// Via returns a DialFunc that goes through an HTTP CONNECT proxy: the one named,
// http:// or https:// with an optional user and password; with "" the one that
// HTTPS_PROXY and NO_PROXY of env name, if any; with ProxyNone none. TLS to an
// https proxy is checked with roots, nil for the system's.
func Via(proxy string, env func(string) string, roots *tls.Config) (DialFunc, error) {
	direct := &net.Dialer{Timeout: dialTimeout, KeepAlive: 30 * time.Second}
	var fixed *url.URL
	pick := func(string) (*url.URL, error) { return fixed, nil } //nolint:unparam // that of the environment may fail
	switch {
	case proxy == ProxyNone:
	case proxy != "":
		u, err := checkProxy(proxy)
		if err != nil {
			return nil, err
		}
		fixed = u
	case env != nil:
		pick = fromEnv(env)
	}
	return func(ctx context.Context, network, address string) (net.Conn, error) {
		ctx, done := context.WithTimeout(ctx, dialTimeout)
		defer done()
		u, err := pick(address)
		if err != nil {
			return nil, fmt.Errorf("find the proxy: %w", err)
		}
		if u == nil {
			return direct.DialContext(ctx, network, address)
		}
		return connect(ctx, direct, u, address, roots)
	}, nil
}

func fromEnv(env func(string) string) func(string) (*url.URL, error) {
	first := func(names ...string) string {
		for _, n := range names {
			if v := env(n); v != "" {
				return v
			}
		}
		return ""
	}
	c := httpproxy.Config{HTTPSProxy: first("HTTPS_PROXY", "https_proxy"), NoProxy: first("NO_PROXY", "no_proxy")}
	f := c.ProxyFunc()
	return func(address string) (*url.URL, error) {
		u, err := f(&url.URL{Scheme: "https", Host: address})
		if err != nil || u == nil {
			return nil, err
		}
		return checkProxy(u.String())
	}
}

func checkProxy(s string) (*url.URL, error) {
	u, err := url.Parse(s)
	if err != nil || (u.Scheme != "http" && u.Scheme != "https") || u.Hostname() == "" || (u.Path != "" && u.Path != "/") || u.RawQuery != "" {
		// The text is not shown: it may hold a password.
		return nil, &broker.Error{
			Kind: broker.KindInvalid, Code: "proxy_invalid", Message: "the proxy is not understood",
			Rule: "a proxy is http://host:port or https://host:port, with an optional user:password@", Help: "correct the proxy of the agent", Who: "the site operator",
		}
	}
	return u, nil
}

// connect asks a proxy for a tunnel.
func connect(ctx context.Context, d *net.Dialer, proxy *url.URL, address string, roots *tls.Config) (net.Conn, error) {
	port := proxy.Port()
	if port == "" {
		port = map[string]string{"http": "80", "https": "443"}[proxy.Scheme]
	}
	conn, err := d.DialContext(ctx, "tcp", net.JoinHostPort(proxy.Hostname(), port))
	if err != nil {
		return nil, fmt.Errorf("reach the proxy: %w", err)
	}
	stop := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	if proxy.Scheme == "https" {
		c := &tls.Config{MinVersion: tls.VersionTLS12}
		if roots != nil {
			c = roots.Clone()
		}
		c.ServerName = proxy.Hostname()
		t := tls.Client(conn, c)
		if err := t.HandshakeContext(ctx); err != nil {
			return nil, errors.Join(fmt.Errorf("tls to the proxy: %w", err), conn.Close())
		}
		conn = t
	}
	br, err := tunnelThrough(conn, proxy, address)
	if err == nil && !stop() {
		err = context.Cause(ctx)
	}
	if err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	return &buffered{Conn: conn, r: br}, nil
}

func tunnelThrough(conn net.Conn, proxy *url.URL, address string) (*bufio.Reader, error) {
	req := &http.Request{Method: http.MethodConnect, URL: &url.URL{Opaque: address}, Host: address, Header: http.Header{}}
	if u := proxy.User; u != nil {
		pass, _ := u.Password()
		req.Header.Set("Proxy-Authorization", "Basic "+base64.StdEncoding.EncodeToString([]byte(u.Username()+":"+pass)))
	}
	if err := req.Write(conn); err != nil {
		return nil, fmt.Errorf("ask the proxy: %w", err)
	}
	br := bufio.NewReaderSize(conn, 16<<10)
	res, err := http.ReadResponse(br, req) //nolint:bodyclose // what follows is the tunnel itself
	if err != nil {
		return nil, fmt.Errorf("answer of the proxy: %w", err)
	}
	if res.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("the proxy refuses the way to %s: status %d", address, res.StatusCode)
	}
	return br, nil
}

// buffered is a connection of which some bytes were read already.
type buffered struct {
	net.Conn
	r *bufio.Reader
}

func (b *buffered) Read(p []byte) (int, error) { return b.r.Read(p) }
