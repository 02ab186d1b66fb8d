package local

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/valico-hpc/valico/adapters/agent"
	"github.com/valico-hpc/valico/adapters/dirlock"
	"github.com/valico-hpc/valico/broker"
)

var _ agent.Scheduler = (*Scheduler)(nil)

// Config are a Scheduler's settings; zero values take the defaults named.
type Config struct {
	Dir         string        // where the records lie, SITE/local; required
	MaxParallel int           // launches that run at once; 1
	KillMargin  time.Duration // from TERM to KILL; 10 s
	// Env is what every process finds in its environment besides its launch's
	// own; PATH=/usr/bin:/bin.
	Env []string
	Now func() time.Time // time.Now
	Log *slog.Logger     // discards
	// Step is told the name of each point between two writes; tests that kill
	// the process at one of them set it. Nil does nothing.
	Step func(name string)
}

// Scheduler runs launches on this machine. It is safe for concurrent use.
type Scheduler struct {
	cfg  Config
	boot string
	lock *os.File

	mu     sync.Mutex
	jobs   map[string]*job
	closed bool // the folder is somebody else's now
}

// job is a launch in memory.
type job struct {
	record

	child bool // this process started it and will reap it
}

// New opens a folder and takes up what it holds: what runs is watched on, what
// is queued is started in turn.
func New(c Config) (*Scheduler, error) {
	if c.Dir == "" || !filepath.IsAbs(c.Dir) {
		return nil, errors.New("local: the scheduler needs an absolute folder")
	}
	if c.MaxParallel <= 0 {
		c.MaxParallel = 1
	}
	if c.KillMargin <= 0 {
		c.KillMargin = 10 * time.Second
	}
	if len(c.Env) == 0 {
		c.Env = []string{"PATH=/usr/bin:/bin"}
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
	boot, err := bootID()
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(c.Dir, 0o700); err != nil {
		return nil, fmt.Errorf("local scheduler: %w", err)
	}
	lock, err := lockDir(c.Dir)
	if err != nil {
		return nil, err
	}
	s := &Scheduler{cfg: c, boot: boot, lock: lock, jobs: map[string]*job{}}
	if err := s.load(); err != nil {
		return nil, errors.Join(err, lock.Close())
	}
	return s, nil
}

// Dir is where the records lie.
func (s *Scheduler) Dir() string { return s.cfg.Dir }

// Close gives the folder up and leaves every process running. Afterwards the
// Scheduler starts and records nothing more.
func (s *Scheduler) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	return s.lock.Close()
}

var errClosed = errors.New("the scheduler is closed")

func lockDir(dir string) (*os.File, error) {
	f, err := dirlock.Take(filepath.Join(dir, "lock"))
	if errors.Is(err, dirlock.ErrHeld) {
		return nil, &broker.Error{
			Kind: broker.KindConflict, Code: "site_in_use", Message: "another process runs this site's scheduler", Value: dir,
			Rule: "one scheduler per site folder", Help: "stop the other process, or use another folder", Who: "the site operator", Err: err,
		}
	}
	if err != nil {
		return nil, fmt.Errorf("local scheduler: %w", err)
	}
	return f, nil
}

// Find returns how a launch stands.
func (s *Scheduler) Find(ctx context.Context, l broker.Launch) (agent.Status, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.pump(ctx)
	j, ok := s.jobs[l.Name]
	if !ok || !j.same(l) {
		return agent.Status{}, broker.NotFound("launch", l.Name)
	}
	return s.status(j), nil
}

// Watch returns the statuses of the launches that are known.
func (s *Scheduler) Watch(ctx context.Context, ls []broker.Launch) ([]agent.Status, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.pump(ctx)
	out := make([]agent.Status, 0, len(ls))
	for _, l := range ls {
		if j, ok := s.jobs[l.Name]; ok && j.same(l) {
			out = append(out, s.status(j))
		}
	}
	return out, nil
}

// Cancel ends a launch: what is queued never starts; what runs gets TERM, and
// its whole process group KILL after the margin.
func (s *Scheduler) Cancel(ctx context.Context, l broker.Launch) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return unavailable(l.Name, errClosed)
	}
	s.refresh(ctx)
	j, ok := s.jobs[l.Name]
	if !ok || !j.same(l) || j.State == stateEnded {
		return nil
	}
	if j.State == stateQueued {
		r := j.record
		r.State, r.Outcome, r.EndedAt = stateEnded, broker.OutcomeCancelled, s.cfg.Now().UTC()
		return s.write(j, &r)
	}
	if j.Why != "" {
		return nil
	}
	return s.term(j, broker.OutcomeCancelled)
}

