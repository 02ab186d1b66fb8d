package app

import (
	"context"
	"crypto"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	containerdlog "github.com/containerd/log"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"golang.org/x/sync/errgroup"

	"github.com/valico-hpc/valico/adapters/order"
	"github.com/valico-hpc/valico/broker"
	"github.com/valico-hpc/valico/broker/admission"
	"github.com/valico-hpc/valico/broker/airlock"
	"github.com/valico-hpc/valico/broker/dispatch"
	"github.com/valico-hpc/valico/broker/httpapi"
	"github.com/valico-hpc/valico/broker/ledger"
	"github.com/valico-hpc/valico/broker/metrics"
	"github.com/valico-hpc/valico/broker/store/sqlite"
	"github.com/valico-hpc/valico/broker/telemetry"
	"github.com/valico-hpc/valico/policy"
)

// Origin names the ledger of a broker in its checkpoints.
const Origin = "valico.local/ledger"

// App is a broker. Open makes it, Run serves until its context ends, Close
// gives everything back.
type App struct {
	cfg     Config
	version string
	lock    *os.File
	keys    keys
	trust   order.Authorities

	store    *sqlite.Store
	ledger   *ledger.Log
	engine   *policy.Engine
	images   *stores
	nats     *telemetry.Server
	conn     *nats.Conn
	hub      *telemetry.Hub
	relay    *telemetry.Relay
	project  *telemetry.Projector
	dispatch *dispatch.Dispatcher
	listener net.Listener
	http     *http.Server
	metrics  *metrics.Metrics
	figures  net.Listener // of the metrics; nil when nobody asked for them

	outside net.Listener // for the agents of remote sites; nil when none may connect

	mu     sync.Mutex
	sites  map[broker.SiteID]*site
	agents map[broker.SiteID]crypto.PublicKey // keys of remote agents
	spawn  func(func(context.Context) error)  // set while Run runs
	closes []func() error                     // in the order of opening
}

