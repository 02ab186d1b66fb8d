package app_test

import (
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/valico-hpc/valico/cmd/valico/app"
	"github.com/valico-hpc/valico/cmd/valico/demo"
)

func TestPrometheusReadsWhatABrokerDidAndNobodysName(t *testing.T) {
	t.Parallel()
	var data string
	w := setup(t, func(c *app.Config) { c.MetricsListen, data = "127.0.0.1:0", c.DataDir })
	job, err := w.submit(demo.Developer, w.job())
	require.NoError(t, err)
	job = w.ended(demo.Developer, job.ID)
	require.Equal(t, "succeeded", job.State)

	get := func(url string) (int, string) {
		t.Helper()
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
		require.NoError(t, err)
		res, err := http.DefaultClient.Do(req)
		require.NoError(t, err)
		defer res.Body.Close() //nolint:errcheck // read only
		b, err := io.ReadAll(res.Body)
		require.NoError(t, err)
		return res.StatusCode, string(b)
	}
	code, text := get(w.app.MetricsURL())
	require.Equal(t, http.StatusOK, code)
	for _, want := range []string{
		"valico_record_up 1", `valico_site_agent_up{site="local"} 1`, `valico_decisions_total{kind="admission",verdict="allow"} 1`,
		`valico_decisions_total{kind="clearance",verdict="allow"} 1`, `valico_attempt_outcomes_total{outcome="ok",site="local"} 1`,
		`valico_attempt_transitions_total{site="local",to="packaging"} 1`, `valico_attempt_transitions_total{site="local",to="submitting"} 1`,
		`valico_agent_calls_total{call="start",result="ok",site="local"} 1`, `valico_budget_granted_gpu_seconds{site="local"} 36000`,
		`valico_budget_allocations{site="local",state="used_up"} 0`, `valico_policy_evaluations_total{verdict="allow"} 2`,
	} {
		require.True(t, strings.Contains(text, want+"\n"), want)
	}
	for _, never := range []string{job.ID, job.Attempts[0].ID, w.Permit.ID, string(demo.Developer), "biotech", data} {
		require.False(t, strings.Contains(text, never), never)
	}
	code, _ = get(strings.TrimSuffix(w.app.MetricsURL(), "metrics"))
	require.Equal(t, http.StatusNotFound, code)
	code, _ = get(w.app.URL() + "/metrics")
	require.Equal(t, http.StatusNotFound, code, "the API, which a proxy shows to others, has no figures")
}

func TestFiguresAreServedOnLoopbackOnly(t *testing.T) {
	t.Parallel()
	c := app.DefaultConfig()
	c.DataDir = t.TempDir()
	require.NoError(t, c.Validate())
	for _, bad := range []string{"0.0.0.0:9100", ":9100", "192.0.2.1:9100", "9100", "example.org:9100"} {
		c.MetricsListen = bad
		require.ErrorContains(t, c.Validate(), "metrics_listen", bad)
	}
	c.MetricsListen = "[::1]:9100"
	require.NoError(t, c.Validate())
}
