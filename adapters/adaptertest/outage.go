package adaptertest

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/valico-hpc/valico/adapters/agent"
	"github.com/valico-hpc/valico/broker"
)

// codeOutage is what an outage is called, and nothing else.
const codeOutage = "scheduler_unavailable"

// killed takes the daemon away while a launch runs, and while another one is
// submitted.
func (s suite) killed(t *testing.T) {
	t.Helper()
	if !s.applies(t, "Kill") {
		return
	}
	sched, l, m := s.New(t), s.waits(t), s.short(t)
	s.starts(t, sched, l)
	begin := s.Kill(t)
	var err error
	require.Eventually(t, func() bool {
		_, err = sched.Find(t.Context(), l)
		return err != nil
	}, s.Timeout, 20*time.Millisecond)
	ctx, cancel := context.WithTimeout(t.Context(), s.Timeout)
	defer cancel()
	_, err = sched.Find(ctx, l)
	require.Equal(t, broker.KindUnavailable, broker.KindOf(err), "%v", err)
	require.Equal(t, codeOutage, broker.CodeOf(err), "%v", err)
	err = sched.Submit(ctx, m)
	require.Equal(t, broker.KindUnavailable, broker.KindOf(err), "%v", err)
	begin()
	s.recovered(t, sched, l, m)
}

// hung lets the daemon hear and not answer.
func (s suite) hung(t *testing.T) {
	t.Helper()
	if !s.applies(t, "Hang") {
		return
	}
	sched, l, m := s.New(t), s.waits(t), s.short(t)
	s.starts(t, sched, l)
	resume := s.Hang(t)
	const limit = 2 * time.Second
	for op, call := range map[string]func(context.Context) error{
		"find":   func(ctx context.Context) error { _, err := sched.Find(ctx, l); return err },
		"submit": func(ctx context.Context) error { return sched.Submit(ctx, m) },
	} {
		ctx, cancel := context.WithTimeout(t.Context(), limit)
		done := make(chan error, 1)
		go func() { done <- call(ctx) }()
		select {
		case err := <-done:
			require.Equal(t, broker.KindUnavailable, broker.KindOf(err), "%s: %v", op, err)
			require.Equal(t, codeOutage, broker.CodeOf(err), "%s: %v", op, err)
		case <-time.After(limit + s.Timeout):
			t.Errorf("%s went on long after its deadline", op)
		}
		cancel()
	}
	resume()
	s.recovered(t, sched, l, m)
}

// recovered asserts that an outage lost nothing: what ran goes on to its own
// end, and what was being submitted starts once.
func (s suite) recovered(t *testing.T, sched agent.Scheduler, l, m broker.Launch) {
	t.Helper()
	s.await(t, sched, l, 2*s.Timeout, running)
	s.submit(t, sched, l)
	s.submit(t, sched, m)
	st := s.await(t, sched, m, 2*s.Timeout, ended)
	require.Equal(t, broker.OutcomeOK, st.Outcome)
	s.settled(t, sched, m, st, 1)
	s.Programs.Release(t, l)
	st = s.await(t, sched, l, s.Timeout, ended)
	require.Equal(t, broker.OutcomeOK, st.Outcome)
	s.settled(t, sched, l, st, 1)
}

func (s suite) expired(t *testing.T) {
	t.Helper()
	if !s.applies(t, "Expire") {
		return
	}
	sched, expire, renew := s.Expire(t)
	l, m := s.waits(t), s.short(t)
	s.starts(t, sched, l)
	expire()
	code := ""
	for op, call := range map[string]func() error{
		"find":   func() error { _, err := sched.Find(t.Context(), l); return err },
		"cancel": func() error { return sched.Cancel(t.Context(), l) },
		"submit": func() error { return sched.Submit(t.Context(), m) },
	} {
		err := call()
		require.Equal(t, broker.KindUnavailable, broker.KindOf(err), "%s: %v", op, err)
		require.NotEqual(t, codeOutage, broker.CodeOf(err), "%s: %v", op, err)
		require.True(t, code == "" || code == broker.CodeOf(err), "one code, whatever was asked for: %s: %v", op, err)
		code = broker.CodeOf(err)
	}
	renew()
	s.recovered(t, sched, l, m)
}

// gibberish: an unknown word ends nothing and is counted; what is known again
// afterwards is believed.
func (s suite) gibberish(t *testing.T) {
	t.Helper()
	if !s.applies(t, "Gibberish") {
		return
	}
	sched, gibber, plain := s.Gibberish(t)
	counts, ok := sched.(interface{ Unknowns() int64 })
	require.True(t, ok, "a scheduler counts the words that it does not know")
	l := s.waits(t)
	s.starts(t, sched, l)
	before := counts.Unknowns()
	gibber()
	st := s.await(t, sched, l, s.Timeout, func(st agent.Status) bool { return st.State == agent.SchedulerUnknown })
	require.Empty(t, st.Outcome)
	sts, err := sched.Watch(t.Context(), []broker.Launch{l})
	require.NoError(t, err)
	require.Len(t, sts, 1)
	require.Equal(t, agent.SchedulerUnknown, sts[0].State)
	require.Greater(t, counts.Unknowns(), before)
	_, err = sched.Usage(t.Context(), l)
	require.Equal(t, broker.KindUnavailable, broker.KindOf(err), "%v", err)
	plain()
	s.await(t, sched, l, s.Timeout, running)
	s.Programs.Release(t, l)
	st = s.await(t, sched, l, s.Timeout, ended)
	require.Equal(t, broker.OutcomeOK, st.Outcome)
	s.settled(t, sched, l, st, 1)
}

func (s suite) accountingLost(t *testing.T) {
	t.Helper()
	if !s.applies(t, "LoseAccounting") {
		return
	}
	sched, l := s.New(t), s.launch(t, Program{For: 1200 * time.Millisecond})
	s.starts(t, sched, l)
	begin := s.LoseAccounting(t)
	st := s.await(t, sched, l, 2*s.Timeout, ended)
	require.Equal(t, broker.OutcomeOK, st.Outcome, "the end is told without it")
	u, err := sched.Usage(t.Context(), l)
	require.Equal(t, broker.KindUnavailable, broker.KindOf(err), "%+v, %v", u, err)
	require.Zero(t, u)
	begin()
	u = s.used(t, sched, l)
	require.GreaterOrEqual(t, u.Elapsed, time.Second)
	require.Equal(t, int64(l.Resources.GPUs())*int64(u.Elapsed/time.Second), u.GPUSeconds)
	s.settled(t, sched, l, st, 1)
}
