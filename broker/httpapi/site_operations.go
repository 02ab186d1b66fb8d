package httpapi

import (
	"context"
	"fmt"
	"net/http"
	"strconv"

	"github.com/valico-hpc/valico/broker"
	"github.com/valico-hpc/valico/broker/httpapi/wire"
	"github.com/valico-hpc/valico/broker/ledger"
)

func (s *Server) operations(example wire.Site) {
	example.Operation = &wire.SiteOperation{State: "open", Waiting: 3, Queued: 1, Running: 7, Version: 2}
	handle(s, op{
		method: http.MethodGet, path: "/v1/sites/{name}", id: "get-site", summary: "Show a site, what an operator lets happen there, and how many jobs it has",
		rule: signedIn, example: example,
	}, s.getSite)
	for act, summary := range map[string]string{
		broker.ActCordon: "Let nothing new start at a site; jobs wait at the broker, what runs goes on",
		broker.ActDrain:  "Empty a site: as cordon, and nothing is admitted, and what has not begun there ends as cancelled (site_drained)",
		broker.ActResume: "Open a site again",
	} {
		handle(s, op{
			method: http.MethodPost, path: "/v1/sites/{name}/" + act, id: act + "-site", summary: summary, rule: operator, example: example,
		}, s.operate(act))
	}
}

// versionedSite is a site with the version of its operation as entity tag.
type versionedSite struct {
	ETag string `header:"ETag" doc:"The version, for If-Match."`
	Body wire.Site
}

func (s *Server) versionedSite(ctx context.Context, site broker.Site) (*versionedSite, error) {
	p := caller(ctx)
	loads, err := s.d.Store.SiteLoads(ctx)
	if err != nil {
		return nil, fmt.Errorf("count the sites' jobs: %w", err)
	}
	w := wire.NewSite(site, p.ID, isOperator(p))
	w.Operation = wire.NewSiteOperation(site.Operation, loads[site.ID], isOperator(p))
	if isOperator(p) {
		acts, err := s.d.Store.SiteActs(ctx, site.ID)
		if err != nil {
			return nil, fmt.Errorf("list acts: %w", err)
		}
		for _, a := range acts {
			w.Acts = append(w.Acts, wire.NewSiteAct(a))
		}
	}
	return &versionedSite{ETag: strconv.Quote(strconv.FormatInt(site.Operation.Version, 10)), Body: w}, nil
}

func (s *Server) getSite(ctx context.Context, in *SitePath) (*versionedSite, error) {
	site, err := s.d.Store.Site(ctx, in.Name)
	if err != nil {
		return nil, fmt.Errorf("read site: %w", err)
	}
	return s.versionedSite(ctx, site)
}

type operateInput struct {
	SitePath
	IfMatch string `header:"If-Match" required:"true" pattern:"^\"[0-9]{1,18}\"$" doc:"The ETag of the site as the caller has seen it." example:"\"1\""`
	Body    wire.SiteChange
}

// operate records an act of the caller's on a site.
func (s *Server) operate(act string) func(context.Context, *operateInput) (*versionedSite, error) {
	return func(ctx context.Context, in *operateInput) (*versionedSite, error) {
		site, err := s.d.Store.Site(ctx, in.Name)
		if err != nil {
			return nil, fmt.Errorf("read site: %w", err)
		}
		tag, _ := strconv.Unquote(in.IfMatch) // its pattern was checked
		seen, err := strconv.ParseInt(tag, 10, 64)
		if err != nil {
			return nil, fmt.Errorf("read If-Match: %w", err)
		}
		p := caller(ctx)
		a := broker.SiteAct{Site: site.ID, Version: seen + 1, Act: act, By: p.ID, Reason: in.Body.Reason, At: micro(s.now())}
		if in.Body.Until != nil {
			a.Until = micro(*in.Body.Until)
		}
		if !a.Until.IsZero() && (act == broker.ActResume || !a.Until.After(a.At)) {
			return nil, &broker.Error{
				Kind: broker.KindInvalid, Code: "until_invalid", Message: "that cannot be when the site opens again", Value: in.Body.Until.String(),
				Rule: "until is of a site that is closed, and lies ahead", Help: "leave it out, or name a later time", Who: "you",
			}
		}
		if a.Document, err = ledger.EncodeSite(a, site.Name); err != nil {
			return nil, fmt.Errorf("write the act down: %w", err)
		}
		if site, err = s.d.Store.ChangeSite(ctx, p.Project, a, ledger.Entry{
			Kind: ledger.KindSite, Tenant: p.Tenant, Permit: ledger.SiteChain(site.ID), Person: p.ID, Document: a.Document, At: a.At,
		}); err != nil {
			return nil, fmt.Errorf("%s site: %w", act, err)
		}
		return s.versionedSite(ctx, site)
	}
}
