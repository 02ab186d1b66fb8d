package app

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"time"

	"github.com/valico-hpc/valico/broker"
	"github.com/valico-hpc/valico/broker/admission"
	"github.com/valico-hpc/valico/broker/dispatch"
	"github.com/valico-hpc/valico/broker/metrics"
	"github.com/valico-hpc/valico/broker/store/sqlite"
)

// openMetrics listens for Prometheus, where the configuration says so.
func (a *App) openMetrics(ctx context.Context) error {
	if err := a.metrics.Watch(a.store, a.attached, time.Now); err != nil {
		return err
	}
	sites, err := a.store.Sites(ctx)
	if err != nil {
		return fmt.Errorf("list sites: %w", err)
	}
	for _, s := range sites {
		a.metrics.NameSite(s.ID, s.Name)
	}
	if a.cfg.MetricsListen == "" {
		return nil
	}
	var lc net.ListenConfig
	if a.figures, err = lc.Listen(ctx, "tcp", a.cfg.MetricsListen); err != nil {
		return inUse(a.cfg.MetricsListen, "--metrics-listen", err)
	}
	a.onClose(func() error { _ = a.figures.Close(); return nil }) // Shutdown closes it first
	return nil
}

// MetricsURL is where Prometheus may scrape; "" where it may not.
func (a *App) MetricsURL() string {
	if a.figures == nil {
		return ""
	}
	return "http://" + a.figures.Addr().String() + "/metrics"
}

// serveMetrics serves /metrics and nothing else, until ctx ends.
func (a *App) serveMetrics(ctx context.Context) error {
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", a.metrics.Handler())
	srv := &http.Server{
		Handler: mux, ReadHeaderTimeout: 10 * time.Second, ReadTimeout: 10 * time.Second, WriteTimeout: 30 * time.Second,
		IdleTimeout: 2 * time.Minute, MaxHeaderBytes: 16 << 10, ErrorLog: slog.NewLogLogger(a.cfg.Log.Handler(), slog.LevelDebug),
	}
	stopped := make(chan struct{})
	go func() {
		defer close(stopped)
		<-ctx.Done()
		_ = srv.Close() // a scrape that is cut off is repeated
	}()
	err := srv.Serve(a.figures)
	if errors.Is(err, http.ErrServerClosed) {
		<-stopped
		return context.Cause(ctx)
	}
	return fmt.Errorf("serve metrics: %w", err)
}

// observedSite is the agent of a site, with its calls counted.
func (a *App) observedSite(id broker.SiteID) (dispatch.Site, bool) {
	s, ok := a.site(id)
	if !ok {
		return nil, false
	}
	return a.metrics.Site(id, s), true
}

// observed is the record with what is decided and done in it counted.
func (a *App) observed() observedStore { return observedStore{a.store, a.metrics} }

type observedStore struct {
	*sqlite.Store
	m *metrics.Metrics
}

// Admit writes an admission and counts it.
func (s observedStore) Admit(ctx context.Context, r admission.AdmitRecord) (broker.Job, broker.Decision, error) {
	j, d, err := s.Store.Admit(ctx, r)
	switch {
	case err != nil:
		s.m.Refused(err)
	case d.ID == r.Decision.ID: // not one of before, under the same key
		s.m.Decided(d)
		if r.Attempt != nil {
			s.m.Moved(j.Site, *r.Attempt)
		}
	}
	return j, d, err
}

// Clear writes a clearance and counts it.
func (s observedStore) Clear(ctx context.Context, r admission.ClearRecord) (broker.Decision, error) {
	d, err := s.Store.Clear(ctx, r)
	if err == nil {
		s.m.Decided(d)
	}
	return d, err
}

// Claim leases work and counts the turn.
func (s observedStore) Claim(ctx context.Context, q dispatch.ClaimQuery) ([]dispatch.Claimed, error) {
	cs, err := s.Store.Claim(ctx, q)
	if ctx.Err() == nil { // a turn that the end of the broker cut off is no fault
		s.m.Claimed(len(cs), time.Now(), err)
	}
	return cs, err
}

// Advance moves an attempt and counts its new state.
func (s observedStore) Advance(ctx context.Context, c dispatch.Claimed, ch dispatch.Change) (broker.Attempt, error) {
	a, err := s.Store.Advance(ctx, c, ch)
	if err == nil && a.State != c.Attempt.State {
		s.m.Moved(c.Job.Site, a)
	}
	return a, err
}
