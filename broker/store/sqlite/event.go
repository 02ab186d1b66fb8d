package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/valico-hpc/valico/broker"
)

// Sources of events.
const (
	sourceBroker = "broker"
	sourceSite   = "site"
)

// resendAfter is how long after it was sent an event that is still not in the
// projection is given out again.
const resendAfter = time.Minute

// codeGap is the code of events that do not follow on what is there.
const codeGap = "event_gap"

// tellJob writes a job's new state into the outbox. The caller has raised the
// job's event_seq in the same transaction.
func tellJob(ctx context.Context, t *tx, j broker.Job, now time.Time) error {
	return tell(ctx, t, `INSERT INTO outbox (tenant_id, project_id, job_id, attempt_id, seq, kind, name, text, at)
		SELECT tenant_id, project_id, id, '', event_seq, ?, 'job', state, ? FROM job WHERE id = ?`, string(j.ID), now)
}

// tellAttempt does the same for an attempt.
func tellAttempt(ctx context.Context, t *tx, a broker.Attempt, now time.Time) error {
	return tell(ctx, t, `INSERT INTO outbox (tenant_id, project_id, job_id, attempt_id, seq, kind, name, text, at)
		SELECT tenant_id, project_id, job_id, id, event_seq, ?, 'attempt', state, ? FROM attempt WHERE id = ?`, string(a.ID), now)
}

// tellStep tells of one step of an attempt: its state if that is new, then what
// it waits for if that is. The caller has raised event_seq by one for each.
func tellStep(ctx context.Context, t *tx, a broker.Attempt, moved, waits bool, now time.Time) error {
	after := 0
	if waits {
		after = 1
	}
	if moved {
		if _, err := t.exec(ctx, `INSERT INTO outbox (tenant_id, project_id, job_id, attempt_id, seq, kind, name, text, at)
			SELECT tenant_id, project_id, job_id, id, event_seq - ?, ?, 'attempt', state, ? FROM attempt WHERE id = ?`,
			after, broker.EventState, micros(now), a.ID); err != nil {
			return fmt.Errorf("write the event of %s: %w", a.ID, err)
		}
	}
	if !waits {
		return nil
	}
	if _, err := t.exec(ctx, `INSERT INTO outbox (tenant_id, project_id, job_id, attempt_id, seq, kind, name, text, at)
		SELECT tenant_id, project_id, job_id, id, event_seq, ?, waiting_code, waiting, ? FROM attempt WHERE id = ?`,
		broker.EventNotice, micros(now), a.ID); err != nil {
		return fmt.Errorf("write the notice of %s: %w", a.ID, err)
	}
	return nil
}

func tell(ctx context.Context, t *tx, insert, id string, now time.Time) error {
	n, err := t.exec(ctx, insert, broker.EventState, micros(now), id)
	if err != nil || n != 1 {
		return fmt.Errorf("write the event of %s: %w", id, rowMissing(err))
	}
	return nil
}

// Outbox returns the oldest events that were not sent, or were sent a minute
// ago and have not reached the projection since.
func (s *Store) Outbox(ctx context.Context, limit int) ([]broker.OutboxEvent, error) {
	if limit <= 0 || limit > maxPage {
		limit = maxPage
	}
	evs, err := list(ctx, s.read, `SELECT id, tenant_id, job_id, attempt_id, seq, kind, name, text, at FROM outbox
		WHERE sent_at IS NULL OR sent_at < ? ORDER BY id LIMIT ?`,
		[]any{micros(s.now().Add(-resendAfter)), limit}, func(scan scanner) (broker.OutboxEvent, error) {
			var o broker.OutboxEvent
			var at sql.NullInt64
			e := &o.Event
			err := scan(&o.ID, &e.Tenant, &e.Job, &e.Attempt, &e.Seq, &e.Kind, &e.Name, &e.Text, &at)
			e.Source, e.At = sourceBroker, moment(at)
			return o, err
		})
	return evs, translate("read the outbox", err)
}

// OutboxSent marks events as sent.
func (s *Store) OutboxSent(ctx context.Context, ids []int64) error {
	if len(ids) == 0 {
		return nil
	}
	now := s.now()
	return s.write(ctx, "mark events as sent", func(ctx context.Context, t *tx) error {
		for _, id := range ids {
			if _, err := t.exec(ctx, `UPDATE outbox SET sent_at = ? WHERE id = ?`, micros(now), id); err != nil {
				return err
			}
		}
		return nil
	})
}

// ApplyEvents appends events to the projection, all or none, and returns how
// many were new. What is not above the high-water mark of its job, attempt and
// source was seen; what does not follow on it gives KindConflict and event_gap.
func (s *Store) ApplyEvents(ctx context.Context, events []broker.Event) (int, error) {
	if len(events) == 0 {
		return 0, nil
	}
	var applied int
	err := s.write(ctx, "apply events", func(ctx context.Context, t *tx) error {
		applied = 0
		owners := map[broker.JobID]owner{}
		for _, e := range events {
			o, err := ownerOf(ctx, t, owners, e)
			if err != nil {
				return err
			}
			fresh, err := applyEvent(ctx, t, o, e)
			if err != nil {
				return err
			}
			if fresh {
				applied++
			}
		}
		return nil
	})
	if err != nil {
		return 0, err
	}
	return applied, nil
}

