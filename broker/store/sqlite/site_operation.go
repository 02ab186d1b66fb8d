package sqlite

import (
	"bytes"
	"context"
	"database/sql"
	"fmt"

	"github.com/valico-hpc/valico/broker"
	"github.com/valico-hpc/valico/broker/ledger"
)

// ChangeSite records an operator's act on a site with its ledger row, if the
// site's operation still has the version before the act's.
func (s *Store) ChangeSite(ctx context.Context, project broker.ProjectID, act broker.SiteAct, e ledger.Entry) (broker.Site, error) {
	after := act.After()
	if after.State == "" || act.Version < 1 || act.By == "" || act.At.IsZero() || len(act.Document) == 0 ||
		!bytes.Equal(act.Document, e.Document) || e.Kind != ledger.KindSite || e.Permit != ledger.SiteChain(act.Site) || e.Person != act.By {
		return broker.Site{}, invalid("act_inconsistent", "the parts of an act do not belong together", string(act.Site))
	}
	var out broker.Site
	err := s.write(ctx, "change site "+string(act.Site), func(ctx context.Context, t *tx) error {
		have, err := only(ctx, t, `SELECT `+siteColumns+` WHERE id = ?`, []any{act.Site}, scanSite)
		if err != nil {
			return missing(err, "site", string(act.Site))
		}
		if have.Operation.Version != act.Version-1 {
			return conflict(broker.CodeStaleVersion, "the site changed meanwhile", fmt.Sprintf("version %d, now %d", act.Version-1, have.Operation.Version))
		}
		if have.Operation.Starts() && after.Starts() {
			return conflict("site_open", "the site is open already", have.Name)
		}
		if _, err := t.exec(ctx, `UPDATE site SET operation = ?, operation_by = ?, operation_reason = ?, operation_at = ?, operation_until = ?,
			operation_version = ? WHERE id = ?`, after.State, after.By, after.Reason, micros(after.Since), micros(after.Until),
			after.Version, act.Site); err != nil {
			return err
		}
		index, err := appendEntry(ctx, t, project, e)
		if err != nil {
			return err
		}
		if _, err := t.exec(ctx, `INSERT INTO site_act (site_id, version, act, by, reason, until, ledger_index, at) VALUES (?, ?, ?, ?, ?, ?, ?, ?)`,
			act.Site, act.Version, act.Act, act.By, act.Reason, micros(act.Until), index, micros(act.At)); err != nil {
			return fmt.Errorf("insert the act: %w", err)
		}
		out, err = only(ctx, t, `SELECT `+siteColumns+` WHERE id = ?`, []any{act.Site}, scanSite)
		return err
	})
	if err != nil {
		return broker.Site{}, err
	}
	return out, nil
}

// SiteActs lists what operators did with a site, oldest first.
func (s *Store) SiteActs(ctx context.Context, id broker.SiteID) ([]broker.SiteAct, error) {
	out, err := list(ctx, s.read, `SELECT c.site_id, c.version, c.act, c.by, c.reason, c.until, r.document, c.ledger_index, c.at
		FROM site_act c JOIN ledger_row r ON r.idx = c.ledger_index WHERE c.site_id = ? ORDER BY c.version`, []any{id},
		func(scan scanner) (broker.SiteAct, error) {
			var c broker.SiteAct
			var at, until sql.NullInt64
			err := scan(&c.Site, &c.Version, &c.Act, &c.By, &c.Reason, &until, &c.Document, &c.LedgerIndex, &at)
			c.At, c.Until = moment(at), moment(until)
			return c, err
		})
	return out, translate("list acts", err)
}

// SiteOperation says what an operator lets happen at a site.
func (s *Store) SiteOperation(ctx context.Context, id broker.SiteID) (broker.SiteOperation, error) {
	var o broker.SiteOperation
	var since, until sql.NullInt64
	err := s.read.get(ctx, `SELECT operation, operation_by, operation_reason, operation_at, operation_until, operation_version
		FROM site WHERE id = ?`, []any{id}, &o.State, &o.By, &o.Reason, &since, &until, &o.Version)
	if err != nil {
		return broker.SiteOperation{}, translate("read site", missing(err, "site", string(id)))
	}
	if o.Version == 0 {
		return broker.SiteOperation{}, nil
	}
	o.Since, o.Until = moment(since), moment(until)
	return o, nil
}

// SiteLoads counts the attempts that are not over, by site; a site with none is
// left out.
func (s *Store) SiteLoads(ctx context.Context) (map[broker.SiteID]broker.SiteLoad, error) {
	type row struct {
		site  broker.SiteID
		state broker.AttemptState
		n     int
	}
	rows, err := list(ctx, s.read, `SELECT w.site_id, a.state, count(*) FROM work w JOIN attempt a ON a.id = w.attempt_id
		WHERE w.stage <> 'over' GROUP BY w.site_id, a.state`, nil, func(scan scanner) (r row, err error) {
		return r, scan(&r.site, &r.state, &r.n)
	})
	if err != nil {
		return nil, translate("count attempts", err)
	}
	out := map[broker.SiteID]broker.SiteLoad{}
	for _, r := range rows {
		l := out[r.site]
		switch {
		case !r.state.Submitted():
			l.Waiting += r.n
		case r.state == broker.AttemptSubmitting || r.state == broker.AttemptQueued:
			l.Queued += r.n
		default:
			l.Running += r.n
		}
		out[r.site] = l
	}
	return out, nil
}

// siteStarts refuses what an operator does not let start.
func siteStarts(ctx context.Context, t *tx, id broker.JobID) error {
	var o broker.SiteOperation
	if err := t.get(ctx, `SELECT s.operation FROM job j JOIN site s ON s.id = j.site_id WHERE j.id = ?`, []any{id}, &o.State); err != nil {
		return fmt.Errorf("read the site's operation: %w", err)
	}
	if o.Starts() {
		return nil
	}
	return &broker.Error{
		Kind: broker.KindUnavailable, Code: broker.CodeSiteClosed, Message: "nothing new starts at the site now", Value: string(o.State),
		Rule: "an operator closed it; what waits stays at the broker", Help: "wait until it is open again", Who: "the site operator",
	}
}

// siteAdmits refuses a job for a site that is being emptied.
func siteAdmits(ctx context.Context, t *tx, id broker.SiteID) error {
	site, err := only(ctx, t, `SELECT `+siteColumns+` WHERE id = ?`, []any{id}, scanSite)
	if err != nil {
		return fmt.Errorf("read the site's operation: %w", err)
	}
	return site.Admission()
}
