package sqlite

import (
	"bytes"
	"context"
	"fmt"
	"time"

	"github.com/valico-hpc/valico/broker"
	"github.com/valico-hpc/valico/broker/admission"
)

// codePolicy is the code of a job or attempt that policy denied.
const codePolicy = "policy"

// Clear writes a clearance with its ledger row. A denial ends the attempt as
// refused and the job as not admitted, or as failed if it ran before, and gives the whole reservation back; an
// allowed attempt stays clearing until Advance brings its receipt.
func (s *Store) Clear(ctx context.Context, r admission.ClearRecord) (broker.Decision, error) {
	d := r.Decision
	if d.Kind != broker.DecisionClearance || d.Attempt != r.Attempt || !bytes.Equal(d.Document, r.Entry.Document) ||
		r.Entry.Kind != d.Kind || r.Entry.Tenant != d.Tenant || r.Entry.Permit != d.Permit ||
		(d.Verdict != broker.VerdictAllow && d.Verdict != broker.VerdictDeny) {
		return broker.Decision{}, invalid("clearance_inconsistent", "the parts of a clearance do not belong together", string(r.Attempt))
	}
	now := s.now()
	err := s.write(ctx, "clear attempt "+string(r.Attempt), func(ctx context.Context, t *tx) error {
		a, err := fenced(ctx, t, r.Attempt, r.Token)
		if err != nil {
			return err
		}
		if a.State != broker.AttemptClearing {
			return conflict("not_clearing", "the attempt is not waiting for its clearance", string(a.State))
		}
		if d.Job != a.Job || d.Tenant != a.Tenant || d.Project != a.Project {
			return invalid("clearance_inconsistent", "the clearance is of another job", string(d.Job))
		}
		if d.LedgerIndex, err = appendEntry(ctx, t, a.Project, r.Entry); err != nil {
			return err
		}
		if err := insertDecision(ctx, t, d); err != nil {
			return err
		}
		if d.Verdict == broker.VerdictAllow {
			return nil
		}
		return refuse(ctx, t, a, now)
	})
	if err != nil {
		return broker.Decision{}, err
	}
	return d, nil
}

func refuse(ctx context.Context, t *tx, a broker.Attempt, now time.Time) error {
	j, err := jobByID(ctx, t, a.Job)
	if err != nil {
		return err
	}
	if err := a.State.To(broker.AttemptRefused); err != nil {
		return err
	}
	n, err := t.exec(ctx, `UPDATE attempt SET state = ?, code = ?, finished_at = ?, updated_at = ?, version = version + 1, event_seq = event_seq + 1
		WHERE id = ? AND state = ? AND version = ?`,
		broker.AttemptRefused, codePolicy, micros(now), micros(now), a.ID, a.State, a.Version)
	if err != nil || n != 1 {
		return fmt.Errorf("refuse attempt %s: %w", a.ID, rowMissing(err))
	}
	a.State = broker.AttemptRefused
	if err := tellAttempt(ctx, t, a, now); err != nil {
		return err
	}
	if err := settle(ctx, t, a, 0, now); err != nil {
		return err
	}
	to := broker.JobNotAdmitted
	if j.State == broker.JobActive { // a segment of it ran
		to = broker.JobFailed
	}
	return moveJob(ctx, t, &j, jobMove{to: to, code: codePolicy, at: now})
}
