package app

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/go-json-experiment/json"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/valico-hpc/valico/adapters/order"
	"github.com/valico-hpc/valico/adapters/ticket"
	"github.com/valico-hpc/valico/broker"
	"github.com/valico-hpc/valico/images/layout"
	"github.com/valico-hpc/valico/images/registry"
)

// AgentsConfig says where the agents of remote sites connect: one TLS address
// for the link, as a websocket, and for images under /v2/. Nothing else of the
// broker is served there.
type AgentsConfig struct {
	Listen string `yaml:"listen"` // host:port; empty takes no remote agents
	Cert   string `yaml:"cert"`   // PEM files, read again when they change
	Key    string `yaml:"key"`
	URL    string `yaml:"url"` // https://host[:port] as sites reach it
}

func (c AgentsConfig) validate(bad func(path, format string, args ...any)) {
	if c == (AgentsConfig{}) {
		return
	}
	if _, _, err := net.SplitHostPort(c.Listen); err != nil {
		bad("agents.listen", "%q is no host:port", c.Listen)
	}
	for key, p := range map[string]string{"cert": c.Cert, "key": c.Key} {
		if !filepath.IsAbs(p) {
			bad("agents."+key, "%q must be the absolute path of a PEM file", p)
		}
	}
	if u, err := url.Parse(c.URL); err != nil || u.Scheme != "https" || u.Host == "" || u.Path != "" || u.User != nil || u.RawQuery != "" {
		bad("agents.url", "%q must be https://host[:port], as sites reach this broker", c.URL)
	}
}

// orderMargin is for how long after the last moment to start an order's image
// is still served: a pull that began in time may end.
const orderMargin = 10 * time.Minute

// openAgents listens for the agents of remote sites, where the configuration
// says so.
func (a *App) openAgents(ctx context.Context) error {
	c := a.cfg.Agents
	if c.Listen == "" {
		return nil
	}
	cert := &certificate{cert: c.Cert, key: c.Key}
	if _, err := cert.get(nil); err != nil {
		return &broker.Error{
			Kind: broker.KindInvalid, Code: "agents_certificate", Message: "the certificate for agents cannot be used", Value: c.Cert,
			Rule: "agents.cert and agents.key are a pair of PEM files", Help: "correct the files", Who: "the broker's operator", Err: err,
		}
	}
	var lc net.ListenConfig
	l, err := lc.Listen(ctx, "tcp", c.Listen)
	if err != nil {
		return inUse(c.Listen, "agents.listen", err)
	}
	a.onClose(func() error { _ = l.Close(); return nil }) // Close of the server closes it first
	a.outside = tls.NewListener(l, &tls.Config{
		MinVersion: tls.VersionTLS12, NextProtos: []string{"http/1.1"}, // a websocket is HTTP/1.1
		GetCertificate: cert.get,
	})
	return nil
}

// AgentsURL is where agents connect; "" where none can.
func (a *App) AgentsURL() string {
	if a.outside == nil {
		return ""
	}
	return "https://" + a.outside.Addr().String()
}

// serveAgents serves until ctx ends.
func (a *App) serveAgents(ctx context.Context) error {
	srv := &http.Server{
		Handler: a.agentsHandler(), ReadHeaderTimeout: 10 * time.Second, IdleTimeout: 2 * time.Minute, MaxHeaderBytes: 32 << 10,
		ErrorLog: slog.NewLogLogger(a.cfg.Log.Handler(), slog.LevelDebug),
	}
	stopped := make(chan struct{})
	go func() {
		defer close(stopped)
		<-ctx.Done()
		_ = srv.Close() // agents come back by themselves, and go on where they were
	}()
	err := srv.Serve(a.outside)
	if errors.Is(err, http.ErrServerClosed) {
		<-stopped
		return context.Cause(ctx)
	}
	return fmt.Errorf("serve agents: %w", err)
}

// agentsHandler gives websockets to NATS and the rest to the registry.
func (a *App) agentsHandler() http.Handler {
	images := &registry.Handler{Authorize: a.grant, Service: "valico", Log: a.cfg.Log}
	nats := &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) {
			r.SetURL(&url.URL{Scheme: "http", Host: a.nats.WebsocketAddr()})
		},
		ErrorLog: slog.NewLogLogger(a.cfg.Log.Handler(), slog.LevelDebug),
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.EqualFold(r.Header.Get("Upgrade"), "websocket") && r.Method == http.MethodGet {
			nats.ServeHTTP(w, r)
			return
		}
		images.ServeHTTP(w, r)
	})
}

