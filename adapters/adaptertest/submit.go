package adaptertest

import (
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/valico-hpc/valico/adapters/agent"
	"github.com/valico-hpc/valico/broker"
)

func (s suite) twice(t *testing.T) {
	t.Helper()
	sched, l := s.New(t), s.short(t)
	s.submit(t, sched, l)
	s.submit(t, sched, l)
	s.await(t, sched, l, s.Timeout, ended)
	require.NoError(t, sched.Submit(t.Context(), l), "after its end too")
	s.await(t, sched, l, s.Timeout, ended)
	require.Equal(t, 1, s.Programs.Starts(t, l))
}

func (s suite) concurrent(t *testing.T) {
	t.Helper()
	sched, l := s.New(t), s.short(t)
	var wg sync.WaitGroup
	errs := make([]error, 8)
	for i := range errs {
		wg.Go(func() { errs[i] = sched.Submit(t.Context(), l) })
	}
	wg.Wait()
	for _, err := range errs {
		if err != nil { // an answer that is unknown is allowed; asking again settles it
			require.Equal(t, broker.KindUnavailable, broker.KindOf(err), "%v", err)
			s.submit(t, sched, l)
		}
	}
	s.await(t, sched, l, s.Timeout, ended)
	require.Equal(t, 1, s.Programs.Starts(t, l))
}

// The answer is lost on the wire: the scheduler has the launch, and we do not
// know it.
func (s suite) lostAnswer(t *testing.T) {
	t.Helper()
	if !s.applies(t, "LoseAnswer") {
		return
	}
	sched, lose := s.LoseAnswer(t)
	l := s.short(t)
	lose(t, l)
	err := sched.Submit(t.Context(), l)
	require.Equal(t, broker.KindUnavailable, broker.KindOf(err), "%v", err)
	s.submit(t, sched, l)
	st := s.await(t, sched, l, s.Timeout, ended)
	require.Equal(t, broker.OutcomeOK, st.Outcome)
	s.settled(t, sched, l, st, 1)
}

func (s suite) reopened(t *testing.T) {
	t.Helper()
	if !s.applies(t, "Reopen") {
		return
	}
	sched, l := s.New(t), s.waits(t)
	s.starts(t, sched, l)
	again := s.Reopen(t, sched)
	s.await(t, again, l, s.Timeout, running)
	s.submit(t, again, l)
	s.Programs.Release(t, l)
	s.await(t, again, l, s.Timeout, func(st agent.Status) bool {
		return st.State == agent.SchedulerEnded || st.State == agent.SchedulerGone
	})
	require.Equal(t, 1, s.Programs.Starts(t, l))
}

func (s suite) unknown(t *testing.T) {
	t.Helper()
	sched, l := s.New(t), s.short(t)
	_, err := sched.Find(t.Context(), l)
	require.Equal(t, broker.KindNotFound, broker.KindOf(err), "%v", err)
	_, err = sched.Usage(t.Context(), l)
	require.Equal(t, broker.KindNotFound, broker.KindOf(err), "%v", err)
}

func (s suite) otherOrder(t *testing.T) {
	t.Helper()
	sched, l := s.New(t), s.short(t)
	s.submit(t, sched, l)
	other := l
	other.OrderDigest = broker.DigestOf([]byte("another order"))
	_, err := sched.Find(t.Context(), other)
	require.Equal(t, broker.KindNotFound, broker.KindOf(err), "%v", err)
	require.NoError(t, sched.Cancel(t.Context(), other), "it must not reach ours either")
	require.Equal(t, broker.OutcomeOK, s.await(t, sched, l, s.Timeout, ended).Outcome)
}

// A stranger's job has our name. Where names belong to accounts, ours runs
// beside it; where a name is taken for all, ours is refused. Nowhere is theirs
// taken for ours, ended by us, or hindered.
func (s suite) stranger(t *testing.T) {
	t.Helper()
	if !s.applies(t, "Stranger") {
		return
	}
	sched, l := s.New(t), s.short(t)
	theirs, account := s.Stranger(t, sched)
	m := s.launch(t, Program{For: time.Second})
	m.Name, m.Account = l.Name, account // and the same order: only the account tells
	m.OrderDigest = l.OrderDigest
	s.submit(t, theirs, m)
	_, err := sched.Find(t.Context(), l)
	require.Equal(t, broker.KindNotFound, broker.KindOf(err), "%v", err)
	sts, err := sched.Watch(t.Context(), []broker.Launch{l})
	require.NoError(t, err)
	require.Empty(t, sts)
	require.NoError(t, sched.Cancel(t.Context(), l), "it must not reach theirs")
	if err := sched.Submit(t.Context(), l); err != nil {
		require.Equal(t, broker.KindInvalid, broker.KindOf(err), "%v", err)
		require.Equal(t, "launch_name_taken", broker.CodeOf(err))
		require.Zero(t, s.Programs.Starts(t, l))
	} else {
		require.Equal(t, broker.OutcomeOK, s.await(t, sched, l, s.Timeout, ended).Outcome)
		require.Equal(t, 1, s.Programs.Starts(t, l))
	}
	require.Equal(t, broker.OutcomeOK, s.await(t, theirs, m, s.Timeout, ended).Outcome)
}

func (s suite) watchMany(t *testing.T) {
	t.Helper()
	sched := s.New(t)
	var ls []broker.Launch
	for range s.Many {
		l := s.launch(t, Program{Exit: 3})
		s.submit(t, sched, l)
		ls = append(ls, l)
	}
	asked := append([]broker.Launch{s.short(t)}, ls...) // the first was never submitted
	var sts []agent.Status
	require.Eventually(t, func() bool {
		var err error
		sts, err = sched.Watch(t.Context(), asked)
		if err != nil || len(sts) != len(ls) {
			return false
		}
		for _, st := range sts {
			if !ended(st) {
				return false
			}
		}
		return true
	}, 2*s.Timeout, 50*time.Millisecond)
	names := map[string]bool{}
	for _, st := range sts {
		names[st.Name] = true
		require.Equal(t, 3, st.ExitCode)
	}
	require.Len(t, names, len(ls))
}
