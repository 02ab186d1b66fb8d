package metrics_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"
	"go.yaml.in/yaml/v3"

	"github.com/valico-hpc/valico/broker"
	"github.com/valico-hpc/valico/broker/admission"
	"github.com/valico-hpc/valico/broker/metrics"
	"github.com/valico-hpc/valico/policy"
)

const (
	site   = broker.SiteID("site_1")
	person = "ada@biotech.example"
)

// record is a census by hand.
type record struct{ err error }

func (r record) Sites(context.Context) ([]broker.Site, error) {
	return []broker.Site{{ID: site, Name: "leonardo"}}, r.err
}

func (r record) Census(context.Context) (broker.Census, error) {
	return broker.Census{
		Attempts: []broker.AttemptCount{
			{Site: site, State: broker.AttemptQueued, N: 3, Oldest: time.Unix(1000, 0)},
			{Site: "site_x", State: broker.AttemptQueued, N: 1, Oldest: time.Unix(1040, 0)},
			{Site: "site_y", State: broker.AttemptQueued, N: 2, Oldest: time.Unix(1030, 0)},
		},
		Waiting: []broker.WaitCount{
			{Site: site, Code: broker.WaitPriority, N: 2, Oldest: time.Unix(1000, 0)},
			{Site: site, Code: "a word of tomorrow", N: 1, Oldest: time.Unix(1030, 0)},
		},
		Reviews: 4, Outbox: 5,
		Budgets: []broker.BudgetCount{{Site: site, Granted: 100, Reserved: 20, Used: 30, N: 2, Frozen: 1, UsedUp: 1, Ending: 1, Overrun: 1}},
	}, r.err
}

type engine struct {
	code string
	err  error
}

func (e engine) Evaluate(context.Context, []byte) (policy.Result, error) {
	return policy.Result{Verdict: policy.VerdictDeny, Reasons: []policy.Reason{{Code: e.code}}}, e.err
}
func (engine) Digest() string  { return "sha256:1" }
func (engine) Version() string { return "opa" }

type agent struct{ err error }

func (a agent) Start(context.Context, broker.SignedOrder) error { return a.err }
func (a agent) Stop(context.Context, broker.AttemptID) error    { return a.err }
func (a agent) Reports(context.Context, []broker.AttemptID) ([]broker.AttemptReport, error) {
	return nil, a.err
}

// exercise makes every figure move.
func exercise(t *testing.T, r record) *metrics.Metrics {
	t.Helper()
	m := metrics.New("test")
	require.NoError(t, m.Watch(r, func(broker.SiteID) bool { return true }, func() time.Time { return time.Unix(1060, 0) }))
	m.NameSite(site, "leonardo")
	m.Committed(3, time.Millisecond, nil)
	m.Committed(0, 0, &broker.Error{Kind: broker.KindUnavailable})
	m.Decided(broker.Decision{Kind: broker.DecisionAdmission, Verdict: broker.VerdictAllow, Permit: "permit-of-ada"})
	m.Refused(&broker.Error{Kind: broker.KindQuota, Code: "budget_exceeded", Value: person})
	m.Refused(&broker.Error{Kind: broker.KindInvalid, Code: "x"})
	m.Claimed(2, time.Unix(1050, 0), nil)
	m.Moved(site, broker.Attempt{ID: "att_1", State: broker.AttemptDone, Outcome: broker.OutcomeOK})
	_, err := m.Engine(engine{code: "purpose_not_permitted"}).Evaluate(t.Context(), nil)
	require.NoError(t, err)
	_, err = m.Engine(engine{err: errors.New("boom")}).Evaluate(t.Context(), nil)
	require.Error(t, err)
	s := m.Site(site, agent{&broker.Error{Kind: broker.KindForbidden}})
	require.Error(t, s.Start(t.Context(), broker.SignedOrder{}))
	require.Error(t, s.Stop(t.Context(), "att_1"))
	_, err = s.Reports(t.Context(), nil)
	require.Error(t, err)
	return m
}

// scrape is what Prometheus reads.
func scrape(t *testing.T, m *metrics.Metrics) string {
	t.Helper()
	w := httptest.NewRecorder()
	m.Handler().ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/metrics", nil))
	require.Equal(t, http.StatusOK, w.Code)
	return w.Body.String()
}

