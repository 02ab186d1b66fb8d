package slurmrest

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/valico-hpc/valico/adapters/agent"
	"github.com/valico-hpc/valico/broker"
	"github.com/valico-hpc/valico/slurm"
)

// Submit submits a launch at most once and returns when Slurm has confirmed
// what it was granted.
func (s *Scheduler) Submit(ctx context.Context, l broker.Launch) error {
	r, err := request(s.cfg, l)
	if err != nil {
		return err
	}
	a, err := s.account(ctx, l.Account)
	if err != nil {
		return err
	}
	if err := a.load(ctx); err != nil {
		return err
	}
	k := keyOf(l)
	a.mu.Lock()
	j := a.names[k]
	if j == nil {
		j = &job{key: k}
		a.names[k] = j
	}
	a.mu.Unlock()
	j.busy.Lock() // one submission of a launch at a time
	defer j.busy.Unlock()
	known, err := a.find(ctx, k)
	if err != nil {
		return err
	}
	c, err := a.daemon.client(ctx)
	if err != nil {
		return err
	}
	if known == nil {
		if err := a.send(ctx, c, j, r); err != nil {
			return err
		}
	}
	return a.readBack(ctx, c, j, l)
}

// send sends a request whose job is not there. One whose answer was lost is
// given time to arrive first.
func (a *account) send(ctx context.Context, c *slurm.Client, j *job, r slurm.Request) error {
	now := a.cfg.Now()
	a.mu.Lock()
	onItsWay := !j.sentAt.IsZero() && now.Sub(j.sentAt) < a.cfg.Settle
	if !onItsWay {
		j.sentAt = now // marked before it is sent
	}
	a.mu.Unlock()
	if onItsWay {
		return unavailable("the answer to an earlier submission was lost and it may still arrive", nil)
	}
	if err := a.cfg.Step("marked"); err != nil {
		a.forget(j)
		return unavailable("submit", err)
	}
	sub, err := c.Submit(ctx, r)
	if err == nil {
		err = a.cfg.Step("answered")
	}
	if err != nil {
		if e, ok := errors.AsType[*slurm.Error](err); ok && !e.Unknown() {
			a.forget(j)
			return translate("submit", err)
		}
		a.mu.Lock()
		j.sentAt = a.cfg.Now() // it may have been sent as late as now
		a.mu.Unlock()
		return unavailable("submit: the answer was lost", err)
	}
	for _, w := range sub.Warnings {
		a.cfg.Log.InfoContext(ctx, "slurm warns", "job", sub.ID.String(), "warning", w)
	}
	a.mu.Lock()
	j.id = sub.ID
	a.mu.Unlock()
	return nil
}

// forget takes the mark back: Slurm did not take the job.
func (a *account) forget(j *job) {
	a.mu.Lock()
	defer a.mu.Unlock()
	j.sentAt = time.Time{}
}

// readBack asks Slurm what it understood. A job that stands otherwise than asked
// for is cancelled and refused.
func (a *account) readBack(ctx context.Context, c *slurm.Client, j *job, l broker.Launch) error {
	if err := a.cfg.Step("read_back"); err != nil {
		return unavailable("read the submission back", err)
	}
	got, err := c.Job(ctx, j.id)
	if classOf(err) == slurm.ClassNotFound {
		return nil // it ended long ago and was checked, or never ran
	}
	if err != nil {
		return translate("read the submission back", err)
	}
	rule, ok := asAsked(got, a.uid, l)
	if ok {
		return nil
	}
	if err := a.cancel(ctx, j.id); err != nil {
		return err // asked again, it is found again and cancelled again
	}
	code := "launch_altered"
	if rule == ruleGPUs {
		code = "gpus_not_granted"
	}
	return refused(code, fmt.Sprintf("job %s: %d GPUs", j.id, got.Requested.GPUs("")), rule)
}

const ruleGPUs = "a job holds exactly the GPUs that it asked for"

// asAsked compares a job with its launch and names the rule that it breaks.
func asAsked(got slurm.Job, uid int, l broker.Launch) (string, bool) {
	want := int64(l.Resources.GPUs())
	switch {
	case got.UserID != int64(uid) || got.Name != l.Name:
		return "a job belongs to the account and has the name that were asked for", false
	case got.Requeue:
		return "a job is never requeued", false
	case got.Requested.GPUs("") != want:
		return ruleGPUs, false
	case want > 0 && l.Resources.GPUType != "" && got.Requested.GPUs(l.Resources.GPUType) != want:
		return ruleGPUs, false
	}
	return "", true
}

// request translates a launch. Nothing else of a launch reaches Slurm.
func request(c Config, l broker.Launch) (slurm.Request, error) {
	if err := check(l); err != nil {
		return slurm.Request{}, err
	}
	env := []string{"PATH=/usr/bin:/bin"}
	for _, e := range l.Env {
		env = append(env, e.Name+"="+e.Value)
	}
	r := slurm.Request{
		Name: l.Name, Comment: string(l.OrderDigest), Dependency: "singleton", Requeue: false, Hold: l.Hold,
		Script: script(l), Env: env, WorkDir: l.Dir, Stdin: "/dev/null", Stdout: "/dev/null", Stderr: "/dev/null",
		Account: c.SlurmAccount, Partition: c.partition(l.Resources.GPUType), QOS: c.QOS, Reservation: c.Reservation, Constraint: c.Constraint,
		Nodes: l.Resources.Nodes, Tasks: l.Resources.Nodes, CPUs: l.Resources.CPUsPerNode, MemoryMiB: l.Resources.MemoryMiB,
		TimeLimit: l.Resources.Walltime + c.KillMargin,
	}
	if n := l.Resources.GPUsPerNode; n > 0 {
		r.GRES = fmt.Sprintf("gres/gpu:%d", n)
		if t := l.Resources.GPUType; t != "" {
			r.GRES = fmt.Sprintf("gres/gpu:%s:%d", t, n)
		}
	}
	return r, nil
}

func check(l broker.Launch) error {
	if err := agent.CheckLaunch(l, "SLURM"); err != nil {
		return err //nolint:wrapcheck // it is an edge's error
	}
	if t := l.Resources.GPUType; t != "" && !agent.SafeName(strings.ReplaceAll(t, ".", "-")) {
		return refused("launch_invalid", t, "a GPU type is made of letters, digits, -, _ and .")
	}
	return nil
}

// script is the same for every launch but for the arguments. On several nodes it
// is one step with a task on each: srun ends all of them when one fails, and tells
// each which node it is on.
func script(l broker.Launch) string {
	var b strings.Builder
	b.WriteString("#!/bin/sh\nexec")
	if n := l.Resources.Nodes; n > 1 {
		fmt.Fprintf(&b, " srun --nodes=%d --ntasks=%d --ntasks-per-node=1 --cpus-per-task=%d --mpi=none"+
			" --kill-on-bad-exit=1 --input=none --output=none --error=none", n, n, max(1, l.Resources.CPUsPerNode))
	}
	for _, a := range l.Argv {
		b.WriteString(" '" + strings.ReplaceAll(a, "'", `'\''`) + "'")
	}
	b.WriteString("\n")
	return b.String()
}
