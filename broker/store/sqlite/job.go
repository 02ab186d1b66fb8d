package sqlite

import (
	"context"
	"database/sql"
	"encoding/base64"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/valico-hpc/valico/broker"
	"github.com/valico-hpc/valico/broker/jobspec"
)

// maxPage bounds what a list method returns in one call.
const maxPage = 1000

const jobColumns = `j.id, j.tenant_id, j.project_id, j.submitter, j.spec, j.spec_digest, j.site_id, j.state, j.code, j.version,
	j.priority_class, j.priority_weight, j.created_at, j.updated_at, j.finished_at`

// jobScan gives the places that jobColumns are scanned into, and a function
// that finishes the job.
func jobScan(j *broker.Job) ([]any, func() error) {
	var spec []byte
	var created, updated, finished sql.NullInt64
	return []any{
			&j.ID, &j.Tenant, &j.Project, &j.Submitter, &spec, &j.SpecDigest, &j.Site, &j.State, &j.Code, &j.Version,
			&j.Priority.Class, &j.Priority.Weight, &created, &updated, &finished,
		}, func() (err error) {
			j.CreatedAt, j.UpdatedAt, j.FinishedAt = moment(created), moment(updated), moment(finished)
			if broker.DigestOf(spec) != j.SpecDigest {
				return fmt.Errorf("the spec of job %s is not the one that was stored: %w", j.ID, errDamaged)
			}
			if j.Spec, err = jobspec.DecodeSpec(spec); err != nil {
				// As text: its kind would look like the caller's fault.
				return fmt.Errorf("read the spec of job %s: %s: %w", j.ID, err.Error(), errDamaged)
			}
			return nil
		}
}

func readJob(scan scanner) (broker.Job, error) {
	var j broker.Job
	dest, finish := jobScan(&j)
	if err := scan(dest...); err != nil {
		return broker.Job{}, err
	}
	return j, finish()
}

// jobByID reads a job whoever's it is.
func jobByID(ctx context.Context, q querier, id broker.JobID) (broker.Job, error) {
	j, err := only(ctx, q, `SELECT `+jobColumns+` FROM job j WHERE j.id = ?`, []any{id}, readJob)
	return j, missing(err, "job", string(id))
}

// Job returns a project's job.
func (s *Store) Job(ctx context.Context, project broker.ProjectID, id broker.JobID) (broker.Job, error) {
	j, err := only(ctx, s.read, `SELECT `+jobColumns+` FROM job j WHERE j.id = ? AND j.project_id = ?`, []any{id, project}, readJob)
	return j, translate("read job", missing(err, "job", string(id)))
}

// Jobs lists a project's jobs, newest first, from a cursor on ("" begins). The
// cursor of the next page is "" at the end.
func (s *Store) Jobs(ctx context.Context, project broker.ProjectID, cursor string, limit int) ([]broker.Job, string, error) {
	if limit <= 0 || limit > maxPage {
		limit = maxPage
	}
	at, id, err := parseCursor(cursor)
	if err != nil {
		return nil, "", err
	}
	js, err := list(ctx, s.read, `SELECT `+jobColumns+` FROM job j
		WHERE j.project_id = ? AND (j.created_at, j.id) < (?, ?) ORDER BY j.created_at DESC, j.id DESC LIMIT ?`,
		[]any{project, at, id, limit + 1}, readJob)
	if err != nil {
		return nil, "", translate("list jobs", err)
	}
	if len(js) <= limit {
		return js, "", nil
	}
	js = js[:limit]
	last := js[limit-1]
	return js, formatCursor(last.CreatedAt, last.ID), nil
}

// lastMicro is after every job.
const lastMicro = 1<<63 - 1

func formatCursor(at time.Time, id broker.JobID) string {
	return base64.RawURLEncoding.EncodeToString([]byte(strconv.FormatInt(at.UnixMicro(), 10) + " " + string(id)))
}

