package dispatch

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/valico-hpc/valico/broker"
)

// hands are the attempts that one loop holds under lease. The loop that begins
// attempts holds them for one pass, the one that watches for as long as they are
// at a site: an attempt of which there is nothing new costs the record nothing
// but the renewal of its lease.
type hands struct {
	d       *Dispatcher
	mu      sync.Mutex
	held    map[broker.AttemptID]*holding
	renewed time.Time
}

// holding is one attempt in hand.
type holding struct {
	Claimed
	due     time.Time // when to look at it again; zero is always
	stopAt  time.Time // before it its site is not told again to stop it
	drained time.Time // when its site was last told that it is being emptied
	cancel  context.CancelCauseFunc
}

var errLeaseLost = errors.New("the attempt's lease was lost")

func newHands(d *Dispatcher) *hands {
	return &hands{d: d, held: map[broker.AttemptID]*holding{}}
}

// hold takes claims in hand whose leases began at a moment.
func (h *hands) hold(claims []Claimed, at time.Time) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if len(h.held) == 0 || at.Before(h.renewed) {
		h.renewed = at
	}
	for _, c := range claims {
		h.held[c.Attempt.ID] = &holding{Claimed: c}
	}
}

// ctx ends when the attempt's lease is lost.
func (h *hands) ctx(parent context.Context, c Claimed) context.Context {
	ctx, cancel := context.WithCancelCause(parent)
	h.mu.Lock()
	defer h.mu.Unlock()
	if x := h.held[c.Attempt.ID]; x != nil {
		x.cancel = cancel
	} else {
		cancel(errLeaseLost)
	}
	return ctx
}

// again says when an attempt is due next.
func (h *hands) again(id broker.AttemptID, in time.Duration) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if x := h.held[id]; x != nil {
		x.due = h.d.now().Add(in)
	}
}

// moved remembers an attempt as the record has it now.
func (h *hands) moved(a broker.Attempt) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if x := h.held[a.ID]; x != nil {
		x.Attempt = a
	}
}

// asked marks the attempts whose end a person asked for; they are looked at now.
func (h *hands) asked(ids []broker.AttemptID) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, id := range ids {
		if x := h.held[id]; x != nil && !x.Cancel {
			x.Cancel, x.due = true, time.Time{}
		}
	}
}

// bySite are the attempts to look at now, at each site.
func (h *hands) bySite(now time.Time) map[broker.SiteID][]*holding {
	h.mu.Lock()
	defer h.mu.Unlock()
	out := map[broker.SiteID][]*holding{}
	for _, x := range h.held {
		if !x.due.After(now) {
			out[x.Job.Site] = append(out[x.Job.Site], x)
		}
	}
	return out
}

// forget lets go of an attempt that somebody else holds.
func (h *hands) forget(id broker.AttemptID) {
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.held, id)
}

// over takes those that have ended out of hand.
func (h *hands) over(now time.Time) []Released {
	h.mu.Lock()
	defer h.mu.Unlock()
	var out []Released
	for id, x := range h.held {
		if x.Attempt.State.Terminal() {
			out = append(out, Released{Claimed: x.Claimed, Due: now})
			delete(h.held, id)
		}
	}
	return out
}

// all takes everything out of hand, due again when it said so, or at due.
func (h *hands) all(due time.Time) []Released {
	h.mu.Lock()
	defer h.mu.Unlock()
	out := make([]Released, 0, len(h.held))
	for _, x := range h.held {
		if x.cancel != nil {
			x.cancel(nil)
		}
		r := Released{Claimed: x.Claimed, Due: due}
		if x.Attempt.State.Submitted() {
			r.Due = h.d.now() // to be watched from now on
		}
		if !x.due.IsZero() {
			r.Due = x.due
		}
		out = append(out, r)
	}
	clear(h.held)
	return out
}

// keep renews the leases in time until stop is called, which waits for it.
func (h *hands) keep(ctx context.Context) (stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	every := h.d.cfg.Lease / 3
	h.mu.Lock()
	late := !h.renewed.Add(every).After(h.d.now())
	h.mu.Unlock()
	if late {
		h.renew(ctx)
	}
	var wg sync.WaitGroup
	wg.Go(func() {
		t := time.NewTicker(every)
		defer t.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-t.C:
				h.renew(ctx)
			}
		}
	})
	return func() {
		cancel()
		wg.Wait()
	}
}

// renew extends the leases once. Work on attempts whose lease was not kept ends.
func (h *hands) renew(ctx context.Context) {
	h.mu.Lock()
	cs := make([]Claimed, 0, len(h.held))
	for _, x := range h.held {
		cs = append(cs, x.Claimed)
	}
	h.mu.Unlock()
	if len(cs) == 0 {
		return
	}
	now := h.d.now()
	for some := range slices.Chunk(cs, renewAtOnce) {
		kept, err := h.d.Store.Renew(ctx, some, now.Add(h.d.cfg.Lease))
		if err != nil {
			return // the fencing token still protects every write
		}
		h.drop(some, kept)
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.renewed = now
}

// renewAtOnce bounds a transaction, so that nobody else's write waits for the
// renewal of ten thousand leases.
const renewAtOnce = 1000

// drop lets go of those of cs whose lease was not kept.
func (h *hands) drop(cs []Claimed, kept []broker.AttemptID) {
	keep := make(map[broker.AttemptID]bool, len(kept))
	for _, id := range kept {
		keep[id] = true
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, c := range cs {
		x := h.held[c.Attempt.ID]
		if x == nil || keep[c.Attempt.ID] {
			continue
		}
		if x.cancel != nil {
			x.cancel(errLeaseLost)
		}
		delete(h.held, c.Attempt.ID)
	}
}
