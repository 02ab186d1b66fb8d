//go:build integration

package slurmrest_test

import (
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/valico-hpc/valico/adapters/adaptertest"
	"github.com/valico-hpc/valico/adapters/agent"
	"github.com/valico-hpc/valico/adapters/slurmrest"
	"github.com/valico-hpc/valico/broker"
)

func TestContractOnARealSlurm(t *testing.T) {
	t.Parallel()
	var losers sync.Map
	build := func(t *testing.T) agent.Scheduler {
		t.Helper()
		c, l := settings(), &loser{}
		c.Step = l.step
		s := open(t, c)
		losers.Store(s, l)
		return s
	}
	adaptertest.Run(t, adaptertest.Factory{
		New: build, Launch: func(t *testing.T) broker.Launch {
			t.Helper()
			return launch(t)
		}, Timeout: 60 * time.Second,
		Walltime: time.Second, Overtime: 2 * time.Minute, // Slurm counts minutes and looks every 30 s
		Margin: 3 * time.Second, // the lab's KillWait
		LoseAnswer: func(t *testing.T, s agent.Scheduler) {
			t.Helper()
			l, ok := losers.Load(s)
			require.True(t, ok)
			l.(*loser).lose(1)
		},
		Reopen: func(t *testing.T, s agent.Scheduler) agent.Scheduler {
			t.Helper()
			require.NoError(t, s.(*slurmrest.Scheduler).Close())
			return build(t)
		},
		Stranger: func(t *testing.T) (agent.Scheduler, string) {
			t.Helper()
			return build(t), other
		},
	})
}
