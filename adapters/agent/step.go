package agent

import (
	"context"
	"fmt"
	"time"

	"github.com/valico-hpc/valico/adapters/order"
	"github.com/valico-hpc/valico/broker"
)

// watched is what the scheduler said of one launch in this pass.
type watched struct {
	status Status
	known  bool
	asked  bool
}

// step takes an attempt as far as it will go now. Every case may be done again
// after a crash at any point in it.
func (a *Agent) step(ctx context.Context, e *entry, w watched) error {
	for {
		before, _ := e.snapshot()
		var err error
		switch before.State {
		case stateReceived:
			err = a.received(ctx, e, before)
		case stateStaged:
			err = a.update(e, func(r *record) bool {
				if r.Stop {
					end(r, broker.OutcomeCancelled, "cancelled", 0, a.now())
				} else {
					r.State = stateSubmitting
				}
				return true
			})
		case stateSubmitting:
			err = a.submitting(ctx, e, before)
		case stateSubmitted:
			err = a.follow(ctx, e, before, w)
		case stateEnded:
			a.tell(ctx, e)
			err = a.sealOutputs(ctx, e)
		case stateSealed:
			a.tell(ctx, e)
			return nil
		default:
			return fmt.Errorf("journal state %q is not known", before.State)
		}
		after, _ := e.snapshot()
		if err != nil || after.State == before.State {
			return err
		}
	}
}

// end writes down how an attempt ended.
func end(r *record, o broker.Outcome, code string, exit int, now time.Time) {
	r.State, r.Outcome, r.Code, r.ExitCode, r.FinishedAt = stateEnded, o, code, exit, now
}

func (a *Agent) end(e *entry, o broker.Outcome, code string) error {
	err := a.update(e, func(r *record) bool {
		end(r, o, code, 0, a.now())
		return true
	})
	return err
}

// received stages. What can never be staged ends the attempt; what may pass is
// tried again until the order may no longer be started.
func (a *Agent) received(ctx context.Context, e *entry, r record) error {
	switch {
	case r.Stop:
		return a.end(e, broker.OutcomeCancelled, "cancelled")
	case a.now().After(r.NotAfter):
		return a.end(e, broker.OutcomeLaunchFailed, order.CodeExpired)
	}
	if err := a.stage(ctx, r); err != nil {
		switch broker.KindOf(err) {
		case broker.KindForbidden, broker.KindInvalid:
			a.cfg.Log.WarnContext(ctx, "attempt cannot be staged", "attempt_id", r.Attempt, "error", err)
			return a.end(e, broker.OutcomeLaunchFailed, broker.CodeOf(err))
		case broker.KindNotFound:
			a.cfg.Log.WarnContext(ctx, "attempt cannot be staged", "attempt_id", r.Attempt, "error", err)
			return a.end(e, broker.OutcomeLaunchFailed, "image_missing")
		case broker.KindUnauthenticated, broker.KindConflict, broker.KindNotAdmitted, broker.KindQuota,
			broker.KindUnavailable, broker.KindInternal:
		}
		return fmt.Errorf("stage: %w", err)
	}
	err := a.update(e, func(r *record) bool {
		r.State = stateStaged
		return true
	})
	return err
}

// submitting submits, again if need be: the scheduler finds the first one. An
// attempt that was stopped meanwhile is fenced off instead, since the first
// submission may still be on its way.
func (a *Agent) submitting(ctx context.Context, e *entry, r record) error {
	ctx, done := context.WithTimeout(ctx, a.cfg.CallTimeout)
	defer done()
	l := a.launch(r)
	if r.Stop {
		fenced, err := a.fence(r)
		if err != nil {
			return err
		}
		if fenced {
			if err := a.cfg.Scheduler.Cancel(ctx, l); err != nil {
				a.cfg.Log.WarnContext(ctx, "cancel a fenced launch", "attempt_id", r.Attempt, "error", err) // it refuses itself when it starts
			}
			return a.end(e, broker.OutcomeCancelled, "cancelled")
		}
	} else if err := a.cfg.Scheduler.Submit(ctx, l); err != nil {
		switch broker.KindOf(err) {
		case broker.KindInvalid, broker.KindForbidden:
			a.cfg.Log.WarnContext(ctx, "scheduler refused the launch", "attempt_id", r.Attempt, "error", err)
			return a.end(e, broker.OutcomeLaunchFailed, codeOr(err, "scheduler_refused"))
		case broker.KindUnauthenticated, broker.KindNotFound, broker.KindConflict, broker.KindNotAdmitted, broker.KindQuota,
			broker.KindUnavailable, broker.KindInternal:
		}
		return fmt.Errorf("submit: %w", err)
	}
	a.cfg.Step("submitted")
	err := a.update(e, func(r *record) bool {
		r.State = stateSubmitted
		return true
	})
	return err
}

