package agent_test

import (
	"fmt"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/valico-hpc/valico/adapters/agent"
	"github.com/valico-hpc/valico/broker"
)

func TestTheOutcomeIsTheSpoolsUnlessTheSchedulerKnowsWhyTERMCame(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		marked       bool
		spool, sched broker.Outcome
		state        agent.SchedulerState
		want         broker.Outcome
		code         string
	}{
		"spool ok, scheduler cancelled":       {true, broker.OutcomeOK, broker.OutcomeCancelled, agent.SchedulerEnded, broker.OutcomeOK, ""},
		"spool exit, scheduler gone":          {true, broker.OutcomeExit, "", agent.SchedulerGone, broker.OutcomeExit, ""},
		"spool cancelled, scheduler walltime": {true, broker.OutcomeCancelled, broker.OutcomeWalltime, agent.SchedulerEnded, broker.OutcomeWalltime, "scheduler_walltime"},
		"spool cancelled, scheduler exit":     {true, broker.OutcomeCancelled, broker.OutcomeExit, agent.SchedulerEnded, broker.OutcomeCancelled, ""},
		"no spool, scheduler oom":             {true, "", broker.OutcomeOOM, agent.SchedulerEnded, broker.OutcomeOOM, "scheduler_oom"},
		"no spool, scheduler node_fail":       {true, "", broker.OutcomeNodeFail, agent.SchedulerEnded, broker.OutcomeNodeFail, "scheduler_node_fail"},
		"no spool, scheduler ok":              {true, "", broker.OutcomeOK, agent.SchedulerEnded, broker.OutcomeLost, "no_outcome"},
		"no spool, process gone":              {true, "", "", agent.SchedulerGone, broker.OutcomeLost, "no_outcome"},
		"never started, process gone":         {false, "", "", agent.SchedulerGone, broker.OutcomeLaunchFailed, "never_started"},
		"an outcome nobody knows":             {true, "splendid", broker.OutcomeOK, agent.SchedulerEnded, broker.OutcomeLost, "no_outcome"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newSite(t)
			s.sched.work = func(l broker.Launch) agent.Status {
				if c.marked {
					require.True(t, s.mark(l))
					require.NoError(t, s.spool(l, c.spool))
				}
				return agent.Status{State: c.state, Outcome: c.sched}
			}
			a := s.open(s.config())
			require.NoError(t, a.Start(t.Context(), s.auth.Issue(t, att, nil)))
			r := s.finish(a, att)
			require.Equal(t, c.want, r.Outcome)
			require.Equal(t, c.code, r.Code)
			l := broker.Launch{Dir: filepath.Join(s.dir, "attempts", string(att))}
			require.False(t, s.mark(l), "it can never start again")
		})
	}
}

func TestALaunchTheSchedulerForgotIsLostNotStartedAgain(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.sched.work = func(l broker.Launch) agent.Status {
		require.True(t, s.mark(l))
		return agent.Status{State: agent.SchedulerRunning}
	}
	a := s.open(s.config())
	require.NoError(t, a.Start(t.Context(), s.auth.Issue(t, att, nil)))
	a.Turn(t.Context())
	s.sched.mu.Lock()
	delete(s.sched.jobs, string(att))
	s.sched.mu.Unlock()
	require.Equal(t, broker.OutcomeLost, s.finish(a, att).Outcome)
	require.Equal(t, 1, s.sched.submits)
}

func TestAnOutcomeWaitsForTelemetryForAWhileAndNoLonger(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.tel.set(errAway)
	a := s.open(s.config())
	require.NoError(t, a.Start(t.Context(), s.auth.Issue(t, att, nil)))
	for range 5 {
		a.Turn(t.Context())
		s.clock.add(time.Second)
	}
	require.Equal(t, broker.AttemptSealing, s.report(a, att).State)
	s.clock.add(10 * time.Second)
	require.Equal(t, broker.AttemptDone, s.report(a, att).State)
	again := s.open(s.config()) // a restart while telemetry is away
	s.tel.set(nil)
	again.Turn(t.Context())
	require.Equal(t, []string{"order_accepted", "started", "loss", "stdout", "gpu_missing", "ended", "outputs_sealed"}, s.tel.names(att))
}

func TestTheTelemetryLevelHoldsBackWhatItMust(t *testing.T) {
	t.Parallel()
	for level, want := range map[string][]string{
		"metrics": {"order_accepted", "started", "loss", "gpu_missing", "ended", "telemetry_held", "outputs_sealed"},
		"sealed":  {"order_accepted", "started", "gpu_missing", "ended", "telemetry_held", "outputs_sealed"},
	} {
		s := newSite(t)
		s.auth.Telemetry = level
		a := s.open(s.config())
		require.NoError(t, a.Start(t.Context(), s.auth.Issue(t, att, nil)))
		s.finish(a, att)
		require.Equal(t, want, s.tel.names(att), level)
		require.NotContains(t, fmt.Sprintf("%+v", s.tel.events), "patient")
		require.NotContains(t, fmt.Sprintf("%+v", s.tel.events), "words")
	}
}
