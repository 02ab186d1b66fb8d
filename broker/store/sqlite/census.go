package sqlite

import (
	"context"
	"database/sql"
	"time"

	"github.com/valico-hpc/valico/broker"
)

// endingWithin is how long before its end an allocation counts as ending.
const endingWithin = 14 * 24 * time.Hour

// Census counts what the record holds now.
func (s *Store) Census(ctx context.Context) (broker.Census, error) {
	var c broker.Census
	var err error
	c.Attempts, err = list(ctx, s.read, `SELECT j.site_id, a.state, count(*), min(a.updated_at) FROM attempt a JOIN job j ON j.id = a.job_id
		WHERE a.state NOT IN ('refused', 'done') GROUP BY j.site_id, a.state`, nil, func(scan scanner) (broker.AttemptCount, error) {
		var x broker.AttemptCount
		var at sql.NullInt64
		err := scan(&x.Site, &x.State, &x.N, &at)
		x.Oldest = moment(at)
		return x, err
	})
	if err != nil {
		return broker.Census{}, translate("count attempts", err)
	}
	c.Waiting, err = list(ctx, s.read, `SELECT j.site_id, a.waiting_code, count(*), min(a.waiting_since) FROM attempt a JOIN job j ON j.id = a.job_id
		WHERE a.state NOT IN ('refused', 'done') AND a.waiting_code <> '' GROUP BY j.site_id, a.waiting_code`, nil,
		func(scan scanner) (broker.WaitCount, error) {
			var x broker.WaitCount
			var at sql.NullInt64
			err := scan(&x.Site, &x.Code, &x.N, &at)
			x.Oldest = moment(at)
			return x, err
		})
	if err != nil {
		return broker.Census{}, translate("count what waits", err)
	}
	if err := s.read.get(ctx, `SELECT (SELECT count(*) FROM job WHERE state = 'in_review'), (SELECT count(*) FROM outbox)`,
		nil, &c.Reviews, &c.Outbox); err != nil {
		return broker.Census{}, translate("count reviews and events", err)
	}
	now := s.now()
	c.Budgets, err = list(ctx, s.read, `SELECT site_id, sum(granted), sum(reserved), sum(used), count(*), sum(frozen),
			sum(granted - reserved - used <= 0), sum(valid_until < ?2),
			sum(granted - reserved - used < 0)
		FROM allocation WHERE valid_from <= ?1 AND valid_until > ?1 GROUP BY site_id`, []any{micros(now), micros(now.Add(endingWithin))},
		func(scan scanner) (broker.BudgetCount, error) {
			var b broker.BudgetCount
			err := scan(&b.Site, &b.Granted, &b.Reserved, &b.Used, &b.N, &b.Frozen, &b.UsedUp, &b.Ending, &b.Overrun)
			return b, err
		})
	if err != nil {
		return broker.Census{}, translate("sum budgets", err)
	}
	return c, nil
}
