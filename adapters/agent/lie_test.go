package agent_test

import (
	"context"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/valico-hpc/valico/adapters/agent"
	"github.com/valico-hpc/valico/adapters/order"
	"github.com/valico-hpc/valico/adapters/ordertest"
	"github.com/valico-hpc/valico/broker"
	"github.com/valico-hpc/valico/broker/spool"
)

// unaccounted is a scheduler whose accounting knows nothing.
type unaccounted struct{ *machine }

func (unaccounted) Usage(context.Context, broker.Launch) (broker.Usage, error) {
	return broker.Usage{}, broker.NotFound("usage", "")
}

// lie runs an attempt whose account wrote the spool itself.
func lie(t *testing.T, s *site, c agent.Config, records ...spool.Record) broker.AttemptReport {
	t.Helper()
	s.sched.work = func(l broker.Launch) agent.Status {
		require.True(t, s.mark(l))
		w, err := spool.Create(filepath.Join(l.Dir, "spool"))
		require.NoError(t, err)
		for _, r := range records {
			require.NoError(t, w.Append(r))
		}
		require.NoError(t, w.Close())
		return agent.Status{State: agent.SchedulerEnded, Outcome: broker.OutcomeOK}
	}
	a := s.open(c)
	require.NoError(t, a.Start(t.Context(), s.auth.Issue(t, att, nil)))
	return s.finish(a, att)
}

func TestASpoolCannotMoveTheTimesOfItsAttempt(t *testing.T) {
	t.Parallel()
	for name, at := range map[string]time.Time{
		"long ago":         time.Date(1066, 10, 14, 0, 0, 0, 0, time.UTC),
		"in a far future":  time.Date(9998, 1, 1, 0, 0, 0, 0, time.UTC),
		"before it was us": time.Date(2026, 3, 2, 8, 0, 0, 0, time.UTC),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newSite(t)
			r := lie(t, s, s.config(),
				spool.Record{Kind: spool.KindStarted, At: at},
				spool.Record{Kind: spool.KindOutcome, At: at, Outcome: string(broker.OutcomeOK)})
			for _, x := range []time.Time{r.StartedAt, r.FinishedAt} {
				require.False(t, x.Before(s.auth.Now), "not before the order was accepted: %s", x)
				require.False(t, x.After(s.clock.Now()), "not after now: %s", x)
			}
		})
	}
}

func TestASpoolCannotBillLessThanNothingOrMoreThanItsLimits(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	c := s.config()
	c.Scheduler = unaccounted{s.sched}
	r := lie(t, s, c,
		spool.Record{Kind: spool.KindStarted, At: s.clock.Now()},
		spool.Record{Kind: spool.KindOutcome, At: s.clock.Now(), Outcome: string(broker.OutcomeOK), ElapsedSeconds: math.MaxInt64 / 2})
	require.Equal(t, "spool", r.Usage.Method)
	require.Equal(t, 10*time.Minute+10*time.Second, r.Usage.Elapsed, "walltime and kill margin")
	require.EqualValues(t, 610*s.auth.GPUs, r.Usage.GPUSeconds)
}

func TestMetricsWithoutFullTelemetryAreNumbersUnderPlainNames(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.auth.Telemetry = "metrics"
	lie(t, s, s.config(),
		spool.Record{Kind: spool.KindStarted, At: s.clock.Now()},
		spool.Record{Kind: spool.KindMetric, At: s.clock.Now(), Name: "loss", Value: 0.5},
		spool.Record{Kind: spool.KindMetric, At: s.clock.Now(), Name: "patient 4711 has\x1b[2J", Value: 1},
		spool.Record{Kind: spool.KindMetric, At: s.clock.Now(), Name: strings.Repeat("canary", 12), Value: 1},
		spool.Record{Kind: spool.KindOutcome, At: s.clock.Now(), Outcome: string(broker.OutcomeOK)})
	require.Contains(t, s.tel.names(att), "loss")
	said := fmt.Sprintf("%+v", s.tel.events)
	require.NotContains(t, said, "4711")
	require.NotContains(t, said, "canary")
}

func TestAnExitCodeCarriesNothingOutButFailure(t *testing.T) {
	t.Parallel()
	for level, want := range map[string]struct {
		exit int
		code string
	}{"full": {47, "signal_11"}, "metrics": {1, "failed"}, "sealed": {1, "failed"}} {
		s := newSite(t)
		s.auth.Telemetry = level
		r := lie(t, s, s.config(),
			spool.Record{Kind: spool.KindStarted, At: s.clock.Now()},
			spool.Record{Kind: spool.KindOutcome, At: s.clock.Now(), Outcome: string(broker.OutcomeExit), ExitCode: 47, Code: "signal_11"})
		require.Equal(t, want.exit, r.ExitCode, level)
		require.Equal(t, want.code, r.Code, level)
		said := fmt.Sprintf("%+v", s.tel.events)
		require.Equal(t, level == "full", strings.Contains(said, "exit code 47"), level)
		require.Equal(t, level == "full", strings.Contains(said, "signal_11"), level)
	}
}

func TestALinkInTheSpoolsPlaceIsDamageAndNotForEver(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	secret := filepath.Join(t.TempDir(), "secret")
	require.NoError(t, os.WriteFile(secret, []byte("secret"), 0o600))
	s.sched.work = func(l broker.Launch) agent.Status {
		require.True(t, s.mark(l))
		require.NoError(t, os.Symlink(secret, filepath.Join(l.Dir, "spool")))
		return agent.Status{State: agent.SchedulerEnded, Outcome: broker.OutcomeOK}
	}
	a := s.open(s.config())
	require.NoError(t, a.Start(t.Context(), s.auth.Issue(t, att, nil)))
	r := s.finish(a, att)
	require.Equal(t, broker.OutcomeLost, r.Outcome)
	require.Equal(t, "spool_damaged", r.Code)
}

func TestAnOrderThatNobodySignedSpeaksForNoJob(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	a := s.open(s.config())
	forged := ordertest.New(t, s.auth.Now).Issue(t, att, nil)
	require.Equal(t, order.CodeKeyUnknown, broker.CodeOf(a.Start(t.Context(), forged)))
	require.Empty(t, s.tel.names(att), "its word would stand first among the job's events")
	require.NoError(t, a.Start(t.Context(), s.auth.Issue(t, att, nil)))
	require.Equal(t, broker.OutcomeOK, s.finish(a, att).Outcome)
	require.Equal(t, "order_accepted", s.tel.names(att)[0])
}
