package sqlite

import (
	"bytes"
	"context"
	"fmt"
	"time"

	"github.com/valico-hpc/valico/broker"
	"github.com/valico-hpc/valico/broker/admission"
)

// Idempotent returns the job that an earlier Admit stored under the key.
func (s *Store) Idempotent(ctx context.Context, project broker.ProjectID, key admission.Idempotency) (broker.Job, broker.Decision, error) {
	j, d, err := idempotent(ctx, s.read, project, key)
	return j, d, translate("look up the idempotency key", err)
}

func idempotent(ctx context.Context, q querier, project broker.ProjectID, key admission.Idempotency) (broker.Job, broker.Decision, error) {
	var hash []byte
	var job broker.JobID
	var decision broker.DecisionID
	err := q.get(ctx, `SELECT request_hash, job_id, decision_id FROM idempotency WHERE project_id = ? AND key = ?`,
		[]any{project, key.Key}, &hash, &job, &decision)
	if err != nil {
		return broker.Job{}, broker.Decision{}, missing(err, "idempotency key", key.Key)
	}
	if !bytes.Equal(hash, key.RequestHash[:]) {
		return broker.Job{}, broker.Decision{}, &broker.Error{
			Kind: broker.KindConflict, Code: "idempotency_reused", Message: "that idempotency key was used for another request",
			Rule: "a key stands for one request", Value: key.Key, Help: "use a new key for a new request", Who: "you",
		}
	}
	j, err := jobByID(ctx, q, job)
	if err != nil {
		return broker.Job{}, broker.Decision{}, err
	}
	d, err := only(ctx, q, `SELECT `+decisionColumns+` WHERE d.id = ?`, []any{decision}, readDecision)
	return j, d, err
}

// Admit writes an admission: ledger row, job, decision, reservation, attempt,
// idempotency key and events, or nothing.
func (s *Store) Admit(ctx context.Context, r admission.AdmitRecord) (broker.Job, broker.Decision, error) {
	if err := consistent(r); err != nil {
		return broker.Job{}, broker.Decision{}, err
	}
	now := s.now()
	var job broker.Job
	var dec broker.Decision
	err := s.write(ctx, "admit job "+string(r.Job.ID), func(ctx context.Context, t *tx) (err error) {
		if r.Idempotency.Key != "" {
			job, dec, err = idempotent(ctx, t, r.Job.Project, r.Idempotency)
			if broker.KindOf(err) != broker.KindNotFound {
				return err
			}
		}
		job, dec, err = admit(ctx, t, r, now)
		return err
	})
	if err != nil {
		return broker.Job{}, broker.Decision{}, err
	}
	return job, dec, nil
}

// consistent refuses a record whose parts do not belong together: an admission
// that allows reserves and makes an attempt, any other does neither.
func consistent(r admission.AdmitRecord) error {
	j, d := r.Job, r.Decision
	want := map[broker.Verdict]broker.JobState{
		broker.VerdictAllow: broker.JobAdmitted, broker.VerdictDeny: broker.JobNotAdmitted, broker.VerdictReview: broker.JobInReview,
	}[d.Verdict]
	allowed := d.Verdict == broker.VerdictAllow
	ok := j.State == want && (r.Attempt != nil) == allowed && (r.Reservation != nil) == allowed &&
		j.SpecDigest == broker.DigestOf(r.SpecBytes) && bytes.Equal(d.Document, r.Entry.Document) &&
		d.Kind == broker.DecisionAdmission && d.Attempt == "" &&
		d.Job == j.ID && d.Tenant == j.Tenant && d.Project == j.Project && d.Permit == j.Spec.Permit &&
		r.Entry.Kind == d.Kind && r.Entry.Tenant == j.Tenant && r.Entry.Permit == d.Permit && r.Entry.Person == j.Submitter
	if ok && allowed {
		a := r.Attempt
		ok = j.Priority.Class != "" && j.Priority.Weight > 0 && a.State == broker.AttemptPackaging && a.Job == j.ID && a.Tenant == j.Tenant && a.Project == j.Project &&
			a.Reservation == r.Reservation.ID && r.Reservation.Job == j.ID && r.Reservation.GPUSeconds >= 0 && r.Reservation.Weight > 0 &&
			r.Reservation.Weight.Charge(r.Reservation.Unweighted) == r.Reservation.GPUSeconds && r.Reservation.GPUs == j.Spec.Resources.GPUs()
	}
	if !ok {
		return invalid("admission_inconsistent", "the parts of an admission do not belong together", string(j.ID))
	}
	return nil
}

