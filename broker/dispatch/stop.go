package dispatch

import (
	"context"
	"time"
)

const (
	// stopAgain is after how many polls a site is told again to stop an attempt
	// that it still reports as live.
	stopAgain = 10
	// soon is the part of a poll after which a site is asked what its stops have
	// done.
	soon = 10
)

// stop tells a site to stop an attempt, beside the watch: a site that takes its
// time over it holds up no other report. The report of its end moves it on.
func (d *Dispatcher) stop(ctx context.Context, h *hands, site Site, x *holding) {
	if !h.stopping(x, stopAgain*d.cfg.Poll) {
		return
	}
	id, job := x.Attempt.ID, x.Job
	d.stops.Go(func() {
		select {
		case d.slots <- struct{}{}:
		case <-ctx.Done():
			return
		}
		err := site.Stop(ctx, id)
		<-d.slots
		if err != nil {
			if ctx.Err() == nil {
				d.cfg.Log.WarnContext(ctx, "stop attempt", "site", string(job.Site), "job_id", job.ID, "attempt_id", id, "error", err)
			}
			h.stopFailed(x, d.cfg.Retry)
			return
		}
		d.lookSoon()
	})
}

// lookSoon lets the watch look again before its next poll, once for all stops
// that end by then.
func (d *Dispatcher) lookSoon() {
	if d.looking.CompareAndSwap(false, true) {
		time.AfterFunc(d.cfg.Poll/soon, func() {
			d.looking.Store(false)
			wake(d.look)
		})
	}
}

// stopping reports whether the attempt's site is to be told now to stop it.
func (h *hands) stopping(x *holding, again time.Duration) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	now := h.d.now()
	if now.Before(x.stopAt) {
		return false
	}
	x.stopAt = now.Add(again)
	return true
}

// stopFailed has the site told again after a while.
func (h *hands) stopFailed(x *holding, in time.Duration) {
	h.mu.Lock()
	defer h.mu.Unlock()
	x.stopAt = h.d.now().Add(in)
}
