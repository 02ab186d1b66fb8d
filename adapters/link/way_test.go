package link_test

import (
	"bufio"
	"context"
	"crypto/tls"
	"encoding/base64"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/valico-hpc/valico/adapters/link"
	"github.com/valico-hpc/valico/broker"
)

// connectProxy is an HTTP CONNECT proxy that wants a password and knows a name
// that nobody else does.
func connectProxy(t *testing.T, where func() string, secure bool) (*httptest.Server, *atomic.Int64) {
	t.Helper()
	tunnels := &atomic.Int64{}
	h := http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Proxy-Authorization") != "Basic "+base64.StdEncoding.EncodeToString([]byte("site:secret")) {
			rw.WriteHeader(http.StatusProxyAuthRequired)
			return
		}
		if r.Method != http.MethodConnect || r.Host != "broker.example:443" {
			rw.WriteHeader(http.StatusForbidden)
			return
		}
		out, err := net.Dial("tcp", where())
		if err != nil {
			rw.WriteHeader(http.StatusBadGateway)
			return
		}
		conn, buf, err := rw.(http.Hijacker).Hijack()
		if err != nil {
			return
		}
		tunnels.Add(1)
		_, _ = io.WriteString(conn, "HTTP/1.1 200 OK\r\n\r\n")
		go func() {
			_, _ = io.Copy(out, buf)
			_ = out.Close()
		}()
		_, _ = io.Copy(conn, out)
		_ = conn.Close()
	})
	srv := httptest.NewUnstartedServer(h)
	if secure {
		srv.StartTLS()
	} else {
		srv.Start()
	}
	t.Cleanup(srv.CloseClientConnections)
	return srv, tunnels
}

// TestTheWayOutGoesThroughAConnectProxy gives the agent a name that only the
// proxy can look up, as behind a firewall.
func TestTheWayOutGoesThroughAConnectProxy(t *testing.T) {
	t.Parallel()
	for _, secure := range []bool{false, true} {
		t.Run(map[bool]string{false: "http", true: "https"}[secure], func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			srv, tunnels := connectProxy(t, w.srv.WebsocketAddr, secure)
			roots := &tls.Config{MinVersion: tls.VersionTLS12}
			scheme := "http"
			if secure {
				scheme, roots.RootCAs = "https", srv.Client().Transport.(*http.Transport).TLSClientConfig.RootCAs
			}
			proxy := scheme + "://site:secret@" + srv.Listener.Addr().String()
			env := map[string]string{"HTTPS_PROXY": proxy}
			for i, via := range []func() (link.DialFunc, error){
				func() (link.DialFunc, error) { return link.Via(proxy, nil, roots) },
				func() (link.DialFunc, error) { return link.Via("", func(k string) string { return env[k] }, roots) },
			} {
				dial, err := via()
				require.NoError(t, err)
				nc, err := link.Dial(t.Context(), link.DialConfig{Site: siteID, URL: "wss://broker.example/link", CA: w.ca, Seed: w.seed, Dial: dial})
				require.NoError(t, err)
				require.Eventually(t, nc.IsConnected, patience, 10*time.Millisecond)
				nc.Close()
				require.Equal(t, int64(i+1), tunnels.Load())
			}
			for name, bad := range map[string]string{"password": scheme + "://site:wrong@" + srv.Listener.Addr().String(), "place": proxy} {
				dial, err := link.Via(bad, nil, roots)
				require.NoError(t, err)
				_, err = dial(t.Context(), "tcp", map[string]string{"password": "broker.example:443", "place": "elsewhere.example:443"}[name])
				require.Error(t, err)
				require.NotContains(t, err.Error(), "wrong")
				require.NotContains(t, err.Error(), "secret")
			}
		})
	}
}

