package app

import (
	"context"
	"crypto"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/valico-hpc/valico/adapters/agent"
	"github.com/valico-hpc/valico/adapters/order"
	"github.com/valico-hpc/valico/broker"
	"github.com/valico-hpc/valico/broker/airlock"
	"github.com/valico-hpc/valico/broker/dispatch"
	"github.com/valico-hpc/valico/broker/store/sqlite"
	"github.com/valico-hpc/valico/broker/telemetry"
)

// end is the broker's end of a site: the agent itself, or the link with it.
type end interface {
	dispatch.Site
	airlock.Site
	Run(ctx context.Context) error
}

// site is a site with what closes it.
type site struct {
	end
	close func() error
}

// site returns the broker's end of a site.
func (a *App) site(id broker.SiteID) (end, bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	s, ok := a.sites[id]
	if !ok {
		return nil, false
	}
	return s.end, true
}

// openSites starts an agent for each site in the record, or the link with it.
func (a *App) openSites(ctx context.Context) error {
	all, err := a.store.Sites(ctx)
	if err != nil {
		return fmt.Errorf("list sites: %w", err)
	}
	a.onClose(a.closeSites)
	remote, err := a.enrolments(ctx)
	if err != nil {
		return err
	}
	for _, s := range all {
		open := func() error { return a.attach(ctx, s) }
		if e, ok := remote[s.ID]; ok {
			open = func() error { return a.connect(s, e) }
		}
		if err := open(); err != nil {
			return fmt.Errorf("site %s: %w", s.Name, err)
		}
	}
	return nil
}

func (a *App) closeSites() error {
	a.mu.Lock()
	defer a.mu.Unlock()
	var errs []error
	for _, s := range a.sites {
		errs = append(errs, s.close())
	}
	a.sites = map[broker.SiteID]*site{}
	return errors.Join(errs...)
}

// siteDir is the folder that a site's nodes share.
func (a *App) siteDir(s broker.Site) string {
	if c, ok := a.cfg.Slurm[s.Name]; ok && c.SiteDir != "" {
		return c.SiteDir
	}
	if c, ok := a.cfg.Nomad[s.Name]; ok && c.SiteDir != "" {
		return c.SiteDir
	}
	return a.path("sites", string(s.ID))
}

// attach makes a site's folder, pins its trust there unless the site has done
// so itself, and starts its agent.
func (a *App) attach(ctx context.Context, s broker.Site) error {
	dir := a.siteDir(s)
	if err := os.MkdirAll(dir, 0o711); err != nil { //nolint:gosec // accounts of the site enter it
		return fmt.Errorf("make the site's folder: %w", err)
	}
	if err := a.pin(s, filepath.Join(dir, "trust.json")); err != nil {
		return err
	}
	sched, execPath, closer, err := a.schedulers().scheduler(ctx, s, dir)
	if err != nil {
		return err
	}
	nc, err := a.nats.ConnectSite(ctx, s.ID)
	if err != nil {
		return errors.Join(err, closer())
	}
	pub, err := telemetry.NewPublisher(nc)
	if err != nil {
		return errors.Join(err, closer())
	}
	c := agent.Config{
		Site: s.ID, Dir: dir, ExecPath: execPath, Scheduler: sched, Blobs: a.images, Publisher: pub,
		PollEvery: a.cfg.Poll, KillMargin: s.KillMargin, Log: a.cfg.Log.With("site", s.Name), Step: a.cfg.Step,
	}
	a.cfg.Keep.bound(&c)
	if s.Scheduler != schedulerLocal {
		c.Accounts = lookup
	}
	ag, err := agent.New(c)
	if err != nil {
		return errors.Join(err, closer())
	}
	a.metrics.NameSite(s.ID, s.Name)
	a.join(s.ID, &site{end: ag, close: func() error { nc.Close(); return closer() }})
	return nil
}

// join makes a site known, and runs its end if the broker runs.
func (a *App) join(id broker.SiteID, s *site) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.sites[id] = s
	if a.spawn != nil {
		a.spawn(s.Run)
	}
}

func (a *App) schedulers() schedulers { return schedulers{cfg: a.cfg, unknown: a.metrics.UnknownState} }

// pin writes what the site trusts, once: the file is the site's own from then
// on, and an operator who pinned other keys there keeps them.
func (a *App) pin(s broker.Site, path string) error {
	_, err := os.Stat(path)
	if err == nil {
		return nil
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("look for the site's trust: %w", err)
	}
	t := order.Trust{
		Site: s.ID, Name: s.Name, Isolation: s.Isolation, KeyEpochMin: 1, StatusMaxAge: a.cfg.StatusMaxAge,
		Order: []crypto.PublicKey{a.keys.order.Public()}, Image: []crypto.PublicKey{a.keys.image.Public()},
		Ledger: []string{a.keys.ledgerPublic}, Permit: a.trust.Permit, Status: a.trust.Status, Officer: a.trust.Officer,
		Accounts: s.Accounts,
	}
	for _, d := range s.Datasets {
		t.Datasets = append(t.Datasets, order.Dataset{
			PURI: d.PURI, Version: d.Version, Path: d.Path, Digest: d.Digest, Holder: d.Holder, Country: d.Country, Synthetic: d.Synthetic,
		})
	}
	b, err := order.EncodeTrust(t)
	if err != nil {
		return fmt.Errorf("pin the site's trust: %w", err)
	}
	return writeNew(path, b, 0o600) // it names persons and datasets
}

// siteAdder is the record with one addition: a site that was admitted gets its
// agent at once. A site whose agent cannot be had is not admitted: it would keep
// the next broker from starting.
type siteAdder struct {
	*sqlite.Store
	app *App
}

// AddSite measures the site, starts the agent and writes the record.
func (s siteAdder) AddSite(ctx context.Context, site broker.Site) error {
	site, err := measured(ctx, site)
	if err != nil {
		return err
	}
	if err := checkDatasets(site.Datasets); err != nil {
		return err
	}
	if _, err := s.Site(ctx, site.Name); broker.KindOf(err) != broker.KindNotFound {
		if err != nil {
			return err
		}
		return s.Store.AddSite(ctx, site) // which says that the name is taken
	}
	if err := s.app.attach(context.WithoutCancel(ctx), site); err != nil { // the agent outlives the request
		return err
	}
	if err := s.Store.AddSite(ctx, site); err != nil {
		return errors.Join(err, s.app.detach(site.ID))
	}
	return nil
}

// detach lets a site's agent go; what it holds of the site ends with the broker.
func (a *App) detach(id broker.SiteID) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	s, ok := a.sites[id]
	delete(a.sites, id)
	if !ok {
		return nil
	}
	return s.close()
}