func TestEachFigureIsWhatHappened(t *testing.T) {
	t.Parallel()
	text := scrape(t, exercise(t, record{}))
	for _, want := range []string{
		`valico_build_info{version="test"} 1`,
		`valico_policy_evaluations_total{verdict="deny"} 1`, `valico_policy_evaluations_total{verdict="error"} 1`,
		`valico_policy_reasons_total{code="purpose_not_permitted"} 1`, `valico_decisions_total{kind="admission",verdict="allow"} 1`,
		`valico_reservations_refused_total{code="budget_exceeded"} 1`,
		`valico_store_commits_total{result="ok"} 1`, `valico_store_commits_total{result="backend-unavailable"} 1`, `valico_store_commit_requests_sum 3`,
		`valico_dispatch_claims_total{result="ok"} 1`, `valico_dispatch_claimed_attempts_total 2`, `valico_dispatch_last_turn_timestamp_seconds 1050`,
		`valico_attempt_transitions_total{site="leonardo",to="done"} 1`, `valico_attempt_outcomes_total{outcome="ok",site="leonardo"} 1`,
		`valico_agent_calls_total{call="start",result="forbidden",site="leonardo"} 1`, `valico_agent_call_seconds_count{call="reports",site="leonardo"} 1`,
		`valico_record_up 1`, `valico_site_agent_up{site="leonardo"} 1`, `valico_queue_attempts{site="leonardo",state="queued"} 3`,
		`valico_queue_attempts{site="other",state="queued"} 3`, `valico_queue_oldest_seconds{site="leonardo",state="queued"} 60`,
		`valico_queue_oldest_seconds{site="other",state="queued"} 30`, `valico_queue_reviews 4`, `valico_outbox_events 5`,
		`valico_budget_granted_gpu_seconds{site="leonardo"} 100`, `valico_budget_used_gpu_seconds{site="leonardo"} 30`,
		`valico_budget_reserved_gpu_seconds{site="leonardo"} 20`, `valico_budget_allocations{site="leonardo",state="frozen"} 1`, `valico_budget_allocations{site="leonardo",state="overrun"} 1`,
	} {
		require.Contains(t, text, want+"\n")
	}
	require.NotContains(t, text, `code="x"`)
}

// An increase is not seen in a series that begins with its first event.
func TestWhatAnAlertWatchesIsThereBeforeItHappens(t *testing.T) {
	t.Parallel()
	m := metrics.New("test")
	m.NameSite(site, "leonardo")
	text := scrape(t, m)
	for _, want := range []string{
		`valico_store_commits_total{result="backend-unavailable"} 0`, `valico_policy_evaluations_total{verdict="error"} 0`,
		`valico_agent_calls_total{call="start",result="forbidden",site="leonardo"} 0`,
		`valico_agent_calls_total{call="reports",result="backend-unavailable",site="leonardo"} 0`,
		`valico_attempt_outcomes_total{outcome="lost",site="leonardo"} 0`,
	} {
		require.Contains(t, text, want+"\n")
	}
}

func TestARecordThatDoesNotAnswerIsAFigureAndNoFailedScrape(t *testing.T) {
	t.Parallel()
	text := scrape(t, exercise(t, record{errors.New("closed")}))
	require.Contains(t, text, "valico_record_up 0\n")
	require.Contains(t, text, "valico_decisions_total")
	require.NotContains(t, text, "valico_queue_attempts")
}

// P12: whatever comes as a code or a site, no identifier becomes a label and no
// label grows without end.
func TestLabelsAreBoundedAndNameNobody(t *testing.T) {
	t.Parallel()
	m := exercise(t, record{})
	before := strings.Count(scrape(t, m), "\n")
	for i := range 3000 {
		id := broker.NewID[string]("job")
		if i == 0 {
			id = "job_tenkzzgbdhxetyrxrtznpwypgc" // one that happens to have no digit
		}
		_, _ = m.Engine(engine{code: id}).Evaluate(t.Context(), nil)
		_, _ = m.Engine(engine{code: person}).Evaluate(t.Context(), nil)
		m.Moved(broker.SiteID(id), broker.Attempt{State: broker.AttemptState(id), Outcome: broker.Outcome(id)})
		m.Decided(broker.Decision{Kind: id, Verdict: broker.Verdict(id)})
		m.Refused(&broker.Error{Kind: broker.KindQuota, Code: fmt.Sprintf("code-%d", i)})
		_ = m.Site(broker.SiteID(id), agent{}).Stop(t.Context(), broker.AttemptID(id))
	}
	text := scrape(t, m)
	require.Less(t, strings.Count(text, "\n")-before, 40)
	require.NotRegexp(t, `job_[0-9a-z]{26}`, text)
	require.NotContains(t, text, person)
	require.NotContains(t, text, "permit-of-ada")
}

