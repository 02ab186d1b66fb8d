package nomad

import (
	"context"
	"fmt"
	"time"

	"github.com/hashicorp/nomad/api"

	"github.com/valico-hpc/valico/adapters/agent"
	"github.com/valico-hpc/valico/broker"
)

// forceMax bounds how many waiting jobs are evaluated again in one Watch; the
// rest have their turn in the next.
const forceMax = 8

// place is where a job lies: two namespaces may each have one of that id.
type place struct{ namespace, id string }

// world is one listing of the site's namespaces. The job list is read first and
// the allocations last: a job that was stopped, and whose evaluations are done,
// has all its allocations in it.
type world struct {
	at    time.Time
	gens  gens
	jobs  map[place]*api.JobListStub
	evals map[place][]*api.Evaluation
	alloc map[place][]*api.AllocationListStub
}

func (w *world) seen(p place) seen {
	j := w.jobs[p]
	return seen{stopped: j.Stop, status: j.Status, allocs: w.alloc[p], evals: w.evals[p]}
}

// jobs lists the jobs of the site's namespaces.
func (s *Scheduler) jobs(ctx context.Context, params map[string]string) ([]*api.JobListStub, error) {
	return list(ctx, s, "list jobs", s.cfg.listed(), "", params, func(q *api.QueryOptions) ([]*api.JobListStub, *api.QueryMeta, error) {
		return s.client.Jobs().ListOptions(&api.JobListOptions{Fields: &api.JobListFields{Meta: true}}, q)
	})
}

// look lists the site's namespaces, or one job. stub is that job as it was read.
func (s *Scheduler) look(ctx context.Context, stub *api.JobListStub) (*world, error) {
	w := &world{
		at: s.cfg.Now(), gens: s.gens(),
		jobs: map[place]*api.JobListStub{}, evals: map[place][]*api.Evaluation{}, alloc: map[place][]*api.AllocationListStub{},
	}
	namespace, only := s.cfg.listed(), ""
	if stub != nil {
		w.jobs[place{stub.Namespace, stub.ID}] = stub
		namespace, only = stub.Namespace, fmt.Sprintf(`JobID == "%s"`, stub.ID)
	} else {
		jobs, err := s.jobs(ctx, nil)
		if err != nil {
			return nil, err
		}
		for _, j := range jobs {
			w.jobs[place{j.Namespace, j.ID}] = j
		}
	}
	evals, err := list(ctx, s, "list evaluations", namespace, and(`Status == "blocked" or Status == "pending"`, only), nil, s.client.Evaluations().List)
	if err != nil {
		return nil, err
	}
	for _, e := range evals {
		p := place{e.Namespace, e.JobID}
		w.evals[p] = append(w.evals[p], e)
	}
	allocs, err := list(ctx, s, "list allocations", namespace, only, map[string]string{"resources": "true"}, s.client.Allocations().List)
	if err != nil {
		return nil, err
	}
	for _, a := range allocs {
		p := place{a.Namespace, a.JobID}
		w.alloc[p] = append(w.alloc[p], a)
	}
	return w, nil
}

func and(a, b string) string {
	if b == "" {
		return a
	}
	return "(" + a + ") and (" + b + ")"
}

// info reads the job of a name: ours, when it is, and whosever is there.
func (s *Scheduler) info(ctx context.Context, l broker.Launch) (ours, there *api.Job, err error) {
	q, done, err := s.query(ctx, s.cfg.namespaceOf(l.Account))
	if err != nil {
		return nil, nil, err
	}
	defer done()
	j, _, err := s.client.Jobs().Info(l.Name, q)
	switch {
	case err != nil && classOf(err) == classUnknown:
		return nil, nil, nil
	case err != nil:
		return nil, nil, translate("read the job", err)
	case j.Meta[metaOrder] != string(l.OrderDigest) || owner(j) != l.Account:
		return nil, j, nil
	}
	return j, j, nil
}

// owner is the account of a job's task, "" when it is not one of ours.
func owner(j *api.Job) string {
	if len(j.TaskGroups) != 1 || len(j.TaskGroups[0].Tasks) != 1 {
		return ""
	}
	return j.TaskGroups[0].Tasks[0].User
}

// find reads one launch, false when Nomad does not know it.
func (s *Scheduler) find(ctx context.Context, l broker.Launch) (seen, bool, error) {
	if !agent.SafeName(l.Name) {
		return seen{}, false, nil
	}
	j, _, err := s.info(ctx, l)
	if err != nil || j == nil {
		return seen{}, false, err
	}
	stub := &api.JobListStub{ID: l.Name, Namespace: s.cfg.namespaceOf(l.Account)}
	if j.Stop != nil {
		stub.Stop = *j.Stop
	}
	if j.Status != nil {
		stub.Status = *j.Status
	}
	w, err := s.look(ctx, stub)
	if err != nil {
		return seen{}, false, err
	}
	p := place{stub.Namespace, stub.ID}
	got := w.seen(p)
	s.outdated(p, got)
	return got, true, nil
}

// outdated has the next Watch list when it would tell less than was seen now.
func (s *Scheduler) outdated(p place, now seen) {
	s.mu.Lock()
	w := s.cached
	s.mu.Unlock()
	if w == nil {
		return
	}
	if _, ok := w.jobs[p]; !ok || state(w.seen(p)) != state(now) || w.seen(p).stopped != now.stopped {
		s.changed()
	}
}

