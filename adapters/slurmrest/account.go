package slurmrest

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"github.com/valico-hpc/valico/adapters/agent"
	"github.com/valico-hpc/valico/broker"
	"github.com/valico-hpc/valico/slurm"
)

// account is one account's slurmrestd and what is known of its launches.
type account struct {
	cfg    Config
	name   string
	uid    int
	daemon *daemon

	unknowns atomic.Int64 // words for a state that are not known here

	search sync.Mutex // held while Slurm is searched

	mu     sync.Mutex
	loaded bool // names holds what Slurm knew when this account was first used
	names  map[key]*job
}

// key is what a launch is known by, beside its owner.
type key struct {
	name  string
	order broker.Digest
}

func keyOf(l broker.Launch) key { return key{name: l.Name, order: l.OrderDigest} }

// job is a launch that this process sent or found.
type job struct {
	key    key
	busy   sync.Mutex // held while it is being submitted
	id     slurm.JobID
	sentAt time.Time // when an answer was lost; zero when none was
	told   bool      // this process was asked to cancel it

	states []slurm.JobState // of status
	status agent.Status
	asked  time.Time // when status was asked for
}

// find returns the job of a key, or nil when Slurm has none. It searches only
// when this process cannot know: at an account's first use and after an answer
// that was lost.
func (a *account) find(ctx context.Context, k key) (*job, error) {
	if err := a.load(ctx); err != nil {
		return nil, err
	}
	a.mu.Lock()
	j := a.names[k]
	var id slurm.JobID
	var lost bool
	if j != nil {
		id, lost = j.id, !j.sentAt.IsZero()
	}
	a.mu.Unlock()
	switch {
	case id != 0:
		return j, nil
	case lost:
		return a.searchOne(ctx, k)
	}
	return nil, nil //nolint:nilnil // no job is an answer here
}

// load reads once what Slurm knows of this account's jobs.
func (a *account) load(ctx context.Context) error {
	a.search.Lock()
	defer a.search.Unlock()
	a.mu.Lock()
	loaded := a.loaded
	a.mu.Unlock()
	if loaded {
		return nil
	}
	if err := a.ask(ctx, nil); err != nil {
		return err
	}
	a.mu.Lock()
	a.loaded = true
	a.mu.Unlock()
	return nil
}

func (a *account) searchOne(ctx context.Context, k key) (*job, error) {
	a.search.Lock()
	defer a.search.Unlock()
	if err := a.ask(ctx, []string{k.name}); err != nil {
		return nil, err
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if j := a.names[k]; j != nil && j.id != 0 {
		return j, nil
	}
	return nil, nil //nolint:nilnil // no job is an answer here
}

// ask looks in the database and, since that may lag, in slurmctld. Both must
// answer.
func (a *account) ask(ctx context.Context, names []string) error {
	c, err := a.daemon.client(ctx)
	if err != nil {
		return err
	}
	q := slurm.DBQuery{Users: []string{a.name}, Names: names, Since: a.cfg.Now().Add(-a.cfg.Horizon)}
	old, err := c.DBJobs(ctx, q)
	if err != nil {
		return translate("search the accounting database", err)
	}
	now, err := c.Jobs(ctx, func(j *slurm.Job) bool {
		return j.User == a.name && j.UserID == int64(a.uid) && (len(names) == 0 || j.Name == names[0])
	})
	if err != nil {
		return translate("search the job list", err)
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, j := range old {
		a.adopt(j.Name, j.Comment, j.ID)
	}
	for _, j := range now {
		a.adopt(j.Name, j.Comment, j.ID)
	}
	return nil
}

// adopt notes a job of this account that carries an order's digest. Of several
// the oldest counts; a younger one waits behind it as its singleton.
func (a *account) adopt(name, comment string, id slurm.JobID) {
	d := broker.Digest(comment)
	if !d.Valid() || !agent.SafeName(name) {
		return
	}
	k := key{name: name, order: d}
	j := a.names[k]
	if j == nil {
		j = &job{key: k}
		a.names[k] = j
	}
	if j.id == 0 || id < j.id {
		j.id = id
	}
}

// told reports whether this process was asked to cancel a job.
func (a *account) told(j *job) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return j.told
}

// ran reports whether a job was seen on its nodes before.
func (a *account) ran(j *job) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return base(j.states) == slurm.RoleActive
}

// cancel ends a job; one that has ended or is unknown is no error.
func (a *account) cancel(ctx context.Context, id slurm.JobID) error {
	c, err := a.daemon.client(ctx)
	if err != nil {
		return err
	}
	if err := c.Cancel(ctx, id); err != nil && classOf(err) != slurm.ClassFinished && classOf(err) != slurm.ClassNotFound {
		return translate("cancel job", err)
	}
	return nil
}
