package dispatch

import (
	"context"
	"slices"

	"github.com/valico-hpc/valico/broker"
)

// conclude records a report. Where an attempt ended and the job has more to do,
// the attempt that takes it on is made in the same transaction, so that a job
// between two segments is never without one.
func (d *Dispatcher) conclude(ctx context.Context, c Claimed, ch Change) (broker.Attempt, error) {
	resume := c.Job.Spec.Resume
	if ch.To != broker.AttemptDone || !resume.GoesOn(ch.Outcome, ch.Code) {
		return d.Store.Advance(ctx, c, ch)
	}
	if !c.Cancel { // it may have been asked for while the site was
		ids, err := d.Store.Cancelled(ctx)
		if err != nil {
			return c.Attempt, wrap("look for a cancellation", err)
		}
		c.Cancel = slices.Contains(ids, c.Attempt.ID)
	}
	switch {
	case c.Cancel:
		ch.JobTo, ch.JobCode = broker.JobCancelled, "cancelled"
		return d.Store.Advance(ctx, c, ch)
	case c.Attempt.Number >= resume.Segments():
		ch.JobTo, ch.JobCode = broker.JobFailed, broker.CodeSegments
		return d.Store.Advance(ctx, c, ch)
	}
	next, err := d.Clearer.Next(ctx, c.Job, c.Attempt)
	if err != nil {
		return c.Attempt, wrap("prepare the next segment", err)
	}
	d.cfg.Step("segment_prepared")
	on := ch
	on.JobTo, on.Next = "", &next
	a, err := d.Store.Advance(ctx, c, on)
	d.cfg.Step("segment_made")
	if broker.KindOf(err) == broker.KindQuota {
		ch.JobTo, ch.JobCode = broker.JobFailed, broker.CodeOf(err)
		return d.Store.Advance(ctx, c, ch)
	}
	return a, err
}