// Find returns how a launch stands. One that Nomad confirmed to this process and
// no longer knows is gone.
func (s *Scheduler) Find(ctx context.Context, l broker.Launch) (agent.Status, error) {
	got, ok, err := s.find(ctx, l)
	if err != nil {
		return agent.Status{}, err
	}
	if !ok {
		if s.confirmed(l) {
			return agent.Status{Name: l.Name, State: agent.SchedulerGone, Granted: -1}, nil
		}
		return agent.Status{}, broker.NotFound("launch", l.Name)
	}
	return s.judge(ctx, l, got), nil
}

// Watch returns the statuses of the launches that Nomad knows: three lists
// however many there are, and none at all while nothing changed.
func (s *Scheduler) Watch(ctx context.Context, ls []broker.Launch) ([]agent.Status, error) {
	if len(ls) == 0 {
		return nil, nil
	}
	w, err := s.listing(ctx)
	if err != nil {
		return nil, err
	}
	var out []agent.Status
	forced := 0
	for _, l := range ls {
		p := place{s.cfg.namespaceOf(l.Account), l.Name}
		j, ok := w.jobs[p]
		if !ok || j.Meta[metaOrder] != string(l.OrderDigest) || j.Meta[metaAccount] != l.Account {
			continue
		}
		got := w.seen(p)
		st := s.judge(ctx, l, got)
		if st.State == agent.SchedulerQueued && forced < forceMax && missingDevices(got) && s.force(ctx, l) {
			forced++
		} else if st.State != agent.SchedulerQueued {
			s.mu.Lock()
			delete(s.forced, l.Name)
			s.mu.Unlock()
		}
		out = append(out, st)
	}
	return out, nil
}

// listing is a new world, or the last one while nothing is said to have changed.
func (s *Scheduler) listing(ctx context.Context) (*world, error) {
	s.mu.Lock()
	w := s.cached
	s.mu.Unlock()
	if w != nil && s.unchanged(w) {
		return w, nil
	}
	w, err := s.look(ctx, nil)
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	s.cached = w
	s.mu.Unlock()
	return w, nil
}

// judge says how a launch stands and ends what may not go on: one over its
// walltime, one without its GPUs, and every replacement that Nomad starts. What
// could not be ended is tried again the next time; it hides no other launch.
func (s *Scheduler) judge(ctx context.Context, l broker.Launch, got seen) agent.Status {
	a := got.first()
	gpus, limit := l.Resources.GPUs(), l.Resources.Walltime+s.cfg.KillMargin
	st := agent.Status{Name: l.Name, State: state(got), Granted: granted(a)}
	if a != nil {
		st.Handle = a.ID
	}
	short := st.Granted >= 0 && st.Granted < gpus
	late := a != nil && st.State == agent.SchedulerRunning && overtime(a, s.cfg.Now(), limit)
	again := a != nil && allocState(a) != agent.SchedulerUnknown && replaceable(got)
	if (short && st.State != agent.SchedulerEnded || late || again) && !got.stopped {
		if err := s.deregister(ctx, s.cfg.namespaceOf(l.Account), l.Name); err != nil {
			s.cfg.Log.WarnContext(ctx, "end a launch", "job", l.Name, "error", err)
		} else if st.State == agent.SchedulerRunning || st.State == agent.SchedulerQueued {
			st.State = agent.SchedulerEnding
		}
	}
	switch st.State {
	case agent.SchedulerEnded:
		st.Outcome, st.ExitCode = outcome(got, gpus, limit)
		if short {
			st.Waiting = broker.Wait(broker.WaitGPUsUnavailable, fmt.Sprintf("gpus_not_granted: %d of %d", st.Granted, gpus), time.Time{})
		}
	case agent.SchedulerQueued:
		st.Waiting = waiting(got)
	case agent.SchedulerUnknown:
		s.unknowns.Add(1)
		s.cfg.OnUnknown()
		s.cfg.Log.WarnContext(ctx, "unknown state", "job", l.Name, "status", got.status)
	case agent.SchedulerRunning, agent.SchedulerEnding, agent.SchedulerGone:
	}
	return st
}

// overtime reports whether a running launch should have ended itself. Nomad has
// no time limits.
func overtime(a *api.AllocationListStub, now time.Time, limit time.Duration) bool {
	t := a.TaskStates[taskName]
	return t != nil && !t.StartedAt.IsZero() && now.Sub(t.StartedAt) > limit
}

// force asks Nomad to look again at a job, now and then.
func (s *Scheduler) force(ctx context.Context, l broker.Launch) bool {
	now := s.cfg.Now()
	s.mu.Lock()
	last, ok := s.forced[l.Name]
	if ok && now.Sub(last) < s.cfg.Reevaluate {
		s.mu.Unlock()
		return false
	}
	s.forced[l.Name] = now
	s.mu.Unlock()
	if !ok {
		return false // it was looked at a moment ago
	}
	q, done, err := s.write(ctx, s.cfg.namespaceOf(l.Account))
	if err == nil {
		defer done()
		_, _, err = s.client.Jobs().ForceEvaluate(l.Name, q)
	}
	if err != nil {
		s.cfg.Log.InfoContext(ctx, "evaluate a job again", "job", l.Name, "error", err)
	}
	return true
}
