package telemetry

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"strconv"
	"sync"
	"time"

	natsd "github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"

	"github.com/valico-hpc/valico/broker"
)

// brokerUser is the one user that may do everything.
const brokerUser = "broker"

// ServerConfig are the settings of an embedded server; zero values take the
// defaults named.
type ServerConfig struct {
	Dir string // where the streams lie; required
	// MaxStore bounds all streams together, in bytes; 4 GiB.
	MaxStore int64
	// Websocket is where sites connect from outside; nil for nowhere.
	Websocket *Websocket
	// NoSync leaves flushing to the operating system. By default each message
	// is on the disk before it is acknowledged, because the agents' spools and
	// the outbox move on with the acknowledgement.
	NoSync bool
	Log    *slog.Logger // discards
}

// Server is a NATS server with JetStream inside this process, on loopback, and
// for the agents of remote sites behind a websocket. Users in this process have
// random passwords that live as long as the Server and are written nowhere;
// remote sites sign in with keys of their own. Stopping and starting it again
// keeps users and ports.
type Server struct {
	cfg   ServerConfig
	users *users

	mu     sync.Mutex
	port   int
	wsPort int
	nats   *natsd.Server
}

// NewServer makes a Server; Start starts it.
func NewServer(c ServerConfig) (*Server, error) {
	if c.Dir == "" {
		return nil, errors.New("telemetry: the server needs a folder")
	}
	if c.MaxStore <= 0 {
		c.MaxStore = 4 << 30
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if err := c.Websocket.check(); err != nil {
		return nil, err
	}
	u := &users{byName: map[string]user{}, byKey: map[string]string{}}
	u.add(brokerUser, nil)
	return &Server{cfg: c, users: u, port: -1, wsPort: c.Websocket.port()}, nil
}

// Start starts the server and returns when it takes connections.
func (s *Server) Start(ctx context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.nats != nil {
		return nil
	}
	if err := os.MkdirAll(s.cfg.Dir, 0o700); err != nil {
		return fmt.Errorf("start nats: %w", err)
	}
	opts := &natsd.Options{
		ServerName: "valico", Host: "127.0.0.1", Port: s.port,
		JetStream: true, StoreDir: s.cfg.Dir, JetStreamMaxStore: s.cfg.MaxStore, JetStreamMaxMemory: 64 << 20,
		SyncAlways: !s.cfg.NoSync, NoSigs: true, NoSystemAccount: true,
		CustomClientAuthentication: s.users, AlwaysEnableNonce: true, MaxPayload: MaxPayload,
	}
	s.cfg.Websocket.into(opts, s.wsPort)
	srv, err := natsd.NewServer(opts)
	if err != nil {
		return fmt.Errorf("start nats: %w", err)
	}
	srv.SetLogger(serverLog{s.cfg.Log.With("part", "nats-server")}, false, false)
	srv.Start()
	for !srv.ReadyForConnections(100 * time.Millisecond) {
		if ctx.Err() != nil {
			srv.Shutdown()
			return fmt.Errorf("start nats: %w", context.Cause(ctx))
		}
	}
	addr, ok := srv.Addr().(*net.TCPAddr)
	if !ok {
		srv.Shutdown()
		return errors.New("start nats: it has no TCP address")
	}
	s.nats, s.port = srv, addr.Port
	if s.cfg.Websocket != nil {
		s.wsPort = opts.Websocket.Port // the server writes down which one it took
	}
	return nil
}

// URL is where the server listens, without credentials; "" before Start.
func (s *Server) URL() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.port <= 0 {
		return ""
	}
	return "nats://" + net.JoinHostPort("127.0.0.1", strconv.Itoa(s.port))
}

// Close stops the server and waits for it. It may be started again.
func (s *Server) Close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.nats == nil {
		return
	}
	s.nats.Shutdown()
	s.nats.WaitForShutdown()
	s.nats = nil
}

// Connect connects the broker, which may use every subject.
func (s *Server) Connect(ctx context.Context) (*nats.Conn, error) {
	return s.connect(ctx, brokerUser)
}

// ConnectSite connects a site, which may publish its own subjects and read the
// acknowledgements of what it published.
func (s *Server) ConnectSite(ctx context.Context, id broker.SiteID) (*nats.Conn, error) {
	if !token(string(id)) || string(id) == brokerUser {
		return nil, fmt.Errorf("connect site: %q cannot be a subject", id)
	}
	s.users.add(string(id), sitePermissions(id))
	return s.connect(ctx, string(id))
}

func (s *Server) connect(ctx context.Context, name string) (*nats.Conn, error) {
	secret, ok := s.users.secret(name)
	url := s.URL()
	if !ok || url == "" {
		return nil, errors.New("connect to nats: the server was not started")
	}
	return Connect(ctx, url, Credentials{User: name, Password: secret, Inbox: inbox(name)}, s.cfg.Log)
}

// inbox is the prefix of a user's answers: nobody else may subscribe to it.
func inbox(name string) string { return "_INBOX_" + name }

// Credentials are how a process signs in to NATS.
type Credentials struct {
	User     string
	Password broker.Secret
	Inbox    string // the prefix of its answers; "" takes the client's
}

// Connect connects to a server and reconnects for ever. While it is not
// connected what is published fails at once instead of waiting in memory, so
// that order and acknowledgements stay with the caller. The caller closes it.
func Connect(ctx context.Context, url string, c Credentials, log *slog.Logger) (*nats.Conn, error) {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	opts := []nats.Option{
		nats.Name(c.User), nats.UserInfo(c.User, string(c.Password)),
		nats.MaxReconnects(-1), nats.ReconnectWait(250 * time.Millisecond), nats.ReconnectBufSize(-1),
		nats.RetryOnFailedConnect(true), nats.IgnoreAuthErrorAbort(),
		nats.DisconnectErrHandler(func(_ *nats.Conn, err error) {
			if err != nil { // nil: closed by its owner
				log.WarnContext(ctx, "nats connection lost", "error", err)
			}
		}),
		nats.ReconnectHandler(func(*nats.Conn) { log.InfoContext(ctx, "nats connection back") }),
		nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) { log.WarnContext(ctx, "nats", "error", err) }),
	}
	if c.Inbox != "" {
		opts = append(opts, nats.CustomInboxPrefix(c.Inbox))
	}
	nc, err := nats.Connect(url, opts...)
	if err != nil {
		return nil, fmt.Errorf("connect to nats: %w", err)
	}
	return nc, nil
}

// serverLog hands the server's warnings and errors on and drops its chatter.
type serverLog struct{ log *slog.Logger }

func (serverLog) Noticef(string, ...any) {}
func (serverLog) Debugf(string, ...any)  {}
func (serverLog) Tracef(string, ...any)  {}

func (l serverLog) Warnf(f string, a ...any)  { l.warn(f, a) }
func (l serverLog) Errorf(f string, a ...any) { l.warn(f, a) }
func (l serverLog) Fatalf(f string, a ...any) { l.warn(f, a) }

func (l serverLog) warn(f string, a []any) {
	l.log.Warn("nats server", "says", fmt.Sprintf(f, a...))
}
