package sqlite

import (
	"context"
	"database/sql"
	"errors"

	"github.com/valico-hpc/valico/broker"
	"github.com/valico-hpc/valico/broker/ledger"
)

// RecordRelease writes a reviewer's release with its ledger row.
func (s *Store) RecordRelease(ctx context.Context, r broker.Release, e ledger.Entry) (broker.Release, error) {
	if len(r.Envelope) == 0 || e.Kind != ledger.KindRelease || e.Tenant != r.Tenant || e.Person != r.Reviewer {
		return broker.Release{}, invalid("release_inconsistent", "the parts of a release do not belong together", string(r.ID))
	}
	err := s.write(ctx, "record release", func(ctx context.Context, t *tx) error {
		var sealed broker.Digest
		var submitter broker.PersonID
		err := t.get(ctx, `SELECT m.digest, j.submitter FROM manifest m JOIN attempt a ON a.id = m.attempt_id JOIN job j ON j.id = a.job_id
			WHERE m.attempt_id = ? AND a.job_id = ? AND a.project_id = ?`, []any{r.Attempt, r.Job, r.Project}, &sealed, &submitter)
		if err != nil {
			return missing(err, "outputs of attempt", string(r.Attempt))
		}
		if sealed != r.Manifest {
			return broker.NotFound("manifest", string(r.Manifest))
		}
		if submitter == r.Reviewer {
			return invalid("reviewer_is_submitter", "a submitter may not release their own outputs", string(r.Reviewer))
		}
		var other string
		err = t.get(ctx, `SELECT id FROM release WHERE attempt_id = ? AND manifest_digest = ?`, []any{r.Attempt, r.Manifest}, &other)
		if err == nil {
			return conflict("already_released", "those outputs were released before", other)
		}
		if !errors.Is(err, sql.ErrNoRows) {
			return err
		}
		if r.LedgerIndex, err = appendEntry(ctx, t, r.Project, e); err != nil {
			return err
		}
		_, err = t.exec(ctx, `INSERT INTO release
			(id, tenant_id, project_id, job_id, attempt_id, manifest_digest, reviewer, envelope, ledger_index, at)
			VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`,
			r.ID, r.Tenant, r.Project, r.Job, r.Attempt, r.Manifest, r.Reviewer, r.Envelope, r.LedgerIndex, micros(r.At))
		return err
	})
	if err != nil {
		return broker.Release{}, err
	}
	return r, nil
}

// Releases lists the releases of a job, oldest first.
func (s *Store) Releases(ctx context.Context, id broker.JobID) ([]broker.Release, error) {
	rs, err := list(ctx, s.read, `SELECT id, tenant_id, project_id, job_id, attempt_id, manifest_digest, reviewer, envelope, ledger_index, at
		FROM release WHERE job_id = ? ORDER BY ledger_index`, []any{id}, func(scan scanner) (broker.Release, error) {
		var r broker.Release
		var at sql.NullInt64
		err := scan(&r.ID, &r.Tenant, &r.Project, &r.Job, &r.Attempt, &r.Manifest, &r.Reviewer, &r.Envelope, &r.LedgerIndex, &at)
		r.At = moment(at)
		return r, err
	})
	return rs, translate("list releases", err)
}
