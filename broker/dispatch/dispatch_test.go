package dispatch_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/valico-hpc/valico/broker"
	"github.com/valico-hpc/valico/broker/dispatch"
)

// bench is a loop over doubles, on fake time.
type bench struct {
	t    *testing.T
	m    *memory
	p    *parts
	site *scripted
	d    *dispatch.Dispatcher
}

func setup(t *testing.T) *bench {
	t.Helper()
	m := newMemory(time.Now)
	b := &bench{t: t, m: m, p: &parts{verdict: broker.VerdictAllow, m: m}, site: newScripted(t, m)}
	b.d = b.loop()
	return b
}

// loop makes a Dispatcher as a restarted broker would.
func (b *bench) loop() *dispatch.Dispatcher {
	d, err := dispatch.New(dispatch.Parts{
		Store: b.m, Clearer: b.p, Packager: b.p, Ledger: b.p, Signer: b.p, Codec: b.p,
		Site: func(broker.SiteID) (dispatch.Site, bool) { return b.site, true },
	}, dispatch.Config{})
	require.NoError(b.t, err)
	return d
}

// turn runs the loop n times, as often as it would in that many poll intervals.
func (b *bench) turn(n int) {
	b.t.Helper()
	for range n {
		_ = b.d.Turn(b.t.Context())   // a failed turn is what some tests are about
		<-time.After(2 * time.Second) // fake time
	}
}

func TestAnAdmittedAttemptIsClearedStartedOnceAndSettled(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := setup(t)
		id := b.m.admit()
		b.turn(3)
		r := b.m.get(id)
		require.Equal(t, []broker.AttemptState{
			broker.AttemptPackaging, broker.AttemptClearing, broker.AttemptReady, broker.AttemptSubmitting, broker.AttemptDone,
		}, r.history)
		require.Equal(t, broker.JobSucceeded, r.job.State)
		require.True(t, r.settled)
		require.Equal(t, 1, b.site.starts)
	})
}

func TestADeniedClearanceReachesNoSite(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := setup(t)
		b.p.verdict = broker.VerdictDeny
		id := b.m.admit()
		b.turn(5)
		require.Equal(t, broker.AttemptRefused, b.m.get(id).attempt.State)
		require.Equal(t, broker.JobNotAdmitted, b.m.get(id).job.State)
		require.Zero(t, b.site.starts)
	})
}

func TestNothingStartsWithoutPolicyOrLedger(t *testing.T) {
	t.Parallel()
	for name, breakIt := range map[string]func(*parts){
		"policy error":   func(p *parts) { p.clearErr = errFault },
		"ledger down":    func(p *parts) { p.ledgerErr = errFault },
		"packaging down": func(p *parts) { p.packageErr = errFault },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				b := setup(t)
				breakIt(b.p)
				id := b.m.admit()
				b.turn(10)
				require.Zero(t, b.site.starts)
				require.False(t, b.m.get(id).attempt.State.Terminal(), "what may pass is tried again")
				b.p.clearErr, b.p.ledgerErr, b.p.packageErr = nil, nil, nil
				b.turn(5)
				require.Equal(t, broker.JobSucceeded, b.m.get(id).job.State)
				require.Equal(t, 1, b.site.starts)
			})
		})
	}
}

func TestAnImageThatAPersonMustMendEndsTheJobWithItsCode(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := setup(t)
		b.p.packageErr = &broker.Error{Kind: broker.KindInvalid, Code: "layer_tampered", Message: "a layer differs"}
		id := b.m.admit()
		b.turn(2)
		r := b.m.get(id)
		require.Equal(t, broker.OutcomeLaunchFailed, r.attempt.Outcome)
		require.Equal(t, "layer_tampered", r.attempt.Code)
		require.Equal(t, broker.JobNotAdmitted, r.job.State)
	})
}

func TestALostAnswerIsRepeatedWithTheSameOrder(t *testing.T) {
	t.Parallel()
	for name, accepted := range map[string]bool{"the site had it": true, "the site never got it": false} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				b := setup(t)
				b.site.startErr = func(n int) (bool, error) {
					if n == 1 {
						return accepted, errFault
					}
					return true, nil
				}
				id := b.m.admit()
				b.turn(4)
				require.Equal(t, broker.JobSucceeded, b.m.get(id).job.State)
				require.Len(t, b.site.orders, 1)
			})
		})
	}
}

func TestARefusalAtTheSiteFailsTheJobWithTheSitesCode(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := setup(t)
		b.site.startErr = func(int) (bool, error) {
			return false, &broker.Error{Kind: broker.KindForbidden, Code: "order_expired", Message: "too late"}
		}
		id := b.m.admit()
		b.turn(3)
		r := b.m.get(id)
		require.Equal(t, broker.OutcomeLaunchFailed, r.attempt.Outcome)
		require.Equal(t, "order_expired", r.attempt.Code)
		require.Equal(t, broker.JobFailed, r.job.State)
	})
}

