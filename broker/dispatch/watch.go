package dispatch

import (
	"context"
	"errors"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/valico-hpc/valico/broker"
)

// watch takes attempts at sites in hand, asks each site once after all of its
// attempts, and records what is new. There is more to do at once while not all
// are in hand.
func (d *Dispatcher) watch(ctx context.Context) (more bool, err error) {
	h, now := d.watched, d.now()
	claims, err := d.Store.Claim(ctx, ClaimQuery{
		Owner: d.cfg.Owner, States: states(true), Now: now, Until: now.Add(d.cfg.Lease), Limit: d.cfg.Batch,
	})
	if err != nil {
		return false, wrap("claim what is at a site", err)
	}
	h.hold(claims, now)
	stop := h.keep(ctx)
	defer stop()
	cancelled, err := d.Store.Cancelled(ctx)
	h.asked(cancelled)
	var g errgroup.Group
	for site, xs := range h.bySite(d.now()) {
		g.Go(func() error {
			d.ask(ctx, h, site, xs)
			return nil
		})
	}
	_ = g.Wait() // the functions above return nil: they report through h
	if over := h.over(d.now()); len(over) > 0 {
		err = errors.Join(err, wrap("release what is over", d.Store.Release(ctx, over)))
	}
	return len(claims) == d.cfg.Batch, wrap("watch", err)
}

// writers is how many changes of one site's attempts are recorded at once; the
// store commits as many together.
const writers = 64

// ask asks one site after its attempts and records what it says.
func (d *Dispatcher) ask(ctx context.Context, h *hands, id broker.SiteID, xs []*holding) {
	log := d.cfg.Log.With("site", string(id))
	later := func() {
		for _, x := range xs {
			h.again(x.Attempt.ID, d.cfg.Retry)
		}
	}
	site, ok := d.Site(id)
	if !ok {
		log.WarnContext(ctx, "site has no agent here", "attempts", len(xs))
		later()
		return
	}
	ids := make([]broker.AttemptID, 0, len(xs))
	for _, x := range xs {
		ids = append(ids, x.Attempt.ID)
	}
	reports, err := site.Reports(ctx, ids)
	if err != nil {
		log.WarnContext(ctx, "site does not answer", "error", err)
		d.silent(ctx, h, id, xs, err)
		later()
		return
	}
	d.heard(id)
	op, err := d.Store.SiteOperation(ctx, id)
	if err != nil {
		log.WarnContext(ctx, "read the site's operation", "error", err)
		later()
		return
	}
	byID := make(map[broker.AttemptID]broker.AttemptReport, len(reports))
	for _, r := range reports {
		byID[r.Attempt] = r
	}
	var g errgroup.Group
	g.SetLimit(writers)
	for _, x := range xs {
		r, known := byID[x.Attempt.ID]
		if x.Cancel && known && r.State != broker.AttemptDone {
			d.stop(ctx, h, site, x)
		}
		out := d.leaves(x, r, op)
		if _, changed := change(x.Attempt, r); known && !changed && !out {
			continue
		}
		g.Go(func() error {
			var a broker.Attempt
			var err error
			switch {
			case out:
				x.drained = d.now()
				a, err = d.drain(ctx, site, x.Claimed)
			case !known && !op.Starts() && !x.Cancel && x.Attempt.State == broker.AttemptSubmitting:
				a, err = d.withheld(ctx, site, x.Claimed, op)
			default:
				a, err = d.follow(ctx, site, x.Claimed, r, known)
			}
			d.followed(ctx, h, x, a, err)
			return nil
		})
	}
	_ = g.Wait() // the functions above return nil: they report through h
}

// followed remembers what became of an attempt. One that somebody else moved is
// let go; a lease that ends by itself brings it back as it is.
func (d *Dispatcher) followed(ctx context.Context, h *hands, x *holding, a broker.Attempt, err error) {
	if err == nil {
		h.moved(a)
		return
	}
	if ctx.Err() == nil {
		d.cfg.Log.WarnContext(ctx, "follow attempt", "site", string(x.Job.Site), "job_id", x.Job.ID, "attempt_id", x.Attempt.ID, "error", err)
	}
	if broker.KindOf(err) == broker.KindConflict {
		h.forget(x.Attempt.ID)
		return
	}
	h.again(x.Attempt.ID, d.cfg.Retry)
}

// follow brings one attempt to where its site says it is.
func (d *Dispatcher) follow(ctx context.Context, site Site, c Claimed, r broker.AttemptReport, known bool) (broker.Attempt, error) {
	if !known {
		return d.unknown(ctx, site, c)
	}
	ch, changed := change(c.Attempt, r)
	if !changed {
		return c.Attempt, nil
	}
	d.cfg.Step("reported")
	if ch.To == broker.AttemptDone && ch.FinishedAt.IsZero() {
		ch.FinishedAt = d.now()
	}
	a, err := d.conclude(ctx, c, drained(c, ch))
	d.cfg.Step("settled")
	return a, wrap("record the report", err)
}

// unknown is an attempt that its site has never heard of. In submitting the
// order may have been lost: it is given again, the same bytes. Later than that
// the site has lost it, and what became of it cannot be known.
func (d *Dispatcher) unknown(ctx context.Context, site Site, c Claimed) (broker.Attempt, error) {
	if c.Attempt.State != broker.AttemptSubmitting {
		a, err := d.end(ctx, c, broker.OutcomeLost, "unknown_at_site")
		return a, wrap("record the loss", err)
	}
	if c.Cancel {
		// A fence first: after Stop the site refuses a start that is still under way.
		if err := site.Stop(ctx, c.Attempt.ID); err != nil {
			return c.Attempt, wrap("stop", err)
		}
		a, err := d.end(ctx, c, broker.OutcomeCancelled, "cancelled")
		return a, wrap("record the cancellation", err)
	}
	a, err := d.hand(ctx, c)
	return a, wrap("repeat the start", err)
}

// change turns a report into a step of the attempt's state machine. A report
// that lies behind the record, a late answer, changes nothing.
func change(a broker.Attempt, r broker.AttemptReport) (Change, bool) {
	to := r.State
	if to != a.State && !slices.Contains(a.State.Next(), to) {
		return Change{}, false
	}
	if a.Waiting.Code == broker.WaitSiteDraining && inQueue(to) {
		r.Waiting = a.Waiting // it leaves the queue, whatever the queue says of it
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