// write saves a changed record and then takes it as the truth.
func (s *Scheduler) write(j *job, r *record) error {
	if err := s.save(r); err != nil {
		return unavailable(r.Name, err)
	}
	j.record = *r
	return nil
}

func unavailable(name string, err error) error {
	return &broker.Error{
		Kind: broker.KindUnavailable, Code: "scheduler_unavailable", Message: "the local scheduler cannot write its record",
		Rule: "nothing is started that is not on the disk", Value: name, Help: "look at the site's disk", Who: "the site operator", Err: err,
	}
}

// status translates a record; it is total over the states.
func (s *Scheduler) status(j *job) agent.Status {
	st := agent.Status{Name: j.Name, Handle: fmt.Sprintf("%d", j.PID), Granted: -1}
	switch j.State {
	case stateQueued:
		st.State, st.Handle, st.Waiting = agent.SchedulerQueued, "", s.waiting(j)
	case stateRunning:
		st.State = agent.SchedulerRunning
		if j.Why != "" {
			st.State = agent.SchedulerEnding
		}
	case stateEnded:
		st.State, st.Outcome, st.ExitCode = agent.SchedulerEnded, j.Outcome, j.ExitCode
		if j.Gone && j.Outcome == "" {
			st.State = agent.SchedulerGone
		}
	default:
		st.State = agent.SchedulerUnknown
	}
	return st
}

func (s *Scheduler) waiting(j *job) broker.Waiting {
	if j.Hold {
		return broker.Wait(broker.WaitHeld, "held", time.Time{})
	}
	return broker.Wait(broker.WaitResources, fmt.Sprintf("all %d slots of this machine are taken", s.cfg.MaxParallel), time.Time{})
}

// queue lists what waits, oldest first.
func (s *Scheduler) queue() []*job {
	var out []*job
	for _, j := range s.jobs {
		if j.State == stateQueued && !j.Hold {
			out = append(out, j)
		}
	}
	slices.SortFunc(out, func(a, b *job) int {
		return cmp.Or(a.QueuedAt.Compare(b.QueuedAt), cmp.Compare(a.Name, b.Name))
	})
	return out
}

func (s *Scheduler) running() int {
	n := 0
	for _, j := range s.jobs {
		if j.State == stateRunning {
			n++
		}
	}
	return n
}

// pump brings every record to the truth and starts what may start.
func (s *Scheduler) pump(ctx context.Context) {
	if s.closed {
		return
	}
	s.refresh(ctx)
	free := s.cfg.MaxParallel - s.running()
	for _, j := range s.queue() {
		if free <= 0 {
			return
		}
		if err := s.start(ctx, j); err != nil {
			s.cfg.Log.ErrorContext(ctx, "start launch", "launch", j.Name, "error", err)
			return
		}
		if j.State == stateRunning {
			free--
		}
	}
}

// refresh looks after what runs: who is gone, who is over time, whom TERM did
// not end.
func (s *Scheduler) refresh(ctx context.Context) {
	now := s.cfg.Now()
	for _, j := range s.jobs {
		if j.State != stateRunning || j.child && alive(j.record, s.boot) {
			if j.State == stateRunning {
				s.enforce(ctx, j, now)
			}
			continue
		}
		if j.child {
			continue // its reaper is about to record the exit code
		}
		if alive(j.record, s.boot) {
			s.enforce(ctx, j, now)
			continue
		}
		r := j.record
		s.sweep(r)
		r.State, r.Gone, r.EndedAt, r.Outcome = stateEnded, true, now.UTC(), j.Why
		if err := s.write(j, &r); err != nil {
			s.cfg.Log.ErrorContext(ctx, "record the end of a launch", "launch", j.Name, "error", err)
		}
	}
}

// enforce keeps the time limit and the kill margin. The program keeps its own
// limit; this is for when it does not, hence one margin later.
func (s *Scheduler) enforce(ctx context.Context, j *job, now time.Time) {
	var err error
	limit := time.Duration(j.Walltime)*time.Second + s.cfg.KillMargin
	switch {
	case j.Why == "" && j.Walltime > 0 && now.Sub(j.StartedAt) > limit:
		err = s.term(j, broker.OutcomeWalltime)
	case j.Why != "" && now.Sub(j.TermAt) > s.killAfter():
		err = s.kill(j)
	}
	if err != nil {
		s.cfg.Log.ErrorContext(ctx, "end launch", "launch", j.Name, "error", err)
	}
}

// killAfter leaves a program that itself waits one margin for its workload the
// time to say how it ended.
func (s *Scheduler) killAfter() time.Duration {
	return s.cfg.KillMargin + min(s.cfg.KillMargin, 2*time.Second)
}
