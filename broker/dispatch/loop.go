package dispatch

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/valico-hpc/valico/broker"
)

// Parts are what a Dispatcher works with; all are required.
type Parts struct {
	Store    Store
	Clearer  Clearer
	Packager Packager
	Ledger   Ledger
	Signer   OrderSigner
	Codec    OrderCodec
	// Site returns the agent of a site, false when there is none.
	Site func(broker.SiteID) (Site, bool)
}

// Config are a Dispatcher's settings; zero values take the defaults named.
type Config struct {
	Owner    string        // names this broker in leases; a random id
	Lease    time.Duration // 30 s
	Poll     time.Duration // how often a submitted attempt is asked after; 500 ms
	Retry    time.Duration // how long after a fault an attempt is due again; 2 s
	Batch    int           // claims per turn; 256
	Workers  int           // attempts packaged, cleared and started at once; 4
	KeyEpoch int           // of the order key; 1
	// StartWithin is how long after clearance a site may start the order; 15 min.
	StartWithin time.Duration
	Now         func() time.Time // time.Now
	Log         *slog.Logger     // discards
	// Step is told the name of each point between two writes; tests that kill
	// the process at one of them set it. Nil does nothing.
	Step func(name string)
}

// Dispatcher runs the loop. It is safe for concurrent use.
type Dispatcher struct {
	Parts
	cfg  Config
	kick chan struct{}
}

// New makes a Dispatcher.
func New(p Parts, c Config) (*Dispatcher, error) {
	if p.Store == nil || p.Clearer == nil || p.Packager == nil || p.Ledger == nil || p.Signer == nil || p.Codec == nil || p.Site == nil {
		return nil, errors.New("dispatch: every part is required")
	}
	def := func(d *time.Duration, v time.Duration) {
		if *d <= 0 {
			*d = v
		}
	}
	def(&c.Lease, 30*time.Second)
	def(&c.Poll, 500*time.Millisecond)
	def(&c.Retry, 2*time.Second)
	def(&c.StartWithin, 15*time.Minute)
	if c.Owner == "" {
		c.Owner = broker.NewID[string]("own")
	}
	if c.Batch <= 0 {
		c.Batch = 256
	}
	if c.Workers <= 0 {
		c.Workers = 4
	}
	if c.KeyEpoch <= 0 {
		c.KeyEpoch = 1
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.Step == nil {
		c.Step = func(string) {}
	}
	return &Dispatcher{Parts: p, cfg: c, kick: make(chan struct{}, 1)}, nil
}

// Kick makes the loop look for work now instead of at its next turn.
func (d *Dispatcher) Kick() {
	select {
	case d.kick <- struct{}{}:
	default:
	}
}

// Run turns the loop until ctx ends and returns its cause. Faults of parts are
// logged and retried; only ctx ends it.
func (d *Dispatcher) Run(ctx context.Context) error {
	t := time.NewTicker(d.cfg.Poll)
	defer t.Stop()
	for {
		n, err := d.Turn(ctx)
		if err != nil && ctx.Err() == nil {
			d.cfg.Log.WarnContext(ctx, "dispatch turn", "error", err)
		}
		if n == d.cfg.Batch && err == nil {
			continue // there is more
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-t.C:
		case <-d.kick:
		}
	}
}

// live are the states that the loop works on.
func live() []broker.AttemptState {
	var out []broker.AttemptState
	for _, s := range broker.AttemptStates() {
		if !s.Terminal() {
			out = append(out, s)
		}
	}
	return out
}

// Turn claims what is due, takes each claim on and gives it back. It returns
// how many attempts it claimed.
func (d *Dispatcher) Turn(ctx context.Context) (int, error) {
	now := d.now()
	claims, err := d.Store.Claim(ctx, ClaimQuery{
		Owner: d.cfg.Owner, States: live(), Now: now, Until: now.Add(d.cfg.Lease), Limit: d.cfg.Batch,
	})
	if err != nil || len(claims) == 0 {
		return len(claims), wrap("claim work", err)
	}
	h := newHands(d, claims)
	renew, stop := context.WithCancel(ctx)
	var wg sync.WaitGroup
	wg.Go(func() { h.renew(renew) })
	d.work(ctx, h, claims)
	stop()
	wg.Wait()
	return len(claims), wrap("release work", d.Store.Release(ctx, h.released()))
}

// work takes the claims on: those at a site by one question per site, the
// others one by one.
func (d *Dispatcher) work(ctx context.Context, h *hands, claims []Claimed) {
	bySite := map[broker.SiteID][]Claimed{}
	var g errgroup.Group
	g.SetLimit(d.cfg.Workers)
	for _, c := range claims {
		if c.Attempt.State.Submitted() {
			bySite[c.Job.Site] = append(bySite[c.Job.Site], c)
			continue
		}
		g.Go(func() error {
			d.take(h.ctx(ctx, c), h, c)
			return nil
		})
	}
	for site, cs := range bySite {
		g.Go(func() error {
			d.watch(ctx, h, site, cs)
			return nil
		})
	}
	_ = g.Wait() // the functions above return nil: they report through h
}

// now is UTC to the microsecond, as the store keeps it.
func (d *Dispatcher) now() time.Time { return d.cfg.Now().UTC().Truncate(time.Microsecond) }

func wrap(op string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s: %w", op, err)
}

// hands are the attempts that one turn holds under lease.
type hands struct {
	d      *Dispatcher
	mu     sync.Mutex
	held   map[broker.AttemptID]Claimed
	due    map[broker.AttemptID]time.Time
	cancel map[broker.AttemptID]context.CancelCauseFunc
}

var errLeaseLost = errors.New("the attempt's lease was lost")

func newHands(d *Dispatcher, claims []Claimed) *hands {
	h := &hands{
		d: d, held: map[broker.AttemptID]Claimed{}, due: map[broker.AttemptID]time.Time{},
		cancel: map[broker.AttemptID]context.CancelCauseFunc{},
	}
	for _, c := range claims {
		h.held[c.Attempt.ID] = c
	}
	return h
}

// ctx ends when the attempt's lease is lost.
func (h *hands) ctx(parent context.Context, c Claimed) context.Context {
	ctx, cancel := context.WithCancelCause(parent)
	h.mu.Lock()
	defer h.mu.Unlock()
	h.cancel[c.Attempt.ID] = cancel
	return ctx
}

// again says when an attempt is due next.
func (h *hands) again(id broker.AttemptID, in time.Duration) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.due[id] = h.d.now().Add(in)
}