func parseCursor(c string) (int64, broker.JobID, error) {
	if c == "" {
		return lastMicro, "", nil
	}
	b, err := base64.RawURLEncoding.Strict().DecodeString(c)
	at, id, ok := strings.Cut(string(b), " ")
	n, perr := strconv.ParseInt(at, 10, 64)
	if err != nil || !ok || perr != nil || !broker.ValidID("job", id) || formatCursor(time.UnixMicro(n), broker.JobID(id)) != c {
		return 0, "", &broker.Error{
			Kind: broker.KindInvalid, Code: "cursor_malformed", Message: "that is not a cursor of this list", Value: c,
			Rule: "a cursor is what the page before gave, unchanged", Help: "begin without a cursor", Who: "you",
		}
	}
	return n, broker.JobID(id), nil
}

// SpecBytes returns the canonical job spec as stored.
func (s *Store) SpecBytes(ctx context.Context, id broker.JobID) ([]byte, error) {
	var b []byte
	err := s.read.get(ctx, `SELECT spec FROM job WHERE id = ?`, []any{id}, &b)
	return b, translate("read job spec", missing(err, "job", string(id)))
}

// RequestCancel asks for the end of a job. One without a live attempt ends at
// once; for the others dispatch ends the attempt first. Asking for what has
// ended, or twice, is no error.
func (s *Store) RequestCancel(ctx context.Context, project broker.ProjectID, id broker.JobID, at time.Time) error {
	now := s.now()
	return s.write(ctx, "request cancellation", func(ctx context.Context, t *tx) error {
		j, err := only(ctx, t, `SELECT `+jobColumns+` FROM job j WHERE j.id = ? AND j.project_id = ?`, []any{id, project}, readJob)
		if err != nil {
			return missing(err, "job", string(id))
		}
		if j.State.Terminal() {
			return nil
		}
		if _, err := t.exec(ctx, `UPDATE job SET cancel_at = coalesce(cancel_at, ?), updated_at = ? WHERE id = ?`, micros(at), micros(now), id); err != nil {
			return err
		}
		n, err := t.exec(ctx, `UPDATE work SET cancel = 1, due_at = CASE WHEN lease_until IS NULL THEN min(due_at, ?) ELSE due_at END
			WHERE attempt_id = (SELECT id FROM attempt WHERE job_id = ? AND state NOT IN ('refused', 'done'))`, micros(at), id)
		if err != nil || n > 0 {
			return err
		}
		return moveJob(ctx, t, &j, jobMove{to: broker.JobCancelled, code: "cancelled", at: now, finished: at})
	})
}

// jobMove is one step of a job.
type jobMove struct {
	to       broker.JobState
	code     string
	at       time.Time // of the transaction
	finished time.Time // at, when zero
}

// moveJob takes a job along one edge, with its event. It checks the version
// that j was read at.
func moveJob(ctx context.Context, t *tx, j *broker.Job, m jobMove) error {
	if err := j.State.To(m.to); err != nil {
		return err
	}
	var finished any
	if m.to.Terminal() {
		if m.finished.IsZero() {
			m.finished = m.at
		}
		j.FinishedAt = m.finished.UTC().Truncate(time.Microsecond)
		finished = micros(j.FinishedAt)
		j.Code = m.code
	}
	n, err := t.exec(ctx, `UPDATE job SET state = ?, code = ?, finished_at = ?, updated_at = ?, version = version + 1, event_seq = event_seq + 1
		WHERE id = ? AND state = ? AND version = ?`, m.to, j.Code, finished, micros(m.at), j.ID, j.State, j.Version)
	if err != nil {
		return fmt.Errorf("move job %s to %s: %w", j.ID, m.to, err)
	}
	if n != 1 {
		return conflict("job_changed", "the job changed meanwhile", string(j.ID))
	}
	j.State, j.UpdatedAt = m.to, m.at.UTC().Truncate(time.Microsecond)
	j.Version++
	return tellJob(ctx, t, *j, m.at)
}
