package app

import (
	"bytes"
	"context"
	"crypto"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/valico-hpc/valico/adapters/link"
	"github.com/valico-hpc/valico/broker"
	"github.com/valico-hpc/valico/broker/httpapi/wire"
	"github.com/valico-hpc/valico/images/dsse"
)

// enrolments are the agents of remote sites, by site.
func (a *App) enrolments(ctx context.Context) (map[broker.SiteID]broker.Enrolment, error) {
	es, err := a.store.Enrolments(ctx)
	if err != nil {
		return nil, fmt.Errorf("list the agents of remote sites: %w", err)
	}
	out := make(map[broker.SiteID]broker.Enrolment, len(es))
	for _, e := range es {
		out[e.Site] = e
	}
	return out, nil
}

// connect makes the broker's end of the link with a remote site's agent. The
// agent may be away: it connects when it can.
func (a *App) connect(s broker.Site, e broker.Enrolment) error {
	if a.cfg.Agents.Listen == "" {
		return agentsUnconfigured(s.Name)
	}
	key, err := a.agentKey(e)
	if err != nil {
		return err
	}
	if err := a.nats.PinSite(s.ID, e.SignIn); err != nil {
		return &broker.Error{
			Kind: broker.KindInvalid, Code: "enrolment_invalid", Message: "the agent's sign-in key cannot be used", Value: e.SignIn,
			Rule: "an agent signs in with a key of its own", Help: "make the agent's keys anew: valico agent init", Who: "the site operator", Err: err,
		}
	}
	l, err := link.NewSite(link.SiteConfig{
		Site: s.ID, Conn: a.conn, Key: a.keys.link, Book: book{a}, Log: a.cfg.Log.With("site", s.Name),
	})
	if err != nil {
		return errors.Join(err, a.nats.UnpinSite(s.ID))
	}
	a.metrics.NameSite(s.ID, s.Name)
	a.setAgentKey(s.ID, key)
	a.join(s.ID, &site{end: l, close: l.Close})
	return nil
}

// agentKey reads an agent's key, and refuses one that has a role of the broker.
func (a *App) agentKey(e broker.Enrolment) (crypto.PublicKey, error) {
	bad := func(rule string, err error) (crypto.PublicKey, error) {
		return nil, &broker.Error{
			Kind: broker.KindInvalid, Code: "enrolment_invalid", Message: "the agent's key cannot be used", Rule: rule,
			Help: "make the agent's keys anew: valico agent init", Who: "the site operator", Err: err,
		}
	}
	key, err := dsse.ParsePublicPEM(e.Key)
	if err != nil {
		return bad("one PEM block PUBLIC KEY", err)
	}
	id, err := dsse.KeyID(key)
	if err != nil {
		return bad("an ECDSA P-256 or Ed25519 key", err)
	}
	for _, own := range []crypto.Signer{a.keys.order, a.keys.image, a.keys.link} {
		if have, err := dsse.KeyID(own.Public()); err != nil || have == id {
			return bad("a key has one role", err)
		}
	}
	return key, nil
}

func (a *App) setAgentKey(id broker.SiteID, key crypto.PublicKey) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.agents[id] = key
}

// book satisfies link.Book: keys from memory, alerts into the record.
type book struct{ app *App }

// AgentKey is the key that the site's agent was enrolled with.
func (b book) AgentKey(_ context.Context, id broker.SiteID) (crypto.PublicKey, error) {
	b.app.mu.Lock()
	defer b.app.mu.Unlock()
	key, ok := b.app.agents[id]
	if !ok {
		return nil, broker.NotFound("agent of site", string(id))
	}
	return key, nil
}

// RecordAlerts keeps alerts for the operators.
func (b book) RecordAlerts(ctx context.Context, alerts []broker.SiteAlert) error {
	for _, al := range alerts {
		b.app.cfg.Log.ErrorContext(ctx, "a site's agent refused what no broker asks", "site_id", string(al.Site), "code", al.Code,
			"method", al.Method, "count", al.Count, "attempt_id", string(al.Attempt))
	}
	if err := b.app.store.RecordAlerts(ctx, alerts); err != nil {
		return err
	}
	b.app.metrics.Alerted(alerts)
	return nil
}