// renew extends the leases until ctx ends.
func (h *hands) renew(ctx context.Context) {
	t := time.NewTicker(h.d.cfg.Lease / 3)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		}
		h.mu.Lock()
		cs := make([]Claimed, 0, len(h.held))
		for _, c := range h.held {
			cs = append(cs, c)
		}
		h.mu.Unlock()
		kept, err := h.d.Store.Renew(ctx, cs, h.d.now().Add(h.d.cfg.Lease))
		if err != nil {
			continue // the fencing token still protects every write
		}
		h.drop(kept)
	}
}

// drop ends the work on attempts whose lease was not kept.
func (h *hands) drop(kept []broker.AttemptID) {
	keep := map[broker.AttemptID]bool{}
	for _, id := range kept {
		keep[id] = true
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	for id := range h.held {
		if keep[id] {
			continue
		}
		if cancel := h.cancel[id]; cancel != nil {
			cancel(errLeaseLost)
		}
		delete(h.held, id)
	}
}

// released are the claims still held, each with its next due time.
func (h *hands) released() []Released {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, cancel := range h.cancel {
		cancel(nil)
	}
	out := make([]Released, 0, len(h.held))
	for id, c := range h.held {
		due, ok := h.due[id]
		if !ok {
			due = h.d.now().Add(h.d.cfg.Poll)
		}
		out = append(out, Released{Claimed: c, Due: due})
	}
	return out
}
