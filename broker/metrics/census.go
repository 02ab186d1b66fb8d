package metrics

import (
	"context"
	"fmt"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/valico-hpc/valico/broker"
)

// censusTimeout bounds how long a scrape waits for the record.
const censusTimeout = 5 * time.Second

// Record is asked at each scrape.
type Record interface {
	Census(ctx context.Context) (broker.Census, error)
	Sites(ctx context.Context) ([]broker.Site, error)
}

// Watch adds what the record holds to each scrape. Attached says whether a
// site's agent is there; now is the clock that ages are taken from.
func (m *Metrics) Watch(r Record, attached func(broker.SiteID) bool, now func() time.Time) error {
	desc := func(name, help string, labels ...string) *prometheus.Desc {
		return prometheus.NewDesc(name, help, labels, nil)
	}
	c := &census{
		record: r, attached: attached, now: now, m: m,
		up:       desc("valico_record_up", "1 if the record answered this scrape."),
		agents:   desc("valico_site_agent_up", "1 if a site's agent is attached.", "site"),
		queue:    desc("valico_queue_attempts", "Attempts that are not over.", "site", "state"),
		oldest:   desc("valico_queue_oldest_seconds", "How long the oldest attempt has been in its state.", "site", "state"),
		waiting:  desc("valico_waiting_attempts", "Attempts that wait, by what for.", "site", "code"),
		longest:  desc("valico_waiting_longest_seconds", "How long the first of them has waited for it.", "site", "code"),
		reviews:  desc("valico_queue_reviews", "Jobs that wait for a review."),
		outbox:   desc("valico_outbox_events", "Events that the projection has not."),
		granted:  desc("valico_budget_granted_gpu_seconds", "Granted by valid allocations, charged GPU-seconds.", "site"),
		reserved: desc("valico_budget_reserved_gpu_seconds", "Set aside by open reservations, charged GPU-seconds.", "site"),
		used:     desc("valico_budget_used_gpu_seconds", "Booked, charged GPU-seconds.", "site"),
		state:    desc("valico_budget_allocations", "Valid allocations: all, frozen, used up, overrun, ending within 14 days.", "site", "state"),
	}
	if err := m.registry.Register(c); err != nil {
		return fmt.Errorf("register the record: %w", err)
	}
	return nil
}

type census struct {
	record   Record
	attached func(broker.SiteID) bool
	now      func() time.Time
	m        *Metrics

	up, agents, queue, oldest, waiting, longest, reviews, outbox, granted, reserved, used, state *prometheus.Desc
}

// Describe satisfies prometheus.Collector.
func (c *census) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{c.up, c.agents, c.queue, c.oldest, c.waiting, c.longest, c.reviews, c.outbox, c.granted, c.reserved, c.used, c.state} {
		ch <- d
	}
}

// Collect asks the record. client_golang gives collectors no context.
func (c *census) Collect(ch chan<- prometheus.Metric) {
	ctx, cancel := context.WithTimeout(context.Background(), censusTimeout)
	defer cancel()
	gauge := func(d *prometheus.Desc, v float64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
	}
	sites, err := c.record.Sites(ctx)
	if err != nil {
		gauge(c.up, 0)
		return
	}
	for i, s := range sites {
		if i == maxSites {
			break
		}
		c.m.NameSite(s.ID, s.Name)
		up := 0.0
		if c.attached(s.ID) {
			up = 1
		}
		gauge(c.agents, up, s.Name)
	}
	x, err := c.record.Census(ctx)
	if err != nil {
		gauge(c.up, 0)
		return
	}
	gauge(c.up, 1)
	gauge(c.reviews, float64(x.Reviews))
	gauge(c.outbox, float64(x.Outbox))
	c.attempts(gauge, x.Attempts)
	c.waits(gauge, x.Waiting)
	c.budgets(gauge, x.Budgets)
}

// attempts adds up sites that share a label, so that no series comes twice.
func (c *census) attempts(gauge func(*prometheus.Desc, float64, ...string), as []broker.AttemptCount) {
	type key struct{ site, state string }
	n, age := map[key]int64{}, map[key]float64{}
	for _, a := range as {
		k := key{c.m.site(a.Site), c.m.code(string(a.State))}
		n[k] += a.N
		age[k] = max(age[k], c.now().Sub(a.Oldest).Seconds())
	}
	for k := range n {
		gauge(c.queue, float64(n[k]), k.site, k.state)
		gauge(c.oldest, age[k], k.site, k.state)
	}
}

// waits has a label for each of broker.WaitCodes at most.
func (c *census) waits(gauge func(*prometheus.Desc, float64, ...string), ws []broker.WaitCount) {
	type key struct{ site, code string }
	n, age := map[key]int64{}, map[key]float64{}
	for _, w := range ws {
		code := w.Code
		if !code.Known() {
			code = broker.WaitUnknown
		}
		k := key{c.m.site(w.Site), string(code)}
		n[k] += w.N
		age[k] = max(age[k], c.now().Sub(w.Oldest).Seconds())
	}
	for k := range n {
		gauge(c.waiting, float64(n[k]), k.site, k.code)
		gauge(c.longest, age[k], k.site, k.code)
	}
}

func (c *census) budgets(gauge func(*prometheus.Desc, float64, ...string), bs []broker.BudgetCount) {
	sum := map[string]broker.BudgetCount{}
	for _, b := range bs {
		s := sum[c.m.site(b.Site)]
		s.Granted, s.Reserved, s.Used = s.Granted+b.Granted, s.Reserved+b.Reserved, s.Used+b.Used
		s.N, s.Frozen, s.UsedUp, s.Ending = s.N+b.N, s.Frozen+b.Frozen, s.UsedUp+b.UsedUp, s.Ending+b.Ending
		s.Overrun += b.Overrun
		sum[c.m.site(b.Site)] = s
	}
	for site, b := range sum {
		gauge(c.granted, float64(b.Granted), site)
		gauge(c.reserved, float64(b.Reserved), site)
		gauge(c.used, float64(b.Used), site)
		for state, n := range map[string]int64{"all": b.N, "frozen": b.Frozen, "used_up": b.UsedUp, "ending": b.Ending, "overrun": b.Overrun} {
			gauge(c.state, float64(n), site, state)
		}
	}
}