// owner is whose a job is, and where it runs.
type owner struct {
	tenant   broker.TenantID
	project  broker.ProjectID
	site     broker.SiteID
	attempts map[broker.AttemptID]bool
}

// ownerOf refuses an event that its speaker may not make.
func ownerOf(ctx context.Context, t *tx, known map[broker.JobID]owner, e broker.Event) (owner, error) {
	switch {
	case e.Source != sourceBroker && e.Source != sourceSite, e.Seq < 1, e.Source == sourceSite && e.Attempt == "":
		return owner{}, invalid("event_malformed", "an event has a source, a number from 1, and of a site an attempt", string(e.Job))
	case e.Kind != broker.EventState && e.Kind != broker.EventMetric && e.Kind != broker.EventLog && e.Kind != broker.EventNotice:
		return owner{}, invalid("event_malformed", "an event is of a kind that is known here", e.Kind)
	}
	o, ok := known[e.Job]
	if !ok {
		o.attempts = map[broker.AttemptID]bool{"": true}
		err := t.get(ctx, `SELECT tenant_id, project_id, site_id FROM job WHERE id = ?`, []any{e.Job}, &o.tenant, &o.project, &o.site)
		if err != nil {
			return owner{}, missing(err, "job", string(e.Job))
		}
		as, err := list(ctx, t, `SELECT a.id FROM attempt a WHERE a.job_id = ?`, []any{e.Job}, readID)
		if err != nil {
			return owner{}, err
		}
		for _, a := range as {
			o.attempts[a] = true
		}
		known[e.Job] = o
	}
	if !o.attempts[e.Attempt] {
		return owner{}, broker.NotFound("attempt", string(e.Attempt))
	}
	if e.Tenant != o.tenant || (e.Source == sourceSite && e.Site != o.site) || (e.Source == sourceBroker && e.Site != "") {
		return owner{}, &broker.Error{
			Kind: broker.KindForbidden, Code: "event_foreign", Message: "the event speaks for another tenant or site",
			Rule: "a site tells of its own attempts only", Value: string(e.Job), Who: "the broker's operator",
		}
	}
	return o, nil
}

// applyEvent appends one event if it is the next of its row.
func applyEvent(ctx context.Context, t *tx, o owner, e broker.Event) (bool, error) {
	var mark uint64
	err := t.get(ctx, `SELECT seq FROM event_mark WHERE job_id = ? AND attempt_id = ? AND source = ?`,
		[]any{e.Job, e.Attempt, e.Source}, &mark)
	if err != nil && !errors.Is(err, sql.ErrNoRows) {
		return false, err
	}
	if e.Source == sourceBroker && e.Seq <= mark+1 {
		if _, err := t.exec(ctx, `DELETE FROM outbox WHERE job_id = ? AND attempt_id = ? AND seq = ?`, e.Job, e.Attempt, e.Seq); err != nil {
			return false, err
		}
	}
	if e.Seq <= mark {
		return false, nil
	}
	if e.Seq != mark+1 {
		return false, conflict(codeGap, "an event before this one is missing", fmt.Sprintf("%d follows %d", e.Seq, mark))
	}
	if _, err := t.exec(ctx, `INSERT INTO event
		(tenant_id, project_id, job_id, attempt_id, site_id, source, seq, kind, name, value, step, text, at)
		VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`,
		o.tenant, o.project, e.Job, e.Attempt, e.Site, e.Source, e.Seq, e.Kind, e.Name, number(e.Value), e.Step, e.Text, e.At.UnixMicro()); err != nil {
		return false, err
	}
	_, err = t.exec(ctx, `INSERT INTO event_mark (tenant_id, project_id, job_id, attempt_id, source, seq) VALUES (?, ?, ?, ?, ?, ?)
		ON CONFLICT (job_id, attempt_id, source) DO UPDATE SET seq = excluded.seq`,
		o.tenant, o.project, e.Job, e.Attempt, e.Source, e.Seq)
	return err == nil, err
}

// number stores what is not a number as NULL, as SQL has it.
func number(v float64) any {
	if math.IsNaN(v) {
		return nil
	}
	return v
}

// Events lists what is known of a tenant's job after a cursor, in order.
func (s *Store) Events(ctx context.Context, tenant broker.TenantID, job broker.JobID, after int64, limit int) ([]broker.Event, error) {
	if limit <= 0 || limit > maxPage {
		limit = maxPage
	}
	evs, err := list(ctx, s.read, `SELECT cursor, tenant_id, job_id, attempt_id, site_id, source, seq, kind, name, value, step, text, at
		FROM event WHERE job_id = ? AND cursor > ? AND tenant_id = ? ORDER BY cursor LIMIT ?`,
		[]any{job, after, tenant, limit}, func(scan scanner) (broker.Event, error) {
			var e broker.Event
			var at sql.NullInt64
			var value sql.NullFloat64
			err := scan(&e.Cursor, &e.Tenant, &e.Job, &e.Attempt, &e.Site, &e.Source, &e.Seq, &e.Kind, &e.Name, &value, &e.Step, &e.Text, &at)
			e.At, e.Value = moment(at), value.Float64
			if !value.Valid {
				e.Value = math.NaN()
			}
			return e, err
		})
	return evs, translate("list events", err)
}
