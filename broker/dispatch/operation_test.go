package dispatch_test

import (
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"

	"github.com/valico-hpc/valico/broker"
)

func (b *bench) operate(s broker.SiteState) {
	b.m.mu.Lock()
	defer b.m.mu.Unlock()
	b.m.op.State = s
}

// answers lets the site report its attempts so, as cancelled once it was told to
// stop them.
func (b *bench) answers(state broker.AttemptState, w broker.Waiting) {
	b.site.mu.Lock()
	defer b.site.mu.Unlock()
	b.site.report = func(id broker.AttemptID) (broker.AttemptReport, bool) {
		if b.site.stopped[id] {
			return broker.AttemptReport{Attempt: id, State: broker.AttemptDone, Outcome: broker.OutcomeCancelled, Code: "cancelled"}, true
		}
		return broker.AttemptReport{Attempt: id, State: state, Waiting: w}, true
	}
}

func TestAJobWaitsAtTheBrokerWhileItsSiteIsClosedAndGoesOnWhenItOpens(t *testing.T) {
	t.Parallel()
	for _, closed := range []broker.SiteState{broker.SiteCordoned, broker.SiteDraining, "a word of tomorrow"} {
		t.Run(string(closed), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				b := setup(t)
				id := b.m.admit()
				b.operate(closed)
				b.turn(10)
				got := b.m.get(id)
				require.Equal(t, []broker.AttemptState{broker.AttemptPackaging}, got.history)
				require.Equal(t, broker.WaitSiteCordoned, got.attempt.Waiting.Code)
				require.Zero(t, b.site.starts)
				b.operate(broker.SiteOpen)
				b.turn(6)
				require.Equal(t, broker.JobSucceeded, b.m.get(id).job.State)
				require.Equal(t, 1, b.site.starts)
			})
		})
	}
}

func TestAClosedSiteKeepsNobodyFromCancelling(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := setup(t)
		id := b.m.admit()
		b.operate(broker.SiteDraining)
		b.turn(2)
		b.m.set(id, func(r *row) { r.cancel = true })
		b.turn(5)
		require.Equal(t, broker.JobCancelled, b.m.get(id).job.State)
	})
}

func TestACordonLeavesWhatIsAtTheSiteAlone(t *testing.T) {
	t.Parallel()
	for _, state := range []broker.AttemptState{broker.AttemptQueued, broker.AttemptRunning} {
		synctest.Test(t, func(t *testing.T) {
			b := setup(t)
			b.answers(state, broker.Waiting{})
			id := b.m.admit()
			b.turn(3)
			b.operate(broker.SiteCordoned)
			b.turn(5)
			require.Equal(t, state, b.m.get(id).attempt.State)
			require.Zero(t, b.site.stops)
		})
	}
}

func TestADrainTakesOutWhatHasNotBegunAndLeavesWhatRuns(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := setup(t)
		b.answers(broker.AttemptRunning, broker.Waiting{})
		runs := b.m.admit()
		b.turn(3)
		b.operate(broker.SiteDraining)
		b.turn(4)
		require.Equal(t, broker.AttemptRunning, b.m.get(runs).attempt.State)
		require.Zero(t, b.site.stops)
	})
	synctest.Test(t, func(t *testing.T) {
		b := setup(t)
		b.answers(broker.AttemptQueued, broker.Waiting{Code: broker.WaitPriority})
		queued := b.m.admit()
		b.turn(3)
		require.Equal(t, broker.WaitPriority, b.m.get(queued).attempt.Waiting.Code)
		b.operate(broker.SiteDraining)
		b.turn(4)
		got := b.m.get(queued)
		require.Equal(t, broker.AttemptDone, got.attempt.State)
		require.Equal(t, broker.OutcomeCancelled, got.attempt.Outcome)
		require.Equal(t, broker.CodeSiteDrained, got.job.Code)
		require.Equal(t, broker.JobCancelled, got.job.State)
		require.True(t, got.settled, "its GPU time is given back")
	})
}

// A broker that dies between the record and the stop, and an operator who opens
// the site meanwhile, change nothing: the record says how it ends.
func TestADrainThatWasRecordedEndsAsDrainedWhateverComesBetween(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := setup(t)
		b.answers(broker.AttemptQueued, broker.Waiting{Code: broker.WaitPriority})
		id := b.m.admit()
		b.turn(3)
		b.m.set(id, func(r *row) { r.attempt.Waiting = broker.Waiting{Code: broker.WaitSiteDraining} }) // and no stop was sent
		b.d = b.loop()
		b.turn(20)
		got := b.m.get(id)
		require.Equal(t, broker.CodeSiteDrained, got.job.Code)
		require.Positive(t, b.site.stops)
	})
}

func TestAnOrderThatItsSiteNeverHeardOfIsNotRepeatedToAClosedSite(t *testing.T) {
	t.Parallel()
	for closed, want := range map[broker.SiteState]broker.AttemptState{
		broker.SiteCordoned: broker.AttemptSubmitting, broker.SiteDraining: broker.AttemptDone,
	} {
		synctest.Test(t, func(t *testing.T) {
			b := setup(t)
			b.site.startErr = func(n int) (bool, error) {
				if n == 1 {
					b.operate(closed) // while the order is under way, which is lost
					return false, errFault
				}
				return true, nil
			}
			id := b.m.admit()
			b.turn(8)
			got := b.m.get(id)
			require.Equal(t, want, got.attempt.State)
			require.Equal(t, 1, b.site.starts)
			if closed == broker.SiteDraining {
				require.True(t, b.site.stopped[id], "a fence, for a start that is still under way")
				require.Equal(t, broker.CodeSiteDrained, got.job.Code)
				return
			}
			require.Equal(t, broker.WaitSiteCordoned, got.attempt.Waiting.Code)
			b.operate(broker.SiteOpen)
			b.turn(4)
			require.Equal(t, broker.JobSucceeded, b.m.get(id).job.State)
			require.Equal(t, 2, b.site.starts)
		})
	}
}

func TestAFaultAtTheBrokerIsNamedOnTheJobAndGoesWhenItPasses(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := setup(t)
		b.p.ledgerErr = errFault
		id := b.m.admit()
		b.turn(3)
		w := b.m.get(id).attempt.Waiting
		require.Equal(t, broker.WaitBrokerFault, w.Code)
		require.Equal(t, "clearing: store_unavailable", w.Words)
		b.p.ledgerErr = nil
		b.turn(4)
		require.Equal(t, broker.JobSucceeded, b.m.get(id).job.State)
		require.True(t, b.m.get(id).attempt.Waiting.Zero())
	})
}

func TestASiteThatIsSilentForLongIsNamedOnWhatWaitsThere(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := setup(t)
		b.answers(broker.AttemptQueued, broker.Waiting{Code: broker.WaitPriority})
		id := b.m.admit()
		b.turn(3)
		b.site.mu.Lock()
		b.site.silent = errFault
		b.site.mu.Unlock()
		b.turn(3)
		require.Equal(t, broker.WaitPriority, b.m.get(id).attempt.Waiting.Code, "a moment of silence is no news")
		b.turn(20)
		require.Equal(t, broker.WaitSiteUnreachable, b.m.get(id).attempt.Waiting.Code)
		b.site.mu.Lock()
		b.site.silent = nil
		b.site.mu.Unlock()
		b.turn(4)
		require.Equal(t, broker.WaitPriority, b.m.get(id).attempt.Waiting.Code)
	})
}
