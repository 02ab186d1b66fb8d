package main

import (
	"context"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"github.com/valico-hpc/valico/broker"
	"github.com/valico-hpc/valico/broker/httpapi/wire"
	"github.com/valico-hpc/valico/broker/waiting"
)

type planOptions struct {
	file    string
	offline offlineOptions
}

func newPlanCommand(e *env) *cobra.Command {
	var o planOptions
	c := &cobra.Command{
		Use: "plan JOB.yaml", Short: "Say what would be decided on a job now", Args: args("JOB.yaml"),
		Long: help("Plan asks the policy about a job without submitting it: nothing is recorded, reserved or uploaded.\n"+
			"With --permit it needs no server: permit, status, sites and trusted keys are read from files.",
			"valico plan job.yaml",
			"valico plan job.yaml --permit permit.jws --status status.jws --site site.yaml --trust authorities.json \\\n    --person ada@biotech.example --gpu-hours 100"),
		RunE: func(c *cobra.Command, a []string) error {
			o.file = a[0]
			return runPlan(c.Context(), o, e)
		},
	}
	o.offline.addFlags(c)
	return c
}

func runPlan(ctx context.Context, o planOptions, e *env) error {
	if err := o.offline.check(); err != nil {
		return err
	}
	j, err := loadJob(o.file)
	if err != nil {
		return err
	}
	cut, err := j.cut(ctx, "", nil)
	if err != nil {
		return err
	}
	spec := j.spec(cut)
	var p wire.Plan
	if o.offline.permit != "" {
		p, err = o.offline.plan(ctx, spec, e.Now())
	} else {
		p, err = planAtBroker(ctx, e, spec)
	}
	if err != nil {
		return err
	}
	if err := e.emit(p, func(w io.Writer) { e.printPlan(w, p) }); err != nil {
		return err
	}
	return notAllowed(p)
}

// allow is the verdict of a plan that nothing stands against.
const allow = string(broker.VerdictAllow)

// printPlan writes one table: what would happen, what is left, each site with a
// tick or why it was passed over, and who reviews. If nothing would take the
// job, every reason follows with its basis, the value and what helps.
func (e *env) printPlan(w io.Writer, p wire.Plan) {
	left := "no ceiling"
	if p.PermitGPUHoursLeft >= 0 {
		left = hours(p.PermitGPUHoursLeft) + " GPU-hours"
	}
	verdict := map[string]string{"allow": "would be admitted", "deny": "would not be admitted", "review": "would go to review"}[p.Verdict]
	if p.Site != "" {
		verdict += " at site " + p.Site
	}
	rows := [][]string{
		{"VERDICT", verdict},
		{"PERMIT", fmt.Sprintf("%d days left, %s", p.DaysLeft, left)},
	}
	for i, s := range p.Sites {
		name := ""
		if i == 0 {
			name = "SITES"
		}
		rows = append(rows, append([]string{name}, e.siteRow(s)))
		for _, why := range e.whyNot(s) {
			rows = append(rows, []string{"", "    " + why})
		}
	}
	if len(p.Sites) == 0 {
		rows = append(rows, []string{"SITES", "none is admitted"})
	}
	rows = append(rows, []string{"REVIEW", reviewer(p)})
	table(w, rows...)
	if p.Verdict == allow {
		return
	}
	for _, s := range p.Sites {
		if len(s.Reasons) > 0 {
			fmt.Fprintf(w, "\n")
			e.printReasons(w, s.Reasons)
		}
	}
}

// whyNot says why a job is not admitted at a site, and what helps.
func (e *env) whyNot(s wire.SitePlan) []string {
	var out []string
	if s.Closed {
		m := waiting.Explain(e.lang(), broker.WaitSiteCordoned, s.Site)
		why := broker.CodeSiteDraining + ": " + m.Sentence
		if o := s.Operation; o != nil {
			why += " " + o.Reason + ", since " + stamp(o.Since)
			if o.Until != nil {
				why += ", expected to open " + stamp(o.Until)
			}
		}
		out = append(out, why)
	}
	for _, r := range s.Reasons {
		x := e.explain(r)
		out = append(out, r.Code+": "+x.Text)
		if x.Help != "" {
			out = append(out, "  → "+x.Help)
		}
	}
	return out
}

func (e *env) siteRow(s wire.SitePlan) string {
	mark := map[string]string{"allow": "✓", "deny": "✗", "review": "?"}[s.Verdict]
	row := fmt.Sprintf("%s %s  needs %s of %s GPU-hours left", mark, s.Site, hours(s.GPUHours), hours(s.GPUHoursLeft))
	if s.Segments > 1 {
		row += fmt.Sprintf(" for a segment, %s for all %d", hours(s.GPUHoursInAll), s.Segments)
	}
	if s.GPUs > 0 {
		row += fmt.Sprintf(", %d GPUs there", s.GPUs)
	}
	if o := s.Operation; o != nil {
		row += fmt.Sprintf(", %d running, %d waiting", o.Running, o.Waiting+o.Queued)
	}
	return row
}

func reviewer(p wire.Plan) string {
	who := p.Reviewer
	if who == "" {
		who = "nobody named in the permit"
	}
	return "outputs: " + who + ", one reviewer other than you; sealed until released, and no review time is promised"
}

func hours(h float64) string {
	return strings.TrimSuffix(strings.TrimRight(fmt.Sprintf("%.2f", h), "0"), ".")
}
