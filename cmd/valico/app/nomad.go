package app

import (
	"context"
	"fmt"
	"slices"

	"github.com/valico-hpc/valico/adapters/agent"
	"github.com/valico-hpc/valico/adapters/nomad"
	"github.com/valico-hpc/valico/broker"
)

// nomad makes the adapter of a Nomad site from its section of the configuration.
func (a *App) nomad(ctx context.Context, s broker.Site) (agent.Scheduler, string, func() error, error) {
	c, ok := a.cfg.Nomad[s.Name]
	if !ok {
		return nil, "", nil, &broker.Error{
			Kind: broker.KindInvalid, Code: "nomad_unconfigured", Message: "this broker does not know how to reach the site's scheduler", Value: s.Name,
			Rule: "the agent of a Nomad site is configured under nomad." + s.Name + " in the broker's configuration",
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
	accounts := make([]string, 0, len(s.Accounts))
	for _, account := range s.Accounts {
		accounts = append(accounts, account)
	}
	slices.Sort(accounts)
	sched, err := nomad.New(nomad.Config{ //nolint:contextcheck // it listens until it is closed, not until this call ends
		Address: c.Address, TLS: nomad.TLS{CACert: c.CACert, Cert: c.Cert, Key: c.Key, ServerName: c.ServerName}, TokenFile: c.TokenFile,
		Accounts: slices.Compact(accounts), Namespace: c.Namespace, Region: c.Region, NodePool: c.NodePool, Datacenters: c.Datacenters,
		Priority: c.Priority, Driver: c.Driver, Devices: c.Devices, MHzPerCPU: c.MHzPerCPU,
		KillMargin: s.KillMargin, Log: a.cfg.Log.With("site", s.Name),
	})
	if err != nil {
		return nil, "", nil, fmt.Errorf("reach the site's scheduler: %w", err)
	}
	return sched, path, sched.Close, nil
}
