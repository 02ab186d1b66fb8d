package httpapi

import (
	"context"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"github.com/valico-hpc/valico/broker"
	"github.com/valico-hpc/valico/broker/httpapi/wire"
)

func (s *Server) sites() {
	created := exampleTime()
	site := wire.Site{
		ID: "site_0123456789abcdefghjkmnpqrs", Name: "local", Country: "IT", Operator: "Example site operator", Scheduler: "local",
		Assurance: "advisory", Isolation: "userns", MaxNodes: 1, CPUsPerNode: 4, MemoryMiB: 8192, MaxWallSeconds: 3600,
		KillMarginSeconds: 30, Account: "ada", CreatedAt: &created,
	}
	handle(s, op{
		method: http.MethodGet, path: "/v1/sites", id: "list-sites", summary: "List the admitted sites", rule: signedIn,
		example: wire.Sites{Sites: []wire.Site{site}},
	}, s.listSites)
	handle(s, op{
		method: http.MethodPost, path: "/v1/sites", id: "add-site", summary: "Admit a site and grant the project GPU time there",
		rule: operator, status: http.StatusCreated, example: site,
	}, s.addSite)
	handle(s, op{
		method: http.MethodGet, path: "/v1/sites/{name}/check", id: "check-site", summary: "Say what Valico can do at a site, and as whom",
		rule: signedIn, example: wire.SiteCheck{Site: "local", Checks: []wire.Check{{Name: "isolation", OK: true, Found: "userns"}}},
	}, s.checkSite)
	s.operations(site)
	s.report()
}

func (s *Server) listSites(ctx context.Context, _ *struct{}) (*body[wire.Sites], error) {
	p := caller(ctx)
	sites, err := s.d.Store.Sites(ctx)
	if err != nil {
		return nil, fmt.Errorf("list sites: %w", err)
	}
	loads, err := s.d.Store.SiteLoads(ctx)
	if err != nil {
		return nil, fmt.Errorf("count the sites' jobs: %w", err)
	}
	out := wire.Sites{Sites: []wire.Site{}}
	for _, site := range sites {
		w := wire.NewSite(site, p.ID, isOperator(p))
		w.Operation = wire.NewSiteOperation(site.Operation, loads[site.ID], isOperator(p))
		out.Sites = append(out.Sites, w)
	}
	return &body[wire.Sites]{out}, nil
}

type addSiteInput struct {
	CreateKey
	Body wire.SiteAdd
}

func (s *Server) addSite(ctx context.Context, in *addSiteInput) (*body[wire.Site], error) {
	p, now := caller(ctx), s.now()
	site := in.Body.Site.Noun()
	site.ID, site.CreatedAt = broker.NewID[broker.SiteID]("site"), now
	if err := s.admitSite(ctx, site, in.Body.Agent); err != nil {
		return nil, fmt.Errorf("add site: %w", err)
	}
	if in.Body.GPUHours > 0 {
		_, err := s.grant(ctx, broker.Allocation{
			ID: broker.NewID[broker.AllocationID]("alc"), Tenant: p.Tenant, Project: p.Project, Site: site.ID, AccessMode: "playground",
			GPUSeconds: wire.GPUSeconds(in.Body.GPUHours), ValidFrom: now, ValidUntil: now.AddDate(0, 0, in.Body.Days),
		}, "granted when the site was admitted")
		if err != nil {
			return nil, fmt.Errorf("grant GPU time at site %s: %w", site.Name, err)
		}
	}
	return &body[wire.Site]{wire.NewSite(site, p.ID, true)}, nil
}

// admitSite admits a site; with keys of an agent one that is remote.
func (s *Server) admitSite(ctx context.Context, site broker.Site, keys *wire.AgentKeys) error {
	if keys == nil {
		return s.d.Store.AddSite(ctx, site)
	}
	agents, err := s.remote()
	if err != nil {
		return err
	}
	return agents.AddRemoteSite(ctx, site, s.enrolment(ctx, site.ID, *keys))
}

// SitePath names a site.
type SitePath struct {
	Name string `path:"name" maxLength:"100" example:"local" doc:"The site's name."`
}

// checkSite measures a site through its agent, where one is connected, and adds
// what the record says.
func (s *Server) checkSite(ctx context.Context, in *SitePath) (*body[wire.SiteCheck], error) {
	site, err := s.d.Store.Site(ctx, in.Name)
	if err != nil {
		return nil, fmt.Errorf("read site: %w", err)
	}
	p := caller(ctx)
	as, err := s.d.Store.Allocations(ctx, p.Project)
	if err != nil {
		return nil, fmt.Errorf("list allocations: %w", err)
	}
	out := wire.SiteCheck{Site: site.Name, Checks: recorded(site, p, as, s.now())}
	if s.d.Probe != nil {
		measured, err := s.d.Probe.Check(ctx, site)
		if err != nil {
			return nil, fmt.Errorf("check site %s: %w", site.Name, err)
		}
		out.Checks = append(out.Checks, measured...)
	}
	return &body[wire.SiteCheck]{out}, nil
}

// recorded is what the record says of a site, as far as it concerns the caller.
func recorded(site broker.Site, p broker.Person, as []broker.Allocation, now time.Time) []wire.Check {
	account := site.Accounts[p.ID]
	var left int64
	for _, a := range as {
		if a.Site == site.ID && !a.Frozen && !now.Before(a.ValidFrom) && now.Before(a.ValidUntil) {
			left += a.Available()
		}
	}
	synthetic := 0
	for _, d := range site.Datasets {
		if d.Synthetic {
			synthetic++
		}
	}
	return []wire.Check{
		{Name: "scheduler", OK: true, Found: site.Scheduler},
		{Name: "account", OK: account != "", Found: account, Help: "ask the site operator to map you to an account"},
		{
			Name: "gpu_hours_left", OK: left > 0, Found: strconv.FormatFloat(float64(left)/3600, 'f', 1, 64),
			Help: "ask the broker's operator for an allocation at this site, or why yours is frozen: valico allocation list",
		},
		{
			Name: "isolation", OK: site.Isolation == broker.IsolationUserNS, Found: string(site.Isolation),
			Help: "without isolation a site may run synthetic data only",
		},
		{Name: "datasets", OK: len(site.Datasets) > 0, Found: fmt.Sprintf("%d, %d of them synthetic", len(site.Datasets), synthetic)},
		forRealData("assurance", site.Assurance == broker.AssuranceEnforced, string(site.Assurance)),
		forRealData("mfa", site.MFA, strconv.FormatBool(site.MFA)),
		forRealData("quarantine", site.Quarantine, strconv.FormatBool(site.Quarantine)),
		forRealData("telemetry_budget", site.TelemetryBudget, strconv.FormatBool(site.TelemetryBudget)),
		forRealData("airlock", site.Airlock, strconv.FormatBool(site.Airlock)),
		forRealData("fabric_isolated", site.FabricIsolated, strconv.FormatBool(site.FabricIsolated)),
	}
}

// forRealData is a check that matters to real data only.
func forRealData(name string, ok bool, found string) wire.Check {
	return wire.Check{Name: "real_data_needs." + name, OK: ok, Found: found, Help: "until then the site runs synthetic data only (SANDBOX)"}
}
