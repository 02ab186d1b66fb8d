package local_test

import (
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/valico-hpc/valico/adapters/adaptertest"
	"github.com/valico-hpc/valico/adapters/agent"
	"github.com/valico-hpc/valico/adapters/local"
	"github.com/valico-hpc/valico/broker"
)

func TestLocalKeepsTheContractOfASchedulerOnRealProcesses(t *testing.T) { //nolint:paralleltest // the suite's own order
	adaptertest.Run(t, adaptertest.Factory{
		New: func(t *testing.T) agent.Scheduler {
			t.Helper()
			return open(t, local.Config{})
		},
		Launch: launch,
		Reopen: func(t *testing.T, s agent.Scheduler) agent.Scheduler {
			t.Helper()
			l, ok := s.(*local.Scheduler)
			require.True(t, ok)
			require.NoError(t, l.Close())
			return open(t, local.Config{Dir: l.Dir()})
		},
		Stranger: func(t *testing.T, s agent.Scheduler) (agent.Scheduler, string) {
			t.Helper()
			return s, "somebody else"
		},
		FailLaunch: func(t *testing.T, l *broker.Launch) agent.Scheduler {
			t.Helper()
			l.Argv = []string{filepath.Join(l.Dir, "missing")}
			return open(t, local.Config{})
		},
		Cannot: map[string]string{
			"LoseAnswer":     "its answer is a return value; a kill between any two of its steps is a test of its own",
			"Requeue":        "it has nothing that puts a launch back",
			"Preempt":        "no launch comes before another",
			"LoseNode":       "the node is this machine, and is lost with it",
			"OutOfMemory":    "it sets no memory limit; valico-exec does, and says so in the spool",
			"OverBudget":     "it keeps no budgets",
			"Kill":           "there is no daemon beside this process; see Reopen",
			"Hang":           "there is no daemon beside this process",
			"Expire":         "it has no credential",
			"Gibberish":      "it says its own words only",
			"LoseAccounting": "usage is in each launch's own record",
		},
	})
}
