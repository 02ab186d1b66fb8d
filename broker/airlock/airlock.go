package airlock

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/valico-hpc/valico/broker"
	"github.com/valico-hpc/valico/broker/ledger"
)

// Airlock reviews and releases outputs. It is safe for concurrent use.
type Airlock struct {
	store    Store
	verifier Verifier
	site     func(broker.SiteID) (Site, bool)
	now      func() time.Time
}

// New makes an Airlock; site returns the agent of a site.
func New(store Store, v Verifier, site func(broker.SiteID) (Site, bool), now func() time.Time) (*Airlock, error) {
	if store == nil || v == nil || site == nil || now == nil {
		return nil, errors.New("airlock: every part is required")
	}
	return &Airlock{store: store, verifier: v, site: site, now: now}, nil
}

// Sealed is what an attempt left in quarantine and what was released of it.
type Sealed struct {
	Attempt  broker.AttemptID
	Manifest broker.OutputManifest
	Release  *broker.Release // nil while nothing is released
}

// Outputs lists what a job's attempts sealed. A job whose attempts sealed
// nothing gives an empty list. Names of files are a workload's own words: but for
// synthetic data only those who may release them see them before.
func (a *Airlock) Outputs(ctx context.Context, p broker.Person, id broker.JobID) ([]Sealed, error) {
	job, err := a.store.Job(ctx, p.Project, id)
	if err != nil {
		return nil, fmt.Errorf("read job: %w", err)
	}
	all, err := a.sealed(ctx, job)
	for i, s := range all {
		if !s.Manifest.Sandbox && s.Release == nil && mayReview(p, job) != nil {
			all[i].Manifest.Files, all[i].Manifest.Bytes = nil, nil
		}
	}
	return all, err
}

// sealed lists what a job's attempts sealed, all of it.
func (a *Airlock) sealed(ctx context.Context, job broker.Job) ([]Sealed, error) {
	attempts, err := a.store.Attempts(ctx, job.ID)
	if err != nil {
		return nil, fmt.Errorf("read attempts: %w", err)
	}
	releases, err := a.store.Releases(ctx, job.ID)
	if err != nil {
		return nil, fmt.Errorf("read releases: %w", err)
	}
	var out []Sealed
	for _, at := range attempts {
		m, err := a.store.Manifest(ctx, at.ID)
		if broker.KindOf(err) == broker.KindNotFound {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("read manifest: %w", err)
		}
		s := Sealed{Attempt: at.ID, Manifest: m}
		for _, r := range releases {
			if r.Attempt == at.ID && r.Manifest == m.Digest {
				s.Release = &r
			}
		}
		out = append(out, s)
	}
	return out, nil
}

// Release checks a reviewer's signed statement, records it and hands it to the
// site. A release that was recorded but did not reach the site is handed over
// again when it is repeated.
func (a *Airlock) Release(ctx context.Context, p broker.Person, id broker.JobID, envelope []byte) (broker.Release, error) {
	job, err := a.store.Job(ctx, p.Project, id)
	if err != nil {
		return broker.Release{}, fmt.Errorf("read job: %w", err)
	}
	if err := mayReview(p, job); err != nil {
		return broker.Release{}, err
	}
	st, err := a.verifier.VerifyRelease(envelope)
	if err != nil {
		return broker.Release{}, fmt.Errorf("verify the reviewer's statement: %w", err)
	}
	sealed, err := a.match(ctx, p, job, st)
	if err != nil {
		return broker.Release{}, err
	}
	site, ok := a.site(job.Site)
	if !ok {
		return broker.Release{}, unreachable(job.Site)
	}
	rel, err := a.record(ctx, p, job, st, envelope, sealed)
	if err != nil {
		return broker.Release{}, err
	}
	if err := site.Release(ctx, st.Attempt, rel.Envelope); err != nil {
		return broker.Release{}, fmt.Errorf("hand the release to the site: %w", err)
	}
	return rel, nil
}