// heardWithin is how long ago a remote agent may have been heard to count as
// there: it is asked four times as often.
const heardWithin = time.Minute

// attached reports whether a site's agent is there.
func (a *App) attached(id broker.SiteID) bool {
	s, ok := a.site(id)
	if far, remote := s.(*link.Site); remote {
		return time.Since(far.Presence().Heard) < heardWithin
	}
	return ok
}

// AddRemoteSite admits a site whose agent runs at the site.
func (s siteAdder) AddRemoteSite(ctx context.Context, site broker.Site, e broker.Enrolment) error {
	site, err := admissible(site)
	if err != nil {
		return err
	}
	if s.app.cfg.Agents.Listen == "" {
		return agentsUnconfigured(site.Name)
	}
	if _, err := s.app.agentKey(e); err != nil {
		return err
	}
	if err := s.Store.AddRemoteSite(ctx, site, e); err != nil {
		return err
	}
	return s.app.connect(site, e)
}

// Enrol lets another agent speak for a remote site. The earlier one's
// connection ends, and its answers and tickets count no more.
func (s siteAdder) Enrol(ctx context.Context, e broker.Enrolment) error {
	key, err := s.app.agentKey(e)
	if err != nil {
		return err
	}
	if err := s.Store.Enrol(ctx, e); err != nil {
		return err
	}
	if err := s.app.nats.PinSite(e.Site, e.SignIn); err != nil {
		return fmt.Errorf("let the agent sign in: %w", err)
	}
	s.app.setAgentKey(e.Site, key)
	return nil
}

// BrokerRecord is what a site pins of this broker.
func (s siteAdder) BrokerRecord(_ context.Context, site broker.Site) (broker.Counterpart, error) {
	r := broker.Counterpart{Site: site.ID, Name: site.Name, URL: s.app.cfg.Agents.URL, Ledger: s.app.keys.ledgerPublic}
	for to, key := range map[*[]byte]crypto.Signer{&r.Order: s.app.keys.order, &r.Image: s.app.keys.image, &r.Link: s.app.keys.link} {
		b, err := dsse.MarshalPublicPEM(key.Public())
		if err != nil {
			return r, fmt.Errorf("write the broker's record: %w", err)
		}
		*to = bytes.TrimSpace(b)
	}
	return r, nil
}

// checkTime is how long a check waits for a remote agent.
const checkTime = 5 * time.Second

// remoteChecks asks a remote agent how it is. What it says is the site's word,
// proven to be the enrolled agent's; nothing of it is measured here.
func remoteChecks(ctx context.Context, l *link.Site) []wire.Check {
	ctx, done := context.WithTimeout(ctx, checkTime)
	defer done()
	d, err := l.Describe(ctx)
	if err != nil {
		heard := "never"
		if p := l.Presence(); !p.Heard.IsZero() {
			heard = p.Heard.UTC().Format(time.RFC3339)
		}
		return []wire.Check{{
			Name: "agent", Found: "no answer; last heard " + heard,
			Help: "the site operator looks whether the agent runs and reaches the broker; jobs there run on",
		}}
	}
	packs := string(d.Packs)
	if packs == "" {
		packs = "none"
	}
	return []wire.Check{
		{Name: "agent", OK: true, Found: "remote, version " + d.Version + ", since " + d.StartedAt.UTC().Format(time.RFC3339)},
		{Name: "trust", OK: true, Found: string(d.Trust)},
		{Name: "site_rules", OK: true, Found: packs},
		{Name: "scheduler_answers", OK: d.SchedulerOK, Found: d.Scheduler, Help: "the site operator looks at the scheduler"},
		{Name: "disk_free", OK: d.DiskFree > 1<<30, Found: fmt.Sprintf("%d bytes", d.DiskFree), Help: "the site operator makes room"},
		{Name: "alerts", OK: d.Alerts == 0, Found: strconv.Itoa(d.Alerts) + " not yet taken up", Help: "see: valico site agent SITE"},
	}
}

func agentsUnconfigured(name string) error {
	return &broker.Error{
		Kind: broker.KindInvalid, Code: "agents_unconfigured", Message: "this broker does not take connections of remote agents", Value: name,
		Rule: "agents connect to agents.listen of the broker's configuration", Help: "set agents.listen, cert, key and url and restart the broker",
		Who: "the broker's operator",
	}
}