func admit(ctx context.Context, t *tx, r admission.AdmitRecord, now time.Time) (broker.Job, broker.Decision, error) {
	job, dec := r.Job, r.Decision
	var err error
	if dec.LedgerIndex, err = appendEntry(ctx, t, job.Project, r.Entry); err != nil {
		return job, dec, err
	}
	if err := insertJob(ctx, t, &job, r.SpecBytes, now); err != nil {
		return job, dec, err
	}
	if err := insertDecision(ctx, t, dec); err != nil {
		return job, dec, err
	}
	if dec.Verdict != broker.VerdictDeny {
		if err := siteAdmits(ctx, t, job.Site); err != nil {
			return job, dec, err
		}
	}
	if r.Reservation != nil {
		if err := reserve(ctx, t, r, now); err != nil {
			return job, dec, err
		}
	}
	if err := tellJob(ctx, t, job, now); err != nil {
		return job, dec, err
	}
	if r.Attempt != nil {
		if err := insertAttempt(ctx, t, *r.Attempt, now); err != nil {
			return job, dec, err
		}
	}
	if r.Idempotency.Key != "" {
		_, err = t.exec(ctx, `INSERT INTO idempotency (tenant_id, project_id, key, request_hash, job_id, decision_id, created_at)
			VALUES (?, ?, ?, ?, ?, ?, ?)`,
			job.Tenant, job.Project, r.Idempotency.Key, r.Idempotency.RequestHash[:], job.ID, dec.ID, micros(now))
	}
	return job, dec, err
}

func insertJob(ctx context.Context, t *tx, j *broker.Job, spec []byte, now time.Time) error {
	j.Version = 1
	if j.CreatedAt.IsZero() {
		j.CreatedAt = now.UTC().Truncate(time.Microsecond)
	}
	j.UpdatedAt = j.CreatedAt
	_, err := t.exec(ctx, `INSERT INTO job (id, tenant_id, project_id, submitter, permit_id, spec, spec_digest, site_id, state, code,
		priority_class, priority_weight, max_segments, version, event_seq, created_at, updated_at, finished_at)
		VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, 1, 1, ?, ?, ?)`,
		j.ID, j.Tenant, j.Project, j.Submitter, j.Spec.Permit, spec, j.SpecDigest, j.Site, j.State, j.Code, j.Priority.Class, j.Priority.Weight, j.Spec.Resume.Segments(),
		micros(j.CreatedAt), micros(j.UpdatedAt), micros(j.FinishedAt))
	if err != nil {
		return fmt.Errorf("insert job: %w", err)
	}
	return nil
}

func insertAttempt(ctx context.Context, t *tx, a broker.Attempt, now time.Time) error {
	if a.CreatedAt.IsZero() {
		a.CreatedAt = now
	}
	_, err := t.exec(ctx, `INSERT INTO attempt (id, tenant_id, project_id, job_id, number, state, reservation_id,
		version, event_seq, created_at, updated_at) VALUES (?, ?, ?, ?, ?, ?, ?, 1, 1, ?, ?)`,
		a.ID, a.Tenant, a.Project, a.Job, a.Number, a.State, a.Reservation, micros(a.CreatedAt), micros(a.CreatedAt))
	if err != nil {
		return fmt.Errorf("insert attempt %s: %w", a.ID, err)
	}
	return tellAttempt(ctx, t, a, now)
}