func TestAProxyOrBrokerThatIsNotUnderstoodIsRefused(t *testing.T) {
	t.Parallel()
	for _, bad := range []string{"socks5://host:1", "host:3128", "http://", "http://host/path", "http://user:hunter2@host/?q"} {
		_, err := link.Via(bad, nil, nil)
		require.Equal(t, "proxy_invalid", broker.CodeOf(err), bad)
		require.NotContains(t, err.Error(), "hunter2")
	}
	seed, _, err := link.NewSeed()
	require.NoError(t, err)
	for _, bad := range []string{"", "ws://broker.example", "https://broker.example", "wss://", "wss://user:pw@broker.example", "wss://broker.example?x=1", "nats://127.0.0.1:4222"} {
		_, err := link.Dial(t.Context(), link.DialConfig{Site: siteID, URL: bad, Seed: seed})
		require.Equal(t, "broker_url_invalid", broker.CodeOf(err), bad)
	}
	_, err = link.Dial(t.Context(), link.DialConfig{Site: siteID, URL: "wss://broker.example", Seed: []byte("SU")})
	require.Error(t, err)
}

// TestTheBrokersCertificateIsPinned offers a certificate of another authority.
func TestTheBrokersCertificateIsPinned(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	_, others := certificate(t)
	said := &sayings{}
	nc, err := link.Dial(t.Context(), link.DialConfig{
		Site: siteID, URL: "wss://" + w.srv.WebsocketAddr(), CA: others, Seed: w.seed, Log: slog.New(slog.NewTextHandler(said, nil)),
	})
	require.NoError(t, err)
	t.Cleanup(nc.Close)
	require.Eventually(t, func() bool { return strings.Contains(said.String(), "certificate") }, patience, 10*time.Millisecond)
	require.False(t, nc.IsConnected())
}

// sayings are the lines of a log.
type sayings struct {
	mu sync.Mutex
	b  strings.Builder
}

func (s *sayings) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *sayings) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

// pipes are two ends of an SSH session's standard streams.
func pipes() (near, far io.ReadWriteCloser) {
	a, b := io.Pipe()
	c, d := io.Pipe()
	return &duplex{a, d}, &duplex{c, b}
}

type duplex struct {
	io.ReadCloser
	w io.WriteCloser
}

func (d *duplex) Write(p []byte) (int, error) { return d.w.Write(p) }

func (d *duplex) Close() error {
	_ = d.ReadCloser.Close()
	return d.w.Close()
}

// TestALinkOverAPipeIsTheSameLink runs an order through a tunnel, with a second
// connection beside it, and ends the pipe.
func TestALinkOverAPipeIsTheSameLink(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.size = 2<<20 + 3
	near, far := pipes()
	echo := echoServer(t)
	direct, err := link.Via(link.ProxyNone, nil, nil)
	require.NoError(t, err)
	ended := make(chan error, 1)
	go func() {
		ended <- link.ServeTunnel(t.Context(), far, []string{w.srv.WebsocketAddr(), echo}, direct, nil)
	}()
	tun := link.NewTunnel(near)
	w.dial = tun.Dial
	w.up()
	releases(t, w, w.site)

	_, err = tun.Dial(t.Context(), "tcp", "127.0.0.1:1")
	require.ErrorContains(t, err, "403", "the far end dials what it was told to, nothing else")
	beside, err := tun.Dial(t.Context(), "tcp", echo)
	require.NoError(t, err)
	var g sync.WaitGroup
	g.Go(func() {
		_, err := beside.Write(make([]byte, 1<<20))
		require.NoError(t, err)
	})
	n, err := io.ReadFull(beside, make([]byte, 1<<20))
	require.NoError(t, err)
	require.Equal(t, 1<<20, n)
	g.Wait()
	require.NoError(t, beside.Close())
	require.NoError(t, w.site.Stop(t.Context(), "att_one"), "the link goes on")

	require.NoError(t, near.Close())
	select {
	case err := <-ended:
		require.NoError(t, err)
	case <-time.After(patience):
		t.Fatal("the far end goes on without its pipe")
	}
	require.Eventually(t, func() bool { return !w.nc.IsConnected() }, patience, 10*time.Millisecond)
	_, err = tun.Dial(t.Context(), "tcp", echo)
	require.Error(t, err)
	select {
	case <-tun.Ended():
	case <-time.After(patience):
		t.Fatal("the near end does not know that its pipe has ended")
	}
}

func echoServer(t *testing.T) string {
	t.Helper()
	l, err := (&net.ListenConfig{}).Listen(context.Background(), "tcp", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				_, _ = io.Copy(c, bufio.NewReader(c))
				_ = c.Close()
			}()
		}
	}()
	return l.Addr().String()
}
