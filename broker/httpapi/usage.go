package httpapi

import (
	"cmp"
	"context"
	"fmt"
	"net/http"
	"slices"
	"time"

	"github.com/valico-hpc/valico/broker"
	"github.com/valico-hpc/valico/broker/httpapi/wire"
)

// What usage may be summed by.
const (
	byProject = "project"
	byPerson  = "person"
	bySite    = "site"
	byDay     = "day"
)

// usageSpan bounds one question.
const usageSpan = 3 * 366 * 24 * time.Hour

func (s *Server) usage() {
	row := wire.UsageRow{Site: "local", Day: "2026-11-24", Attempts: 3, GPUHours: 12, ChargedGPUHours: 18, CPUHours: 96, ElapsedHours: 3}
	total := row
	total.Site, total.Day = "", ""
	handle(s, op{
		method: http.MethodGet, path: "/v1/usage", id: "usage", rule: signedIn,
		summary: "What attempts used, summed; of the caller's project, of all the tenant's to operators",
		example: wire.Usage{From: exampleTime().AddDate(0, -1, 0), Until: exampleTime(), By: []string{bySite, byDay}, Rows: []wire.UsageRow{row}, Total: total},
	}, s.getUsage)
}

type usageInput struct {
	By      []string  `query:"by" minItems:"1" maxItems:"4" uniqueItems:"true" enum:"project,person,site,day" default:"project,site" doc:"What to sum by; commas between."`
	From    time.Time `query:"from" doc:"Of the booking; 30 days ago when left out."`
	Until   time.Time `query:"until" doc:"Exclusive; now when left out."`
	Project string    `query:"project" maxLength:"64" doc:"One project only."`
}

func (s *Server) getUsage(ctx context.Context, in *usageInput) (*body[wire.Usage], error) {
	p := caller(ctx)
	q := broker.UsageQuery{Tenant: p.Tenant, Project: broker.ProjectID(in.Project), From: in.From, Until: in.Until}
	if !isOperator(p) {
		if in.Project != "" && in.Project != string(p.Project) {
			return nil, broker.NotFound("project", in.Project)
		}
		q.Project = p.Project
	}
	if q.Until.IsZero() {
		q.Until = s.now()
	}
	if q.From.IsZero() {
		q.From = q.Until.AddDate(0, 0, -30)
	}
	if d := q.Until.Sub(q.From); d <= 0 || d > usageSpan {
		return nil, &broker.Error{
			Kind: broker.KindInvalid, Code: "span_invalid", Message: "usage is summed from a moment to a later one, over three years at most",
			Value: q.From.UTC().Format(time.RFC3339) + " to " + q.Until.UTC().Format(time.RFC3339), Help: "correct from and until", Who: "you",
		}
	}
	rows, err := s.d.Store.Usage(ctx, q)
	if err != nil {
		return nil, fmt.Errorf("sum usage: %w", err)
	}
	return &body[wire.Usage]{sum(rows, q, in.By)}, nil
}

// sum adds up the rows that are alike in what was asked for.
func sum(rows []broker.UsageRow, q broker.UsageQuery, by []string) wire.Usage {
	out := wire.Usage{From: q.From.UTC(), Until: q.Until.UTC(), By: by, Rows: []wire.UsageRow{}}
	at := map[wire.UsageRow]int{}
	for _, r := range rows {
		key := wire.UsageRow{}
		for _, b := range by {
			switch b {
			case byProject:
				key.Project, key.ProjectName = string(r.Project), r.ProjectName
			case byPerson:
				key.Person = string(r.Person)
			case bySite:
				key.Site = r.SiteName
			case byDay:
				key.Day = r.Day
			}
		}
		i, ok := at[key]
		if !ok {
			i = len(out.Rows)
			at[key] = i
			out.Rows = append(out.Rows, key)
		}
		add(&out.Rows[i], r)
		add(&out.Total, r)
	}
	slices.SortStableFunc(out.Rows, func(a, b wire.UsageRow) int {
		return cmp.Or(cmp.Compare(a.Day, b.Day), cmp.Compare(a.ProjectName, b.ProjectName), cmp.Compare(a.Project, b.Project),
			cmp.Compare(a.Person, b.Person), cmp.Compare(a.Site, b.Site))
	})
	return out
}

func add(to *wire.UsageRow, r broker.UsageRow) {
	to.Attempts += r.Attempts
	to.GPUHours += float64(r.GPUSeconds) / 3600
	to.ChargedGPUHours += float64(r.Charged) / 3600
	to.CPUHours += float64(r.CPUSeconds) / 3600
	to.ElapsedHours += r.Elapsed.Hours()
}
