package agent

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/valico-hpc/valico/broker"
	"github.com/valico-hpc/valico/broker/spool"
)

func TestTheEndsOfAllRanksAreJoined(t *testing.T) {
	t.Parallel()
	at := time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC)
	rank := func(outcome broker.Outcome, code string, after time.Duration) scan {
		return scan{started: at.Add(after), outcome: &spool.Record{
			Kind: spool.KindOutcome, Outcome: string(outcome), Code: code, At: at.Add(after), ElapsedSeconds: int64(after / time.Second),
		}}
	}
	const s = time.Second
	ok, more := rank(broker.OutcomeOK, "", 5*s), rank(broker.OutcomeExit, broker.CodeCheckpoint, 3*s)
	cancelled, running := rank(broker.OutcomeCancelled, "cancelled", 4*s), scan{started: at}
	for name, c := range map[string]struct {
		ranks   []scan
		outcome broker.Outcome // "" for none
		code    string
	}{
		"all well":                           {[]scan{ok, ok, ok}, broker.OutcomeOK, ""},
		"one runs still":                     {[]scan{ok, running}, "", ""},
		"one never began":                    {[]scan{ok, {}}, "", ""},
		"one failed":                         {[]scan{ok, rank(broker.OutcomeExit, "exit_code", 4*s)}, broker.OutcomeExit, "exit_code"},
		"one failed and ended the others":    {[]scan{cancelled, rank(broker.OutcomeOOM, "oom", 9*s)}, broker.OutcomeOOM, "oom"},
		"one failed and another said no end": {[]scan{running, rank(broker.OutcomeOOM, "oom", 9*s)}, broker.OutcomeOOM, "oom"},
		"the earliest failure": {
			[]scan{rank(broker.OutcomeExit, "exit_code", 8*s), rank(broker.OutcomeOOM, "oom", 7*s)}, broker.OutcomeOOM, "oom",
		},
		"all wrote their checkpoint":       {[]scan{more, more}, broker.OutcomeExit, broker.CodeCheckpoint},
		"one wrote it, the other was done": {[]scan{ok, more}, broker.OutcomeExit, broker.CodeCheckpoint},
		"one wrote it, the other is gone":  {[]scan{more, running}, "", ""},
		"one wrote it, the other was ended": {
			[]scan{more, cancelled}, broker.OutcomeCancelled, "cancelled",
		},
		"time is over for all": {
			[]scan{rank(broker.OutcomeWalltime, "walltime", 9*s), rank(broker.OutcomeWalltime, "walltime", 9*s)}, broker.OutcomeWalltime, "walltime",
		},
	} {
		got := joined(c.ranks)
		if c.outcome == "" {
			require.Nil(t, got.outcome, name)
			continue
		}
		require.NotNil(t, got.outcome, name)
		require.Equal(t, string(c.outcome), got.outcome.Outcome, name)
		require.Equal(t, c.code, got.outcome.Code, name)
		for _, r := range c.ranks {
			if r.outcome != nil {
				require.GreaterOrEqual(t, got.outcome.ElapsedSeconds, r.outcome.ElapsedSeconds, name)
			}
		}
	}
}
