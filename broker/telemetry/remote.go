package telemetry

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"strconv"

	natsd "github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nkeys"

	"github.com/valico-hpc/valico/broker"
)

// MaxPayload bounds one message that is no event: a request to a site's agent,
// or its answer. Events are bounded by MaxMessage.
const MaxPayload = 8 << 20

// Subjects of the link with a remote agent.
const (
	requestPrefix = "req."
	answerPrefix  = "ans."
)

// RequestSubject is where a site's agent is asked.
func RequestSubject(id broker.SiteID) string { return requestPrefix + string(id) }

// AnswerSubject is where a site's agent answers one request, "*" for all.
func AnswerSubject(id broker.SiteID, request string) string {
	return answerPrefix + string(id) + "." + request
}

// InboxPrefix is where the server answers a user; nobody else may read there.
func InboxPrefix(name string) string { return inbox(name) }

// sitePermissions let a site publish its own events and answers, and read its
// own requests and acknowledgements.
func sitePermissions(id broker.SiteID) *natsd.Permissions {
	return &natsd.Permissions{
		Publish: &natsd.SubjectPermission{Allow: []string{sitesPrefix + string(id) + ".>", AnswerSubject(id, "*")}},
		Subscribe: &natsd.SubjectPermission{Allow: []string{
			inbox(string(id)) + ".>", RequestSubject(id),
		}},
	}
}

// Websocket is where the agents of remote sites connect.
type Websocket struct {
	Listen string // host:port; port 0 takes a free one
	// TLS is required unless Listen is a loopback address, behind a reverse
	// proxy that ends TLS.
	TLS *tls.Config
}

func (w *Websocket) check() error {
	if w == nil {
		return nil
	}
	host, port, err := net.SplitHostPort(w.Listen)
	if err != nil {
		return fmt.Errorf("telemetry: websocket: %w", err)
	}
	if n, err := strconv.Atoi(port); err != nil || n < 0 || n > 65535 {
		return fmt.Errorf("telemetry: websocket: port %q", port)
	}
	if ip := net.ParseIP(host); w.TLS == nil && (ip == nil || !ip.IsLoopback()) {
		return errors.New("telemetry: a websocket without TLS listens on a loopback address only")
	}
	return nil
}

// port is the port asked for, in the server's words: -1 takes a free one.
func (w *Websocket) port() int {
	if w == nil {
		return 0
	}
	_, port, _ := net.SplitHostPort(w.Listen)
	if n, err := strconv.Atoi(port); err == nil && n > 0 {
		return n
	}
	return -1
}

// into sets the server's options; port is the one to take now.
func (w *Websocket) into(o *natsd.Options, port int) {
	if w == nil {
		return
	}
	host, _, _ := net.SplitHostPort(w.Listen)
	o.Websocket = natsd.WebsocketOpts{Host: host, Port: port, TLSConfig: w.TLS, NoTLS: w.TLS == nil}
}

// WebsocketAddr is where the websocket listens, host:port; "" when it does not.
func (s *Server) WebsocketAddr() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.cfg.Websocket == nil || s.wsPort <= 0 {
		return ""
	}
	host, _, _ := net.SplitHostPort(s.cfg.Websocket.Listen)
	return net.JoinHostPort(host, strconv.Itoa(s.wsPort))
}

// PinSite lets whoever holds the key sign in as a site: nkey is a public user
// key, "U…". A connection with an earlier key of the site is ended. It may be
// called while the server runs and again after a restart of the process.
func (s *Server) PinSite(id broker.SiteID, nkey string) error {
	if !token(string(id)) || string(id) == brokerUser {
		return fmt.Errorf("pin site: %q cannot be a subject", id)
	}
	if !nkeys.IsValidPublicUserKey(nkey) {
		return fmt.Errorf("pin site %s: not the public part of a user key", id)
	}
	old, ok := s.users.pin(string(id), nkey, sitePermissions(id))
	if !ok {
		return fmt.Errorf("pin site %s: the key is another site's", id)
	}
	if old == nkey {
		return nil
	}
	return s.kick(id, old)
}

// UnpinSite keeps a site's agent out, and ends its connection.
func (s *Server) UnpinSite(id broker.SiteID) error {
	return s.kick(id, s.users.remove(string(id)))
}

// kick ends the connections that signed in with a key of a site.
func (s *Server) kick(id broker.SiteID, nkey string) error {
	s.mu.Lock()
	srv := s.nats
	s.mu.Unlock()
	if srv == nil || nkey == "" {
		return nil
	}
	conns, err := srv.Connz(&natsd.ConnzOptions{Username: true, User: nkey, Limit: 1024})
	if err != nil {
		return fmt.Errorf("list the connections of site %s: %w", id, err)
	}
	for _, c := range conns.Conns {
		if err := srv.DisconnectClientByID(c.Cid); err != nil {
			return fmt.Errorf("end a connection of site %s: %w", id, err)
		}
	}
	return nil
}
