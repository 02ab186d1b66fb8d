package sqlite

import (
	"context"
	"fmt"
	"time"

	"github.com/valico-hpc/valico/broker"
	"github.com/valico-hpc/valico/broker/dispatch"
)

// Advance moves one attempt, and with it its job, under the claim's token.
func (s *Store) Advance(ctx context.Context, c dispatch.Claimed, ch dispatch.Change) (broker.Attempt, error) {
	now := s.now()
	var out broker.Attempt
	err := s.write(ctx, "advance attempt "+string(c.Attempt.ID), func(ctx context.Context, t *tx) error {
		a, err := fenced(ctx, t, c.Attempt.ID, c.Token)
		if err != nil {
			return err
		}
		if a.Version != c.Attempt.Version {
			return conflict("attempt_changed", "the attempt changed meanwhile", string(a.ID))
		}
		was, waited := a.State, a.Waiting.Code
		if ch.To == broker.AttemptSubmitting && was != ch.To {
			if err := siteStarts(ctx, t, a.Job); err != nil {
				return err
			}
		}
		if err := apply(&a, ch, now); err != nil {
			return err
		}
		if err := updateAttempt(ctx, t, a, was, waited, ch); err != nil {
			return err
		}
		if ch.Outputs != nil {
			if err := saveManifest(ctx, t, a, *ch.Outputs); err != nil {
				return err
			}
		}
		if err := tellStep(ctx, t, a, a.State != was, newWait(a, waited), now); err != nil {
			return err
		}
		if a.State.Terminal() {
			if err := settle(ctx, t, a, a.Usage.GPUSeconds, now); err != nil {
				return err
			}
		}
		if err := takeJob(ctx, t, a, ch, now); err != nil {
			return err
		}
		if ch.Next != nil {
			if err := nextSegment(ctx, t, a, *ch.Next, now); err != nil {
				return err
			}
		}
		a.Version++
		out = a
		return nil
	})
	if err != nil {
		return broker.Attempt{}, err
	}
	return out, nil
}

// apply makes a what ch says. Zero fields stay as they are, but for Waiting.
func apply(a *broker.Attempt, ch dispatch.Change, now time.Time) error {
	if ch.To != a.State || a.State.Terminal() {
		if err := a.State.To(ch.To); err != nil {
			return err
		}
	}
	if (ch.Outcome != "") != (ch.To == broker.AttemptDone) {
		return invalid("change_inconsistent", "an attempt has an outcome exactly when it is done", string(ch.To))
	}
	if ch.Next != nil && (ch.To != broker.AttemptDone || ch.JobTo != "") {
		return invalid("change_inconsistent", "a job goes on when one of its attempts is done, and stays as it is", string(ch.To))
	}
	if ch.To == broker.AttemptReady && ch.To != a.State && (len(ch.Receipt) == 0 || len(ch.OrderBytes) == 0 || ch.Clearance == "" || ch.Order == "") {
		return invalid("not_cleared", "an attempt becomes ready only with its clearance, receipt and order", string(a.ID))
	}
	a.State, a.UpdatedAt = ch.To, now.UTC().Truncate(time.Microsecond)
	set(&a.Outcome, ch.Outcome)
	set(&a.ExitCode, ch.ExitCode)
	set(&a.Code, ch.Code)
	waits(a, ch.Waiting)
	set(&a.Image, ch.Image)
	set(&a.Clearance, ch.Clearance)
	set(&a.Order, ch.Order)
	set(&a.Usage.GPUSeconds, ch.Usage.GPUSeconds)
	set(&a.Usage.CPUSeconds, ch.Usage.CPUSeconds)
	set(&a.Usage.Elapsed, ch.Usage.Elapsed.Truncate(time.Microsecond))
	set(&a.Usage.Method, ch.Usage.Method)
	if a.StartedAt.IsZero() && !ch.StartedAt.IsZero() {
		a.StartedAt = ch.StartedAt.UTC().Truncate(time.Microsecond)
	}
	if ch.To.Terminal() {
		a.FinishedAt = ch.FinishedAt.UTC().Truncate(time.Microsecond)
		if ch.FinishedAt.IsZero() {
			a.FinishedAt = a.UpdatedAt
		}
	}
	return nil
}

// waits takes why an attempt waits, of the state as it now is: nothing waits any
// more when w is zero.
func waits(a *broker.Attempt, w broker.Waiting) {
	if w.Code != a.Waiting.Code {
		a.WaitingSince = a.UpdatedAt
	}
	if a.Waiting = w; w.Zero() {
		a.WaitingSince = time.Time{}
	}
}

func set[T comparable](to *T, v T) {
	var zero T
	if v != zero {
		*to = v
	}
}

// newWait reports whether an attempt waits for something else than before.
func newWait(a broker.Attempt, waited broker.WaitCode) bool {
	return !a.Waiting.Zero() && a.Waiting.Code != waited
}

func updateAttempt(ctx context.Context, t *tx, a broker.Attempt, was broker.AttemptState, waited broker.WaitCode, ch dispatch.Change) error {
	events := 0
	if a.State != was {
		events++
	}
	if newWait(a, waited) {
		events++
	}
	n, err := t.exec(ctx, `UPDATE attempt SET state = ?, outcome = ?, exit_code = ?, code = ?, waiting = ?, waiting_code = ?, waiting_start = ?, waiting_since = ?, image = ?,
		clearance_id = ?, order_id = ?, receipt = coalesce(receipt, ?), order_bytes = coalesce(order_bytes, ?),
		usage_gpu_seconds = ?, usage_cpu_seconds = ?, usage_elapsed = ?, usage_method = ?,
		started_at = ?, finished_at = ?, updated_at = ?, version = version + 1, event_seq = event_seq + ?
		WHERE id = ? AND state = ? AND version = ?`,
		a.State, null(a.Outcome), a.ExitCode, a.Code, a.Waiting.Words, a.Waiting.Code, micros(a.Waiting.Start), micros(a.WaitingSince), null(a.Image),
		null(a.Clearance), null(a.Order), nullBytes(ch.Receipt), nullBytes(ch.OrderBytes),
		a.Usage.GPUSeconds, a.Usage.CPUSeconds, a.Usage.Elapsed.Microseconds(), a.Usage.Method,
		micros(a.StartedAt), micros(a.FinishedAt), micros(a.UpdatedAt), events, a.ID, was, a.Version)
	if err != nil {
		return fmt.Errorf("move to %s: %w", a.State, err)
	}
	if n != 1 {
		return conflict("attempt_changed", "the attempt changed meanwhile", string(a.ID))
	}
	return nil
}

// takeJob moves the job as the change says. A job whose attempt fails before it
// was submitted passes through active: its attempt was, for no time.
func takeJob(ctx context.Context, t *tx, a broker.Attempt, ch dispatch.Change, now time.Time) error {
	if ch.JobTo == "" {
		return nil
	}
	j, err := jobByID(ctx, t, a.Job)
	if err != nil {
		return err
	}
	if j.State == ch.JobTo {
		return nil
	}
	if j.State == broker.JobAdmitted && ch.JobTo == broker.JobFailed {
		if err := moveJob(ctx, t, &j, jobMove{to: broker.JobActive, at: now}); err != nil {
			return err
		}
	}
	code := a.Code
	set(&code, ch.JobCode)
	return moveJob(ctx, t, &j, jobMove{to: ch.JobTo, code: code, at: now, finished: a.FinishedAt})
}
