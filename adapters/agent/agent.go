package agent

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"time"

	"github.com/valico-hpc/valico/broker"
)

// Config are an Agent's parts and settings; zero values of settings take the
// defaults named.
type Config struct {
	Site      broker.SiteID // required
	Dir       string        // the site's folder, absolute; required
	ExecPath  string        // valico-exec as the nodes see it, absolute; required
	Scheduler Scheduler     // required
	Blobs     Blobs         // required
	Publisher Publisher     // required
	// Rules are the site's own; nil for none.
	Rules Rules
	// Accounts gives the uid and gid of an operating-system account. Nil means
	// that every account is this process's own user.
	Accounts func(account string) (uid, gid int, err error)

	KillMargin     time.Duration // from TERM to KILL on the node; 10 s
	PollEvery      time.Duration // how often everything is looked after; 500 ms
	Retry          time.Duration // how long after a fault a step is tried again, doubling to 30 s; 1 s
	LostAfter      time.Duration // how long after a process is gone its outcome may still appear; 2 s
	TelemetryGrace time.Duration // how long a sealed attempt waits for its telemetry; 10 s
	UsageGrace     time.Duration // how long accounting may be unavailable before usage is estimated; 5 min
	CallTimeout    time.Duration // how long one call of the scheduler may take; 1 min
	Workers        int           // attempts looked after at once; 32
	SealFiles      int           // files sealed of one attempt at most; 100 000
	SealBytes      int64         // bytes sealed of one attempt at most; 1 TiB
	ImageBytes     int64         // bytes of images kept at most; 0 sets no bound but the disk's
	CkptBytes      int64         // bytes that the checkpoints of one job may take; 256 GiB
	CkptKeep       time.Duration // how long they stay after the newest attempt of a job that did not succeed; 7 days
	AttemptKeep    time.Duration // how long the folder of an ended attempt stays once nobody needs it; 7 days
	AttemptBytes   int64         // bytes that the folders of ended attempts may take; 10 GiB

	Now func() time.Time // time.Now
	Log *slog.Logger     // discards
	// Step is told the name of each point between two writes; tests that kill
	// the process at one of them set it. Nil does nothing.
	Step func(name string)
}

// Agent obeys work orders at one site. It is safe for concurrent use.
type Agent struct {
	cfg   Config
	gate  gate
	kick  chan struct{}
	lock  *os.File
	slots chan struct{}

	// stripes keep two calls about one attempt apart while journal and entries
	// are compared; calls about others go on. Taken before mu.
	stripes [64]sync.Mutex

	mu      sync.Mutex
	entries map[broker.AttemptID]*entry
	shelf   shelf
	yard    yard
	mute    bool           // the scheduler did not answer when it was last asked
	muted   time.Time      // since when it has not
	steps   sync.WaitGroup // those that run
	swept   time.Time      // when what is old was looked for
}

// New opens a site's folder and takes up its journal.
func New(c Config) (*Agent, error) {
	switch {
	case !safeName(string(c.Site)):
		return nil, errors.New("agent: a site is required")
	case !filepath.IsAbs(c.Dir) || !filepath.IsAbs(c.ExecPath):
		return nil, errors.New("agent: the site's folder and the launcher are absolute paths")
	case c.Scheduler == nil || c.Blobs == nil || c.Publisher == nil:
		return nil, errors.New("agent: a scheduler, blobs and a publisher are required")
	}
	if err := checkPlaces(c); err != nil {
		return nil, err
	}
	c.defaults()
	a := &Agent{
		cfg: c, gate: gate{path: filepath.Join(c.Dir, "trust.json")}, kick: make(chan struct{}, 1),
		slots: make(chan struct{}, c.Workers), entries: map[broker.AttemptID]*entry{},
	}
	if err := a.makeDirs(); err != nil {
		return nil, err
	}
	lock, err := lockFile(filepath.Join(c.Dir, "journal", "lock"))
	if err != nil {
		return nil, err
	}
	a.lock = lock
	if err := a.load(); err != nil {
		return nil, errors.Join(err, lock.Close())
	}
	return a, nil
}

// Close gives the site's folder up, as Run does when it returns. What runs at
// the scheduler runs on. Closing twice is no error.
func (a *Agent) Close() error {
	if err := a.lock.Close(); err != nil && !errors.Is(err, os.ErrClosed) {
		return fmt.Errorf("give up the site's folder: %w", err)
	}
	return nil
}

func (c *Config) defaults() {
	def := func(d *time.Duration, v time.Duration) {
		if *d <= 0 {
			*d = v
		}
	}
	def(&c.KillMargin, 10*time.Second)
	def(&c.PollEvery, 500*time.Millisecond)
	def(&c.Retry, time.Second)
	def(&c.LostAfter, 2*time.Second)
	def(&c.TelemetryGrace, 10*time.Second)
	def(&c.UsageGrace, 5*time.Minute)
	def(&c.CallTimeout, time.Minute)
	if c.Workers <= 0 {
		c.Workers = 32
	}
	if c.SealFiles <= 0 {
		c.SealFiles = 100_000
	}
	if c.SealBytes <= 0 {
		c.SealBytes = 1 << 40
	}
	if c.CkptBytes <= 0 {
		c.CkptBytes = 256 << 30
	}
	if c.AttemptBytes <= 0 {
		c.AttemptBytes = 10 << 30
	}
	def(&c.CkptKeep, 7*24*time.Hour)
	def(&c.AttemptKeep, 7*24*time.Hour)
	if c.Accounts == nil {
		c.Accounts = func(string) (int, int, error) { return os.Geteuid(), os.Getegid(), nil }
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
}

func (a *Agent) now() time.Time { return a.cfg.Now().UTC().Truncate(time.Microsecond) }

// Run looks after every attempt until ctx ends, waits for the steps that run,
// gives the site's folder up and returns the cause. What runs at the scheduler
// runs on. An Agent runs once.
func (a *Agent) Run(ctx context.Context) error {
	defer func() {
		a.steps.Wait()
		if err := a.Close(); err != nil {
			a.cfg.Log.WarnContext(ctx, "end of the agent", "error", err)
		}
	}()
	t := time.NewTicker(a.cfg.PollEvery)
	defer t.Stop()
	for {
		a.pass(ctx)
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-t.C:
		case <-a.kick:
		}
	}
}

