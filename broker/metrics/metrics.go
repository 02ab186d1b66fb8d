package metrics

import (
	"context"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/valico-hpc/valico/broker"
	"github.com/valico-hpc/valico/broker/admission"
	"github.com/valico-hpc/valico/broker/dispatch"
	"github.com/valico-hpc/valico/policy"
)

// Bounds of labels that are data: what comes beyond them counts as other.
const (
	maxSites = 1000
	maxCodes = 500
	other    = "other"
)

// Values of labels that are not nouns.
const (
	succeeded   = "ok"
	failed      = "error"
	callStart   = "start"
	callStop    = "stop"
	callReports = "reports"
)

// Metrics are a broker's figures. It is safe for concurrent use.
type Metrics struct {
	registry *prometheus.Registry

	evaluations *prometheus.CounterVec
	evaluation  prometheus.Histogram
	reasons     *prometheus.CounterVec
	decisions   *prometheus.CounterVec
	refused     *prometheus.CounterVec
	commits     *prometheus.CounterVec
	commit      prometheus.Histogram
	requests    prometheus.Histogram
	claims      *prometheus.CounterVec
	claimed     prometheus.Counter
	claimedAt   prometheus.Gauge
	transitions *prometheus.CounterVec
	outcomes    *prometheus.CounterVec
	calls       *prometheus.CounterVec
	unknown     *prometheus.CounterVec
	alerts      *prometheus.CounterVec
	call        *prometheus.HistogramVec

	mu    sync.Mutex
	sites map[broker.SiteID]string
	codes map[string]bool
}

// New makes the figures of a broker of that version.
func New(version string) *Metrics {
	counter := func(name, help string, labels ...string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Name: name, Help: help}, labels)
	}
	histogram := func(name, help string, from float64, factor float64, n int) prometheus.HistogramOpts {
		return prometheus.HistogramOpts{Name: name, Help: help, Buckets: prometheus.ExponentialBuckets(from, factor, n)}
	}
	m := &Metrics{
		registry: prometheus.NewRegistry(), sites: map[broker.SiteID]string{}, codes: map[string]bool{},
		evaluations: counter("valico_policy_evaluations_total", "Evaluations of the policy packs, plans among them.", "verdict"),
		evaluation:  prometheus.NewHistogram(histogram("valico_policy_evaluation_seconds", "Time of one evaluation.", 0.0002, 2, 14)),
		reasons:     counter("valico_policy_reasons_total", "Reasons that evaluations gave.", "code"),
		decisions:   counter("valico_decisions_total", "Decisions recorded with their ledger leaf.", "kind", "verdict"),
		refused:     counter("valico_reservations_refused_total", "Admissions that found no room in the transaction itself.", "code"),
		commits:     counter("valico_store_commits_total", "Commits of the record, and writes that failed.", "result"),
		commit:      prometheus.NewHistogram(histogram("valico_store_commit_seconds", "Time of one commit.", 0.0001, 2, 16)),
		requests:    prometheus.NewHistogram(histogram("valico_store_commit_requests", "Requests that shared one commit.", 1, 2, 7)),
		claims:      counter("valico_dispatch_claims_total", "Turns of the dispatch loop, each of which claims what is due.", "result"),
		claimed:     prometheus.NewCounter(prometheus.CounterOpts{Name: "valico_dispatch_claimed_attempts_total", Help: "Attempts that turns claimed."}),
		claimedAt:   prometheus.NewGauge(prometheus.GaugeOpts{Name: "valico_dispatch_last_turn_timestamp_seconds", Help: "When the loop last claimed without fault."}),
		transitions: counter("valico_attempt_transitions_total", "States that attempts came into.", "site", "to"),
		outcomes:    counter("valico_attempt_outcomes_total", "Attempts that ended.", "site", "outcome"),
		calls:       counter("valico_agent_calls_total", "Calls to the agents of sites.", "site", "call", "result"),
		unknown:     counter("valico_scheduler_unknown_states_total", "Words of a site's scheduler that its adapter does not know; the jobs are watched on.", "site"),
		alerts:      counter("valico_site_alerts_total", "Alerts of remote agents that were recorded: requests that they refused.", "site", "code"),
		call:        prometheus.NewHistogramVec(histogram("valico_agent_call_seconds", "Time of one call to an agent.", 0.0005, 2, 16), []string{"site", "call"}),
	}
	build := prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "valico_build_info", Help: "The broker's version; always 1."}, []string{"version"})
	build.WithLabelValues(version).Set(1)
	m.registry.MustRegister(build, m.evaluations, m.evaluation, m.reasons, m.decisions, m.refused, m.commits, m.commit, m.requests,
		m.claims, m.claimed, m.claimedAt, m.transitions, m.outcomes, m.calls, m.call, m.unknown, m.alerts,
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	m.begin()
	return m
}

