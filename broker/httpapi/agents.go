package httpapi

import (
	"context"
	"fmt"
	"net/http"

	"github.com/valico-hpc/valico/broker"
	"github.com/valico-hpc/valico/broker/httpapi/wire"
)

// Agents are the agents of remote sites.
type Agents interface {
	// AddRemoteSite admits a site together with the agent that speaks for it.
	AddRemoteSite(ctx context.Context, s broker.Site, e broker.Enrolment) error
	// Enrol lets another agent speak for a remote site, and the earlier no more.
	Enrol(ctx context.Context, e broker.Enrolment) error
	Enrolments(ctx context.Context) ([]broker.Enrolment, error)
	// BrokerRecord is what the site pins of this broker.
	BrokerRecord(ctx context.Context, s broker.Site) (broker.Counterpart, error)
	// Alerts lists a site's alerts, the newest first.
	Alerts(ctx context.Context, site broker.SiteID, limit int) ([]broker.SiteAlert, error)
}

// maxAlerts bounds how many alerts an answer lists.
const maxAlerts = 200

func (s *Server) agents() {
	at := exampleTime()
	example := wire.SiteAgent{
		Agent:      wire.AgentKeys{Key: "-----BEGIN PUBLIC KEY-----…", SignIn: "UABC2345ABC2345ABC2345ABC2345ABC2345ABC2345ABC2345ABC234"},
		EnrolledBy: "operator@localhost", EnrolledAt: at, Alerts: []wire.SiteAlert{},
		Broker: wire.BrokerRecord{Schema: wire.SchemaBrokerRecord, Site: "site_0123456789abcdefghjkmnpqrs", Name: "leo", URL: "https://broker.example"},
	}
	handle(s, op{
		method: http.MethodGet, path: "/v1/sites/{name}/agent", id: "show-agent", summary: "The agent of a remote site, what it pins, and its alerts",
		rule: operator, example: example,
	}, s.showAgent)
	handle(s, op{
		method: http.MethodPut, path: "/v1/sites/{name}/agent", id: "enrol-agent", summary: "Let another agent speak for a remote site",
		rule: operator, example: example,
	}, s.enrolAgent)
}

// remote is the port, or what to say where the broker has none.
func (s *Server) remote() (Agents, error) {
	if s.d.Agents == nil {
		return nil, &broker.Error{
			Kind: broker.KindInvalid, Code: "agents_unconfigured", Message: "this broker has no remote sites",
			Rule: "a remote site's agent connects to agents.listen of the broker's configuration", Help: "set agents and restart the broker", Who: "the broker's operator",
		}
	}
	return s.d.Agents, nil
}

// remoteSite is the port with the site that a request is about.
func (s *Server) remoteSite(ctx context.Context, name string) (Agents, broker.Site, error) {
	agents, err := s.remote()
	if err != nil {
		return nil, broker.Site{}, err
	}
	site, err := s.d.Store.Site(ctx, name)
	if err != nil {
		return nil, broker.Site{}, fmt.Errorf("read site: %w", err)
	}
	return agents, site, nil
}

func (s *Server) showAgent(ctx context.Context, in *SitePath) (*body[wire.SiteAgent], error) {
	agents, site, err := s.remoteSite(ctx, in.Name)
	if err != nil {
		return nil, err
	}
	out, err := siteAgent(ctx, agents, site)
	if err != nil {
		return nil, err
	}
	return &body[wire.SiteAgent]{out}, nil
}

type enrolInput struct {
	SitePath
	Body wire.AgentKeys
}

func (s *Server) enrolAgent(ctx context.Context, in *enrolInput) (*body[wire.SiteAgent], error) {
	agents, site, err := s.remoteSite(ctx, in.Name)
	if err != nil {
		return nil, err
	}
	if err := agents.Enrol(ctx, s.enrolment(ctx, site.ID, in.Body)); err != nil {
		return nil, fmt.Errorf("enrol agent: %w", err)
	}
	out, err := siteAgent(ctx, agents, site)
	if err != nil {
		return nil, err
	}
	return &body[wire.SiteAgent]{out}, nil
}

func (s *Server) enrolment(ctx context.Context, id broker.SiteID, k wire.AgentKeys) broker.Enrolment {
	return broker.Enrolment{Site: id, Key: []byte(k.Key), SignIn: k.SignIn, By: caller(ctx).ID, At: s.now()}
}

func siteAgent(ctx context.Context, agents Agents, site broker.Site) (wire.SiteAgent, error) {
	es, err := agents.Enrolments(ctx)
	if err != nil {
		return wire.SiteAgent{}, fmt.Errorf("list agents: %w", err)
	}
	for _, e := range es {
		if e.Site != site.ID {
			continue
		}
		r, err := agents.BrokerRecord(ctx, site)
		if err != nil {
			return wire.SiteAgent{}, fmt.Errorf("read the broker's keys: %w", err)
		}
		alerts, err := agents.Alerts(ctx, site.ID, maxAlerts)
		if err != nil {
			return wire.SiteAgent{}, fmt.Errorf("list alerts: %w", err)
		}
		return wire.SiteAgent{
			Agent: wire.AgentKeys{Key: string(e.Key), SignIn: e.SignIn}, EnrolledBy: string(e.By), EnrolledAt: e.At,
			Broker: wire.NewBrokerRecord(r), Alerts: wire.NewSiteAlerts(alerts),
		}, nil
	}
	return wire.SiteAgent{}, broker.NotFound("remote agent of site", site.Name)
}
