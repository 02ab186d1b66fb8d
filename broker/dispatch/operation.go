package dispatch

import (
	"context"
	"errors"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/valico-hpc/valico/broker"
)

// open is an error with broker.CodeSiteClosed unless new work may start at a
// site. It spares work that could not be handed over; what decides is the same
// question in the transaction that moves an attempt to submitting.
func (d *Dispatcher) open(ctx context.Context, id broker.SiteID) error {
	o, err := d.Store.SiteOperation(ctx, id)
	if err != nil {
		return wrap("read the site's operation", err)
	}
	if o.Starts() {
		return nil
	}
	return &broker.Error{
		Kind: broker.KindUnavailable, Code: broker.CodeSiteClosed, Message: "nothing new starts at the site now", Value: string(o.State),
		Rule: "an operator closed it; what waits stays at the broker", Help: "wait until it is open again", Who: "the site operator",
	}
}

// waits records what keeps an attempt where it is, if that is news. People read
// it; the work itself does not depend on it, so a fault here is only logged.
func (d *Dispatcher) waits(ctx context.Context, h *hands, c Claimed, w broker.Waiting) {
	if ctx.Err() != nil || w.Same(c.Attempt.Waiting) {
		return
	}
	a, err := d.Store.Advance(ctx, c, Change{To: c.Attempt.State, Waiting: w})
	if err != nil {
		d.cfg.Log.InfoContext(ctx, "record what an attempt waits for", "attempt_id", c.Attempt.ID, "error", err)
		return
	}
	h.moved(a)
}

// faultOf names the step that failed and the code of its fault; what an error
// says beside its code is for logs.
func faultOf(s broker.AttemptState, err error) broker.Waiting {
	code := broker.CodeOf(err)
	switch {
	case code == "" && errors.Is(err, context.DeadlineExceeded):
		code = "timeout"
	case code == "":
		code = string(broker.KindOf(err))
	}
	return broker.Wait(broker.WaitBrokerFault, string(s)+": "+code, time.Time{})
}

// begun reports whether an attempt's work has begun: nothing waits any more.
func begun(s broker.AttemptState) bool {
	switch s {
	case broker.AttemptRunning, broker.AttemptSealing, broker.AttemptDone, broker.AttemptRefused:
		return true
	case broker.AttemptPackaging, broker.AttemptClearing, broker.AttemptReady, broker.AttemptSubmitting,
		broker.AttemptQueued, broker.AttemptStarting:
		return false
	}
	return false
}

// inQueue reports whether an attempt was handed to its site and has not begun.
func inQueue(s broker.AttemptState) bool {
	return s == broker.AttemptSubmitting || s == broker.AttemptQueued
}

// silent says that a site does not answer, on the attempts that wait there, once
// it has not answered for a while.
func (d *Dispatcher) silent(ctx context.Context, h *hands, id broker.SiteID, xs []*holding, why error) {
	now := d.now()
	d.mu.Lock()
	since, ok := d.mute[id]
	if !ok {
		d.mute[id], since = now, now
	}
	d.mu.Unlock()
	if now.Sub(since) < d.cfg.Silent {
		return
	}
	code := broker.CodeOf(why)
	if code == "" {
		code = "no answer"
	}
	var g errgroup.Group
	g.SetLimit(writers)
	for _, x := range xs {
		if begun(x.Attempt.State) || x.Attempt.Waiting.Code == broker.WaitSiteDraining {
			continue
		}
		g.Go(func() error {
			d.waits(ctx, h, x.Claimed, broker.Wait(broker.WaitSiteUnreachable, code, time.Time{}))
			return nil
		})
	}
	_ = g.Wait() // what could not be recorded is logged
}

// heard remembers that a site answered.
func (d *Dispatcher) heard(id broker.SiteID) {
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.mute, id)
}

// drain ends an attempt that has not begun at a site that is being emptied. The
// record says so first: a dispatcher that is killed here, or an operator who
// opens the site meanwhile, changes nothing of how it ends.
func (d *Dispatcher) drain(ctx context.Context, site Site, c Claimed) (broker.Attempt, error) {
	a, err := d.Store.Advance(ctx, c, Change{To: c.Attempt.State, Waiting: broker.Waiting{Code: broker.WaitSiteDraining}})
	if err != nil {
		return c.Attempt, wrap("record that the site is being emptied", err)
	}
	d.cfg.Step("draining")
	return a, wrap("stop what has not begun", site.Stop(ctx, c.Attempt.ID))
}

// drained gives the end of an attempt that was taken out of a site's queue its
// code, unless a person had asked for it.
func drained(c Claimed, ch Change) Change {
	if ch.To == broker.AttemptDone && ch.Outcome == broker.OutcomeCancelled && !c.Cancel && c.Attempt.Waiting.Code == broker.WaitSiteDraining {
		ch.Code = broker.CodeSiteDrained
	}
	return ch
}

// leaves reports whether an attempt is to be taken out of its site's queue now:
// the site is being emptied, and the site knows it and has not begun it. One that
// was told to leave is told again while it is still there.
func (d *Dispatcher) leaves(x *holding, r broker.AttemptReport, op broker.SiteOperation) bool {
	if !inQueue(r.State) || !inQueue(x.Attempt.State) || x.Cancel {
		return false
	}
	if x.Attempt.Waiting.Code == broker.WaitSiteDraining {
		return d.now().Sub(x.drained) >= stopAgain*d.cfg.Poll
	}
	return !op.Admits()
}

// withheld keeps an order that its site has not heard of from being given again
// while the site is closed. It goes on when the site is open; at a site that is
// being emptied it ends, with a fence first: after Stop the site refuses a start
// that is still under way.
func (d *Dispatcher) withheld(ctx context.Context, site Site, c Claimed, op broker.SiteOperation) (broker.Attempt, error) {
	if !op.Admits() {
		if err := site.Stop(ctx, c.Attempt.ID); err != nil {
			return c.Attempt, wrap("stop", err)
		}
		a, err := d.end(ctx, c, broker.OutcomeCancelled, broker.CodeSiteDrained)
		return a, wrap("record that the site is being emptied", err)
	}
	w := broker.Waiting{Code: broker.WaitSiteCordoned}
	if w.Same(c.Attempt.Waiting) {
		return c.Attempt, nil
	}
	a, err := d.Store.Advance(ctx, c, Change{To: c.Attempt.State, Waiting: w})
	return a, wrap("record that the site is closed", err)
}