// Gatherer gives the figures as they are now.
func (m *Metrics) Gatherer() prometheus.Gatherer { return m.registry }

// Handler serves the figures at any path. What cannot be gathered is left out.
func (m *Metrics) Handler() http.Handler {
	return promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{
		ErrorHandling: promhttp.ContinueOnError, MaxRequestsInFlight: 4, Timeout: 2 * censusTimeout,
	})
}

// begin shows counters at zero before anything happened: an alert on an increase
// does not see the first event of a series that begins with it.
func (m *Metrics) begin() {
	for _, v := range []string{policy.VerdictAllow, policy.VerdictDeny, policy.VerdictReview, failed} {
		m.evaluations.WithLabelValues(v)
	}
	for _, r := range []string{succeeded, string(broker.KindUnavailable)} {
		m.commits.WithLabelValues(r)
	}
	for _, r := range []string{succeeded, string(broker.KindUnavailable)} {
		m.claims.WithLabelValues(r)
	}
}

// NameSite says what a site is called in labels, and begins its counters.
func (m *Metrics) NameSite(id broker.SiteID, name string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if len(m.sites) >= maxSites || m.sites[id] == name {
		return
	}
	m.sites[id] = name
	m.unknown.WithLabelValues(name)
	m.alerts.WithLabelValues(name, other)
	for _, o := range broker.Outcomes() {
		m.outcomes.WithLabelValues(name, string(o))
	}
	for _, call := range []string{callStart, callStop, callReports} {
		for _, r := range []string{succeeded, string(broker.KindForbidden), string(broker.KindUnavailable), string(broker.KindInternal)} {
			m.calls.WithLabelValues(name, call, r)
		}
	}
}

// UnknownState counts a word of a site's scheduler that its adapter does not know.
func (m *Metrics) UnknownState(id broker.SiteID) { m.unknown.WithLabelValues(m.site(id)).Inc() }

// Alerted counts alerts of agents as they are recorded. One whose count grew is
// recorded again, and counts again.
func (m *Metrics) Alerted(alerts []broker.SiteAlert) {
	for _, a := range alerts {
		m.alerts.WithLabelValues(m.site(a.Site), m.code(a.Code)).Inc()
	}
}

func (m *Metrics) site(id broker.SiteID) string {
	m.mu.Lock()
	defer m.mu.Unlock()
	if name, ok := m.sites[id]; ok {
		return name
	}
	return other
}

// code bounds codes: they are a fixed set, unless somebody makes them up.
func (m *Metrics) code(c string) string {
	m.mu.Lock()
	defer m.mu.Unlock()
	if !m.codes[c] {
		if len(m.codes) >= maxCodes || !plain(c) {
			return other
		}
		m.codes[c] = true
	}
	return c
}

// plain reports whether a code looks like one: lower case and short, so that no
// identifier and no name of a person passes for one.
func plain(c string) bool {
	if c == "" || len(c) > 48 {
		return false
	}
	if prefix, _, ok := strings.Cut(c, "_"); ok && broker.ValidID(prefix, c) {
		return false // one identifier in 17,000 is letters alone
	}
	for _, r := range c {
		if (r < 'a' || r > 'z') && r != '_' && r != '.' {
			return false
		}
	}
	return true
}

