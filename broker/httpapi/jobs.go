package httpapi

import (
	"context"
	"fmt"
	"net/http"
	"time"

	"github.com/valico-hpc/valico/broker"
	"github.com/valico-hpc/valico/broker/admission"
	"github.com/valico-hpc/valico/broker/httpapi/wire"
)

func (s *Server) jobs() {
	example := exampleJob()
	handle(s, op{
		method: http.MethodPost, path: "/v1/jobs", id: "submit-job", summary: "Submit a job; the decision is in the answer",
		rule: developer, status: http.StatusCreated, example: example,
	}, s.submitJob)
	handle(s, op{
		method: http.MethodGet, path: "/v1/jobs", id: "list-jobs", summary: "List the project's jobs, newest first",
		rule: signedIn, example: wire.Jobs{Jobs: []wire.Job{example}},
	}, s.listJobs)
	handle(s, op{
		method: http.MethodGet, path: "/v1/jobs/{id}", id: "get-job", summary: "Show a job with its attempts", rule: signedIn, example: example,
	}, s.getJob)
	handle(s, op{
		method: http.MethodPost, path: "/v1/jobs/{id}/cancel", id: "cancel-job", summary: "Ask for the end of a job",
		rule: developer, status: http.StatusAccepted, example: example,
	}, s.cancelJob)
	handle(s, op{
		method: http.MethodGet, path: "/v1/jobs/{id}/decisions", id: "list-decisions", summary: "List a job's decisions, oldest first",
		rule: signedIn, example: wire.Decisions{Decisions: []wire.Decision{exampleDecision()}},
	}, s.listDecisions)
}

type submitInput struct {
	IdempotencyKey string `header:"Idempotency-Key" required:"true" minLength:"1" maxLength:"128" pattern:"^[!-~]+$" doc:"1 to 128 visible ASCII characters; the same key and job give the same answer."`
	Body           wire.JobSpec
}

func (s *Server) submitJob(ctx context.Context, in *submitInput) (*body[wire.Job], error) {
	job, dec, err := s.d.Admission.Submit(ctx, admission.Request{
		Principal: principal(ctx), Spec: in.Body.Noun(), IdempotencyKey: in.IdempotencyKey,
	})
	if err != nil {
		return nil, fmt.Errorf("submit: %w", err)
	}
	out, err := s.jobWithSite(ctx, job)
	if err != nil {
		return nil, err
	}
	d := wire.NewDecision(dec)
	out.Decision = &d
	return &body[wire.Job]{out}, nil
}

type listJobsInput struct {
	Cursor string `query:"cursor" maxLength:"200" doc:"Next of the page before."`
	Limit  int    `query:"limit" minimum:"1" maximum:"200" default:"50"`
}

func (s *Server) listJobs(ctx context.Context, in *listJobsInput) (*body[wire.Jobs], error) {
	jobs, next, err := s.d.Store.Jobs(ctx, caller(ctx).Project, in.Cursor, in.Limit)
	if err != nil {
		return nil, fmt.Errorf("list jobs: %w", err)
	}
	sites, err := s.sitesByID(ctx)
	if err != nil {
		return nil, err
	}
	newest, err := s.newest(ctx, jobs)
	if err != nil {
		return nil, err
	}
	out := wire.Jobs{Jobs: []wire.Job{}, Next: next}
	for _, j := range jobs {
		site, a := sites[j.Site], newest[j.ID]
		if !a.State.Submitted() && a.Waiting.Zero() && !site.Operation.Starts() {
			a.Waiting, a.WaitingSince = broker.Waiting{Code: broker.WaitSiteCordoned}, later(a.UpdatedAt, site.Operation.Since)
		}
		w := wire.NewJob(j, site.Name)
		w.Waiting = wire.NewWaiting(j, a, site.Name)
		out.Jobs = append(out.Jobs, w)
	}
	return &body[wire.Jobs]{out}, nil
}

