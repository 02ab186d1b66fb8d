//go:build integration

package nomad_test

import (
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/valico-hpc/valico/adapters/adaptertest"
	"github.com/valico-hpc/valico/adapters/agent"
	"github.com/valico-hpc/valico/broker"
	nomadlab "github.com/valico-hpc/valico/deploy/lab/nomad"
)

func TestContractOnARealAgent(t *testing.T) {
	t.Parallel()
	var losers sync.Map
	build := func(t *testing.T) agent.Scheduler {
		t.Helper()
		c, l := settings(t), &loser{}
		c.Step = l.step
		s := open(t, c)
		losers.Store(s, l)
		return s
	}
	adaptertest.Run(t, adaptertest.Factory{
		New: build, Launch: func(t *testing.T) broker.Launch {
			t.Helper()
			return launch(t)
		}, Timeout: 60 * time.Second, Walltime: time.Second, Overtime: 20 * time.Second, Margin: margin, Many: 6,
		LoseAnswer: func(t *testing.T, s agent.Scheduler) {
			t.Helper()
			l, ok := losers.Load(s)
			require.True(t, ok)
			l.(*loser).lose(1)
		},
		Reopen: func(t *testing.T, _ agent.Scheduler) agent.Scheduler {
			t.Helper()
			return build(t)
		},
		Stranger: func(t *testing.T) (agent.Scheduler, string) {
			t.Helper()
			// A namespace belongs to one site: a stranger has another.
			c := settings(t)
			c.Namespace, c.TokenFile = nomadlab.Stranger, tokenFile(t, nomadlab.Stranger, neverForgotten)
			return open(t, c), other
		},
	})
}
