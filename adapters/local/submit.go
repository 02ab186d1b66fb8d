package local

import (
	"context"
	"path/filepath"
	"time"

	"github.com/valico-hpc/valico/broker"
)

// Submit records a launch and starts it when a slot is free. A launch that is
// recorded already is found again, never recorded twice.
func (s *Scheduler) Submit(ctx context.Context, l broker.Launch) error {
	if err := check(l); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return unavailable(l.Name, errClosed)
	}
	if j, ok := s.jobs[l.Name]; ok {
		if j.same(l) {
			return nil
		}
		return refused("launch_name_taken", l.Name, "a launch's name belongs to one order and one account")
	}
	r := record{
		V: 1, Name: l.Name, Account: l.Account, Order: l.OrderDigest, Dir: l.Dir, Argv: l.Argv,
		Walltime: int64((l.Resources.Walltime + time.Second - 1) / time.Second), GPUs: l.Resources.GPUs(),
		Hold: l.Hold, State: stateQueued, QueuedAt: s.cfg.Now().UTC(),
	}
	for _, e := range l.Env {
		r.Env = append(r.Env, e.Name+"="+e.Value)
	}
	if err := s.create(&r); err != nil {
		return unavailable(l.Name, err)
	}
	s.cfg.Step("recorded")
	s.jobs[l.Name] = &job{record: r}
	s.pump(ctx)
	return nil
}

func check(l broker.Launch) error {
	switch {
	case !safeName(l.Name):
		return refused("launch_invalid", l.Name, "a launch's name is made of letters, digits, - and _")
	case !l.OrderDigest.Valid():
		return refused("launch_invalid", string(l.OrderDigest), "a launch names the digest of its order")
	case len(l.Argv) == 0 || !filepath.IsAbs(l.Argv[0]):
		return refused("launch_invalid", l.Name, "a launch's program is an absolute path")
	case !filepath.IsAbs(l.Dir):
		return refused("launch_invalid", l.Dir, "a launch's folder is an absolute path")
	case l.Resources.Nodes > 1:
		return refused("launch_invalid", l.Name, "this machine is one node")
	}
	return nil
}

func refused(code, value, rule string) error {
	return &broker.Error{
		Kind: broker.KindInvalid, Code: code, Message: "the local scheduler refuses the launch", Value: value, Rule: rule,
		Help: "this is a fault of the site's agent or its configuration", Who: "the site operator",
	}
}
