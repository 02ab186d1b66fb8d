package nomad

import (
	"context"
	"fmt"
	"hash/fnv"

	"github.com/hashicorp/nomad/api"

	"github.com/valico-hpc/valico/adapters/agent"
	"github.com/valico-hpc/valico/broker"
)

// Submit registers a launch at most once and returns when Nomad holds it as it
// was asked for. The job's id is the launch's name and the registration is
// create-only, so a request that is repeated, or arrives late, makes no second.
// What Nomad confirmed to this process is never sent again.
func (s *Scheduler) Submit(ctx context.Context, l broker.Launch) error {
	if err := check(l); err != nil {
		return err
	}
	if err := s.mapped(l); err != nil {
		return err
	}
	defer s.hold(l.Name)()
	confirmed := s.confirmed(l)
	if !confirmed {
		if err := s.nowhereElse(ctx, l); err != nil {
			return err
		}
		if err := s.register(ctx, l); err != nil {
			return err
		}
	}
	ours, there, err := s.info(ctx, l)
	switch {
	case err != nil:
		return err
	case there != nil && ours == nil:
		return nameTaken(l)
	case ours == nil && confirmed:
		return refused("launch_forgotten", l.Name, "a launch that Nomad held and no longer knows is not started again")
	case ours == nil:
		return unavailable("the job that was registered is not there", nil)
	}
	s.confirm(l)
	return s.readBack(ctx, ours, l)
}

// nowhereElse ends and refuses a launch that is there in a namespace other than
// its account's: the site gave the account another one meanwhile.
func (s *Scheduler) nowhereElse(ctx context.Context, l broker.Launch) error {
	if s.cfg.listed() != api.AllNamespacesNamespace {
		return nil
	}
	jobs, err := s.jobs(ctx, map[string]string{"prefix": l.Name})
	if err != nil {
		return err
	}
	home := s.cfg.namespaceOf(l.Account)
	for _, j := range jobs {
		if j.ID != l.Name || j.Namespace == home || j.Meta[metaOrder] != string(l.OrderDigest) {
			continue
		}
		if err := s.deregister(ctx, j.Namespace, j.ID); err != nil {
			return err
		}
		return refused("launch_elsewhere", j.Namespace, "a launch that is in one namespace is not started in another")
	}
	return nil
}

func nameTaken(l broker.Launch) error {
	return refused("launch_name_taken", l.Name, "a launch's name belongs to one order and one account")
}

// register sends a job. That it is there already is an answer too: the caller
// looks whose it is.
func (s *Scheduler) register(ctx context.Context, l broker.Launch) error {
	if err := s.cfg.Step("marked"); err != nil {
		return unavailable("submit", err)
	}
	q, done, err := s.write(ctx, s.cfg.namespaceOf(l.Account))
	if err != nil {
		return err
	}
	defer done()
	resp, _, err := s.client.Jobs().RegisterOpts(job(s.cfg, l), &api.RegisterOptions{EnforceIndex: true, ModifyIndex: 0}, q)
	if err == nil {
		err = s.cfg.Step("answered")
	}
	s.changed()
	switch {
	case err == nil:
		if resp.Warnings != "" {
			s.cfg.Log.InfoContext(ctx, "nomad warns", "job", l.Name, "warning", resp.Warnings)
		}
		return nil
	case classOf(err) == classExists:
		return nil
	}
	return translate("submit", err)
}

// readBack compares what Nomad holds, and what it granted as far as it is
// placed, with what was asked for. A job that differs is ended and refused.
func (s *Scheduler) readBack(ctx context.Context, j *api.Job, l broker.Launch) error {
	code, rule, ok := asAsked(j, s.cfg, l)
	if ok {
		return nil
	}
	if err := s.deregister(ctx, s.cfg.namespaceOf(l.Account), l.Name); err != nil {
		return err
	}
	n := 0
	if len(j.TaskGroups) == 1 && len(j.TaskGroups[0].Tasks) == 1 {
		n = asked(j.TaskGroups[0].Tasks[0].Resources)
	}
	return refused(code, fmt.Sprintf("job %s: %d GPUs", l.Name, n), rule)
}

// Cancel ends a launch: TERM, then KILL after the margin. The job stays in
// Nomad's record, stopped, so that its name cannot start again.
func (s *Scheduler) Cancel(ctx context.Context, l broker.Launch) error {
	if !agent.SafeName(l.Name) {
		return nil
	}
	j, _, err := s.info(ctx, l)
	if err != nil || j == nil {
		return err
	}
	if (j.Stop != nil && *j.Stop) || (j.Status != nil && *j.Status == jobDead) {
		return nil
	}
	return s.deregister(ctx, s.cfg.namespaceOf(l.Account), l.Name)
}

// deregister stops a job and purges nothing: what it used is read from it.
func (s *Scheduler) deregister(ctx context.Context, namespace, name string) error {
	q, done, err := s.write(ctx, namespace)
	if err != nil {
		return err
	}
	defer done()
	defer s.changed()
	if _, _, err := s.client.Jobs().Deregister(name, false, q); err != nil && classOf(err) != classUnknown {
		return translate("end the job", err)
	}
	return nil
}

// hold lets one submission of a name go at a time.
func (s *Scheduler) hold(name string) func() {
	h := fnv.New32a()
	_, _ = h.Write([]byte(name))
	m := &s.busy[h.Sum32()%uint32(len(s.busy))]
	m.Lock()
	return m.Unlock
}

func (s *Scheduler) confirm(l broker.Launch) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.taken[keyOf(l)] = true
}

func (s *Scheduler) confirmed(l broker.Launch) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.taken[keyOf(l)]
}
