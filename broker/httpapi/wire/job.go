package wire

import (
	"time"

	"github.com/valico-hpc/valico/broker"
)

// Job is a job as its project sees it. Attempts come with a single job only.
type Job struct {
	ID         string      `json:"id" example:"job_0123456789abcdefghjkmnpqrs"`
	Name       string      `json:"name" example:"screening"`
	Submitter  string      `json:"submitter" example:"ada@biotech.example"`
	Permit     string      `json:"permit" example:"sandbox-2026-11-24"`
	SiteID     string      `json:"site_id,omitempty"`
	Site       string      `json:"site,omitempty" doc:"The site's name." example:"local"`
	Priority   string      `json:"priority,omitempty" doc:"The class that policy gave it." example:"standard"`
	State      string      `json:"state" example:"active"`
	Code       string      `json:"code,omitempty" doc:"Why it ended, when it did not succeed."`
	Waiting    *Waiting    `json:"waiting,omitempty" doc:"Why it has not begun, while it has not."`
	SpecDigest string      `json:"spec_digest"`
	Segments   int         `json:"segments,omitempty" doc:"Attempts that it may have, each going on from the one before; left out, one."`
	CreatedAt  time.Time   `json:"created_at"`
	UpdatedAt  time.Time   `json:"updated_at"`
	FinishedAt *time.Time  `json:"finished_at,omitempty"`
	Place      *QueuePlace `json:"place,omitempty" doc:"While it waits for its turn; with a single job only."`
	Spec       *JobSpec    `json:"spec,omitempty"`
	Attempts   []Attempt   `json:"attempts,omitempty" nullable:"false"`
	Decision   *Decision   `json:"decision,omitempty" doc:"The admission, in the answer to a submission."`
}

// Jobs is a page of jobs, newest first.
type Jobs struct {
	Jobs []Job  `json:"jobs" nullable:"false"`
	Next string `json:"next,omitempty" doc:"Cursor of the next page."`
}

// Attempt is one execution.
type Attempt struct {
	ID         string     `json:"id"`
	Number     int        `json:"number" doc:"From 1; the segment of a job that has several."`
	State      string     `json:"state" example:"running"`
	Outcome    string     `json:"outcome,omitempty" example:"ok"`
	ExitCode   int        `json:"exit_code"`
	Code       string     `json:"code,omitempty"`
	Image      string     `json:"image,omitempty"`
	Clearance  string     `json:"clearance,omitempty"`
	Order      string     `json:"order,omitempty"`
	GPUSeconds int64      `json:"gpu_seconds"`
	CreatedAt  time.Time  `json:"created_at"`
	StartedAt  *time.Time `json:"started_at,omitempty"`
	FinishedAt *time.Time `json:"finished_at,omitempty"`
}

// Decision is a recorded admission or clearance.
type Decision struct {
	ID          string    `json:"id"`
	Attempt     string    `json:"attempt,omitempty"`
	Kind        string    `json:"kind" enum:"admission,clearance"`
	Verdict     string    `json:"verdict" enum:"allow,deny,review"`
	Reasons     []Reason  `json:"reasons" nullable:"false"`
	Permit      string    `json:"permit"`
	Policy      string    `json:"policy" doc:"Digest of the policy packs that decided."`
	Engine      string    `json:"engine"`
	LedgerIndex int64     `json:"ledger_index"`
	At          time.Time `json:"at"`
}

// Decisions are a job's decisions, oldest first.
type Decisions struct {
	Decisions []Decision `json:"decisions" nullable:"false"`
}

// Reason is one finding of policy; its words come from message catalogues.
type Reason struct {
	Code   string            `json:"code" example:"permit_expired"`
	Basis  string            `json:"basis" example:"permit_condition"`
	Path   string            `json:"path,omitempty" example:"job.datasets[0].puri"`
	Params map[string]string `json:"params,omitempty"`
}

// NewReasons gives reasons as they travel.
func NewReasons(rs []broker.Reason) []Reason {
	out := make([]Reason, 0, len(rs))
	for _, r := range rs {
		out = append(out, Reason{Code: r.Code, Basis: r.Basis, Path: r.Path, Params: r.Params})
	}
	return out
}

// Noun is the reason.
func (r Reason) Noun() broker.Reason {
	return broker.Reason{Code: r.Code, Basis: r.Basis, Path: r.Path, Params: r.Params}
}

// NewJob gives a job without spec and attempts; site is its site's name.
func NewJob(j broker.Job, site string) Job {
	return Job{
		ID: string(j.ID), Name: j.Spec.Name, Segments: j.Spec.Resume.MaxSegments, Submitter: string(j.Submitter), Permit: string(j.Spec.Permit),
		SiteID: string(j.Site), Site: site, Priority: j.Priority.Class, State: string(j.State), Code: j.Code, SpecDigest: string(j.SpecDigest),
		CreatedAt: j.CreatedAt, UpdatedAt: j.UpdatedAt, FinishedAt: moment(j.FinishedAt),
	}
}

// NewAttempt gives an attempt as it travels.
func NewAttempt(a broker.Attempt) Attempt {
	return Attempt{
		ID: string(a.ID), Number: a.Number, State: string(a.State), Outcome: string(a.Outcome), ExitCode: a.ExitCode,
		Code: a.Code, Image: string(a.Image), Clearance: string(a.Clearance), Order: string(a.Order),
		GPUSeconds: a.Usage.GPUSeconds, CreatedAt: a.CreatedAt, StartedAt: moment(a.StartedAt), FinishedAt: moment(a.FinishedAt),
	}
}

// NewDecision gives a decision as it travels.
func NewDecision(d broker.Decision) Decision {
	return Decision{
		ID: string(d.ID), Attempt: string(d.Attempt), Kind: d.Kind, Verdict: string(d.Verdict), Reasons: NewReasons(d.Reasons),
		Permit: string(d.Permit), Policy: string(d.PolicyHash), Engine: d.Engine, LedgerIndex: d.LedgerIndex, At: d.At,
	}
}

func moment(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	return &t
}
