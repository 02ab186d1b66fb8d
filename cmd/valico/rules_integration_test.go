//go:build integration

package main_test

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.yaml.in/yaml/v3"

	"github.com/valico-hpc/valico/broker"
	"github.com/valico-hpc/valico/cmd/valico/app"
	"github.com/valico-hpc/valico/cmd/valico/demo"
)

// No job may run for longer than a minute at this site, whatever anybody decided.
const shortJobs = `package site

decision := {"verdict": "allow", "reasons": [], "obligations": []} if short

decision := {
	"verdict": "deny", "obligations": [],
	"reasons": [{"code": "runs_too_long", "basis": "contract", "params": {}, "path": "order.walltime_seconds"}],
} if not short

short if {
	input.order.walltime_seconds <= 60
	input.spec.name != ""
	input.permit.permit_id != ""
	input.image.config.os == "linux"
}
`

func TestASitesOwnRulesStopWhatTheBrokerCleared(t *testing.T) {
	t.Parallel()
	r := newRemote(t, nil)
	dir := filepath.Join(r.Public, "rules")
	require.NoError(t, os.Mkdir(dir, 0o755))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "short.rego"), []byte(shortJobs), 0o644))
	pin := func(d broker.Digest) {
		c, err := app.LoadAgentConfig(r.Etc("agent.yaml"))
		require.NoError(t, err)
		c.Rules = app.RulesConfig{Dir: dir, Digest: d}
		b, err := yaml.Marshal(c)
		require.NoError(t, err)
		require.NoError(t, os.WriteFile(r.Etc("agent.yaml"), b, 0o644))
	}
	pin(broker.DigestOf([]byte("other rules")))
	out, err := r.Valico("agent", "--config", r.Etc("agent.yaml"), "--check-config").CombinedOutput()
	require.Error(t, err, "rules that nobody pinned")
	digest := regexp.MustCompile(`have the digest (sha256:[0-9a-f]{64})`).FindStringSubmatch(string(out))
	require.Len(t, digest, 2, "%s", out)

	pin(broker.Digest(digest[1]))
	out, err = r.Valico("agent", "--config", r.Etc("agent.yaml"), "--check-config").CombinedOutput()
	require.NoError(t, err, "%s", out)
	r.StartAgent()
	job := r.submit("long", "") // two minutes of walltime
	job = r.until(job.ID, over)
	require.Equal(t, "failed", job.State, "%s", r.AgentLog())
	require.Equal(t, string(broker.OutcomeLaunchFailed), job.Attempts[0].Outcome)
	require.Equal(t, "site_rules", job.Attempts[0].Code)
	require.Eventually(t, func() bool {
		all, err := r.World.Client(demo.Developer).Events(t.Context(), job.ID, 0)
		said := strings.Contains(fmt.Sprint(all.Events), "runs_too_long")
		return err == nil && said
	}, time.Minute, 100*time.Millisecond, "the person is told which rule")
	r.EndAgent(syscall.SIGTERM)
}
