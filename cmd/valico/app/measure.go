package app

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/valico-hpc/valico/adapters/link"
	"github.com/valico-hpc/valico/adapters/order"
	"github.com/valico-hpc/valico/broker"
	"github.com/valico-hpc/valico/broker/httpapi/wire"
	"github.com/valico-hpc/valico/images/sandbox"
)

// measured is a site with its capabilities as they are, whatever its file says:
// isolation is tried out on a local site, and what this version cannot measure
// is not claimed.
func measured(ctx context.Context, s broker.Site) (broker.Site, error) {
	s, err := admissible(s)
	if err == nil && s.Scheduler == schedulerLocal {
		isolation, _ := sandbox.Available(ctx)
		s.Isolation = broker.Isolation(isolation)
	}
	return s, err
}

// admissible refuses a site that claims what nobody has measured, or whose
// terms cannot be.
func admissible(s broker.Site) (broker.Site, error) {
	claims := map[string]bool{
		"assurance enforced": s.Assurance == broker.AssuranceEnforced,
		"mfa":                s.MFA, "quarantine": s.Quarantine, "telemetry_budget": s.TelemetryBudget, "airlock": s.Airlock,
		"fabric_isolated": s.FabricIsolated,
	}
	for _, claim := range []string{"assurance enforced", "mfa", "quarantine", "telemetry_budget", "airlock", "fabric_isolated"} {
		if claims[claim] {
			return s, &broker.Error{
				Kind: broker.KindInvalid, Code: "capability_unmeasured", Message: "the site claims what nobody has measured", Value: claim,
				Rule: "a capability that real data need counts only once it was measured at the site",
				Help: "leave it out: the site then runs synthetic data only", Who: "the site operator",
			}
		}
	}
	if s.KillMargin < 0 || s.KillMargin > 24*time.Hour || s.MaxWall <= 0 || s.MaxWall > 366*24*time.Hour {
		return s, &broker.Error{
			Kind: broker.KindInvalid, Code: "site_times", Message: "the site's times cannot be", Value: fmt.Sprintf("max_wall %s, kill_margin %s", s.MaxWall, s.KillMargin),
			Rule: "a job runs at most 366 days and is killed at most a day after it was asked to end", Help: "correct the site file", Who: "the site operator",
		}
	}
	if err := nomadNodes(s); err != nil {
		return s, err
	}
	return s, nil
}

// probe measures what Valico can do at a site, through its agent.
type probe struct{ app *App }

// Check satisfies httpapi.Probe.
func (p probe) Check(ctx context.Context, s broker.Site) ([]wire.Check, error) {
	site, here := p.app.site(s.ID)
	if l, ok := site.(*link.Site); ok {
		return remoteChecks(ctx, l), nil
	}
	out := []wire.Check{{Name: "agent", OK: here, Found: fmt.Sprintf("in this process: %t", here), Help: "restart the broker with this site configured"}}
	dir := p.app.siteDir(s)
	trust, err := order.LoadTrust(filepath.Join(dir, "trust.json"))
	c := wire.Check{Name: "trust", OK: err == nil, Found: filepath.Join(dir, "trust.json"), Help: "the site operator corrects the file; nothing runs before"}
	if err == nil {
		c.Found = fmt.Sprintf("%d permit, %d status, %d order, %d image, %d ledger and %d officer keys pinned",
			len(trust.Permit), len(trust.Status), len(trust.Order), len(trust.Image), len(trust.Ledger), len(trust.Officer))
	}
	out = append(out, c)
	if s.Scheduler == schedulerLocal {
		isolation, why := sandbox.Available(ctx)
		out = append(out, wire.Check{
			Name: "namespaces", OK: isolation == sandbox.IsolationUserNS, Found: string(isolation),
			Help: "unprivileged user namespaces are off here: " + why,
		}, processTable())
	}
	if s.Scheduler == schedulerSlurm {
		out = append(out, p.app.slurmChecks(ctx, s)...)
	}
	if s.Scheduler == schedulerNomad {
		out = append(out, p.app.nomadChecks(ctx, s)...)
	}
	_, err = os.ReadDir(filepath.Join(dir, "quarantine"))
	out = append(out, wire.Check{Name: "sealing", OK: err == nil, Found: "a folder of the agent alone", Help: "the agent makes it when it starts"})
	return out, nil
}

// processTable says whether other users of this machine see what a job runs.
func processTable() wire.Check {
	visible, found, err := sandbox.Visible()
	if err != nil {
		found = err.Error()
	}
	return wire.Check{
		Name: "process_table", OK: !visible, Found: found,
		Help: "mount /proc with hidepid=invisible: else other users of the node read each job's command line and where its data lie",
	}
}
