package dispatch

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
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
	Closed   time.Duration // how long until an attempt that a closed site holds up is looked at again; 5 s
	Silent   time.Duration // how long a site may not answer before its attempts are said to wait for it; 15 s
	Batch    int           // attempts at a site that are claimed at once; 1000
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
	cfg     Config
	kick    chan struct{} // there may be an attempt to begin
	look    chan struct{} // there may be one to watch
	watched *hands
	stops   sync.WaitGroup // sites that are told to stop something
	slots   chan struct{}  // one for each that is told at once
	looking atomic.Bool    // the watch will look soon
	mu      sync.Mutex
	mute    map[broker.SiteID]time.Time // since when sites do not answer
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
	def(&c.Closed, 5*time.Second)
	def(&c.Silent, 15*time.Second)
	def(&c.StartWithin, 15*time.Minute)
	if c.Owner == "" {
		c.Owner = broker.NewID[string]("own")
	}
	if c.Batch <= 0 {
		c.Batch = 1000
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
	d := &Dispatcher{mute: map[broker.SiteID]time.Time{}, Parts: p, cfg: c, kick: make(chan struct{}, 1), look: make(chan struct{}, 1), slots: make(chan struct{}, writers)}
	d.watched = newHands(d)
	return d, nil
}

// Kick makes both loops look for work now instead of at their next turn.
func (d *Dispatcher) Kick() {
	wake(d.kick)
	wake(d.look)
}

func wake(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// Run turns both loops until ctx ends and returns its cause. Faults of parts are
// logged and retried; only ctx ends it.
func (d *Dispatcher) Run(ctx context.Context) error {
	var wg sync.WaitGroup
	wg.Go(func() { d.loop(ctx, "begin attempts", d.kick, d.begin) })
	wg.Go(func() { d.loop(ctx, "watch attempts", d.look, d.watch) })
	wg.Wait()
	d.stops.Wait()
	d.leave(context.WithoutCancel(ctx))
	return context.Cause(ctx)
}

// loop calls pass at every poll, when it is woken, and at once while there is
// more to do.
func (d *Dispatcher) loop(ctx context.Context, name string, woken <-chan struct{}, pass func(context.Context) (more bool, err error)) {
	t := time.NewTicker(d.cfg.Poll)
	defer t.Stop()
	for {
		more, err := pass(ctx)
		if err != nil && ctx.Err() == nil {
			d.cfg.Log.WarnContext(ctx, "dispatch", "pass", name, "error", err)
		}
		if more && err == nil && ctx.Err() == nil {
			continue
		}
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		case <-woken:
		}
	}
}

// Turn is one pass of each loop.
func (d *Dispatcher) Turn(ctx context.Context) error {
	_, err := d.begin(ctx)
	_, werr := d.watch(ctx)
	return errors.Join(err, werr)
}

// leave gives back what is watched, so that another broker need not wait for the
// leases to end.
func (d *Dispatcher) leave(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, d.cfg.Lease/3)
	defer cancel()
	if err := d.Store.Release(ctx, d.watched.all(d.now())); err != nil {
		d.cfg.Log.WarnContext(ctx, "give leases back", "error", err)
	}
}

// states are those that the loops work on: of attempts that no scheduler knows
// of, or of those that one may know of.
func states(submitted bool) []broker.AttemptState {
	var out []broker.AttemptState
	for _, s := range broker.AttemptStates() {
		if !s.Terminal() && s.Submitted() == submitted {
			out = append(out, s)
		}
	}
	return out
}

// ahead is how many attempts a pass claims for each worker: enough to keep the
// workers busy, few enough that whoever comes next in the order waits for little.
const ahead = 4

// begin claims attempts whose turn it is, takes each to its site and gives it
// back. There may be more when it claimed as many as it may.
func (d *Dispatcher) begin(ctx context.Context) (more bool, err error) {
	now, limit := d.now(), ahead*d.cfg.Workers
	claims, err := d.Store.Claim(ctx, ClaimQuery{
		Owner: d.cfg.Owner, States: states(false), Now: now, Until: now.Add(d.cfg.Lease), Limit: limit,
	})
	if err != nil || len(claims) == 0 {
		return false, wrap("claim work", err)
	}
	h := newHands(d)
	h.hold(claims, now)
	stop := h.keep(ctx)
	var g errgroup.Group
	g.SetLimit(d.cfg.Workers)
	for _, c := range claims {
		g.Go(func() error {
			d.take(h.ctx(ctx, c), h, c)
			return nil
		})
	}
	_ = g.Wait() // the functions above return nil: they report through h
	stop()
	err = d.Store.Release(ctx, h.all(d.now().Add(d.cfg.Poll)))
	wake(d.look)
	return len(claims) == limit, wrap("release work", err)
}

// now is UTC to the microsecond, as the store keeps it.
func (d *Dispatcher) now() time.Time { return d.cfg.Now().UTC().Truncate(time.Microsecond) }

func wrap(op string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s: %w", op, err)
}
