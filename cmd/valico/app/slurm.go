package app

import (
	"context"
	"fmt"
	"path/filepath"
	"slices"

	"github.com/valico-hpc/valico/adapters/agent"
	"github.com/valico-hpc/valico/adapters/slurmrest"
	"github.com/valico-hpc/valico/broker"
)

// slurm makes the adapter of a Slurm site from its section of the configuration.
func (a schedulers) slurm(ctx context.Context, s broker.Site, dir string) (agent.Scheduler, string, func() error, error) {
	c, ok := a.cfg.Slurm[s.Name]
	if !ok {
		return nil, "", nil, &broker.Error{
			Kind: broker.KindInvalid, Code: "slurm_unconfigured", Message: "this broker does not know how to reach the site's scheduler", Value: s.Name,
			Rule: "the agent of a Slurm site is configured under slurm." + s.Name + " in the broker's configuration",
			Help: "add the section and restart the broker", Who: "the broker's operator",
		}
	}
	path := c.Exec
	if path == "" {
		var err error
		if path, err = a.execPath(ctx); err != nil {
			return nil, "", nil, err
		}
	}
	run := c.Run
	if run == "" {
		run = filepath.Join(dir, "slurmrest")
	}
	accounts := make([]string, 0, len(s.Accounts))
	for _, account := range s.Accounts {
		accounts = append(accounts, account)
	}
	slices.Sort(accounts)
	sched, err := slurmrest.New(slurmrest.Config{
		Dir: run, Accounts: accounts, Prefix: c.Prefix, Slurmrestd: c.Slurmrestd, SlurmConf: c.Conf, Partition: c.Partition,
		QOS: c.QoS, SlurmAccount: c.Account, KillMargin: s.KillMargin, Log: a.cfg.Log.With("site", s.Name),
	})
	if err != nil {
		return nil, "", nil, fmt.Errorf("reach the site's scheduler: %w", err)
	}
	return sched, path, sched.Close, nil
}
