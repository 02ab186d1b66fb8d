package adaptertest

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/valico-hpc/valico/adapters/agent"
	"github.com/valico-hpc/valico/broker"
)

func (s suite) exitCodes(t *testing.T) {
	t.Helper()
	sched := s.New(t)
	for _, c := range []struct {
		exit    int
		outcome broker.Outcome
	}{
		{0, broker.OutcomeOK}, {7, broker.OutcomeExit}, {77, broker.OutcomeExit},
	} {
		l := s.launch(t, Program{Exit: c.exit})
		s.submit(t, sched, l)
		st := s.await(t, sched, l, s.Timeout, ended)
		require.Equal(t, c.outcome, st.Outcome, "exit %d", c.exit)
		require.Equal(t, c.exit, st.ExitCode)
		require.Equal(t, l.Name, st.Name)
	}
}

func (s suite) walltime(t *testing.T) {
	t.Helper()
	sched, l := s.New(t), s.waits(t)
	l.Resources.Walltime = s.Walltime
	s.submit(t, sched, l)
	st := s.await(t, sched, l, s.Timeout+s.Walltime+s.Overtime, ended)
	require.Equal(t, broker.OutcomeWalltime, st.Outcome)
	s.settled(t, sched, l, st, 1)
}

func (s suite) usage(t *testing.T) {
	t.Helper()
	sched, l := s.New(t), s.launch(t, Program{For: 1200 * time.Millisecond})
	s.submit(t, sched, l)
	s.await(t, sched, l, s.Timeout, ended)
	u := s.used(t, sched, l)
	require.GreaterOrEqual(t, u.Elapsed, time.Second)
	require.Equal(t, int64(l.Resources.GPUs())*int64(u.Elapsed/time.Second), u.GPUSeconds)
}

// struck runs a launch, lets a fault of the site end it, and asserts how that
// is told: the outcome, one start whatever the scheduler would do next, and the
// time that it held its GPUs, over all its incarnations.
func (s suite) struck(t *testing.T, hook string, provoke func(*testing.T) (agent.Scheduler, Fault), want broker.Outcome) {
	t.Helper()
	if !s.applies(t, hook) {
		return
	}
	sched, fault := provoke(t)
	l := s.waits(t)
	s.starts(t, sched, l)
	began := time.Now()
	require.Eventually(t, func() bool { return time.Since(began) > 1100*time.Millisecond }, s.Timeout, 50*time.Millisecond,
		"it runs for a time that can be accounted")
	fault(t, l)
	st := s.await(t, sched, l, 2*s.Timeout, ended)
	require.Equal(t, want, st.Outcome)
	u := s.used(t, sched, l)
	require.Positive(t, u.GPUSeconds, "the GPUs were held until then")
	s.settled(t, sched, l, st, 1)
}

func (s suite) requeued(t *testing.T) {
	t.Helper()
	s.struck(t, "Requeue", s.Requeue, broker.OutcomePreempted)
}

func (s suite) preempted(t *testing.T) {
	t.Helper()
	s.struck(t, "Preempt", s.Preempt, broker.OutcomePreempted)
}

func (s suite) nodeLost(t *testing.T) {
	t.Helper()
	s.struck(t, "LoseNode", s.LoseNode, broker.OutcomeNodeFail)
}

func (s suite) outOfMemory(t *testing.T) {
	t.Helper()
	s.struck(t, "OutOfMemory", s.OutOfMemory, broker.OutcomeOOM)
}

func (s suite) launchFailed(t *testing.T) {
	t.Helper()
	if !s.applies(t, "FailLaunch") {
		return
	}
	l := s.waits(t)
	sched := s.FailLaunch(t, &l)
	s.submit(t, sched, l)
	st := s.await(t, sched, l, 2*s.Timeout, ended)
	require.Equal(t, broker.OutcomeLaunchFailed, st.Outcome)
	s.settled(t, sched, l, st, 0)
}

// The design leaves no launch pending for ever: it is ended, and the code says
// why, so that a person need not look at the scheduler.
func (s suite) overBudget(t *testing.T) {
	t.Helper()
	if !s.applies(t, "OverBudget") {
		return
	}
	l := s.waits(t)
	sched := s.OverBudget(t, &l)
	s.submit(t, sched, l)
	st := s.await(t, sched, l, s.Timeout, ended)
	require.Equal(t, broker.OutcomeLaunchFailed, st.Outcome)
	require.Equal(t, broker.WaitBudgetAtSite, st.Waiting.Code)
	s.settled(t, sched, l, st, 0)
}
