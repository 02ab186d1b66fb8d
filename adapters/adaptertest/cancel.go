package adaptertest

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/valico-hpc/valico/broker"
)

func (s suite) cancelQueued(t *testing.T) {
	t.Helper()
	sched, l := s.New(t), s.launch(t, Program{})
	l.Hold = true
	s.submit(t, sched, l)
	st := s.await(t, sched, l, s.Timeout, queued)
	require.NotEmpty(t, st.Waiting.Code, "a queued launch says what it waits for")
	require.NoError(t, sched.Cancel(t.Context(), l))
	st = s.await(t, sched, l, s.Timeout, ended)
	require.Equal(t, broker.OutcomeCancelled, st.Outcome)
	s.settled(t, sched, l, st, 0)
}

func (s suite) cancelRunning(t *testing.T) {
	t.Helper()
	sched, l := s.New(t), s.launch(t, Program{Wait: true, Term: TermNoted})
	s.starts(t, sched, l)
	require.NoError(t, sched.Cancel(t.Context(), l))
	require.NoError(t, sched.Cancel(t.Context(), l), "twice is once")
	st := s.await(t, sched, l, s.Timeout+s.Margin, ended)
	require.Equal(t, broker.OutcomeCancelled, st.Outcome)
	require.True(t, s.Programs.Noted(t, l), "TERM came first")
	s.settled(t, sched, l, st, 1)
}

func (s suite) cancelDeaf(t *testing.T) {
	t.Helper()
	sched, l := s.New(t), s.launch(t, Program{Wait: true, Term: TermDeaf})
	s.starts(t, sched, l)
	require.NoError(t, sched.Cancel(t.Context(), l))
	require.Equal(t, broker.OutcomeCancelled, s.await(t, sched, l, s.Timeout+4*s.Margin, ended).Outcome)
}

func (s suite) cancelEnded(t *testing.T) {
	t.Helper()
	sched, l := s.New(t), s.launch(t, Program{Exit: 4})
	require.NoError(t, sched.Cancel(t.Context(), l), "it is unknown")
	s.submit(t, sched, l)
	s.await(t, sched, l, s.Timeout, ended)
	require.NoError(t, sched.Cancel(t.Context(), l))
	st := s.await(t, sched, l, s.Timeout, ended)
	require.Equal(t, broker.OutcomeExit, st.Outcome, "a late cancel changes nothing")
	require.Equal(t, 4, st.ExitCode)
	s.settled(t, sched, l, st, 1)
}
