package sqlite

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/valico-hpc/valico/broker"
	"github.com/valico-hpc/valico/broker/dispatch"
)

// due finds attempts to claim. The states come as one JSON list, so that the
// text is constant.
const due = ` FROM attempt a WHERE a.state NOT IN ('refused', 'done') AND a.state IN (SELECT value FROM json_each(?1))
	AND a.due_at <= ?2 AND (a.lease_until IS NULL OR a.lease_until <= ?2) ORDER BY a.due_at, a.id LIMIT ?3`

// Claim leases attempts that are due, oldest first, and raises their fencing
// tokens. It writes nothing when nothing is due.
func (s *Store) Claim(ctx context.Context, q dispatch.ClaimQuery) ([]dispatch.Claimed, error) {
	if q.Limit <= 0 || !q.Until.After(q.Now) {
		return nil, invalid("claim_query", "a claim has a limit and a lease that ends later", q.Owner)
	}
	states, err := json.Marshal(q.States)
	if err != nil {
		return nil, fmt.Errorf("encode states: %w", err)
	}
	args := []any{string(states), micros(q.Now), min(q.Limit, maxPage)}
	waiting, err := list(ctx, s.read, `SELECT a.id`+due, args, readID)
	if err != nil || len(waiting) == 0 {
		return nil, translate("look for work", err)
	}
	var out []dispatch.Claimed
	err = s.write(ctx, "claim work", func(ctx context.Context, t *tx) error {
		out = nil
		ids, err := list(ctx, t, `SELECT a.id`+due, args, readID)
		if err != nil {
			return err
		}
		for _, id := range ids {
			if _, err := t.exec(ctx, `UPDATE attempt SET token = token + 1, lease_owner = ?, lease_until = ? WHERE id = ?`,
				q.Owner, micros(q.Until), id); err != nil {
				return err
			}
			c, err := claimed(ctx, t, id)
			switch {
			case err == nil:
				out = append(out, c)
			case errors.Is(err, errDamaged): // it keeps its lease and holds up nobody else
				s.log.ErrorContext(ctx, "attempt cannot be worked on", "attempt_id", string(id), "error", err)
			default:
				return err
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}

func readID(scan scanner) (broker.AttemptID, error) {
	var id broker.AttemptID
	err := scan(&id)
	return id, err
}

func claimed(ctx context.Context, t *tx, id broker.AttemptID) (dispatch.Claimed, error) {
	var c dispatch.Claimed
	ad, af := attemptScan(&c.Attempt)
	jd, jf := jobScan(&c.Job)
	var cancel sql.NullInt64
	err := t.get(ctx, `SELECT `+attemptColumns+`, `+jobColumns+`, a.token, j.cancel_at FROM attempt a JOIN job j ON j.id = a.job_id WHERE a.id = ?`,
		[]any{id}, append(append(ad, jd...), &c.Token, &cancel)...)
	if err != nil {
		return c, err
	}
	af()
	c.Cancel = cancel.Valid
	return c, jf()
}

// Renew extends the leases of claims whose token is still the newest.
func (s *Store) Renew(ctx context.Context, cs []dispatch.Claimed, until time.Time) ([]broker.AttemptID, error) {
	var kept []broker.AttemptID
	err := s.write(ctx, "renew leases", func(ctx context.Context, t *tx) error {
		kept = nil
		for _, c := range cs {
			n, err := t.exec(ctx, `UPDATE attempt SET lease_until = ? WHERE id = ? AND token = ?`, micros(until), c.Attempt.ID, c.Token)
			if err != nil {
				return err
			}
			if n == 1 {
				kept = append(kept, c.Attempt.ID)
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return kept, nil
}

// Release ends leases and makes each attempt due again at its time; stale
// tokens change nothing.
func (s *Store) Release(ctx context.Context, rs []dispatch.Released) error {
	if len(rs) == 0 {
		return nil
	}
	return s.write(ctx, "release leases", func(ctx context.Context, t *tx) error {
		for _, r := range rs {
			if _, err := t.exec(ctx, `UPDATE attempt SET lease_owner = NULL, lease_until = NULL, due_at = ? WHERE id = ? AND token = ?`,
				micros(r.Due), r.Claimed.Attempt.ID, r.Claimed.Token); err != nil {
				return err
			}
		}
		return nil
	})
}

// Reclaim ends every lease. Whoever owns the record alone calls it when it
// starts: the leases of its former life would only keep it waiting. Fencing
// tokens rise with it, so a writer of that life changes nothing any more.
func (s *Store) Reclaim(ctx context.Context) error {
	return s.write(ctx, "reclaim leases", func(ctx context.Context, t *tx) error {
		_, err := t.exec(ctx, `UPDATE attempt SET token = token + 1, lease_owner = NULL, lease_until = NULL WHERE lease_until IS NOT NULL`)
		return err
	})
}