// mayReview keeps submitter and reviewer apart, and asks for the role.
func mayReview(p broker.Person, job broker.Job) error {
	if p.ID == job.Submitter {
		return &broker.Error{
			Kind: broker.KindForbidden, Code: "reviewer_is_submitter", Message: "a submitter may not release their own outputs",
			Rule:  "the reviewer is another person than the submitter (permit condition, mirrors Article 73(2) of Regulation (EU) 2025/327)",
			Value: string(p.ID), Help: "ask another reviewer", Who: "your permit authority",
		}
	}
	if !slices.Contains(p.Roles, broker.RoleReviewer) {
		return &broker.Error{
			Kind: broker.KindForbidden, Code: "role_missing", Message: "only a reviewer may release outputs",
			Rule: "release needs the role reviewer", Value: string(p.ID), Help: "ask a reviewer", Who: "the broker's operator",
		}
	}
	return nil
}

// match finds the sealed manifest that the statement is about.
func (a *Airlock) match(ctx context.Context, p broker.Person, job broker.Job, st Statement) (Sealed, error) {
	if st.Reviewer != p.ID {
		return Sealed{}, &broker.Error{
			Kind: broker.KindForbidden, Code: "reviewer_mismatch", Message: "the statement was signed by another reviewer than the one signed in",
			Rule: "a release is the act of the person who signs it", Value: string(st.Reviewer),
			Help: "sign in as that reviewer, or sign with your own key", Who: "the reviewer",
		}
	}
	all, err := a.sealed(ctx, job)
	if err != nil {
		return Sealed{}, err
	}
	for _, s := range all {
		if s.Attempt == st.Attempt && s.Manifest.Digest == st.Manifest {
			return s, nil
		}
	}
	return Sealed{}, &broker.Error{
		Kind: broker.KindInvalid, Code: "manifest_mismatch", Message: "the statement is about outputs that this job did not seal",
		Rule: "a release names the digest of the sealed manifest", Value: string(st.Manifest),
		Help: "list the outputs again and sign what you see", Who: "the reviewer",
	}
}

func (a *Airlock) record(ctx context.Context, p broker.Person, job broker.Job, st Statement, envelope []byte, s Sealed) (broker.Release, error) {
	if s.Release != nil {
		return *s.Release, nil
	}
	now := a.now().UTC().Truncate(time.Microsecond)
	rel, err := a.store.RecordRelease(ctx, broker.Release{
		ID: broker.NewID[broker.ReleaseID]("rel"), Tenant: job.Tenant, Project: job.Project, Job: job.ID,
		Attempt: st.Attempt, Manifest: st.Manifest, Reviewer: p.ID, Envelope: envelope, At: now,
	}, ledger.Entry{
		Kind: ledger.KindRelease, Tenant: job.Tenant, Permit: job.Spec.Permit, Person: p.ID, Document: envelope, At: now,
	})
	if err != nil {
		return broker.Release{}, fmt.Errorf("record the release: %w", err)
	}
	return rel, nil
}

// Open reads one released file of a job: the newest attempt's first.
func (a *Airlock) Open(ctx context.Context, p broker.Person, id broker.JobID, path string) (io.ReadCloser, broker.OutputFile, error) {
	job, err := a.store.Job(ctx, p.Project, id)
	if err != nil {
		return nil, broker.OutputFile{}, fmt.Errorf("read job: %w", err)
	}
	all, err := a.sealed(ctx, job)
	if err != nil {
		return nil, broker.OutputFile{}, err
	}
	for _, s := range slices.Backward(all) {
		if s.Release == nil || !slices.ContainsFunc(s.Manifest.Files, func(f broker.OutputFile) bool { return f.Path == path }) {
			continue
		}
		site, ok := a.site(job.Site)
		if !ok {
			return nil, broker.OutputFile{}, unreachable(job.Site)
		}
		return site.Open(ctx, s.Attempt, path)
	}
	return nil, broker.OutputFile{}, &broker.Error{
		Kind: broker.KindNotFound, Code: "output_not_released", Message: "no such released output", Value: path,
		Rule: "outputs stay in the site's quarantine until a reviewer releases them",
		Help: "ask a reviewer to run: valico outputs release " + string(id), Who: "a reviewer of your permit authority",
	}
}

func unreachable(id broker.SiteID) error {
	return &broker.Error{
		Kind: broker.KindUnavailable, Code: "site_unavailable", Message: "the site does not answer", Value: string(id),
		Rule: "outputs lie at the site until released", Help: "try again later; nothing is lost", Who: "the site operator",
	}
}
