package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"time"

	"github.com/valico-hpc/valico/broker"
	"github.com/valico-hpc/valico/broker/queue"
)

// hour is the hour of share that a moment is in.
func hour(t time.Time) int64 { return t.Unix() / 3600 }

// turns are at most limit waiting attempts whose turn it is, at sites that have
// room: first those that a person gave up, then one of each site in turn, each
// site's in the order of package queue.
func turns(ctx context.Context, r querier, now time.Time, limit int) ([]broker.AttemptID, error) {
	out, err := list(ctx, r, `SELECT attempt_id FROM work WHERE cancel = 1 AND stage <> 'over' AND stage = 'waiting' AND due_at <= ?1
		AND (lease_until IS NULL OR lease_until <= ?1) LIMIT ?2`, []any{micros(now), limit}, readID)
	if err != nil || len(out) == limit {
		return out, err
	}
	limit -= len(out)
	var sites [][]queue.Place
	err = eachKey(ctx, r, `SELECT min(site_id) FROM work WHERE stage = 'waiting' AND site_id > ?1`, nil, func(site string) error {
		n, err := room(ctx, r, site, now)
		if err != nil || n <= 0 {
			return err
		}
		n = min(n, limit)
		snap, err := snapshot(ctx, r, site, now, n)
		if err != nil {
			return err
		}
		sites = append(sites, queue.Order(snap, n))
		return nil
	})
	if err != nil {
		return nil, err
	}
	for i := 0; limit > 0; i++ {
		more := false
		for _, places := range sites {
			if i < len(places) && limit > 0 {
				out, more = append(out, places[i].Attempt), true
				limit--
			}
		}
		if !more {
			break
		}
	}
	return out, nil
}

// eachKey calls f with each value that q, the smallest above ?1, finds.
func eachKey(ctx context.Context, r querier, q string, args []any, f func(string) error) error {
	for last := ""; ; {
		var next sql.NullString
		if err := r.get(ctx, q, append([]any{last}, args...), &next); err != nil {
			return err
		}
		if !next.Valid {
			return nil
		}
		if err := f(next.String); err != nil {
			return err
		}
		last = next.String
	}
}

// noLimit is the room at a site that sets none.
const noLimit = maxPage

// room is how many more attempts a site takes before its scheduler has max_queue
// that have not begun. Those on the way there count.
func room(ctx context.Context, r querier, site string, now time.Time) (int, error) {
	var most, there, held int
	var o broker.SiteOperation
	err := r.get(ctx, `SELECT coalesce(json_extract(record, '$.max_queue'), 0), operation FROM site WHERE id = ?`, []any{site}, &most, &o.State)
	if err == nil && !o.Starts() {
		return 0, nil // what waits stays at the broker until an operator opens it
	}
	if err != nil || most == 0 {
		if errors.Is(err, sql.ErrNoRows) {
			err = nil // a job's site is in the record: there is a foreign key
		}
		return noLimit, err
	}
	if err := r.get(ctx, `SELECT count(*) FROM work WHERE site_id = ? AND stage IN ('begun', 'queued')`, []any{site}, &there); err != nil {
		return 0, err
	}
	if err := r.get(ctx, `SELECT count(*) FROM work WHERE site_id = ? AND stage = 'waiting' AND lease_until IS NOT NULL AND lease_until > ?`,
		[]any{site, micros(now)}, &held); err != nil {
		return 0, err
	}
	return most - there - held, nil
}

// ahead finds the first of a project's attempts that wait for their turn at a site.
const ahead = `SELECT w.attempt_id, w.tenant_id, w.project_id, w.weight, w.cost, w.at FROM work w
	WHERE w.stage = 'waiting' AND w.site_id = ?1 AND w.project_id = ?2 AND w.cancel = 0 AND w.due_at <= ?3
	AND (w.lease_until IS NULL OR w.lease_until <= ?3) ORDER BY w.rank, w.attempt_id LIMIT ?4`

