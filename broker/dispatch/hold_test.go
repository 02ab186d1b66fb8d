package dispatch_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/valico-hpc/valico/broker"
)

// live makes the site report an attempt as running until it is told to stop it.
func (b *bench) live() {
	b.site.report = func(id broker.AttemptID) (broker.AttemptReport, bool) {
		r := broker.AttemptReport{Attempt: id, State: broker.AttemptRunning}
		if b.site.stopped[id] {
			r.State, r.Outcome = broker.AttemptDone, broker.OutcomeCancelled
		}
		return r, true
	}
}

func TestWhatIsAtASiteIsHeldAndCostsNoWritesButItsLease(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := setup(t)
		b.live()
		id := b.m.admit()
		b.turn(3)
		held := b.m.get(id)
		require.Equal(t, broker.AttemptRunning, held.attempt.State)
		b.turn(60) // two minutes: four leases
		now := b.m.get(id)
		require.Equal(t, held.token, now.token, "it was never claimed again")
		require.True(t, now.lease.After(time.Now()), "its lease was renewed in time")
		require.Equal(t, held.history, now.history)
		b.m.set(id, func(r *row) { r.cancel = true })
		b.turn(3)
		require.Equal(t, broker.JobCancelled, b.m.get(id).job.State, "the holder learns of the cancellation")
	})
}

func TestASiteIsToldOnceToStopAndAgainOnlyLater(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := setup(t)
		b.site.report = func(id broker.AttemptID) (broker.AttemptReport, bool) {
			return broker.AttemptReport{Attempt: id, State: broker.AttemptRunning}, true
		}
		id := b.m.admit()
		b.turn(2)
		b.m.set(id, func(r *row) { r.cancel = true })
		b.turn(1)
		require.Equal(t, 1, b.site.stops)
		b.turn(1) // 2 s later
		require.Equal(t, 1, b.site.stops)
		b.turn(3)
		require.Equal(t, 2, b.site.stops, "a stop that had no effect is repeated")
	})
}

// An image that takes its time holds up what waits behind it, never the watch.
func TestASlowImageKeepsNothingAtASiteWaiting(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := setup(t)
		b.live()
		id := b.m.admit()
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- b.d.Run(ctx) }()
		<-time.After(10 * time.Second)
		require.Equal(t, broker.AttemptRunning, b.m.get(id).attempt.State)
		release := make(chan struct{})
		b.p.hold(release)
		slow := b.m.admit()
		<-time.After(10 * time.Second)
		b.m.set(id, func(r *row) { r.cancel = true })
		<-time.After(10 * time.Second)
		require.Equal(t, broker.JobCancelled, b.m.get(id).job.State)
		require.Equal(t, broker.AttemptPackaging, b.m.get(slow).attempt.State)
		<-time.After(2 * time.Minute)
		require.Equal(t, int64(1), b.m.get(slow).token, "its lease was kept while it was packaged")
		close(release)
		<-time.After(10 * time.Second)
		require.Equal(t, broker.AttemptRunning, b.m.get(slow).attempt.State)
		cancel()
		<-done
		require.False(t, b.m.get(slow).lease.After(time.Now()), "another broker need not wait for the lease")
	})
}

// Another broker took the attempt: whoever held it lets go and writes nothing.
func TestAHolderThatLostItsLeaseLetsGo(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := setup(t)
		b.live()
		id := b.m.admit()
		b.turn(3)
		b.m.set(id, func(r *row) { r.token, r.lease = r.token+1, time.Now().Add(time.Hour) })
		b.m.set(id, func(r *row) { r.cancel = true })
		b.turn(20)
		require.Equal(t, broker.AttemptRunning, b.m.get(id).attempt.State, "only the newer holder may move it")
		b.m.set(id, func(r *row) { r.lease = time.Time{} })
		b.turn(5)
		require.Equal(t, broker.JobCancelled, b.m.get(id).job.State, "it is taken up again once it is free")
	})
}
