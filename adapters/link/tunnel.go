package link

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"slices"
	"sync"
	"time"
)

// A Tunnel is a way out through one pair of pipes, such as the standard input
// and output of an SSH session: HTTP/2 in which each connection is one CONNECT.
// The near end is a DialFunc for whoever has no network; the far end dials. What
// passes through is TLS between near end and broker: who carries the pipe reads
// nothing of it.
//
//	agent on a login node ── Tunnel.Dial ── stdio ── ssh ── ServeTunnel ── broker:443

// tunnelHost is where requests go in the tunnel's own HTTP; it is no place.
const tunnelHost = "tunnel.invalid"

// Tunnel is the near end.
type Tunnel struct {
	transport *http.Transport
	ended     chan struct{}
	once      sync.Once
}

// NewTunnel makes the near end of a pipe. Closing it closes the pipe.
func NewTunnel(pipe io.ReadWriteCloser) *Tunnel {
	t := &Tunnel{ended: make(chan struct{})}
	conn := &pipeConn{ReadWriteCloser: pipe, ended: t.end}
	var used sync.Once
	p := new(http.Protocols)
	p.SetUnencryptedHTTP2(true)
	t.transport = &http.Transport{
		Protocols: p, DisableCompression: true,
		HTTP2: &http.HTTP2Config{SendPingTimeout: 20 * time.Second, PingTimeout: 20 * time.Second},
		DialContext: func(context.Context, string, string) (c net.Conn, err error) {
			err = errors.New("the tunnel has ended")
			used.Do(func() { c, err = conn, nil })
			return c, err
		},
	}
	return t
}

func (t *Tunnel) end() { t.once.Do(func() { close(t.ended) }) }

// Ended is closed when the pipe has ended: nothing can be dialled any more.
func (t *Tunnel) Ended() <-chan struct{} { return t.ended }

// Close closes the pipe.
func (t *Tunnel) Close() error {
	t.transport.CloseIdleConnections()
	t.end()
	return nil
}

// Dial connects to host:port from the far end. It is a DialFunc.
func (t *Tunnel) Dial(ctx context.Context, _, address string) (net.Conn, error) {
	life, cancel := context.WithCancel(context.WithoutCancel(ctx)) // the stream outlives the call that made it
	stop := context.AfterFunc(ctx, cancel)
	timer := time.AfterFunc(dialTimeout, cancel)
	defer timer.Stop()
	near, far := net.Pipe()
	req := (&http.Request{
		Method: http.MethodConnect, URL: &url.URL{Scheme: "http", Host: tunnelHost}, Host: address, Header: http.Header{}, Body: far,
	}).WithContext(life)
	res, err := t.transport.RoundTrip(req) //nolint:bodyclose // closed below, and by the copy
	if err == nil && (!stop() || !timer.Stop()) {
		err = errors.Join(errors.New("the far end took too long"), res.Body.Close())
	} else if err == nil && res.StatusCode != http.StatusOK {
		err = errors.Join(fmt.Errorf("status %d", res.StatusCode), res.Body.Close())
	}
	if err != nil {
		cancel()
		return nil, errors.Join(fmt.Errorf("way to %s through the tunnel: %w", address, err), near.Close(), far.Close())
	}
	go func() {
		_, _ = io.Copy(far, res.Body) // ends with either side
		cancel()
		_, _ = far.Close(), res.Body.Close()
	}()
	return near, nil
}

// ServeTunnel is the far end: it dials for the near end until the pipe or ctx
// ends. Only the addresses listed, host:port, may be dialled.
func ServeTunnel(ctx context.Context, pipe io.ReadWriteCloser, allow []string, dial DialFunc, log *slog.Logger) error {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	conn := &pipeConn{ReadWriteCloser: pipe, ended: func() {}}
	l := &oneListener{conn: conn, ended: make(chan struct{})}
	conn.ended = l.end
	p := new(http.Protocols)
	p.SetUnencryptedHTTP2(true)
	srv := &http.Server{
		Protocols: p, ReadHeaderTimeout: dialTimeout, ErrorLog: slog.NewLogLogger(log.Handler(), slog.LevelDebug),
		HTTP2:       &http.HTTP2Config{SendPingTimeout: 20 * time.Second, PingTimeout: 20 * time.Second},
		BaseContext: func(net.Listener) context.Context { return ctx },
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.Method != http.MethodConnect || !slices.Contains(allow, r.Host) {
				log.WarnContext(ctx, "tunnel asked for another place", "method", r.Method)
				w.WriteHeader(http.StatusForbidden)
				return
			}
			out, err := dial(r.Context(), "tcp", r.Host) //nolint:contextcheck // it is made of ctx
			if err != nil {
				log.WarnContext(ctx, "tunnel cannot reach the broker", "error", err)
				w.WriteHeader(http.StatusBadGateway)
				return
			}
			relay(w, r, out)
		}),
	}
	stop := context.AfterFunc(ctx, func() { _ = srv.Close() })
	defer stop()
	err := srv.Serve(l)
	_ = srv.Close() // also when the listener ended first
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if errors.Is(err, io.EOF) {
		return nil
	}
	return fmt.Errorf("serve the tunnel: %w", err)
}

// relay copies both ways until either side ends.
func relay(w http.ResponseWriter, r *http.Request, out net.Conn) {
	defer func() { _ = out.Close() }()
	rc := http.NewResponseController(w)
	w.WriteHeader(http.StatusOK)
	if rc.Flush() != nil {
		return
	}
	stop := context.AfterFunc(r.Context(), func() { _ = out.Close() })
	defer stop()
	up := make(chan struct{})
	go func() {
		defer close(up)
		_, _ = io.Copy(out, r.Body)
		_ = out.Close()
	}()
	buf := make([]byte, 32<<10)
	for {
		n, err := out.Read(buf)
		if n > 0 {
			if _, werr := w.Write(buf[:n]); werr != nil || rc.Flush() != nil {
				break
			}
		}
		if err != nil {
			break
		}
	}
	_ = out.Close()
	_ = r.Body.Close()
	<-up
}

// pipeConn is a pipe as a connection. It has no deadlines: HTTP/2 needs none.
type pipeConn struct {
	io.ReadWriteCloser
	ended func()
	once  sync.Once
}

func (c *pipeConn) Close() error {
	var err error
	c.once.Do(func() {
		err = c.ReadWriteCloser.Close()
		c.ended()
	})
	return err
}

func (c *pipeConn) LocalAddr() net.Addr              { return pipeAddr{} }
func (c *pipeConn) RemoteAddr() net.Addr             { return pipeAddr{} }
func (c *pipeConn) SetDeadline(time.Time) error      { return nil }
func (c *pipeConn) SetReadDeadline(time.Time) error  { return nil }
func (c *pipeConn) SetWriteDeadline(time.Time) error { return nil }

type pipeAddr struct{}

func (pipeAddr) Network() string { return "pipe" }
func (pipeAddr) String() string  { return "pipe" }

// oneListener gives out one connection, and ends when that does.
type oneListener struct {
	conn  net.Conn
	given sync.Once
	once  sync.Once
	ended chan struct{}
}

func (l *oneListener) Accept() (c net.Conn, err error) {
	l.given.Do(func() { c = l.conn })
	if c != nil {
		return c, nil
	}
	<-l.ended
	return nil, io.EOF
}

func (l *oneListener) end() { l.once.Do(func() { close(l.ended) }) }

// Close ends Accept; the connection is the server's to close.
func (l *oneListener) Close() error {
	l.end()
	return nil
}

func (l *oneListener) Addr() net.Addr { return pipeAddr{} }
