package adaptertest

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/valico-hpc/valico/adapters/agent"
	"github.com/valico-hpc/valico/broker"
)

func (s suite) cancelQueued(t *testing.T) {
	t.Helper()
	sched, l := s.New(t), s.launch(t, "true")
	l.Hold = true
	require.NoError(t, sched.Submit(t.Context(), l))
	st := s.await(t, sched, l, s.Timeout, func(st agent.Status) bool { return st.State == agent.SchedulerQueued })
	require.False(t, st.Waiting.Zero(), "a queued launch says what it waits for")
	require.NoError(t, sched.Cancel(t.Context(), l))
	require.Equal(t, broker.OutcomeCancelled, s.await(t, sched, l, s.Timeout, ended).Outcome)
	require.Zero(t, starts(t, l))
}

func (s suite) cancelRunning(t *testing.T) {
	t.Helper()
	sched := s.New(t)
	l := s.launch(t, `trap 'echo term >"$d/term"; exit 5' TERM; echo ready >"$d/ready"; while :; do sleep 0.05; done`)
	require.NoError(t, sched.Submit(t.Context(), l))
	s.runs(t, sched, l)
	require.Eventually(t, func() bool { return exists(filepath.Join(l.Dir, "ready")) }, s.Timeout, 20*time.Millisecond)
	require.NoError(t, sched.Cancel(t.Context(), l))
	require.NoError(t, sched.Cancel(t.Context(), l), "twice is once")
	require.Equal(t, broker.OutcomeCancelled, s.await(t, sched, l, s.Timeout+s.Margin, ended).Outcome)
	require.FileExists(t, filepath.Join(l.Dir, "term"))
}

func (s suite) cancelDeaf(t *testing.T) {
	t.Helper()
	sched := s.New(t)
	l := s.launch(t, `trap '' TERM; echo ready >"$d/ready"; while :; do sleep 0.05; done`)
	require.NoError(t, sched.Submit(t.Context(), l))
	s.runs(t, sched, l)
	require.Eventually(t, func() bool { return exists(filepath.Join(l.Dir, "ready")) }, s.Timeout, 20*time.Millisecond)
	require.NoError(t, sched.Cancel(t.Context(), l))
	require.Equal(t, broker.OutcomeCancelled, s.await(t, sched, l, s.Timeout+4*s.Margin, ended).Outcome)
}

func (s suite) cancelEnded(t *testing.T) {
	t.Helper()
	sched, l := s.New(t), s.launch(t, "exit 4")
	require.NoError(t, sched.Cancel(t.Context(), l), "it is unknown")
	require.NoError(t, sched.Submit(t.Context(), l))
	s.await(t, sched, l, s.Timeout, ended)
	require.NoError(t, sched.Cancel(t.Context(), l))
	st := s.await(t, sched, l, s.Timeout, ended)
	require.Equal(t, broker.OutcomeExit, st.Outcome, "a late cancel changes nothing")
	require.Equal(t, 4, st.ExitCode)
}

func exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}