// names are the metrics of the registry, told by what they describe.
func names(t *testing.T) map[string]bool {
	t.Helper()
	m := metrics.New("test")
	require.NoError(t, m.Watch(record{}, func(broker.SiteID) bool { return true }, time.Now))
	ch := make(chan *prometheus.Desc, 1000)
	m.Gatherer().(prometheus.Collector).Describe(ch)
	close(ch)
	out := map[string]bool{}
	for d := range ch {
		name := regexp.MustCompile(`fqName: "([^"]+)"`).FindStringSubmatch(d.String())[1]
		if strings.HasPrefix(name, "valico_") {
			out[name] = true
		}
	}
	require.Greater(t, len(out), 20)
	return out
}

// A dashboard that asks for a metric that is not there shows an empty panel, and
// an alert never fires: both look like good news.
func TestEachMetricOfTheDashboardTheAlertsAndThePageExistsAndIsShown(t *testing.T) {
	t.Parallel()
	have, shown := names(t), map[string]bool{}
	for _, expr := range append(panels(t), alerts(t)...) {
		require.Equal(t, strings.Count(expr, "("), strings.Count(expr, ")"), expr)
		found := regexp.MustCompile(`valico_[a-z_]+`).FindAllString(expr, -1)
		require.NotEmpty(t, found, expr)
		for _, name := range found {
			base := name
			for _, suffix := range []string{"_bucket", "_sum", "_count"} {
				if s := strings.TrimSuffix(name, suffix); have[s] {
					base = s
				}
			}
			require.True(t, have[base], "%s does not exist: %s", name, expr)
			shown[base] = true
		}
	}
	require.Equal(t, have, shown, "a metric that nobody looks at")

	page, err := os.ReadFile(filepath.Join("..", "..", "docs", "metrics.md"))
	require.NoError(t, err)
	told := map[string]bool{}
	for _, name := range regexp.MustCompile("`(valico_[a-z_]+)`").FindAllStringSubmatch(string(page), -1) {
		told[name[1]] = true
	}
	require.Equal(t, have, told, "docs/metrics.md names each metric and no other")
}

// panels are the expressions of the dashboard.
func panels(t *testing.T) []string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("..", "..", "deploy", "grafana", "dashboard.json"))
	require.NoError(t, err)
	var d struct {
		Panels []struct {
			Type, Title string
			Targets     []struct{ Expr string }
		}
	}
	require.NoError(t, json.Unmarshal(b, &d))
	var out []string
	for _, p := range d.Panels {
		require.NotEmpty(t, p.Title)
		require.Equal(t, p.Type == "row", len(p.Targets) == 0, p.Title)
		for _, x := range p.Targets {
			out = append(out, x.Expr)
		}
	}
	return out
}

// alerts are the expressions of the rules, each of which says what helps.
func alerts(t *testing.T) []string {
	t.Helper()
	f, err := os.Open(filepath.Join("..", "..", "deploy", "grafana", "alerts.yaml"))
	require.NoError(t, err)
	defer f.Close() //nolint:errcheck // read only
	var d struct {
		Groups []struct {
			Name  string
			Rules []struct {
				Alert, Expr, For    string
				Labels, Annotations map[string]string
			}
		}
	}
	dec := yaml.NewDecoder(f)
	dec.KnownFields(true)
	require.NoError(t, dec.Decode(&d))
	var out []string
	seen := map[string]bool{}
	for _, g := range d.Groups {
		for _, r := range g.Rules {
			require.False(t, seen[r.Alert], r.Alert)
			seen[r.Alert] = true
			_, err := time.ParseDuration(r.For)
			require.NoError(t, err, r.Alert)
			require.Contains(t, []string{"critical", "warning", "info"}, r.Labels["severity"], r.Alert)
			require.NotEmpty(t, r.Annotations["summary"], r.Alert)
			require.NotEmpty(t, r.Annotations["description"], r.Alert)
			out = append(out, r.Expr)
		}
	}
	return out
}

var _ admission.Engine = engine{}

func TestAlertsOfAgentsAreCountedByCode(t *testing.T) {
	t.Parallel()
	m := metrics.New("1")
	m.NameSite(site, "leonardo")
	m.Alerted([]broker.SiteAlert{
		{Site: site, Code: "link_replay", Count: 3}, {Site: site, Code: "link_replay", Count: 5}, {Site: site, Code: person},
	})
	rec := httptest.NewRecorder()
	m.Handler().ServeHTTP(rec, httptest.NewRequest(http.MethodGet, "/metrics", nil))
	require.Contains(t, rec.Body.String(), `valico_site_alerts_total{code="link_replay",site="leonardo"} 2`)
	require.Contains(t, rec.Body.String(), `valico_site_alerts_total{code="other",site="leonardo"} 1`)
	require.NotContains(t, rec.Body.String(), person)
}
