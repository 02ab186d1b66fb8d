package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"github.com/valico-hpc/valico/broker"
	"github.com/valico-hpc/valico/broker/admission"
)

// reserve sets GPU time aside, if grant and permit have room for it at this
// moment (P3).
func reserve(ctx context.Context, t *tx, rec admission.AdmitRecord, now time.Time) error {
	j, r := rec.Job, *rec.Reservation
	if r.Allocation != "" || r.GPUSeconds > 0 {
		n, err := t.exec(ctx, `UPDATE allocation SET reserved = reserved + ?1, open_gpus = open_gpus + ?6, open_jobs = open_jobs + 1
			WHERE id = ?2 AND project_id = ?3 AND site_id = ?4 AND valid_from <= ?5 AND valid_until > ?5 AND NOT frozen
			AND (?1 = 0 OR reserved + used + ?1 <= granted) AND (max_gpus = 0 OR ?6 = 0 OR open_gpus + ?6 <= max_gpus)
			AND (max_jobs = 0 OR open_jobs < max_jobs) AND (max_wall = 0 OR ?7 <= max_wall)`,
			r.GPUSeconds, r.Allocation, j.Project, j.Site, micros(now), r.GPUs, j.Spec.Resources.Walltime.Microseconds())
		if err != nil {
			return fmt.Errorf("reserve: %w", err)
		}
		if n != 1 {
			return noRoom(ctx, t, j, r)
		}
	}
	if _, err := t.exec(ctx, `INSERT INTO permit_use (tenant_id, project_id, permit_id, reserved, used) VALUES (?, ?, ?, ?, 0)
		ON CONFLICT (project_id, permit_id) DO UPDATE SET reserved = reserved + excluded.reserved`,
		j.Tenant, j.Project, j.Spec.Permit, r.Unweighted); err != nil {
		return fmt.Errorf("count the permit's use: %w", err)
	}
	if err := underPermit(ctx, t, j, r, rec.PermitCeiling); err != nil {
		return err
	}
	_, err := t.exec(ctx, `INSERT INTO reservation (id, tenant_id, project_id, allocation_id, job_id, gpu_seconds, unweighted, weight, gpus, created_at)
		VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`, r.ID, j.Tenant, j.Project, null(r.Allocation), j.ID, r.GPUSeconds, r.Unweighted,
		r.Weight, r.GPUs, micros(now))
	if err != nil {
		return fmt.Errorf("insert reservation: %w", err)
	}
	return nil
}

// underPermit refuses a reservation that takes a permit past its ceiling over all
// sites: what policy was told of its use may be older than this transaction.
func underPermit(ctx context.Context, t *tx, j broker.Job, r broker.Reservation, ceiling *int64) error {
	if ceiling == nil || r.Unweighted == 0 {
		return nil
	}
	var n int64
	if err := t.get(ctx, `SELECT reserved + used FROM permit_use WHERE project_id = ? AND permit_id = ?`,
		[]any{j.Project, j.Spec.Permit}, &n); err != nil {
		return fmt.Errorf("read the permit's use: %w", err)
	}
	if n <= *ceiling {
		return nil
	}
	return &broker.Error{
		Kind: broker.KindQuota, Code: "gpu_hours_over_permit", Message: "the permit does not grant the GPU-hours that the job reserves",
		Rule:  "all jobs under a permit, at all sites, hold at most the GPU-hours that it grants",
		Value: fmt.Sprintf("%d GPU-seconds needed, %d left", r.Unweighted, *ceiling-(n-r.Unweighted)),
		Help:  "ask for less walltime or fewer GPUs, or wait until running jobs give back what they did not use",
		Who:   "your permit authority",
	}
}

// noRoom says which term of the grant kept it from taking the reservation.
func noRoom(ctx context.Context, t *tx, j broker.Job, r broker.Reservation) error {
	a, err := only(ctx, t, `SELECT `+allocationColumns+` WHERE id = ?`, []any{r.Allocation}, scanAllocation)
	if err != nil && !errors.Is(err, sql.ErrNoRows) {
		return err
	}
	e := &broker.Error{Kind: broker.KindQuota, Who: "the AI Factory operator who grants allocations"}
	wall := j.Spec.Resources.Walltime
	switch {
	case err == nil && a.Frozen:
		e.Code, e.Message, e.Value = "allocation_frozen", "the allocation is frozen", string(a.ID)
		e.Rule, e.Help = "a frozen allocation takes no new job; those that it has go on", "ask why it is frozen, or use another allocation"
	case err == nil && a.MaxWall > 0 && wall > a.MaxWall:
		e.Code, e.Message, e.Value = "walltime_over_allocation", "the job asks for more time than the allocation gives one job", wall.String()
		e.Rule, e.Help = "at most "+a.MaxWall.String(), "ask for less walltime"
	case err == nil && a.MaxGPUs > 0 && r.GPUs > 0 && a.OpenGPUs+r.GPUs > a.MaxGPUs:
		e.Code, e.Message = "allocation_gpus_in_use", "the allocation's GPUs are in use by the project's other jobs"
		e.Value, e.Rule = fmt.Sprintf("%d needed, %d in use", r.GPUs, a.OpenGPUs), fmt.Sprintf("at most %d at once", a.MaxGPUs)
		e.Help = "wait until one of them has ended, or ask for fewer GPUs"
	case err == nil && a.MaxJobs > 0 && a.OpenJobs >= a.MaxJobs:
		e.Code, e.Message = "allocation_jobs_in_use", "the allocation has as many jobs as it takes at once"
		e.Value, e.Rule = fmt.Sprintf("%d open", a.OpenJobs), fmt.Sprintf("at most %d at once", a.MaxJobs)
		e.Help = "wait until one of them has ended"
	default:
		e.Code, e.Message = "budget_exceeded", "the allocation does not hold what the job reserves"
		e.Rule = "GPUs × weight × (walltime + the site's kill margin) fit what the allocation has left while it is valid"
		e.Value = fmt.Sprintf("%d GPU-seconds needed, %d left", r.GPUSeconds, a.Available())
		e.Help = "ask for less walltime or fewer GPUs, or wait until running jobs give back what they did not use"
	}
	return e
}

