package app

import (
	"context"
	"fmt"
	"maps"
	"slices"

	"github.com/valico-hpc/valico/adapters/agent"
	"github.com/valico-hpc/valico/adapters/nomad"
	"github.com/valico-hpc/valico/broker"
	"github.com/valico-hpc/valico/broker/httpapi/wire"
)

// nomad makes the adapter of a Nomad site from its section of the configuration.
func (a schedulers) nomad(ctx context.Context, s broker.Site) (agent.Scheduler, string, func() error, error) {
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
	cfg := a.nomadConfig(c, s)
	cfg.OnUnknown = func() { a.unknown(s.ID) }
	sched, err := nomad.New(cfg) //nolint:contextcheck // it follows Nomad until it is closed, not until this call ends
	if err != nil {
		return nil, "", nil, fmt.Errorf("reach the site's scheduler: %w", err)
	}
	return sched, path, sched.Close, nil
}

func (a schedulers) nomadConfig(c NomadConfig, s broker.Site) nomad.Config {
	accounts := slices.Sorted(maps.Values(s.Accounts))
	return nomad.Config{
		Address: c.Address, TLS: nomad.TLS{CACert: c.CACert, Cert: c.Cert, Key: c.Key, ServerName: c.ServerName}, TokenFile: c.TokenFile,
		Accounts: slices.Compact(accounts), Namespace: c.Namespace, Namespaces: c.Namespaces, Region: c.Region, NodePool: c.NodePool,
		Datacenters: c.Datacenters, Priority: c.Priority, Driver: c.Driver, Devices: c.Devices, MHzPerCPU: c.MHzPerCPU,
		KillMargin: s.KillMargin, Log: a.cfg.Log.With("site", s.Name),
	}
}

// nomadNodes refuses a Nomad site of several nodes for one job. Nomad places the
// tasks of a job one by one, never all or none, and its free edition has no gang:
// half of a job would hold its GPUs and wait for the rest. So a job of two nodes
// is not admitted there, which its plan says, instead of failing at its launch.
func nomadNodes(s broker.Site) error {
	if s.Scheduler != schedulerNomad || s.MaxNodes == 1 {
		return nil
	}
	return &broker.Error{
		Kind: broker.KindInvalid, Code: "site_nodes", Message: "a Nomad site runs jobs of one node", Value: fmt.Sprintf("max_nodes %d", s.MaxNodes),
		Rule: "Nomad places each part of a job by itself, so that a job of several nodes could hold some of them for ever",
		Help: "write max_nodes: 1; a job of several nodes needs a Slurm site", Who: "the site operator",
	}
}

// nomadChecks measures a Nomad site: what the agent's token may do, and what
// nodes, driver and GPUs are there.
func (a *App) nomadChecks(ctx context.Context, s broker.Site) []wire.Check {
	c, ok := a.cfg.Nomad[s.Name]
	if !ok {
		return []wire.Check{{Name: "nomad", Found: "no section nomad." + s.Name, Help: "add the section to the broker's configuration and restart it"}}
	}
	out := []wire.Check{{
		Name: "nomad_one_node", OK: s.MaxNodes == 1, Found: fmt.Sprintf("max_nodes %d", s.MaxNodes),
		Help: "a job of several nodes needs a Slurm site: Nomad places each part of a job by itself",
	}}
	for _, f := range nomad.Probe(ctx, a.schedulers().nomadConfig(c, s), s.GPUs) {
		out = append(out, wire.Check{Name: f.Name, OK: f.OK, Found: f.Found, Help: f.Help})
	}
	return out
}
