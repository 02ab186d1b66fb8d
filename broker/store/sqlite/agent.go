package sqlite

import (
	"context"
	"database/sql"
	"fmt"

	"github.com/valico-hpc/valico/broker"
)

// AddRemoteSite stores a site together with the agent that speaks for it.
func (s *Store) AddRemoteSite(ctx context.Context, site broker.Site, e broker.Enrolment) error {
	if site.ID == "" || site.Name == "" || e.Site != site.ID {
		return invalid("site_name", "a site has an identifier and a name, and an agent of its own", site.Name)
	}
	return s.write(ctx, "add remote site", func(ctx context.Context, t *tx) error {
		if err := insertSite(ctx, t, site, s.now()); err != nil {
			return err
		}
		return enrol(ctx, t, e)
	})
}

// Enrol lets another agent speak for a remote site: the keys of the earlier one
// count no more. A site whose agent is in the broker stays one.
func (s *Store) Enrol(ctx context.Context, e broker.Enrolment) error {
	return s.write(ctx, "enrol agent", func(ctx context.Context, t *tx) error {
		n, err := t.exec(ctx, `DELETE FROM site_agent WHERE site_id = ?`, e.Site)
		if err == nil && n == 0 {
			return broker.NotFound("remote site", string(e.Site))
		}
		if err != nil {
			return err
		}
		return enrol(ctx, t, e)
	})
}

func enrol(ctx context.Context, t *tx, e broker.Enrolment) error {
	if len(e.Key) == 0 || e.SignIn == "" || e.By == "" || e.At.IsZero() {
		return invalid("enrolment_incomplete", "an agent has a key and a sign-in key, and somebody enrolled it", string(e.Site))
	}
	_, err := t.exec(ctx, `INSERT INTO site_agent (site_id, key, sign_in, by_person, enrolled_at) VALUES (?, ?, ?, ?, ?)`,
		e.Site, e.Key, e.SignIn, e.By, micros(e.At))
	return err
}

// Enrolments lists the agents of remote sites.
func (s *Store) Enrolments(ctx context.Context) ([]broker.Enrolment, error) {
	out, err := list(ctx, s.read, `SELECT site_id, key, sign_in, by_person, enrolled_at FROM site_agent ORDER BY site_id`, nil,
		func(scan scanner) (broker.Enrolment, error) {
			var e broker.Enrolment
			var at sql.NullInt64
			err := scan(&e.Site, &e.Key, &e.SignIn, &e.By, &at)
			e.At = moment(at)
			return e, err
		})
	return out, translate("list agents", err)
}

// RecordAlerts keeps what an agent alerted to. An alert whose id is known grows:
// its count never shrinks, and it stays of its site.
func (s *Store) RecordAlerts(ctx context.Context, alerts []broker.SiteAlert) error {
	return s.write(ctx, "record alerts", func(ctx context.Context, t *tx) error {
		for _, a := range alerts {
			n, err := t.exec(ctx, `INSERT INTO site_alert (id, site_id, code, method, attempt, key_id, detail, count, first_at, last_at)
				VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
				ON CONFLICT (id) DO UPDATE SET count = max(count, excluded.count), last_at = max(last_at, excluded.last_at),
					detail = excluded.detail WHERE site_id = excluded.site_id`,
				a.ID, a.Site, a.Code, a.Method, a.Attempt, a.Key, a.Detail, a.Count, micros(a.First), micros(a.Last))
			if err != nil {
				return fmt.Errorf("alert %s: %w", a.ID, err)
			}
			if n == 0 {
				return conflict("alert_exists", "an alert of that id is another site's", string(a.ID))
			}
		}
		return nil
	})
}

// Alerts lists a site's alerts, the newest first.
func (s *Store) Alerts(ctx context.Context, site broker.SiteID, limit int) ([]broker.SiteAlert, error) {
	out, err := list(ctx, s.read, `SELECT id, site_id, code, method, attempt, key_id, detail, count, first_at, last_at
		FROM site_alert WHERE site_id = ? ORDER BY last_at DESC, id LIMIT ?`, []any{site, limit},
		func(scan scanner) (broker.SiteAlert, error) {
			var a broker.SiteAlert
			var first, last sql.NullInt64
			err := scan(&a.ID, &a.Site, &a.Code, &a.Method, &a.Attempt, &a.Key, &a.Detail, &a.Count, &first, &last)
			a.First, a.Last = moment(first), moment(last)
			return a, err
		})
	return out, translate("list alerts", err)
}
