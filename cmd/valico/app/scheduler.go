package app

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"

	"github.com/valico-hpc/valico/adapters/agent"
	"github.com/valico-hpc/valico/adapters/local"
	"github.com/valico-hpc/valico/broker"
)

// Kinds of schedulers.
const (
	schedulerLocal = "local"
	schedulerSlurm = "slurm"
	schedulerNomad = "nomad"
)

// schedulers makes the adapter of a site's scheduler from a configuration, for
// an agent in the broker's process and for one far away alike.
type schedulers struct {
	cfg Config
	// unknown is told of each state of a scheduler that nobody knows.
	unknown func(broker.SiteID)
}

// scheduler makes the adapter of a site, the path of valico-exec on its nodes
// and what closes the adapter.
func (a schedulers) scheduler(ctx context.Context, s broker.Site, dir string) (agent.Scheduler, string, func() error, error) {
	switch s.Scheduler {
	case schedulerLocal:
		path, err := a.execPath(ctx)
		if err != nil {
			return nil, "", nil, err
		}
		l, err := local.New(local.Config{
			Dir: filepath.Join(dir, "local"), MaxParallel: max(1, s.MaxNodes), KillMargin: s.KillMargin,
			Log: a.cfg.Log, Step: a.cfg.Step,
		})
		if err != nil {
			return nil, "", nil, err
		}
		return l, path, l.Close, nil
	case schedulerSlurm:
		return a.slurm(ctx, s, dir)
	case schedulerNomad:
		return a.nomad(ctx, s)
	}
	return nil, "", nil, &broker.Error{
		Kind: broker.KindInvalid, Code: "scheduler_unknown", Message: "no such scheduler", Value: s.Scheduler,
		Rule: "a site's scheduler is local, slurm or nomad", Help: "correct the site file", Who: "the site operator",
	}
}

// execPath finds valico-exec: as configured, beside this program, or on PATH.
func (a schedulers) execPath(context.Context) (string, error) {
	if a.cfg.Exec != "" {
		return filepath.Abs(a.cfg.Exec)
	}
	if self, err := os.Executable(); err == nil {
		if self, err = filepath.EvalSymlinks(self); err == nil {
			p := filepath.Join(filepath.Dir(self), "valico-exec")
			if fi, err := os.Stat(p); err == nil && fi.Mode().IsRegular() {
				return p, nil
			}
		}
	}
	p, err := exec.LookPath("valico-exec")
	if err != nil {
		return "", &broker.Error{
			Kind: broker.KindUnavailable, Code: "exec_missing", Message: "valico-exec was not found",
			Rule: "a local site runs jobs with valico-exec, beside valico or on PATH",
			Help: "build both: go build -o DIR ./cmd/valico ./cmd/valico-exec", Who: "the broker's operator", Err: err,
		}
	}
	return filepath.Abs(p)
}

// lookup finds an account of the site's machine.
func lookup(account string) (uid, gid int, err error) {
	u, err := user.Lookup(account)
	if err != nil {
		return 0, 0, fmt.Errorf("look up account: %w", err)
	}
	uid, err = strconv.Atoi(u.Uid)
	if err != nil {
		return 0, 0, fmt.Errorf("account %s: %w", account, err)
	}
	gid, err = strconv.Atoi(u.Gid)
	if err != nil {
		return 0, 0, fmt.Errorf("account %s: %w", account, err)
	}
	return uid, gid, nil
}
