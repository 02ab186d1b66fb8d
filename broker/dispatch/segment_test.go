package dispatch_test

import (
	"encoding/json"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/valico-hpc/valico/broker"
)

// resuming admits a job of so many segments at a site that ends each so.
func (b *bench) resuming(segments int, ends ...broker.AttemptReport) broker.AttemptID {
	id := b.m.admit()
	b.m.set(id, func(r *row) {
		r.job.Spec.Resume = broker.Resume{Signal: "USR1", Before: 10 * time.Second, MaxSegments: segments}
	})
	b.site.report = func(id broker.AttemptID) (broker.AttemptReport, bool) {
		n := b.m.get(id).attempt.Number
		r := ends[min(n, len(ends))-1]
		r.Attempt, r.State = id, broker.AttemptDone
		return r, true
	}
	return id
}

// segments lists the attempts of the bench's one job by number.
func (b *bench) segments() []row {
	b.m.mu.Lock()
	defer b.m.mu.Unlock()
	var out []row
	for _, r := range b.m.rows {
		out = append(out, *r)
	}
	slices.SortFunc(out, func(x, y row) int { return x.attempt.Number - y.attempt.Number })
	return out
}

func wrote() broker.AttemptReport {
	return broker.AttemptReport{Outcome: broker.OutcomeExit, ExitCode: broker.ResumeExit, Code: broker.CodeCheckpoint}
}

func TestAJobGoesOnUntilASegmentSucceeds(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := setup(t)
		b.resuming(5, wrote(), broker.AttemptReport{Outcome: broker.OutcomeWalltime, Code: "walltime"},
			broker.AttemptReport{Outcome: broker.OutcomePreempted}, broker.AttemptReport{Outcome: broker.OutcomeOK})
		b.turn(16)
		rs := b.segments()
		require.Len(t, rs, 4)
		for i, r := range rs {
			require.Equal(t, 1, r.cleared, "each segment has a clearance of its own")
			require.True(t, r.settled)
			var o broker.SignedOrder
			require.NoError(t, json.Unmarshal(r.order, &o))
			require.Equal(t, i+1, o.Order.Segment)
			require.Equal(t, r.job.Spec.Resume, o.Order.Resume)
		}
		require.Equal(t, broker.JobSucceeded, rs[3].job.State)
		require.Equal(t, 4, b.site.starts)
	})
}

func TestWhatEndsAJobBetweenItsSegments(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		prepare  func(b *bench, first broker.AttemptID)
		ends     broker.AttemptReport
		max, ran int
		state    broker.JobState
		code     string
	}{
		"the last segment has more to do": {
			func(*bench, broker.AttemptID) {},
			wrote(), 2, 2, broker.JobFailed, broker.CodeSegments,
		},
		"another end": {
			func(*bench, broker.AttemptID) {},
			broker.AttemptReport{Outcome: broker.OutcomeNodeFail, Code: "scheduler_node_fail"},
			3, 1, broker.JobFailed, "scheduler_node_fail",
		},
		"no room": {
			func(b *bench, _ broker.AttemptID) {
				b.m.noRoom = &broker.Error{Kind: broker.KindQuota, Code: "budget_exceeded", Message: "no room"}
			}, wrote(), 3, 1, broker.JobFailed, "budget_exceeded",
		},
		"cancelled": {
			func(b *bench, id broker.AttemptID) {
				report := b.site.report
				b.site.report = func(x broker.AttemptID) (broker.AttemptReport, bool) {
					b.m.set(id, func(r *row) { r.cancel = true })
					return report(x)
				}
			}, wrote(), 3, 1, broker.JobCancelled, "cancelled",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				b := setup(t)
				c.prepare(b, b.resuming(c.max, c.ends))
				b.turn(10)
				rs := b.segments()
				require.Len(t, rs, c.ran)
				last := rs[len(rs)-1]
				require.Equal(t, c.state, last.job.State)
				require.Equal(t, c.code, last.job.Code)
				require.Equal(t, c.ends.Outcome, last.attempt.Outcome, "the attempt keeps its own end")
			})
		})
	}
}

func TestASegmentIsMadeOnceWhateverWriteFails(t *testing.T) {
	t.Parallel()
	for at := 1; at < 30; at++ {
		synctest.Test(t, func(t *testing.T) {
			b := setup(t)
			b.resuming(3, wrote(), broker.AttemptReport{Outcome: broker.OutcomeOK})
			b.m.failAt = at
			b.turn(40)
			rs := b.segments()
			require.Len(t, rs, 2, "write %d", at)
			require.Equal(t, broker.JobSucceeded, rs[1].job.State, "write %d", at)
			require.Len(t, b.site.orders, 2)
		})
	}
}