// P1 and P4 against the record itself: whichever single write fails, the job
// ends in the truth and the site holds one order.
func TestAFailureOfAnyOneWriteChangesNothingInTheEnd(t *testing.T) {
	t.Parallel()
	for n := 1; n <= 8; n++ {
		synctest.Test(t, func(t *testing.T) {
			b := setup(t)
			b.m.failAt = n
			id := b.m.admit()
			b.turn(40) // a lease whose release failed runs out by itself
			r := b.m.get(id)
			require.Equal(t, broker.JobSucceeded, r.job.State, "write %d failed: %v", n, r.history)
			require.Len(t, b.site.orders, 1)
			require.GreaterOrEqual(t, b.m.writes, n, "the write that should fail happened")
		})
	}
}

func TestACancelledJobThatWasNotSubmittedNeverStarts(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := setup(t)
		id := b.m.admit()
		b.m.set(id, func(r *row) { r.cancel = true })
		b.turn(3)
		require.Equal(t, broker.JobCancelled, b.m.get(id).job.State)
		require.Zero(t, b.site.starts)
	})
}

func TestACancelledJobThatRunsIsStoppedAndEndsAsItsSiteSays(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := setup(t)
		b.site.report = func(id broker.AttemptID) (broker.AttemptReport, bool) {
			r := broker.AttemptReport{Attempt: id, State: broker.AttemptRunning}
			if b.site.stopped[id] {
				r.State, r.Outcome = broker.AttemptDone, broker.OutcomeCancelled
			}
			return r, true
		}
		id := b.m.admit()
		b.turn(3)
		require.Equal(t, broker.AttemptRunning, b.m.get(id).attempt.State)
		b.m.set(id, func(r *row) { r.cancel = true })
		b.turn(3)
		require.Equal(t, broker.JobCancelled, b.m.get(id).job.State)
	})
}

func TestWhatASiteForgotIsLostAndNotStartedAgain(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := setup(t)
		b.site.report = func(id broker.AttemptID) (broker.AttemptReport, bool) {
			return broker.AttemptReport{Attempt: id, State: broker.AttemptRunning}, true
		}
		id := b.m.admit()
		b.turn(2)
		b.site.report = func(broker.AttemptID) (broker.AttemptReport, bool) { return broker.AttemptReport{}, false }
		b.turn(3)
		require.Equal(t, broker.OutcomeLost, b.m.get(id).attempt.Outcome)
		require.Equal(t, broker.JobFailed, b.m.get(id).job.State)
		require.Equal(t, 1, b.site.starts)
	})
}

func TestALateReportMovesNothingBack(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := setup(t)
		states := []broker.AttemptState{broker.AttemptRunning, broker.AttemptQueued, broker.AttemptStarting, broker.AttemptRunning}
		b.site.report = func(id broker.AttemptID) (broker.AttemptReport, bool) {
			s := states[0]
			if len(states) > 1 {
				states = states[1:]
			}
			return broker.AttemptReport{Attempt: id, State: s}, true
		}
		id := b.m.admit()
		b.turn(6)
		require.Equal(t, broker.AttemptRunning, b.m.get(id).attempt.State)
	})
}

// Two brokers over one record: the fencing token lets only the newer act.
func TestABrokerThatLostItsLeaseWritesNothing(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := setup(t)
		id := b.m.admit()
		claims, err := b.m.Claim(t.Context(), dispatch.ClaimQuery{
			Owner: "other", States: []broker.AttemptState{broker.AttemptPackaging}, Now: time.Now(), Until: time.Now(), Limit: 1,
		})
		require.NoError(t, err)
		b.turn(3)
		_, err = b.m.Advance(t.Context(), claims[0], dispatch.Change{To: broker.AttemptClearing})
		require.Equal(t, "lease_lost", broker.CodeOf(err))
		require.Equal(t, broker.JobSucceeded, b.m.get(id).job.State)
	})
}

func TestRunEndsWithItsContextsCause(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := setup(t)
		id := b.m.admit()
		ctx, cancel := context.WithCancelCause(t.Context())
		done := make(chan error, 1)
		go func() { done <- b.d.Run(ctx) }()
		<-time.After(time.Minute) // fake time
		require.Equal(t, broker.JobSucceeded, b.m.get(id).job.State)
		why := errors.New("shutting down")
		cancel(why)
		require.ErrorIs(t, <-done, why)
	})
}

func TestEveryPartIsRequired(t *testing.T) {
	t.Parallel()
	_, err := dispatch.New(dispatch.Parts{}, dispatch.Config{})
	require.Error(t, err)
}
