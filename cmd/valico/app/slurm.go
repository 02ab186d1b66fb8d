package app

import (
	"context"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"

	"github.com/valico-hpc/valico/adapters/agent"
	"github.com/valico-hpc/valico/adapters/slurmrest"
	"github.com/valico-hpc/valico/broker"
	"github.com/valico-hpc/valico/broker/httpapi/wire"
	"github.com/valico-hpc/valico/slurm"
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
	sched, err := slurmrest.New(a.slurmConfig(c, s, run))
	if err != nil {
		return nil, "", nil, fmt.Errorf("reach the site's scheduler: %w", err)
	}
	return sched, path, sched.Close, nil
}

func (a schedulers) slurmConfig(c SlurmConfig, s broker.Site, run string) slurmrest.Config {
	accounts := slices.Compact(slices.Sorted(maps.Values(s.Accounts)))
	return slurmrest.Config{
		URL: c.URL, Tokens: c.tokens(),
		Dir: run, Accounts: accounts, Prefix: c.Prefix, Slurmrestd: c.Slurmrestd, SlurmConf: c.Conf, APIVersion: c.APIVersion,
		Partition: c.Partition, Partitions: c.Partitions, QOS: c.QoS, SlurmAccount: c.Account, Reservation: c.Reservation,
		Constraint: c.Constraint, KillMargin: s.KillMargin, Log: a.cfg.Log.With("site", s.Name),
	}
}

// tokens is where an account's token comes from, nil where none is needed.
func (c SlurmConfig) tokens() slurmrest.Tokens {
	switch {
	case len(c.TokenCommand) > 0:
		return slurmrest.CommandTokens(c.TokenCommand, "/usr/sbin:/usr/bin:/sbin:/bin")
	case c.TokenDir != "":
		return slurmrest.FileTokens(c.TokenDir, nil)
	}
	return nil
}

// slurmChecks measures a site whose agent runs here.
func (a *App) slurmChecks(ctx context.Context, s broker.Site) []wire.Check {
	c, ok := a.cfg.Slurm[s.Name]
	if !ok {
		return nil // the site has no agent here, which is said already
	}
	run := c.Run
	if run == "" {
		run = filepath.Join(a.siteDir(s), "slurmrest")
	}
	var out []wire.Check
	for _, f := range slurmrest.Probe(ctx, a.schedulers().slurmConfig(c, s, run)) {
		out = append(out, wire.Check{Name: f.Name, OK: f.OK, Found: f.Found, Help: f.Help})
	}
	return out
}

// slurmName is what Slurm's own names are made of; they become values of a job.
func slurmName(s string) bool {
	return len(s) <= 200 && strings.IndexFunc(s, func(r rune) bool { return r <= ' ' || r > '~' || strings.ContainsRune("\"'`$\\;", r) }) < 0
}

// validate reports what is wrong with the names that every job of a site gets.
func (c SlurmConfig) validate(bad func(key, format string, args ...any)) {
	if sources := min(1, len(c.TokenCommand)) + min(1, len(c.TokenDir)); sources > 1 || (c.URL != "") != (sources == 1) {
		bad("url", "a slurmrestd of the site's own goes with token_command or with token_dir")
	}
	if c.TokenDir != "" && !filepath.IsAbs(c.TokenDir) || len(c.TokenCommand) > 0 && !filepath.IsAbs(c.TokenCommand[0]) {
		bad("token_command, token_dir", "are absolute paths")
	}
	names := map[string]string{
		"partition": c.Partition, "account": c.Account, "qos": c.QoS, "reservation": c.Reservation, "constraint": c.Constraint,
	}
	for gpu, p := range c.Partitions {
		names["partitions."+gpu] = p
		if gpu == "" || p == "" {
			bad("partitions."+gpu, "a GPU type and its partition have a name each")
		}
	}
	for _, key := range slices.Sorted(maps.Keys(names)) {
		if !slurmName(names[key]) {
			bad(key, "%q is no name in Slurm: printable, without spaces, quotes, $ and ;", names[key])
		}
	}
	if v := c.APIVersion; v != "" && !slices.Contains(slurm.Versions(), v) {
		bad("api_version", "%q is not spoken; one of %s, or empty", v, strings.Join(slurm.Versions(), ", "))
	}
}
