package sqlite

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"time"

	"github.com/valico-hpc/valico/broker"
)

const attemptColumns = `a.id, a.tenant_id, a.project_id, a.job_id, a.number, a.state, a.outcome, a.exit_code, a.code, a.waiting, a.waiting_code, a.waiting_start, a.waiting_since,
	a.image, a.clearance_id, a.order_id, a.reservation_id, a.usage_gpu_seconds, a.usage_cpu_seconds, a.usage_elapsed, a.usage_method,
	a.version, a.created_at, a.updated_at, a.started_at, a.finished_at`

// attemptScan gives the places that attemptColumns are scanned into, and a
// function that finishes the attempt.
func attemptScan(a *broker.Attempt) ([]any, func()) {
	var outcome, image, clearance, order sql.NullString
	var elapsed int64
	var created, updated, started, finished, start, since sql.NullInt64
	return []any{
			&a.ID, &a.Tenant, &a.Project, &a.Job, &a.Number, &a.State, &outcome, &a.ExitCode, &a.Code,
			&a.Waiting.Words, &a.Waiting.Code, &start, &since,
			&image, &clearance, &order, &a.Reservation, &a.Usage.GPUSeconds, &a.Usage.CPUSeconds, &elapsed, &a.Usage.Method,
			&a.Version, &created, &updated, &started, &finished,
		}, func() {
			a.Outcome, a.Image = broker.Outcome(outcome.String), broker.Digest(image.String)
			a.Clearance, a.Order = broker.DecisionID(clearance.String), broker.OrderID(order.String)
			a.Usage.Elapsed = time.Duration(elapsed) * time.Microsecond
			a.CreatedAt, a.UpdatedAt = moment(created), moment(updated)
			a.StartedAt, a.FinishedAt = moment(started), moment(finished)
			a.Waiting.Start, a.WaitingSince = moment(start), moment(since)
		}
}

func readAttempt(scan scanner) (broker.Attempt, error) {
	var a broker.Attempt
	dest, finish := attemptScan(&a)
	if err := scan(dest...); err != nil {
		return broker.Attempt{}, err
	}
	finish()
	return a, nil
}

// fenced reads an attempt for whoever holds its newest token.
func fenced(ctx context.Context, t *tx, id broker.AttemptID, token int64) (broker.Attempt, error) {
	var a broker.Attempt
	dest, finish := attemptScan(&a)
	var have int64
	err := t.get(ctx, `SELECT `+attemptColumns+`, w.token FROM attempt a JOIN work w ON w.attempt_id = a.id WHERE a.id = ?`, []any{id}, append(dest, &have)...)
	if err != nil {
		return broker.Attempt{}, missing(err, "attempt", string(id))
	}
	finish()
	if have != token {
		return broker.Attempt{}, &broker.Error{
			Kind: broker.KindConflict, Code: "lease_lost", Message: "another holder has the attempt", Value: string(id),
			Rule: "an attempt is moved by the holder of its newest fencing token", Help: "let the attempt be", Who: "nobody needs to act",
		}
	}
	return a, nil
}

// Attempts lists a job's attempts, oldest first.
func (s *Store) Attempts(ctx context.Context, id broker.JobID) ([]broker.Attempt, error) {
	as, err := list(ctx, s.read, `SELECT `+attemptColumns+` FROM attempt a WHERE a.job_id = ? ORDER BY a.number`, []any{id}, readAttempt)
	return as, translate("list attempts", err)
}

// OrderBytes returns the signed order as it was stored with the attempt.
func (s *Store) OrderBytes(ctx context.Context, id broker.AttemptID) ([]byte, error) {
	var b []byte
	err := s.read.get(ctx, `SELECT order_bytes FROM attempt WHERE id = ? AND order_bytes IS NOT NULL`, []any{id}, &b)
	return b, translate("read order", missing(err, "order of attempt", string(id)))
}

// fileRecord is one file of manifest.files.
type fileRecord struct {
	Path      string        `json:"path"`
	SizeBytes int64         `json:"size_bytes"`
	Digest    broker.Digest `json:"digest"`
}

// saveManifest stores what a site sealed; it may say the same again, never
// something else.
func saveManifest(ctx context.Context, t *tx, a broker.Attempt, m broker.OutputManifest) error {
	if m.Attempt != a.ID || m.Digest != broker.DigestOf(m.Bytes) {
		return invalid("manifest_inconsistent", "a manifest is of its attempt and its digest is of its bytes", string(m.Digest))
	}
	files := make([]fileRecord, 0, len(m.Files))
	for _, f := range m.Files {
		files = append(files, fileRecord(f))
	}
	b, err := json.Marshal(files)
	if err != nil {
		return fmt.Errorf("encode manifest: %w", err)
	}
	if _, err := t.exec(ctx, `INSERT INTO manifest (attempt_id, tenant_id, project_id, digest, bytes, sandbox, files, sealed_at)
		VALUES (?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (attempt_id) DO NOTHING`,
		a.ID, a.Tenant, a.Project, m.Digest, m.Bytes, m.Sandbox, string(b), m.SealedAt.UnixMicro()); err != nil {
		return fmt.Errorf("store manifest: %w", err)
	}
	var have broker.Digest
	if err := t.get(ctx, `SELECT digest FROM manifest WHERE attempt_id = ?`, []any{a.ID}, &have); err != nil {
		return err
	}
	if have != m.Digest {
		return conflict("manifest_changed", "the site sealed other outputs before", string(have))
	}
	return nil
}

// Manifest returns what a site sealed of an attempt.
func (s *Store) Manifest(ctx context.Context, id broker.AttemptID) (broker.OutputManifest, error) {
	m, err := only(ctx, s.read, `SELECT attempt_id, digest, bytes, sandbox, files, sealed_at FROM manifest WHERE attempt_id = ?`,
		[]any{id}, func(scan scanner) (broker.OutputManifest, error) {
			var m broker.OutputManifest
			var files string
			var at sql.NullInt64
			if err := scan(&m.Attempt, &m.Digest, &m.Bytes, &m.Sandbox, &files, &at); err != nil {
				return m, err
			}
			m.SealedAt = moment(at)
			var fs []fileRecord
			if err := json.Unmarshal([]byte(files), &fs); err != nil {
				return m, fmt.Errorf("read manifest of %s: %w", id, err)
			}
			for _, f := range fs {
				m.Files = append(m.Files, broker.OutputFile(f))
			}
			return m, nil
		})
	return m, translate("read manifest", missing(err, "outputs of attempt", string(id)))
}