func codeOr(err error, fallback string) string {
	if code := broker.CodeOf(err); code != "" {
		return code
	}
	return fallback
}

// follow watches a submitted attempt: telemetry, cancellation, and the end.
func (a *Agent) follow(ctx context.Context, e *entry, r record, w watched) error {
	if err := a.scan(e, r); err != nil {
		return err
	}
	a.tell(ctx, e)
	if r.Stop {
		if err := a.cancel(ctx, e, r); err != nil {
			return err
		}
	}
	if !w.asked {
		return nil
	}
	gone := !w.known || w.status.State == SchedulerEnded || w.status.State == SchedulerGone
	now := a.now()
	var see sight
	e.look(func(s *sight) {
		s.state, s.waiting = w.status.State, w.status.Waiting
		switch {
		case !gone:
			s.goneSince = time.Time{}
		case s.goneSince.IsZero():
			s.goneSince = now
		}
		see = *s
	})
	if !gone || (see.scan.outcome == nil && now.Sub(see.goneSince) < a.cfg.LostAfter) {
		return nil
	}
	// Nothing writes any more: what the spool says now is its last word.
	if err := a.scan(e, r); err != nil {
		return err
	}
	return a.conclude(ctx, e, w)
}

// cancel tells the scheduler, and tells it again now and then while the launch
// has not ended.
func (a *Agent) cancel(ctx context.Context, e *entry, r record) error {
	_, see := e.snapshot()
	now := a.now()
	if now.Sub(see.cancelled) < 5*time.Second {
		return nil
	}
	ctx, done := context.WithTimeout(ctx, a.cfg.CallTimeout)
	defer done()
	if err := a.cfg.Scheduler.Cancel(ctx, a.launch(r)); err != nil {
		return fmt.Errorf("cancel: %w", err)
	}
	e.look(func(s *sight) { s.cancelled = now })
	return nil
}

// conclude decides how an attempt ended whose process is gone.
func (a *Agent) conclude(ctx context.Context, e *entry, w watched) error {
	r, see := e.snapshot()
	v, err := a.verdict(r, see, w)
	if err != nil {
		return err
	}
	usage, err := a.usage(ctx, r, see)
	if err != nil {
		return err
	}
	err = a.update(e, func(r *record) bool {
		end(r, v.outcome, v.code, v.exit, v.at)
		r.StartedAt, r.Usage = see.scan.started, newConsumed(usage)
		return true
	})
	return err
}

// usage asks the scheduler, and estimates when accounting stays away.
func (a *Agent) usage(ctx context.Context, r record, see sight) (broker.Usage, error) {
	ctx, done := context.WithTimeout(ctx, a.cfg.CallTimeout)
	defer done()
	u, err := a.cfg.Scheduler.Usage(ctx, a.launch(r))
	if err == nil {
		return u, nil
	}
	if broker.KindOf(err) != broker.KindNotFound && a.now().Sub(see.goneSince) < a.cfg.UsageGrace {
		return broker.Usage{}, fmt.Errorf("usage: %w", err)
	}
	res := r.Limits.resources()
	switch {
	case see.scan.outcome != nil:
		// The account could have written the spool: no more than the scheduler lets run.
		most := int64((res.Walltime + a.cfg.KillMargin + time.Second - 1) / time.Second)
		secs := min(max(see.scan.outcome.ElapsedSeconds, 0), most)
		return broker.Usage{GPUSeconds: secs * int64(res.GPUs()), Elapsed: time.Duration(secs) * time.Second, Method: "spool"}, nil
	case see.scan.started.IsZero():
		return broker.Usage{Method: "estimate"}, nil
	}
	d := min(max(see.goneSince.Sub(see.scan.started), 0), res.Walltime)
	secs := int64((d + time.Second - 1) / time.Second)
	return broker.Usage{GPUSeconds: secs * int64(res.GPUs()), Elapsed: d, Method: "estimate"}, nil
}