// Turn looks after every attempt once and waits for it.
func (a *Agent) Turn(ctx context.Context) {
	a.pass(ctx)
	a.steps.Wait()
}

// Busy says how many attempts are looked after, and whether the scheduler
// answered when it was last asked.
func (a *Agent) Busy() (attempts int, schedulerOK bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	return len(a.entries), !a.mute
}

func (a *Agent) wake() {
	select {
	case a.kick <- struct{}{}:
	default:
	}
}

// pass asks the scheduler once for all and begins a step of every attempt of
// which none runs. A long step, such as staging a large image, holds nobody up.
func (a *Agent) pass(ctx context.Context) {
	a.sweepOld(ctx)
	idle := a.idle()
	seen, asked := a.watch(ctx, idle)
	for _, e := range idle {
		a.steps.Go(func() {
			defer a.release(e)
			select {
			case a.slots <- struct{}{}:
				defer func() { <-a.slots }()
				a.drive(ctx, e, seen, asked)
			case <-ctx.Done():
			}
		})
	}
}

// idle marks every attempt of which no step runs as busy and returns them.
func (a *Agent) idle() []*entry {
	a.mu.Lock()
	defer a.mu.Unlock()
	var out []*entry
	for _, e := range a.entries {
		if !e.busy {
			e.busy = true
			out = append(out, e)
		}
	}
	return out
}

// release ends a step, and forgets an attempt of which nothing is left to do:
// its journal stays.
func (a *Agent) release(e *entry) {
	rec, _ := e.snapshot()
	a.mu.Lock()
	defer a.mu.Unlock()
	e.busy = false
	if rec.final() {
		delete(a.entries, rec.Attempt)
	}
}

// watch asks after every launch that the scheduler may know; asked is false
// when it did not answer.
func (a *Agent) watch(ctx context.Context, es []*entry) (seen map[string]Status, asked bool) {
	var ls []broker.Launch
	for _, e := range es {
		if r, _ := e.snapshot(); r.State == stateSubmitted {
			ls = append(ls, a.launch(r))
		}
	}
	if len(ls) == 0 {
		return nil, false
	}
	call, done := context.WithTimeout(ctx, a.cfg.CallTimeout)
	defer done()
	sts, err := a.cfg.Scheduler.Watch(call, ls)
	a.mu.Lock()
	silent := err != nil && ctx.Err() == nil
	if silent && !a.mute {
		a.muted = a.now()
	}
	a.mute = silent
	a.mu.Unlock()
	if err != nil {
		if ctx.Err() == nil {
			a.cfg.Log.WarnContext(ctx, "scheduler does not answer", "error", err)
		}
		return nil, false
	}
	seen = make(map[string]Status, len(sts))
	for _, s := range sts {
		seen[s.Name] = s
	}
	return seen, true
}

// launch is what the scheduler is given. Everything in it is opaque.
func (a *Agent) launch(r record) broker.Launch {
	dir := a.attemptDir(r.Attempt)
	l := broker.Launch{
		Name: string(r.Attempt), Account: r.Account, OrderDigest: r.Digest, Dir: dir,
		Argv:      []string{a.cfg.ExecPath, "run", "--site", a.cfg.Dir, "--attempt", dir, "--kill-margin", a.cfg.KillMargin.String()},
		Resources: r.Limits.resources(),
	}
	if r.Segments > 0 {
		l.Argv = append(l.Argv, "--ckpt-max", strconv.FormatInt(a.cfg.CkptBytes, 10))
	}
	return l
}

func (a *Agent) attemptDir(id broker.AttemptID) string {
	return filepath.Join(a.cfg.Dir, "attempts", string(id))
}

// drive does one step and says what went wrong.
func (a *Agent) drive(ctx context.Context, e *entry, seen map[string]Status, asked bool) {
	r, see := e.snapshot()
	if a.now().Before(see.retryAt) {
		return
	}
	st, known := seen[string(r.Attempt)]
	err := a.step(ctx, e, watched{status: st, known: known, asked: asked && r.State == stateSubmitted})
	e.look(func(s *sight) {
		if s.faults++; err == nil {
			s.faults = 0
		}
		s.retryAt = a.now().Add(a.backoff(s.faults))
	})
	if err != nil && ctx.Err() == nil {
		a.cfg.Log.WarnContext(ctx, "attempt step", "attempt_id", r.Attempt, "job_id", r.Job, "state", string(r.State), "error", err)
	}
}

// backoff is how long a step waits after so many faults in a row: sealing a
// large output again and again onto a full disk helps nobody.
func (a *Agent) backoff(faults int) time.Duration {
	if faults == 0 {
		return 0
	}
	return min(a.cfg.Retry<<min(faults-1, 10), max(a.cfg.Retry, 30*time.Second))
}
