package sqlite_test

import (
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/valico-hpc/valico/broker"
	"github.com/valico-hpc/valico/broker/dispatch"
	"github.com/valico-hpc/valico/broker/store/sqlite"
	"github.com/valico-hpc/valico/broker/store/storetest"
)

// TestACrashBetweenAnyTwoStepsKeepsTheBudgetExact cuts the file off after each
// step of three lives and goes on with the copy.
func TestACrashBetweenAnyTwoStepsKeepsTheBudgetExact(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	path := filepath.Join(dir, "0.db")
	s := open(t, path)
	f := storetest.Fill(t, s, 100)
	cuts := 0
	crash := func(reserved, used int64) {
		t.Helper()
		cuts++
		next := filepath.Join(dir, time.Now().Format("150405.000000000")+".db")
		require.NoError(t, s.Write(t.Context(), func(w sqlite.Writing) error {
			if _, err := w.Exec(`UPDATE allocation SET used = used + 1000`); err != nil { // was never committed
				return err
			}
			if err := copyFile(path, next); err != nil {
				return err
			}
			if err := copyFile(path+"-wal", next+"-wal"); err != nil {
				return err
			}
			_, err := w.Exec(`UPDATE allocation SET used = used - 1000`)
			return err
		}))
		path = next
		s = open(t, path)
		f.Store = s
		g := f.Grant(t)
		require.Equal(t, reserved, g.Reserved)
		require.Equal(t, used, g.Used)
	}
	end := func(ch dispatch.Change, c *dispatch.Claimed, held, used, booked int64) {
		t.Helper()
		again := *c
		f.Take(t, c, ch)
		crash(0, used+booked)
		_, err := s.Advance(t.Context(), again, ch) // the crashed holder tries once more
		require.Error(t, err)
		require.Equal(t, used+booked, f.Grant(t).Used)
		require.Positive(t, held)
	}

	_, a := f.Admit(t, 60)
	crash(60, 0)
	c := f.Claim(t, a.ID)
	crash(60, 0)
	f.Take(t, &c, dispatch.Change{To: broker.AttemptClearing, Image: storetest.Image()})
	crash(60, 0)
	d, err := s.Clear(t.Context(), f.Clearance(c, broker.VerdictAllow))
	require.NoError(t, err)
	crash(60, 0)
	for _, ch := range []dispatch.Change{
		storetest.Ready(d),
		{To: broker.AttemptSubmitting, JobTo: broker.JobActive},
		{To: broker.AttemptQueued},
		{To: broker.AttemptRunning, StartedAt: time.Now()},
		{To: broker.AttemptSealing, Outputs: storetest.Sealed(a.ID)},
	} {
		f.Take(t, &c, ch)
		crash(60, 0)
	}
	end(storetest.Done(broker.OutcomeOK, 45), &c, 60, 0, 45)

	_, b := f.Admit(t, 50)
	crash(50, 45)
	c = f.Claim(t, b.ID)
	end(storetest.Done(broker.OutcomeCancelled, 0), &c, 50, 45, 0)

	r := f.Admission(t, broker.VerdictAllow, 56)
	_, _, err = s.Admit(t.Context(), r)
	require.Equal(t, broker.KindQuota, broker.KindOf(err))
	crash(0, 45)
	_, e := f.Admit(t, 55)
	c = f.ToRunning(t, e.ID)
	crash(55, 45)
	end(storetest.Done(broker.OutcomeWalltime, 80), &c, 55, 45, 80) // overrun is booked …
	_, _, err = s.Admit(t.Context(), f.Admission(t, broker.VerdictAllow, 1))
	require.Equal(t, broker.KindQuota, broker.KindOf(err)) // … and blocks the next
	t.Logf("%d crashes", cuts)
}

func TestAnEventThatWasSentAndDidNotArriveIsGivenOutAgain(t *testing.T) {
	t.Parallel()
	now := time.Now()
	s, err := sqlite.Open(t.Context(), sqlite.Config{
		Path: filepath.Join(t.TempDir(), "valico.db"), Now: func() time.Time { return now },
	})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	f := storetest.Fill(t, s, 100)
	f.Admit(t, 1)
	out, err := s.Outbox(t.Context(), 10)
	require.NoError(t, err)
	require.Len(t, out, 2)
	require.NoError(t, s.OutboxSent(t.Context(), []int64{out[0].ID, out[1].ID}))
	_, err = s.ApplyEvents(t.Context(), []broker.Event{out[0].Event})
	require.NoError(t, err)
	none, err := s.Outbox(t.Context(), 10)
	require.NoError(t, err)
	require.Empty(t, none)
	now = now.Add(2 * time.Minute)
	again, err := s.Outbox(t.Context(), 10)
	require.NoError(t, err)
	require.Equal(t, out[1:], again, "the one that arrived is gone")
}

func TestAReclaimedLeaseIsFreeAndItsFormerHolderMovesNothing(t *testing.T) {
	t.Parallel()
	s := open(t, filepath.Join(t.TempDir(), "valico.db"))
	f := storetest.Fill(t, s, 100)
	_, a := f.Admit(t, 1)
	now := time.Now().Add(time.Minute)
	q := dispatch.ClaimQuery{Owner: "before", States: broker.AttemptStates(), Now: now, Until: now.Add(time.Hour), Limit: 1}
	old, err := s.Claim(t.Context(), q)
	require.NoError(t, err)
	require.Len(t, old, 1)
	require.NoError(t, s.Reclaim(t.Context()))
	_, err = s.Advance(t.Context(), old[0], dispatch.Change{To: broker.AttemptClearing, Image: storetest.Image()})
	require.Equal(t, "lease_lost", broker.CodeOf(err))
	again, err := s.Claim(t.Context(), q)
	require.NoError(t, err)
	require.Equal(t, a.ID, again[0].Attempt.ID)
}
