package scripted

import (
	"context"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/valico-hpc/valico/adapters/agent"
	"github.com/valico-hpc/valico/broker"
)

var _ agent.Scheduler = (*Scheduler)(nil)

// Scheduler is an adapter to a Cluster. It remembers nothing: another one over
// the same cluster is one after a restart.
type Scheduler struct {
	c        *Cluster
	epoch    atomic.Int64
	unknowns atomic.Int64
}

// Open returns a Scheduler with a credential that is valid now.
func (c *Cluster) Open() *Scheduler {
	s := &Scheduler{c: c}
	s.Renew()
	return s
}

// Renew takes a new credential.
func (s *Scheduler) Renew() { s.c.do(func() { s.epoch.Store(int64(s.c.epoch)) }) }

// Unknowns returns how often the cluster used a word that is not known here.
func (s *Scheduler) Unknowns() int64 { return s.unknowns.Load() }

// call does something at the cluster, or says why it cannot.
func (s *Scheduler) call(ctx context.Context, f func() error) error {
	c := s.c
	c.mu.Lock()
	hung := c.hung
	c.mu.Unlock()
	if hung != nil {
		select {
		case <-hung:
		case <-ctx.Done():
			return unavailable("scheduler_unavailable", "the cluster does not answer", context.Cause(ctx))
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.pass()
	c.calls++
	switch {
	case ctx.Err() != nil:
		return unavailable("scheduler_unavailable", "the cluster was not asked", context.Cause(ctx))
	case c.down:
		return unavailable("scheduler_unavailable", "the cluster is not there", nil)
	case int64(c.epoch) != s.epoch.Load():
		return unavailable("scheduler_token_refused", "the cluster does not accept the credential", nil)
	}
	return f()
}

// ours is the job of a launch, nil when the cluster has none.
func (s *Scheduler) ours(l broker.Launch) *job {
	if j, ok := s.c.jobs[keyOf(l)]; ok && j.launch.OrderDigest == l.OrderDigest {
		return j
	}
	return nil
}

// Submit starts a launch at most once.
func (s *Scheduler) Submit(ctx context.Context, l broker.Launch) error {
	return s.call(ctx, func() error {
		if l.Name == "" || !l.OrderDigest.Valid() || len(l.Argv) == 0 {
			return refused("launch_invalid", l.Name, "a launch has a name, an order and a program")
		}
		if s.c.cfg.GPUs > 0 && l.Resources.GPUs() > s.c.cfg.GPUs {
			return refused("scheduler_refused", l.Name, "a launch asks for no more GPUs than there are")
		}
		if _, ok := s.c.submit(l); !ok {
			return refused("launch_name_taken", l.Name, "a launch's name belongs to one order and one account")
		}
		if s.c.losing[l.Name] > 0 {
			s.c.losing[l.Name]--
			return unavailable("scheduler_unavailable", "the answer was lost", nil)
		}
		return nil
	})
}

// Find returns how a launch stands.
func (s *Scheduler) Find(ctx context.Context, l broker.Launch) (agent.Status, error) {
	var st agent.Status
	err := s.call(ctx, func() error {
		j := s.ours(l)
		if j == nil {
			return broker.NotFound("launch", l.Name)
		}
		st = s.judge(j)
		return nil
	})
	return st, err
}

// Watch returns the statuses of the launches that the cluster knows.
func (s *Scheduler) Watch(ctx context.Context, ls []broker.Launch) ([]agent.Status, error) {
	out := make([]agent.Status, 0, len(ls))
	err := s.call(ctx, func() error {
		for _, l := range ls {
			if j := s.ours(l); j != nil {
				out = append(out, s.judge(j))
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}

// Cancel ends a launch: TERM, then KILL after the margin.
func (s *Scheduler) Cancel(ctx context.Context, l broker.Launch) error {
	return s.call(ctx, func() error {
		if j := s.ours(l); j != nil {
			s.c.cancel(j)
		}
		return nil
	})
}

// Usage returns what an ended launch consumed over all its incarnations.
func (s *Scheduler) Usage(ctx context.Context, l broker.Launch) (broker.Usage, error) {
	var u broker.Usage
	err := s.call(ctx, func() error {
		j := s.ours(l)
		switch {
		case j == nil:
			return broker.NotFound("launch", l.Name)
		case s.c.unaccounted:
			return unavailable("scheduler_unavailable", "the accounting does not answer", nil)
		case j.word != over || s.c.gibberish:
			return unavailable("scheduler_unavailable", "the end is not accounted yet", nil)
		}
		secs := int64((j.elapsed + time.Second - 1) / time.Second)
		u = broker.Usage{
			GPUSeconds: secs * int64(l.Resources.GPUs()), CPUSeconds: secs * int64(l.Resources.Nodes*l.Resources.CPUsPerNode),
			Elapsed: time.Duration(secs) * time.Second, Method: "scripted",
		}
		return nil
	})
	return u, err
}

// judge says how a launch stands, and ends what may not go on.
func (s *Scheduler) judge(j *job) agent.Status {
	c := s.c
	said := j.word
	if c.gibberish {
		said = levitate
	}
	if said == waits { // what the cluster would hold for ever, or start again
		switch {
		case j.restarts > 0:
			c.end(j, broker.OutcomePreempted, 0)
		case j.failed || c.broke[j.launch.Account]:
			c.end(j, broker.OutcomeLaunchFailed, 0)
		}
		said = j.word
	}
	st := agent.Status{Name: j.launch.Name, Handle: strconv.Itoa(j.id), State: state(said), Granted: -1}
	if j.starts > 0 {
		st.Granted = j.launch.Resources.GPUs()
	}
	switch st.State {
	case agent.SchedulerEnded:
		st.Outcome, st.ExitCode = j.outcome, j.exit
		if st.Outcome == broker.OutcomeLaunchFailed && j.starts == 0 && !j.failed {
			st.Waiting = broker.Waiting{Code: broker.WaitBudgetAtSite, Words: "no budget"}
		}
	case agent.SchedulerQueued:
		st.Waiting = waiting(j)
	case agent.SchedulerUnknown:
		s.unknowns.Add(1)
	case agent.SchedulerRunning, agent.SchedulerEnding, agent.SchedulerGone:
	}
	return st
}

// state is total over the cluster's words.
func state(w word) agent.SchedulerState {
	switch w {
	case waits:
		return agent.SchedulerQueued
	case runs:
		return agent.SchedulerRunning
	case leaves:
		return agent.SchedulerEnding
	case over:
		return agent.SchedulerEnded
	case levitate:
	}
	return agent.SchedulerUnknown
}

func waiting(j *job) broker.Waiting {
	if j.held {
		return broker.Waiting{Code: broker.WaitHeld, Words: "held"}
	}
	return broker.Waiting{Code: broker.WaitResources, Words: "no free GPUs"}
}

func refused(code, value, rule string) error {
	return &broker.Error{
		Kind: broker.KindInvalid, Code: code, Message: "the scripted site refuses the launch", Value: value, Rule: rule,
		Help: "this is a matter of the test", Who: "the test",
	}
}

func unavailable(code, message string, err error) error {
	return &broker.Error{
		Kind: broker.KindUnavailable, Code: code, Message: message, Rule: "an answer that was not had is not guessed",
		Help: "wait", Who: "the test", Err: err,
	}
}
