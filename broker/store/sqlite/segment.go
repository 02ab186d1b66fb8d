package sqlite

import (
	"context"
	"fmt"
	"time"

	"github.com/valico-hpc/valico/broker"
	"github.com/valico-hpc/valico/broker/admission"
)

// nextSegment makes the attempt that takes a job on, with a reservation of its
// own, in the transaction that ended the one before: what that one gives back is
// there for it. A grant or permit without room is KindQuota, and nothing of the
// transaction stays.
func nextSegment(ctx context.Context, t *tx, ended broker.Attempt, s admission.Segment, now time.Time) error {
	j, err := jobByID(ctx, t, ended.Job)
	if err != nil {
		return err
	}
	a, r := s.Attempt, s.Reservation
	goesOn := ended.State == broker.AttemptDone && j.State == broker.JobActive && j.Spec.Resume.GoesOn(ended.Outcome, ended.Code) &&
		a.Number == ended.Number+1 && a.Number <= j.Spec.Resume.Segments()
	belongs := a.State == broker.AttemptPackaging && a.Job == j.ID && a.Tenant == j.Tenant && a.Project == j.Project &&
		a.Reservation == r.ID && r.Job == j.ID && r.GPUSeconds >= 0 && r.Weight > 0 &&
		r.Weight.Charge(r.Unweighted) == r.GPUSeconds && r.GPUs == j.Spec.Resources.GPUs()
	if !goesOn || !belongs {
		return invalid("segment_inconsistent", "that is not the next segment of this job", string(a.ID))
	}
	rec := admission.AdmitRecord{Job: j, Reservation: &r, PermitCeiling: s.PermitCeiling}
	if err := reserve(ctx, t, rec, now); err != nil {
		return err
	}
	if err := insertAttempt(ctx, t, a, now); err != nil {
		return err
	}
	return tellSegment(ctx, t, a, j.Spec.Resume.Segments(), now)
}

// tellSegment tells which segment begins, after the state of its attempt.
func tellSegment(ctx context.Context, t *tx, a broker.Attempt, of int, now time.Time) error {
	n, err := t.exec(ctx, `UPDATE attempt SET event_seq = event_seq + 1 WHERE id = ?`, a.ID)
	if err == nil && n == 1 {
		n, err = t.exec(ctx, `INSERT INTO outbox (tenant_id, project_id, job_id, attempt_id, seq, kind, name, text, at)
			SELECT tenant_id, project_id, job_id, id, event_seq, ?, 'segment', ?, ? FROM attempt WHERE id = ?`,
			broker.EventNotice, fmt.Sprintf("segment %d of %d goes on from the checkpoint", a.Number, of), micros(now), a.ID)
	}
	if err != nil || n != 1 {
		return fmt.Errorf("write the notice of %s: %w", a.ID, rowMissing(err))
	}
	return nil
}