// settle books what an attempt used and gives the rest back, once, at the
// weight that it was reserved with.
func settle(ctx context.Context, t *tx, a broker.Attempt, used int64, now time.Time) error {
	if used < 0 {
		return invalid("usage_negative", "usage is not negative", fmt.Sprint(used))
	}
	r, permit, err := openReservation(ctx, t, a.Reservation)
	if err != nil {
		return fmt.Errorf("read the open reservation of %s: %w", a.ID, missing(err, "open reservation", string(a.Reservation)))
	}
	booked := r.Weight.Charge(used)
	if _, err := t.exec(ctx, `UPDATE reservation SET settled_at = ?, booked = ? WHERE id = ?`, micros(now), booked, a.Reservation); err != nil {
		return fmt.Errorf("settle: %w", err)
	}
	n, err := t.exec(ctx, `UPDATE permit_use SET reserved = reserved - ?, used = used + ? WHERE project_id = ? AND permit_id = ?`,
		r.Unweighted, used, a.Project, permit)
	if err != nil || n != 1 {
		return fmt.Errorf("count the permit's use (%d rows): %w", n, rowMissing(err))
	}
	if r.Allocation == "" {
		return nil
	}
	n, err = t.exec(ctx, `UPDATE allocation SET reserved = reserved - ?, used = used + ?, open_gpus = open_gpus - ?, open_jobs = open_jobs - 1
		WHERE id = ?`, r.GPUSeconds, booked, r.GPUs, r.Allocation)
	if err != nil || n != 1 {
		return fmt.Errorf("give back to the allocation (%d rows): %w", n, rowMissing(err))
	}
	return nil
}

func openReservation(ctx context.Context, t *tx, id broker.ReservationID) (broker.Reservation, broker.PermitID, error) {
	r := broker.Reservation{ID: id}
	var allocation sql.NullString
	var permit broker.PermitID
	err := t.get(ctx, `SELECT r.allocation_id, r.job_id, r.gpu_seconds, r.unweighted, r.weight, r.gpus, j.permit_id
		FROM reservation r JOIN job j ON j.id = r.job_id WHERE r.id = ? AND r.settled_at IS NULL`, []any{id},
		&allocation, &r.Job, &r.GPUSeconds, &r.Unweighted, &r.Weight, &r.GPUs, &permit)
	r.Allocation = broker.AllocationID(allocation.String)
	return r, permit, err
}

// Reserved returns a reservation and the allocation that it was taken from as
// that is now; the zero allocation when nothing was reserved.
func (s *Store) Reserved(ctx context.Context, project broker.ProjectID, id broker.ReservationID) (broker.Reservation, broker.Allocation, error) {
	r := broker.Reservation{ID: id}
	var allocation sql.NullString
	var settled sql.NullInt64
	err := s.read.get(ctx, `SELECT allocation_id, job_id, gpu_seconds, unweighted, weight, gpus, booked, settled_at
		FROM reservation WHERE id = ? AND project_id = ?`, []any{id, project},
		&allocation, &r.Job, &r.GPUSeconds, &r.Unweighted, &r.Weight, &r.GPUs, &r.Booked, &settled)
	if err != nil {
		return broker.Reservation{}, broker.Allocation{}, translate("read reservation", missing(err, "reservation", string(id)))
	}
	r.Settled, r.Allocation = settled.Valid, broker.AllocationID(allocation.String)
	if r.Allocation == "" {
		return r, broker.Allocation{}, nil
	}
	a, err := only(ctx, s.read, `SELECT `+allocationColumns+` WHERE id = ? AND project_id = ?`, []any{r.Allocation, project}, scanAllocation)
	return r, a, translate("read allocation", missing(err, "allocation", string(r.Allocation)))
}