// snapshot is what the order at a site depends on. With a limit it holds those
// that are due, as many of each project: no more of one can be among the first.
func snapshot(ctx context.Context, r querier, site string, now time.Time, limit int) (queue.Snapshot, error) {
	var s queue.Snapshot
	err := eachKey(ctx, r, `SELECT min(project_id) FROM work WHERE stage = 'waiting' AND project_id > ?1 AND site_id = ?2`, []any{site},
		func(project string) error {
			jobs, err := list(ctx, r, ahead, []any{site, project, micros(now), limit}, readWaiting)
			s.Jobs = append(s.Jobs, jobs...)
			return err
		})
	if err != nil {
		return s, err
	}
	return s, given(ctx, r, &s, now)
}

func readWaiting(scan scanner) (queue.Job, error) {
	var j queue.Job
	var at sql.NullInt64
	err := scan(&j.Attempt, &j.Tenant, &j.Project, &j.Weight, &j.Cost, &at)
	j.At = moment(at)
	return j, err
}

// given sums what tenants and projects were given within queue.Window, and what
// is on its way to a site.
func given(ctx context.Context, r querier, s *queue.Snapshot, now time.Time) error {
	s.Tenants, s.Projects = map[broker.TenantID]int64{}, map[broker.ProjectID]int64{}
	return r.each(ctx, `SELECT tenant_id, project_id, sum(cost) FROM share WHERE hour > ?1 GROUP BY tenant_id, project_id
		UNION ALL SELECT tenant_id, project_id, cost FROM work WHERE stage = 'begun'
		UNION ALL SELECT tenant_id, project_id, cost FROM work WHERE stage = 'waiting' AND lease_until IS NOT NULL AND lease_until > ?2`,
		[]any{hour(now.Add(-queue.Window)), micros(now)}, func(scan scanner) error {
			var t broker.TenantID
			var p broker.ProjectID
			var n int64
			if err := scan(&t, &p, &n); err != nil {
				return err
			}
			s.Tenants[t] += n
			s.Projects[p] += n
			return nil
		})
}

// Queue lists a project's jobs that wait for their turn, each with its place
// among all that wait at its site.
func (s *Store) Queue(ctx context.Context, project broker.ProjectID) ([]broker.QueuePlace, error) {
	now := s.now()
	var out []broker.QueuePlace
	err := eachKey(ctx, s.read, `SELECT min(site_id) FROM work WHERE stage = 'waiting' AND site_id > ?1 AND project_id = ?2`, []any{project},
		func(site string) error {
			n, err := room(ctx, s.read, site, now)
			if err != nil {
				return err
			}
			snap := queue.Snapshot{}
			if snap.Jobs, err = list(ctx, s.read, `SELECT w.attempt_id, w.tenant_id, w.project_id, w.weight, w.cost, w.at FROM work w
				WHERE w.stage = 'waiting' AND w.cancel = 0 AND w.site_id = ?1 AND (w.lease_until IS NULL OR w.lease_until <= ?2)`,
				[]any{site, micros(now)}, readWaiting); err != nil {
				return err
			}
			if err := given(ctx, s.read, &snap, now); err != nil {
				return err
			}
			for _, p := range queue.Order(snap, 0) {
				if p.Project != project {
					continue
				}
				q := broker.QueuePlace{
					Attempt: p.Attempt, Site: broker.SiteID(site), Position: p.Position, Of: len(snap.Jobs),
					Before: string(p.Before), SameProject: p.SameProject, SiteFull: n <= 0,
				}
				if err := s.read.get(ctx, `SELECT a.job_id, j.priority_class FROM attempt a JOIN job j ON j.id = a.job_id WHERE a.id = ?`,
					[]any{p.Attempt}, &q.Job, &q.Class); err != nil {
					return err
				}
				out = append(out, q)
			}
			return nil
		})
	return out, translate("list the queue", err)
}