func (s *Server) getJob(ctx context.Context, in *JobPath) (*body[wire.Job], error) {
	job, err := s.job(ctx, in.ID)
	if err != nil {
		return nil, err
	}
	attempts, err := s.d.Store.Attempts(ctx, job.ID)
	if err != nil {
		return nil, fmt.Errorf("read attempts: %w", err)
	}
	out, err := s.jobWithSite(ctx, job)
	if err != nil {
		return nil, err
	}
	spec := wire.NewJobSpec(job.Spec)
	out.Spec = &spec
	var last broker.Attempt
	for _, a := range attempts {
		out.Attempts, last = append(out.Attempts, wire.NewAttempt(a)), a
	}
	place, last, waits, err := s.turn(ctx, last)
	if err != nil {
		return nil, err
	}
	if waits {
		p := wire.NewQueuePlace(place, out.Site)
		out.Place = &p
	}
	out.Waiting = wire.NewWaiting(job, last, out.Site)
	return &body[wire.Job]{out}, nil
}

func (s *Server) cancelJob(ctx context.Context, in *JobPath) (*body[wire.Job], error) {
	p := caller(ctx)
	if err := s.d.Store.RequestCancel(ctx, p.Project, broker.JobID(in.ID), s.d.Now()); err != nil {
		return nil, fmt.Errorf("cancel job %s: %w", in.ID, err)
	}
	return s.getJob(ctx, in)
}

func (s *Server) listDecisions(ctx context.Context, in *JobPath) (*body[wire.Decisions], error) {
	job, err := s.job(ctx, in.ID)
	if err != nil {
		return nil, err
	}
	ds, err := s.d.Store.Decisions(ctx, job.ID)
	if err != nil {
		return nil, fmt.Errorf("read decisions: %w", err)
	}
	out := wire.Decisions{Decisions: []wire.Decision{}}
	for _, d := range ds {
		out.Decisions = append(out.Decisions, wire.NewDecision(d))
	}
	return &body[wire.Decisions]{out}, nil
}

// job reads a job of the caller's project.
func (s *Server) job(ctx context.Context, id string) (broker.Job, error) {
	job, err := s.d.Store.Job(ctx, caller(ctx).Project, broker.JobID(id))
	if err != nil {
		return job, fmt.Errorf("read job: %w", err)
	}
	return job, nil
}

// newest maps each job that is not over to its newest attempt.
func (s *Server) newest(ctx context.Context, jobs []broker.Job) (map[broker.JobID]broker.Attempt, error) {
	var live []broker.JobID
	for _, j := range jobs {
		if !j.State.Terminal() {
			live = append(live, j.ID)
		}
	}
	as, err := s.d.Store.NewestAttempts(ctx, live)
	if err != nil {
		return nil, fmt.Errorf("read attempts: %w", err)
	}
	out := make(map[broker.JobID]broker.Attempt, len(as))
	for _, a := range as {
		out[a.Job] = a
	}
	return out, nil
}

// jobWithSite adds the name of the job's site: the one that its spec names, and
// is only ever admitted to, or the one that was chosen for it.
func (s *Server) jobWithSite(ctx context.Context, job broker.Job) (wire.Job, error) {
	if job.Site == "" {
		return wire.NewJob(job, ""), nil
	}
	if job.Spec.Site != "" {
		return wire.NewJob(job, job.Spec.Site), nil
	}
	site, err := s.d.Store.Site(ctx, string(job.Site))
	if err != nil {
		return wire.Job{}, fmt.Errorf("read site: %w", err)
	}
	return wire.NewJob(job, site.Name), nil
}

// siteNames maps each site's id to its name.
func (s *Server) siteNames(ctx context.Context) (map[broker.SiteID]string, error) {
	sites, err := s.sitesByID(ctx)
	if err != nil {
		return nil, err
	}
	names := map[broker.SiteID]string{}
	for id, site := range sites {
		names[id] = site.Name
	}
	return names, nil
}

func (s *Server) sitesByID(ctx context.Context) (map[broker.SiteID]broker.Site, error) {
	sites, err := s.d.Store.Sites(ctx)
	if err != nil {
		return nil, fmt.Errorf("list sites: %w", err)
	}
	out := make(map[broker.SiteID]broker.Site, len(sites))
	for _, site := range sites {
		out[site.ID] = site
	}
	return out, nil
}

func later(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}