// Committed is told of each commit of the record, and of each write that failed.
func (m *Metrics) Committed(requests int, took time.Duration, err error) {
	m.commits.WithLabelValues(result(err)).Inc()
	if err != nil {
		return
	}
	m.commit.Observe(took.Seconds())
	m.requests.Observe(float64(requests))
}

// Decided is told of each decision that was recorded.
func (m *Metrics) Decided(d broker.Decision) {
	m.decisions.WithLabelValues(m.code(d.Kind), m.code(string(d.Verdict))).Inc()
}

// Refused is told of each admission that the record refused; only those for want
// of room count.
func (m *Metrics) Refused(err error) {
	if broker.KindOf(err) == broker.KindQuota {
		m.refused.WithLabelValues(m.code(broker.CodeOf(err))).Inc()
	}
}

// Claimed is told of each turn of the dispatch loop.
func (m *Metrics) Claimed(n int, now time.Time, err error) {
	m.claims.WithLabelValues(result(err)).Inc()
	if err == nil {
		m.claimed.Add(float64(n))
		m.claimedAt.Set(float64(now.Unix()))
	}
}

// Moved is told of each attempt that came into another state.
func (m *Metrics) Moved(site broker.SiteID, a broker.Attempt) {
	m.transitions.WithLabelValues(m.site(site), m.code(string(a.State))).Inc()
	if a.Outcome != "" {
		m.outcomes.WithLabelValues(m.site(site), m.code(string(a.Outcome))).Inc()
	}
}

func result(err error) string {
	if err == nil {
		return succeeded
	}
	return string(broker.KindOf(err))
}

// Engine counts what an engine is asked.
func (m *Metrics) Engine(next admission.Engine) admission.Engine { return engine{next, m} }

type engine struct {
	admission.Engine
	m *Metrics
}

// Evaluate counts the verdict and its reasons; an error counts as such.
func (e engine) Evaluate(ctx context.Context, input []byte) (policy.Result, error) {
	began := time.Now()
	r, err := e.Engine.Evaluate(ctx, input)
	e.m.evaluation.Observe(time.Since(began).Seconds())
	verdict := r.Verdict
	if err != nil {
		verdict = failed
	}
	e.m.evaluations.WithLabelValues(e.m.code(verdict)).Inc()
	for _, x := range r.Reasons {
		e.m.reasons.WithLabelValues(e.m.code(x.Code)).Inc()
	}
	return r, err
}

// Site counts the calls to the agent of a site.
func (m *Metrics) Site(id broker.SiteID, next dispatch.Site) dispatch.Site {
	return agent{next: next, site: m.site(id), m: m}
}

type agent struct {
	next dispatch.Site
	site string
	m    *Metrics
}

func (a agent) count(call string, began time.Time, err error) {
	a.m.calls.WithLabelValues(a.site, call, result(err)).Inc()
	a.m.call.WithLabelValues(a.site, call).Observe(time.Since(began).Seconds())
}

// Start counts and calls.
func (a agent) Start(ctx context.Context, o broker.SignedOrder) error {
	began := time.Now()
	err := a.next.Start(ctx, o)
	a.count(callStart, began, err)
	return err
}

// Stop counts and calls.
func (a agent) Stop(ctx context.Context, id broker.AttemptID) error {
	began := time.Now()
	err := a.next.Stop(ctx, id)
	a.count(callStop, began, err)
	return err
}

// Reports counts and calls.
func (a agent) Reports(ctx context.Context, ids []broker.AttemptID) ([]broker.AttemptReport, error) {
	began := time.Now()
	rs, err := a.next.Reports(ctx, ids)
	a.count(callReports, began, err)
	return rs, err
}
