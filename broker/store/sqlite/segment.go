package sqlite

import (
	"context"
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
	return insertAttempt(ctx, t, a, now)
}