// Open opens every part, or gives back what it opened and says which part
// could not be had.
func Open(ctx context.Context, cfg Config, version string) (a *App, err error) {
	if err := cfg.Validate(); err != nil {
		return nil, &broker.Error{
			Kind: broker.KindInvalid, Code: "config_invalid", Message: "the configuration is not valid", Value: err.Error(),
			Rule: "each key within its bounds", Help: "see: valico serve --help", Who: "the broker's operator",
		}
	}
	if cfg.DataDir, err = filepath.Abs(cfg.DataDir); err != nil {
		return nil, fmt.Errorf("find the data folder: %w", err)
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	// The content store warns of each file system without fs-verity.
	if err := containerdlog.SetLevel("error"); err != nil {
		return nil, fmt.Errorf("quieten the content store: %w", err)
	}
	a = &App{cfg: cfg, version: version, hub: &telemetry.Hub{}, sites: map[broker.SiteID]*site{}, agents: map[broker.SiteID]crypto.PublicKey{}, metrics: metrics.New(version)}
	defer func() {
		if err != nil {
			err = errors.Join(err, a.Close())
			a = nil
		}
	}()
	for _, open := range []func(context.Context) error{
		a.openFolder, a.openRecord, a.openTelemetry, a.openDispatch, a.openOperator, a.openSites, a.openHTTP, a.openAgents, a.openMetrics,
	} {
		if err := open(ctx); err != nil {
			return a, err
		}
	}
	return a, nil
}

// path is below the data folder.
func (a *App) path(elem ...string) string {
	return filepath.Join(append([]string{a.cfg.DataDir}, elem...)...)
}

func (a *App) onClose(f func() error) { a.closes = append(a.closes, f) }

// Close gives back every part, the last opened first.
func (a *App) Close() error {
	var errs []error
	for _, f := range slices.Backward(a.closes) {
		errs = append(errs, f())
	}
	a.closes = nil
	return errors.Join(errs...)
}

func (a *App) openFolder(context.Context) (err error) {
	if err := os.MkdirAll(a.cfg.DataDir, 0o711); err != nil { //nolint:gosec // a site's folder below it is read by other accounts
		return fmt.Errorf("make the data folder: %w", err)
	}
	if a.lock, err = lockDir(a.cfg.DataDir); err != nil {
		return err
	}
	a.onClose(a.lock.Close)
	if a.cfg.Authorities != "" {
		if a.trust, err = order.LoadAuthorities(a.cfg.Authorities); err != nil {
			return fmt.Errorf("pin the authorities: %w", err)
		}
	}
	a.keys, err = openKeys(a.path("keys"), Origin)
	return err
}

func (a *App) openRecord(ctx context.Context) (err error) {
	if a.store, err = sqlite.Open(ctx, sqlite.Config{Path: a.path("broker.db"), Log: a.cfg.Log, Committed: a.metrics.Committed}); err != nil {
		return fmt.Errorf("open the record: %w", err)
	}
	a.onClose(a.store.Close)
	if err := a.store.Reclaim(ctx); err != nil { // the folder's lock makes this process the only one
		return fmt.Errorf("take up the work: %w", err)
	}
	if a.ledger, err = ledger.NewLog(a.store, a.keys.ledger, Origin, time.Now); err != nil {
		return fmt.Errorf("open the ledger: %w", err)
	}
	if a.engine, err = policy.New(ctx); err != nil {
		return fmt.Errorf("compile the policy packs: %w", err)
	}
	if err := os.MkdirAll(a.path("images"), 0o700); err != nil {
		return fmt.Errorf("make the image folder: %w", err)
	}
	a.images = newStores(a.path("images"))
	return nil
}

func (a *App) openTelemetry(ctx context.Context) (err error) {
	c := telemetry.ServerConfig{Dir: a.path("nats"), Log: a.cfg.Log}
	if a.cfg.Agents.Listen != "" {
		c.Websocket = &telemetry.Websocket{Listen: "127.0.0.1:0"} // serveAgents ends TLS
	}
	if a.nats, err = telemetry.NewServer(c); err != nil {
		return err
	}
	if err := a.nats.Start(ctx); err != nil {
		return fmt.Errorf("start the embedded nats server: %w", err)
	}
	a.onClose(func() error { a.nats.Close(); return nil })
	if a.conn, err = a.nats.Connect(ctx); err != nil {
		return err
	}
	a.onClose(func() error { a.conn.Close(); return nil })
	js, err := jetstream.New(a.conn)
	if err != nil {
		return fmt.Errorf("open jetstream: %w", err)
	}
	if err := telemetry.EnsureStreams(ctx, js, telemetry.StreamConfig{}); err != nil {
		return err
	}
	pub, err := telemetry.NewPublisher(a.conn)
	if err != nil {
		return err
	}
	if a.relay, err = telemetry.NewRelay(a.store, pub, telemetry.RelayConfig{Log: a.cfg.Log}); err != nil {
		return err
	}
	a.project, err = telemetry.NewProjector(a.conn, a.store, a.hub, telemetry.ProjectorConfig{Log: a.cfg.Log})
	return err
}

func (a *App) brokerTrust() admission.Trust {
	return admission.Trust{Issuers: a.trust.Permit, StatusKeys: a.trust.Status, StatusMaxAge: a.cfg.StatusMaxAge}
}

func (a *App) openDispatch(context.Context) (err error) {
	adm, err := admission.New(a.observed(), a.metrics.Engine(a.engine), a.brokerTrust(), admission.Config{Step: a.cfg.Step})
	if err != nil {
		return err
	}
	pack, err := newPackager(a.images, a.keys.image)
	if err != nil {
		return err
	}
	signer, err := order.NewSigner(a.keys.order)
	if err != nil {
		return err
	}
	a.dispatch, err = dispatch.New(dispatch.Parts{
		Store: a.observed(), Clearer: adm, Packager: pack, Ledger: a.ledger, Signer: signer, Codec: order.Codec{},
		Site: a.observedSite,
	}, dispatch.Config{Poll: a.cfg.Poll, StartWithin: a.cfg.StatusMaxAge, Log: a.cfg.Log, Step: a.cfg.Step})
	return err
}

func (a *App) openHTTP(ctx context.Context) error {
	adm, err := admission.New(a.observed(), a.metrics.Engine(a.engine), a.brokerTrust(), admission.Config{Step: a.cfg.Step})
	if err != nil {
		return err
	}
	lock, err := airlock.New(a.store, order.Trust{Officer: a.trust.Officer},
		func(id broker.SiteID) (airlock.Site, bool) { s, ok := a.site(id); return s, ok }, time.Now)
	if err != nil {
		return err
	}
	api, err := httpapi.New(httpapi.Deps{ //nolint:contextcheck // each request brings its own context
		Admission: kicking{adm, a.dispatch, a.relay}, Store: siteAdder{a.store, a}, Airlock: lock, Blobs: a.images,
		Ledger: a.ledger, Hub: a.hub, Probe: probe{a}, Agents: siteAdder{a.store, a}, Trust: a.brokerTrust(), Log: a.cfg.Log, Now: time.Now, Version: a.version,
	})
	if err != nil {
		return err
	}
	var lc net.ListenConfig
	if a.listener, err = lc.Listen(ctx, "tcp", a.cfg.Listen); err != nil {
		return inUse(a.cfg.Listen, "--listen", err)
	}
	a.onClose(func() error { _ = a.listener.Close(); return nil }) // Shutdown closes it first
	a.http = &http.Server{
		Handler: api.Handler(), ReadHeaderTimeout: 10 * time.Second, IdleTimeout: 2 * time.Minute,
		ErrorLog: slog.NewLogLogger(a.cfg.Log.Handler(), slog.LevelDebug),
	}
	return nil
}

func inUse(address, flag string, err error) error {
	return &broker.Error{
		Kind: broker.KindConflict, Code: "address_in_use", Message: "cannot listen", Value: address,
		Rule: "one process listens on an address", Help: "stop the other one, or choose another with " + flag, Who: "the broker's operator", Err: err,
	}
}

// URL is where the API is served.
func (a *App) URL() string { return "http://" + a.listener.Addr().String() }

// OperatorTokenFile is where the first operator's token lies, mode 0600.
func (a *App) OperatorTokenFile() string { return a.path("operator.token") }

// Run serves until ctx ends, then waits for what is under way. The jobs at the
// sites go on: the next Run takes them up again.
func (a *App) Run(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	start := func(f func(context.Context) error) {
		g.Go(func() error {
			if err := f(ctx); ctx.Err() == nil {
				return err
			}
			return nil // it was told to end
		})
	}
	a.mu.Lock()
	a.spawn = start
	for _, s := range a.sites {
		start(s.Run)
	}
	a.mu.Unlock()
	if a.figures != nil {
		start(a.serveMetrics)
	}
	if a.outside != nil {
		start(a.serveAgents)
	}
	start(a.dispatch.Run)
	start(a.relay.Run)
	start(a.project.Run)
	g.Go(func() error {
		if err := a.http.Serve(a.listener); !errors.Is(err, http.ErrServerClosed) {
			return fmt.Errorf("serve: %w", err)
		}
		return nil
	})
	g.Go(func() error {
		<-ctx.Done()
		a.mu.Lock()
		a.spawn = nil
		a.mu.Unlock()
		// Streams of events end with their requests' context; the rest has a moment.
		down, cancel := context.WithTimeout(context.WithoutCancel(ctx), 3*time.Second)
		defer cancel()
		if err := a.http.Shutdown(down); err != nil {
			return a.http.Close()
		}
		return nil
	})
	return g.Wait()
}

// kicking tells the loops that there is work when a job was submitted: relay of
// the job's event whatever was decided, dispatch of an attempt if there is one.
type kicking struct {
	*admission.Service
	dispatch *dispatch.Dispatcher
	relay    *telemetry.Relay
}

func (k kicking) Submit(ctx context.Context, r admission.Request) (broker.Job, broker.Decision, error) {
	job, dec, err := k.Service.Submit(ctx, r)
	if dec.Verdict == broker.VerdictAllow {
		k.dispatch.Kick()
	}
	k.relay.Kick()
	return job, dec, err
}