// grant says what a ticket opens: the image of the order that it names, while
// that order is the site's and may still be started. It satisfies
// registry.Authorizer.
func (a *App) grant(ctx context.Context, repository, bearer string) (registry.Grant, error) {
	t, err := a.ticket(ctx, bearer)
	if err != nil {
		return registry.Grant{}, fmt.Errorf("%w: %w", registry.ErrUnauthorized, err)
	}
	if repository == "" {
		return registry.Grant{}, nil
	}
	if repository != string(t.Attempt) {
		return registry.Grant{}, registry.ErrDenied
	}
	b, err := a.store.OrderBytes(ctx, t.Attempt)
	if broker.KindOf(err) == broker.KindNotFound {
		return registry.Grant{}, registry.ErrDenied
	}
	if err != nil {
		return registry.Grant{}, fmt.Errorf("read the order: %w", err)
	}
	o, err := order.Decode(b)
	if err != nil {
		return registry.Grant{}, fmt.Errorf("decode the order: %w", err)
	}
	if o.Order.Site != t.Site || o.Order.ID != t.Order || time.Now().After(o.Order.NotAfter.Add(orderMargin)) {
		return registry.Grant{}, registry.ErrDenied
	}
	return a.imageOf(o)
}

// ticket proves whose a bearer token is.
func (a *App) ticket(ctx context.Context, bearer string) (ticket.Ticket, error) {
	claim, err := ticket.Parse(bearer)
	if err != nil {
		return ticket.Ticket{}, err
	}
	key, err := book{a}.AgentKey(ctx, claim.Site)
	if err != nil {
		return ticket.Ticket{}, err
	}
	return claim.Verify(key, time.Now())
}

// imageOf grants an order's manifest and the blobs that it names, from the
// store of the order's own tenant.
func (a *App) imageOf(o broker.SignedOrder) (registry.Grant, error) {
	var m ocispec.Manifest
	if err := json.Unmarshal(o.Evidence.Manifest, &m); err != nil {
		return registry.Grant{}, fmt.Errorf("read the order's manifest: %w", err)
	}
	st, err := a.images.of(o.Order.Tenant)
	if err != nil {
		return registry.Grant{}, err
	}
	g := registry.Grant{
		Digest: string(o.Order.Image), MediaType: m.MediaType, Manifest: o.Evidence.Manifest, Sizes: map[string]int64{},
		Open: func(ctx context.Context, digest string) (registry.Blob, error) { return openBlob(ctx, st, digest) },
	}
	if g.MediaType == "" {
		g.MediaType = ocispec.MediaTypeImageManifest
	}
	for _, d := range append([]ocispec.Descriptor{m.Config}, m.Layers...) {
		g.Sizes[d.Digest.String()] = d.Size
	}
	return g, nil
}

func openBlob(ctx context.Context, st *layout.Store, digest string) (registry.Blob, error) {
	r, _, err := st.OpenBlob(ctx, digest)
	if errors.Is(err, layout.ErrNotFound) {
		return nil, registry.ErrNotFound
	}
	if err != nil {
		return nil, fmt.Errorf("open blob: %w", err)
	}
	b, ok := r.(registry.Blob)
	if !ok {
		return nil, errors.Join(errors.New("a blob that cannot be read from any place"), r.Close())
	}
	return b, nil
}

// certificate is a pair of files, read again when they change: a certificate is
// renewed while the broker runs.
type certificate struct {
	cert, key string

	mu   sync.Mutex
	have *tls.Certificate
	at   time.Time // when the newer of the files changed
}

func (c *certificate) get(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	var newest time.Time
	for _, path := range []string{c.cert, c.key} {
		if fi, err := os.Stat(path); err == nil && fi.ModTime().After(newest) {
			newest = fi.ModTime()
		}
	}
	if c.have != nil && newest.Equal(c.at) {
		return c.have, nil
	}
	pair, err := tls.LoadX509KeyPair(c.cert, c.key)
	if err != nil && c.have != nil {
		return c.have, nil // half of a renewal: the next connection looks again
	}
	if err != nil {
		return nil, fmt.Errorf("read the certificate: %w", err)
	}
	c.have, c.at = &pair, newest
	return c.have, nil
}
