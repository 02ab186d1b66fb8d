package httpapi

import (
	"context"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/valico-hpc/valico/broker"
	"github.com/valico-hpc/valico/broker/httpapi/wire"
)

func (s *Server) report() {
	handle(s, op{
		method: http.MethodGet, path: "/v1/sites/{name}/report", id: "report-site",
		summary: "One page about a site: what Valico can do there, as whom, and how to cut it off", rule: operator,
		example: wire.SiteReport{Site: "local", Version: "0.1.0", At: exampleTime(), Sections: []wire.ReportSection{{
			Title: "As whom", Lines: []wire.ReportLine{{Name: "process", Basis: wire.BasisMeasured, OK: true, Text: "valico (uid 998), process 4711"}},
		}}},
	}, s.reportSite)
}

// reportSite measures a site for the page that its operator keeps. Each line
// says what it rests on; what could not be looked at is a line too.
func (s *Server) reportSite(ctx context.Context, in *SitePath) (*body[wire.SiteReport], error) {
	site, err := s.d.Store.Site(ctx, in.Name)
	if err != nil {
		return nil, fmt.Errorf("read site: %w", err)
	}
	loads, err := s.d.Store.SiteLoads(ctx)
	if err != nil {
		return nil, fmt.Errorf("count the site's jobs: %w", err)
	}
	out := wire.SiteReport{Site: site.Name, Version: s.d.Version, At: s.now(), Sections: []wire.ReportSection{
		siteFacts(site, loads[site.ID]), siteAccounts(site),
	}}
	found := wire.ReportSection{Title: "What it finds", Lines: []wire.ReportLine{}}
	var host []wire.ReportSection
	if s.d.Probe != nil {
		checks, err := s.d.Probe.Check(ctx, site)
		if err != nil {
			return nil, fmt.Errorf("check site %s: %w", site.Name, err)
		}
		for _, c := range checks {
			found.Lines = append(found.Lines, checkLine(c))
		}
		if host, err = s.d.Probe.Host(ctx, site); err != nil {
			return nil, fmt.Errorf("measure site %s: %w", site.Name, err)
		}
	} else {
		found.Lines = append(found.Lines, wire.ReportLine{Name: "probe", Basis: wire.BasisNotMeasured, Text: "this broker has no probe"})
	}
	out.Sections = append(out.Sections, found, siteCannot(site))
	out.Sections = append(out.Sections, host...)
	out.Sections = append(out.Sections, siteResponsible(site))
	return &body[wire.SiteReport]{out}, nil
}

func checkLine(c wire.Check) wire.ReportLine {
	text := c.Found
	if text == "" {
		text = "nothing"
	}
	if !c.OK && c.Help != "" {
		text += "; " + c.Help
	}
	return wire.ReportLine{Name: c.Name, Basis: wire.BasisMeasured, OK: c.OK, Text: text}
}

func recordedLine(name, text string) wire.ReportLine {
	return wire.ReportLine{Name: name, Basis: wire.BasisRecorded, OK: true, Text: text}
}

func siteFacts(s broker.Site, l broker.SiteLoad) wire.ReportSection {
	gpus := make([]string, 0, len(s.GPUs))
	for _, g := range s.GPUs {
		gpus = append(gpus, fmt.Sprintf("%d %s", g.PerNode, g.Name))
	}
	if len(gpus) == 0 {
		gpus = []string{"no GPU"}
	}
	jobs := recordedLine("jobs", fmt.Sprintf("%d running, %d queued there, %d waiting at the broker", l.Running, l.Queued, l.Waiting))
	o := s.Operation
	state := string(o.Seen(l))
	if o.Version > 0 {
		state += " since " + o.Since.Format(time.RFC3339) + " by " + string(o.By) + ": " + o.Reason
	}
	return wire.ReportSection{Title: "The site", Lines: []wire.ReportLine{
		recordedLine("where", s.Name+", "+s.Country+", operated by "+s.Operator),
		recordedLine("scheduler", s.Scheduler),
		recordedLine("state", state), jobs,
		recordedLine("nodes", fmt.Sprintf("%d at most for a job, each %d CPUs, %d MiB, %s", s.MaxNodes, s.CPUs, s.MemoryMiB, strings.Join(gpus, " and "))),
		recordedLine("times", fmt.Sprintf("a job runs %s at most and is killed %s after it was asked to end", s.MaxWall, s.KillMargin)),
		recordedLine("assurance", string(s.Assurance)+", isolation "+string(s.Isolation)),
	}}
}

func siteAccounts(s broker.Site) wire.ReportSection {
	out := wire.ReportSection{Title: "As whom jobs run", Lines: []wire.ReportLine{}}
	for _, p := range slices.Sorted(maps.Keys(s.Accounts)) {
		out.Lines = append(out.Lines, recordedLine("account", s.Accounts[p]+" for "+string(p)+", and for nobody else"))
	}
	if len(s.Accounts) == 0 {
		out.Lines = append(out.Lines, recordedLine("account", "none: no person is mapped, so nothing can run"))
	}
	return out
}

// siteCannot is what the site is not asked for, and what keeps it so.
func siteCannot(s broker.Site) wire.ReportSection {
	design := func(name, text string) wire.ReportLine {
		return wire.ReportLine{Name: name, Basis: wire.BasisDesign, OK: true, Text: text}
	}
	out := wire.ReportSection{Title: "What it cannot do", Lines: []wire.ReportLine{
		design("other_accounts", "start a job under an account that the site's own trust file does not map to the submitter"),
		design("unsigned", "start an order that is not signed by a key that the site pinned, with clearance, ledger receipt and permit; agent and node check each"),
		design("twice", "start an attempt a second time"),
		design("names", "name a permit, project, purpose, tenant or dataset to the scheduler or its other users"),
		design("outputs", "hand out what a job wrote before a reviewer of the project released it"),
	}}
	missing := []string{}
	for _, c := range []struct {
		name string
		have bool
	}{
		{"enforced assurance", s.Assurance == broker.AssuranceEnforced},
		{"MFA", s.MFA},
		{"sealed quarantine", s.Quarantine},
		{"telemetry budget", s.TelemetryBudget},
		{"airlock", s.Airlock},
	} {
		if !c.have {
			missing = append(missing, c.name)
		}
	}
	if len(missing) > 0 {
		out.Lines = append(out.Lines, design("real_data", "run real data: the site has no "+strings.Join(missing, ", no ")+", and policy asks for each"))
	}
	return out
}

func siteResponsible(s broker.Site) wire.ReportSection {
	lines := []wire.ReportLine{
		recordedLine("site", s.Operator),
		recordedLine("admitted", s.CreatedAt.Format(time.RFC3339)),
	}
	if o := s.Operation; o.By != "" {
		lines = append(lines, recordedLine("last_act", string(o.By)+", "+o.Since.Format(time.RFC3339)))
	}
	return wire.ReportSection{Title: "Who is responsible", Lines: append(lines,
		recordedLine("broker", "whoever runs this broker; its operators are listed by: valico person list"))}
}
