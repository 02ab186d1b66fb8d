package app

import (
	"context"

	"github.com/valico-hpc/valico/adapters/agent"
	"github.com/valico-hpc/valico/broker"
)

// slurm makes the adapter of a Slurm site from its section of the configuration.
func (a *App) slurm(_ context.Context, s broker.Site, _ string) (agent.Scheduler, string, func() error, error) {
	return nil, "", nil, &broker.Error{
		Kind: broker.KindInvalid, Code: "slurm_unconfigured", Message: "this broker does not know how to reach the site's scheduler", Value: s.Name,
		Rule: "the agent of a Slurm site is configured under slurm." + s.Name + " in the broker's configuration",
		Help: "add the section and restart the broker", Who: "the broker's operator",
	}
}
