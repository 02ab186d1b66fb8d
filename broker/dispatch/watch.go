package dispatch

import (
	"context"
	"slices"
	"time"

	"github.com/valico-hpc/valico/broker"
)

// watch asks one site after its attempts and records what it says.
func (d *Dispatcher) watch(ctx context.Context, h *hands, id broker.SiteID, cs []Claimed) {
	log := d.cfg.Log.With("site", string(id))
	site, ok := d.Site(id)
	if !ok {
		log.WarnContext(ctx, "site has no agent here", "attempts", len(cs))
		d.later(h, cs)
		return
	}
	ids := make([]broker.AttemptID, 0, len(cs))
	for _, c := range cs {
		ids = append(ids, c.Attempt.ID)
	}
	reports, err := site.Reports(ctx, ids)
	if err != nil {
		log.WarnContext(ctx, "site does not answer", "error", err)
		d.later(h, cs)
		return
	}
	byID := map[broker.AttemptID]broker.AttemptReport{}
	for _, r := range reports {
		byID[r.Attempt] = r
	}
	for _, c := range cs {
		if err := d.follow(ctx, site, c, byID); err != nil {
			if ctx.Err() == nil {
				log.WarnContext(ctx, "follow attempt", "job_id", c.Job.ID, "attempt_id", c.Attempt.ID, "error", err)
			}
			h.again(c.Attempt.ID, d.cfg.Retry)
		}
	}
}

func (d *Dispatcher) later(h *hands, cs []Claimed) {
	for _, c := range cs {
		h.again(c.Attempt.ID, d.cfg.Retry)
	}
}

// follow brings one attempt to where its site says it is.
func (d *Dispatcher) follow(ctx context.Context, site Site, c Claimed, reports map[broker.AttemptID]broker.AttemptReport) error {
	r, known := reports[c.Attempt.ID]
	if !known {
		return d.unknown(ctx, site, c)
	}
	if c.Cancel && r.State != broker.AttemptDone {
		if err := site.Stop(ctx, c.Attempt.ID); err != nil {
			return wrap("stop", err)
		}
	}
	d.cfg.Step("reported")
	ch, changed := change(c.Attempt, r)
	if !changed {
		return nil
	}
	if ch.To == broker.AttemptDone && ch.FinishedAt.IsZero() {
		ch.FinishedAt = d.now()
	}
	_, err := d.Store.Advance(ctx, c, ch)
	d.cfg.Step("settled")
	return wrap("record the report", err)
}

// unknown is an attempt that its site has never heard of. In submitting the
// order may have been lost: it is given again, the same bytes. Later than that
// the site has lost it, and what became of it cannot be known.
func (d *Dispatcher) unknown(ctx context.Context, site Site, c Claimed) error {
	if c.Attempt.State != broker.AttemptSubmitting {
		_, err := d.end(ctx, c, broker.OutcomeLost, "unknown_at_site")
		return wrap("record the loss", err)
	}
	if c.Cancel {
		// A fence first: after Stop the site refuses a start that is still under way.
		if err := site.Stop(ctx, c.Attempt.ID); err != nil {
			return wrap("stop", err)
		}
		_, err := d.end(ctx, c, broker.OutcomeCancelled, "cancelled")
		return wrap("record the cancellation", err)
	}
	_, err := d.hand(ctx, c)
	return wrap("repeat the start", err)
}

// change turns a report into a step of the attempt's state machine. A report
// that lies behind the record, a late answer, changes nothing.
func change(a broker.Attempt, r broker.AttemptReport) (Change, bool) {
	to := r.State
	if to != a.State && !slices.Contains(a.State.Next(), to) {
		return Change{}, false
	}
	if to == a.State && r.Waiting.Same(a.Waiting) {
		return Change{}, false
	}
	ch := Change{To: to, Waiting: r.Waiting, Usage: r.Usage, StartedAt: r.StartedAt, Outputs: r.Outputs}
	if to == broker.AttemptDone {
		ch.JobTo, ch.Outcome, ch.ExitCode, ch.Code = r.Outcome.JobState(), r.Outcome, r.ExitCode, r.Code
		ch.FinishedAt = r.FinishedAt.UTC().Truncate(time.Microsecond)
		if r.FinishedAt.IsZero() {
			ch.FinishedAt = time.Time{}
		}
	}
	return ch, true
}
