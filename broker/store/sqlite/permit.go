package sqlite

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"time"

	"github.com/valico-hpc/valico/broker"
	"github.com/valico-hpc/valico/broker/ledger"
)

// ImportPermit stores a version of a permit with its ledger row and returns the
// row's index. The same bytes again give the same index; other bytes for the
// same version give KindConflict.
func (s *Store) ImportPermit(ctx context.Context, p broker.PermitRecord, e ledger.Entry) (int64, error) {
	if p.Digest != broker.DigestOf(p.JWS) || e.Tenant != p.Tenant || e.Permit != p.ID {
		return 0, invalid("permit_inconsistent", "a permit, its digest and its ledger entry belong together", string(p.ID))
	}
	if p.Status != nil && p.StatusAt.IsZero() {
		return 0, invalid("permit_inconsistent", "a status statement has a time", string(p.ID))
	}
	var index int64
	err := s.write(ctx, "import permit", func(ctx context.Context, t *tx) error {
		var jws []byte
		err := t.get(ctx, `SELECT jws, ledger_index FROM permit WHERE project_id = ? AND id = ? AND version = ?`,
			[]any{p.Project, p.ID, p.Version}, &jws, &index)
		switch {
		case err == nil && bytes.Equal(jws, p.JWS):
			return nil
		case err == nil:
			return conflict("permit_exists", "that version of the permit was imported with other bytes", string(p.ID))
		case !errors.Is(err, sql.ErrNoRows):
			return err
		}
		if index, err = appendEntry(ctx, t, p.Project, e); err != nil {
			return err
		}
		var statusAt any
		if p.Status != nil {
			statusAt = micros(p.StatusAt)
		}
		_, err = t.exec(ctx, `INSERT INTO permit (id, version, tenant_id, project_id, jws, digest, status, status_at, at, ledger_index)
			VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`,
			p.ID, p.Version, p.Tenant, p.Project, p.JWS, p.Digest, nullBytes(p.Status), statusAt, micros(p.At), index)
		return err
	})
	return index, err
}

// SetPermitStatus stores a newer status statement of a permit's newest version
// with its ledger row. An older statement, or another of the same time, gives
// KindConflict; the same one again gives the same index.
func (s *Store) SetPermitStatus(
	ctx context.Context, project broker.ProjectID, id broker.PermitID, status []byte, at time.Time, e ledger.Entry,
) (int64, error) {
	if len(status) == 0 || at.IsZero() || e.Permit != id {
		return 0, invalid("status_inconsistent", "a status statement has bytes, a time and a ledger entry of its permit", string(id))
	}
	var index int64
	err := s.write(ctx, "store permit status", func(ctx context.Context, t *tx) error {
		var version int
		var tenant broker.TenantID
		var old []byte
		var oldAt, oldIndex sql.NullInt64
		err := t.get(ctx, `SELECT version, tenant_id, status, status_at, coalesce(status_index, ledger_index) FROM permit
			WHERE project_id = ? AND id = ? ORDER BY version DESC LIMIT 1`, []any{project, id}, &version, &tenant, &old, &oldAt, &oldIndex)
		if err != nil {
			return missing(err, "permit", string(id))
		}
		if tenant != e.Tenant {
			return invalid("status_inconsistent", "the ledger entry is of another tenant", string(id))
		}
		was, now := moment(oldAt), moment(sql.NullInt64{Int64: at.UnixMicro(), Valid: true})
		if bytes.Equal(old, status) && was.Equal(now) {
			index = oldIndex.Int64
			return nil
		}
		if !now.After(was) {
			return conflict("status_older", "a newer status of that permit is known", string(id))
		}
		if index, err = appendEntry(ctx, t, project, e); err != nil {
			return err
		}
		n, err := t.exec(ctx, `UPDATE permit SET status = ?, status_at = ?, status_index = ? WHERE project_id = ? AND id = ? AND version = ?`,
			status, micros(at), index, project, id, version)
		if err == nil && n != 1 {
			return conflict("permit_changed", "the permit changed meanwhile", string(id))
		}
		return err
	})
	return index, err
}

const permitColumns = `id, version, tenant_id, project_id, jws, digest, status, status_at, at FROM permit AS newest
	WHERE version = (SELECT max(version) FROM permit WHERE project_id = newest.project_id AND id = newest.id)`

func scanPermit(scan scanner) (broker.PermitRecord, error) {
	var p broker.PermitRecord
	var statusAt, at sql.NullInt64
	err := scan(&p.ID, &p.Version, &p.Tenant, &p.Project, &p.JWS, &p.Digest, &p.Status, &statusAt, &at)
	p.StatusAt, p.At = moment(statusAt), moment(at)
	return p, err
}

// Permit returns the newest imported version of a project's permit.
func (s *Store) Permit(ctx context.Context, project broker.ProjectID, id broker.PermitID) (broker.PermitRecord, error) {
	p, err := only(ctx, s.read, `SELECT `+permitColumns+` AND project_id = ? AND id = ?`, []any{project, id}, scanPermit)
	return p, translate("read permit", missing(err, "permit", string(id)))
}

// Permits lists the newest version of each of a project's permits.
func (s *Store) Permits(ctx context.Context, project broker.ProjectID) ([]broker.PermitRecord, error) {
	out, err := list(ctx, s.read, `SELECT `+permitColumns+` AND project_id = ? ORDER BY id`, []any{project}, scanPermit)
	return out, translate("list permits", err)
}

// PermitUsage sums GPU-seconds used and reserved under a permit.
func (s *Store) PermitUsage(ctx context.Context, project broker.ProjectID, id broker.PermitID) (int64, error) {
	var n int64
	err := s.read.get(ctx, `SELECT coalesce(sum(reserved + used), 0) FROM permit_use WHERE project_id = ? AND permit_id = ?`,
		[]any{project, id}, &n)
	return n, translate("sum a permit's use", err)
}
