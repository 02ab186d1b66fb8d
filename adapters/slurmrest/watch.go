package slurmrest

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/valico-hpc/valico/adapters/agent"
	"github.com/valico-hpc/valico/broker"
	"github.com/valico-hpc/valico/slurm"
)

// pendingMax bounds how many pending jobs are asked again for their reason in
// one Watch; the rest have their turn in the next.
const pendingMax = 8

// Watch returns the statuses of the launches that are known: one list of states
// for each account, and details only of what changed. An account whose
// slurmrestd does not answer hides no other account's launches; only when none
// answers is that an error.
func (s *Scheduler) Watch(ctx context.Context, ls []broker.Launch) ([]agent.Status, error) {
	by := map[string][]key{}
	for _, l := range ls {
		by[l.Account] = append(by[l.Account], keyOf(l))
	}
	var out []agent.Status
	var errs []error
	answered := len(by) == 0
	for name, ks := range by {
		a, err := s.account(ctx, name)
		if err == nil {
			var sts []agent.Status
			sts, err = a.watch(ctx, ks)
			out = append(out, sts...)
		}
		if err != nil {
			s.cfg.Log.WarnContext(ctx, "watch an account", "account", name, "error", err)
			errs = append(errs, err)
			continue
		}
		answered = true
	}
	if !answered {
		return nil, unavailable("watch: no answer from Slurm", errors.Join(errs...))
	}
	return out, nil
}

func (a *account) watch(ctx context.Context, ks []key) ([]agent.Status, error) {
	if err := a.load(ctx); err != nil {
		return nil, err
	}
	c, err := a.daemon.client(ctx)
	if err != nil {
		return nil, err
	}
	list, err := c.JobStates(ctx)
	if err != nil {
		return nil, translate("list job states", err)
	}
	states := make(map[slurm.JobID][]slurm.JobState, len(list))
	for _, e := range list {
		states[e.ID] = e.States
	}
	var out []agent.Status
	pending := pendingMax
	for _, k := range ks {
		a.mu.Lock()
		j := a.names[k]
		known := j != nil && j.id != 0
		fresh := known && a.fresh(j, states[j.id], &pending)
		var st agent.Status
		if fresh {
			st = j.status
		}
		a.mu.Unlock()
		if !known {
			continue
		}
		if !fresh {
			if st, err = a.detail(ctx, j); err != nil {
				return nil, err
			}
		}
		out = append(out, st)
	}
	return out, nil
}

// fresh reports whether what is known of a job still holds.
func (a *account) fresh(j *job, now []slurm.JobState, pending *int) bool {
	switch {
	case j.asked.IsZero():
		return false
	case j.status.State == agent.SchedulerEnded:
		return true // final
	case len(now) == 0 || !slices.Equal(now, j.states):
		return false
	case base(now) == slurm.RoleWaiting && a.cfg.Now().Sub(j.asked) >= a.cfg.PendingEvery && *pending > 0:
		*pending--
		return false
	}
	return true
}

// detail asks for one job. A job that can never start, or was put back into the
// queue, is cancelled before it is reported as ended, so that nobody can release
// it afterwards.
func (a *account) detail(ctx context.Context, j *job) (agent.Status, error) {
	c, err := a.daemon.client(ctx)
	if err != nil {
		return agent.Status{}, err
	}
	s, granted, err := a.look(ctx, c, j)
	if err != nil {
		return agent.Status{}, err
	}
	st := status(j, s, granted)
	again := base(s.states) == slurm.RoleActive && s.restarts > 0
	if again || st.State == agent.SchedulerEnded && base(s.states) == slurm.RoleWaiting {
		if err := a.cancel(ctx, j.id); err != nil {
			return agent.Status{}, err
		}
	}
	if st.State == agent.SchedulerUnknown {
		a.unknowns.Add(1)
		a.cfg.Log.WarnContext(ctx, "unknown state", "job", j.id.String(), "states", s.states)
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if j.status.State == agent.SchedulerEnded {
		return j.status, nil // the first end that was reported stays
	}
	j.states, j.status, j.asked = s.states, st, a.cfg.Now()
	return st, nil
}

// look asks slurmctld and, for what it has forgotten, the database.
func (a *account) look(ctx context.Context, c *slurm.Client, j *job) (seen, int, error) {
	got, err := c.Job(ctx, j.id)
	if err == nil && got.Name == j.key.name && got.UserID == int64(a.uid) {
		start, _ := got.StartTime.Value()
		s := seen{states: got.States, reason: got.Reason, description: got.Description, exit: got.Exit, restarts: got.Restarts}
		s.started = start > 0 && len(got.Allocated) > 0
		if s.restarts == 0 && base(got.States) == slurm.RoleWaiting && a.ran(j) {
			s.restarts = 1 // a slurmctld that was killed has forgotten its start
		}
		// A program that was told to end leaves a signal or a code of its own.
		s.unrun = s.started && !a.told(j) && slices.Equal(got.Exit.Status, []string{"SUCCESS"})
		if start > 0 && !s.started {
			s.expected = time.Unix(start, 0)
		}
		return s, gpus(got.Allocated), nil
	}
	if err != nil && classOf(err) != slurm.ClassNotFound {
		return seen{}, -1, translate("get job", err)
	}
	rs, err := c.DBJob(ctx, j.id)
	if err != nil {
		return seen{}, -1, translate("get job from the database", err)
	}
	rs = slices.DeleteFunc(rs, func(r slurm.DBJob) bool { return r.Name != j.key.name || r.User != a.name })
	if n := len(rs); n > 0 {
		r := rs[n-1] // the newest incarnation
		return seen{states: r.States, reason: r.Reason, exit: r.Exit, started: r.Start > 0, restarts: int64(n - 1)}, gpus(r.Allocated), nil
	}
	return seen{}, -1, nil // nobody knows it: unknown, and watched on
}

// gpus is what a job was granted, -1 before it was.
func gpus(t slurm.TRES) int {
	if len(t) == 0 {
		return -1
	}
	return int(t.GPUs(""))
}
