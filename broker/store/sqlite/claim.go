package sqlite

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/valico-hpc/valico/broker"
	"github.com/valico-hpc/valico/broker/dispatch"
	"github.com/valico-hpc/valico/broker/queue"
)

// due finds attempts of one stage to claim. The states come as one JSON list, so
// that the text is constant.
const due = `SELECT w.attempt_id FROM work w JOIN attempt a ON a.id = w.attempt_id
	WHERE w.stage = ?1 AND w.stage <> 'over' AND w.due_at <= ?2 AND (w.lease_until IS NULL OR w.lease_until <= ?2)
	AND a.state IN (SELECT value FROM json_each(?3)) ORDER BY w.due_at LIMIT ?4`

// Claim leases attempts that are due and raises their fencing tokens. It writes
// nothing when nothing is due.
func (s *Store) Claim(ctx context.Context, q dispatch.ClaimQuery) ([]dispatch.Claimed, error) {
	if q.Limit <= 0 || !q.Until.After(q.Now) {
		return nil, invalid("claim_query", "a claim has a limit and a lease that ends later", q.Owner)
	}
	q.Limit = min(q.Limit, maxPage)
	waiting, err := candidates(ctx, s.read, q)
	if err != nil || len(waiting) == 0 {
		return nil, translate("look for work", err)
	}
	var out []dispatch.Claimed
	err = s.write(ctx, "claim work", func(ctx context.Context, t *tx) error {
		out = nil
		ids, err := candidates(ctx, t, q)
		if err != nil {
			return err
		}
		for _, id := range ids {
			if _, err := t.exec(ctx, `UPDATE work SET token = token + 1, lease_owner = ?, lease_until = ?2, due_at = ?2 WHERE attempt_id = ?3`,
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

// candidates are the attempts that Claim may lease: those whose turn has begun or
// that are at a site, oldest due first, and those whose turn it is.
func candidates(ctx context.Context, r querier, q dispatch.ClaimQuery) ([]broker.AttemptID, error) {
	states, err := json.Marshal(q.States)
	if err != nil {
		return nil, fmt.Errorf("encode states: %w", err)
	}
	var out []broker.AttemptID
	for _, stage := range stages(q.States) {
		left := q.Limit - len(out)
		if left == 0 {
			break
		}
		var ids []broker.AttemptID
		if stage == stageWaiting {
			ids, err = turns(ctx, r, q.Now, left)
		} else {
			ids, err = list(ctx, r, due, []any{stage, micros(q.Now), string(states), left}, readID)
		}
		if err != nil {
			return nil, err
		}
		out = append(out, ids...)
	}
	return out, nil
}

// The stages of work.stage that can be claimed, in the order of an attempt's life.
const (
	stageWaiting = "waiting"
	stageBegun   = "begun"
	stageQueued  = "queued"
	stageSite    = "site"
)

// stages are those of states: what has begun comes before what waits for its turn.
func stages(states []broker.AttemptState) []string {
	of := map[string]bool{}
	for _, s := range states {
		switch s {
		case broker.AttemptPackaging:
			of[stageWaiting] = true
		case broker.AttemptClearing, broker.AttemptReady:
			of[stageBegun] = true
		case broker.AttemptSubmitting, broker.AttemptQueued:
			of[stageQueued] = true
		case broker.AttemptStarting, broker.AttemptRunning, broker.AttemptSealing:
			of[stageSite] = true
		case broker.AttemptRefused, broker.AttemptDone:
		}
	}
	var out []string
	for _, s := range []string{stageBegun, stageWaiting, stageQueued, stageSite} {
		if of[s] {
			out = append(out, s)
		}
	}
	return out
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
	err := t.get(ctx, `SELECT `+attemptColumns+`, `+jobColumns+`, w.token, w.cancel FROM attempt a JOIN job j ON j.id = a.job_id
		JOIN work w ON w.attempt_id = a.id WHERE a.id = ?`, []any{id}, append(append(ad, jd...), &c.Token, &c.Cancel)...)
	if err != nil {
		return c, err
	}
	af()
	return c, jf()
}

// Renew extends the leases of claims whose token is still the newest.
func (s *Store) Renew(ctx context.Context, cs []dispatch.Claimed, until time.Time) ([]broker.AttemptID, error) {
	var kept []broker.AttemptID
	err := s.write(ctx, "renew leases", func(ctx context.Context, t *tx) error {
		kept = nil
		for _, c := range cs {
			n, err := t.exec(ctx, `UPDATE work SET lease_until = ?1, due_at = ?1 WHERE attempt_id = ?2 AND token = ?3`,
				micros(until), c.Attempt.ID, c.Token)
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
			if _, err := t.exec(ctx, `UPDATE work SET lease_owner = NULL, lease_until = NULL, due_at = ? WHERE attempt_id = ? AND token = ?`,
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
	now := s.now()
	return s.write(ctx, "reclaim leases", func(ctx context.Context, t *tx) error {
		if _, err := t.exec(ctx, `UPDATE work SET token = token + 1, lease_owner = NULL, lease_until = NULL, due_at = min(due_at, ?)
			WHERE lease_until IS NOT NULL`, micros(now)); err != nil {
			return err
		}
		_, err := t.exec(ctx, `DELETE FROM share WHERE hour <= ?`, hour(now.Add(-queue.Window)))
		return err
	})
}

// Cancelled lists the attempts at a site whose end a person asked for.
func (s *Store) Cancelled(ctx context.Context) ([]broker.AttemptID, error) {
	ids, err := list(ctx, s.read, `SELECT attempt_id FROM work WHERE cancel = 1 AND stage <> 'over' AND stage IN ('queued', 'site')`, nil, readID)
	return ids, translate("list cancellations", err)
}
