package admission

import (
	"context"
	"crypto/sha256"
	"fmt"
	"time"

	"github.com/valico-hpc/valico/broker"
	"github.com/valico-hpc/valico/broker/jobspec"
	"github.com/valico-hpc/valico/broker/ledger"
	"github.com/valico-hpc/valico/broker/ledger/receipt"
	"github.com/valico-hpc/valico/policy"
)

// Service takes and records decisions. It is safe for concurrent use.
type Service struct {
	store  Store
	engine Engine
	checks *checks
	now    func() time.Time
	step   func(string)
}

// Config are the parts of a Service that have defaults.
type Config struct {
	Now func() time.Time // time.Now
	// Step is told the name of each point between two writes; tests that kill
	// the process at one of them set it. Nil does nothing.
	Step func(name string)
}

// New makes a Service.
func New(store Store, engine Engine, trust Trust, c Config) (*Service, error) {
	if store == nil || engine == nil {
		return nil, fmt.Errorf("admission: a store and an engine are required")
	}
	if trust.StatusMaxAge <= 0 {
		return nil, fmt.Errorf("admission: the maximal age of a permit's status must be positive, got %s", trust.StatusMaxAge)
	}
	s := &Service{store: store, engine: engine, checks: newChecks(trust), now: c.Now, step: c.Step}
	if s.now == nil {
		s.now = time.Now
	}
	if s.step == nil {
		s.step = func(string) {}
	}
	return s, nil
}

// Request is a job as a person asks for it.
type Request struct {
	Principal      Principal
	Spec           broker.JobSpec
	IdempotencyKey string // "" when the client gave none
}

// Submit decides on a job and records the decision, whatever it is. A denied
// job is stored too: the error of kind not-admitted carries its decision.
func (s *Service) Submit(ctx context.Context, r Request) (broker.Job, broker.Decision, error) {
	spec, err := jobspec.EncodeSpec(r.Spec)
	if err != nil {
		return broker.Job{}, broker.Decision{}, err
	}
	project := r.Principal.Person.Project
	idem := Idempotency{Key: r.IdempotencyKey, RequestHash: requestHash(r.Principal.Person.ID, spec)}
	if idem.Key != "" {
		job, dec, err := s.store.Idempotent(ctx, project, idem)
		if err == nil {
			return job, dec, outcome(job, dec)
		}
		if broker.KindOf(err) != broker.KindNotFound {
			return broker.Job{}, broker.Decision{}, fmt.Errorf("look up the idempotency key: %w", err)
		}
	}
	now := s.now().UTC().Truncate(time.Microsecond)
	facts, permit, err := s.facts(ctx, r, now)
	if err != nil {
		return broker.Job{}, broker.Decision{}, err
	}
	chosen, in, res, err := s.choose(ctx, facts)
	if err != nil {
		return broker.Job{}, broker.Decision{}, err
	}
	facts.Site, facts.Allocation = chosen.Site, chosen.Allocation
	s.step("decided")
	rec, err := s.record(r, facts, permit, spec, in, res)
	if err != nil {
		return broker.Job{}, broker.Decision{}, err
	}
	rec.Idempotency = idem
	job, dec, err := s.store.Admit(ctx, rec)
	if err != nil {
		return broker.Job{}, broker.Decision{}, fmt.Errorf("record the admission: %w", err)
	}
	s.step("admitted")
	return job, dec, outcome(job, dec)
}

// requestHash tells requests under one idempotency key apart: another person's
// is another request, even for the same job.
func requestHash(person broker.PersonID, spec []byte) [32]byte {
	h := sha256.New()
	fmt.Fprintf(h, "%d:%s", len(person), person)
	h.Write(spec)
	return [32]byte(h.Sum(nil))
}

// Plan says what would be decided now.
func (s *Service) Plan(ctx context.Context, r Request) (Plan, error) {
	facts, _, err := s.facts(ctx, r, s.now().UTC().Truncate(time.Microsecond))
	if err != nil {
		return Plan{}, err
	}
	if _, err := s.sites(ctx, facts); err != nil { // the site that it names, if it does
		return Plan{}, err
	}
	every := facts
	every.Spec.Site = ""
	sites, err := s.sites(ctx, every)
	if err != nil {
		return Plan{}, err
	}
	return PlanSites(ctx, s.engine, facts, sites)
}

// facts reads what does not depend on the site.
func (s *Service) facts(ctx context.Context, r Request, now time.Time) (Facts, broker.PermitRecord, error) {
	project := r.Principal.Person.Project
	rec, err := s.store.Permit(ctx, project, r.Spec.Permit)
	if err != nil {
		return Facts{}, rec, fmt.Errorf("read permit: %w", err)
	}
	pf := s.checks.check(rec)
	if pf.GPUSecondsUsed, err = s.store.PermitUsage(ctx, project, rec.ID); err != nil {
		return Facts{}, rec, fmt.Errorf("sum the permit's use: %w", err)
	}
	return Facts{
		Moment: policy.MomentAdmission, Now: now, Spec: r.Spec, Principal: r.Principal, Permit: pf,
	}, rec, nil
}

// sites lists the site that the job names, or all of them, each with every
// allocation that the project has there.
func (s *Service) sites(ctx context.Context, f Facts) ([]SiteBudget, error) {
	all, err := s.candidates(ctx, f.Spec.Site)
	if err != nil {
		return nil, err
	}
	var out []SiteBudget
	for _, site := range all {
		as, err := s.store.AllocationsAt(ctx, f.Principal.Person.Project, site.ID, f.Now)
		if err != nil {
			return nil, fmt.Errorf("read allocations: %w", err)
		}
		if len(as) == 0 {
			as = []broker.Allocation{{}} // policy then denies
		}
		for _, a := range as {
			out = append(out, SiteBudget{Site: site, Allocation: a})
		}
	}
	if len(out) == 0 {
		return nil, &broker.Error{
			Kind: broker.KindInvalid, Code: "site_unknown", Message: "no such site", Value: f.Spec.Site,
			Rule: "site names an admitted site, or is left out to take any",
			Help: "list the sites with: valico site list", Who: "the site operator",
		}
	}
	return out, nil
}

// candidates are the site of that name, none when there is none, or all sites
// when no name is given.
func (s *Service) candidates(ctx context.Context, name string) ([]broker.Site, error) {
	if name == "" {
		all, err := s.store.Sites(ctx)
		if err != nil {
			return nil, fmt.Errorf("list sites: %w", err)
		}
		return all, nil
	}
	site, err := s.store.Site(ctx, name)
	switch {
	case broker.KindOf(err) == broker.KindNotFound:
		return nil, nil
	case err != nil:
		return nil, fmt.Errorf("read site: %w", err)
	case site.Name != name: // it was found by its id, which a job may not say
		return nil, nil
	}
	return []broker.Site{site}, nil
}

// choose evaluates site after site, at each allocation after allocation, and
// takes the first that allows, else the first that asks for review, else the
// first. A site that an operator is emptying is passed over: that is no finding
// about the job, so policy is not asked, and where no other is left there is no
// decision either.
func (s *Service) choose(ctx context.Context, f Facts) (SiteBudget, []byte, policy.Result, error) {
	sites, err := s.sites(ctx, f)
	if err != nil {
		return SiteBudget{}, nil, policy.Result{}, err
	}
	var best SiteBudget
	var bestIn []byte
	var bestRes policy.Result
	closed := error(nil)
	for _, sb := range sites {
		if err := sb.Site.Admission(); err != nil {
			closed = err
			continue
		}
		f.Site, f.Allocation = sb.Site, sb.Allocation
		in, res, err := evaluate(ctx, s.engine, f)
		if err != nil {
			return SiteBudget{}, nil, policy.Result{}, err
		}
		if bestIn == nil || better(broker.Verdict(res.Verdict), broker.Verdict(bestRes.Verdict)) {
			best, bestIn, bestRes = sb, in, res
		}
		if bestRes.Verdict == string(broker.VerdictAllow) {
			break
		}
	}
	if bestIn == nil {
		return SiteBudget{}, nil, policy.Result{}, closed
	}
	return best, bestIn, bestRes, nil
}

// record makes everything that one admission writes.
func (s *Service) record(r Request, f Facts, p broker.PermitRecord, spec, in []byte, res policy.Result) (AdmitRecord, error) {
	person := r.Principal.Person
	job := broker.Job{
		ID: broker.NewID[broker.JobID]("job"), Tenant: person.Tenant, Project: person.Project, Submitter: person.ID,
		Spec: r.Spec, SpecDigest: broker.DigestOf(spec), Site: f.Site.ID, CreatedAt: f.Now, UpdatedAt: f.Now,
	}
	rec := AdmitRecord{SpecBytes: spec}
	switch broker.Verdict(res.Verdict) {
	case broker.VerdictAllow:
		job.State = broker.JobAdmitted
		place, err := res.Priority()
		if err != nil {
			return AdmitRecord{}, unavailable("the job's priority", err)
		}
		job.Priority = broker.Priority(place)
		need := f.reservation()
		need.ID, need.Job = broker.NewID[broker.ReservationID]("res"), job.ID
		rec.Reservation, rec.PermitCeiling = &need, f.Permit.ceiling()
		rec.Attempt = &broker.Attempt{
			ID: broker.NewID[broker.AttemptID]("att"), Tenant: person.Tenant, Project: person.Project, Job: job.ID,
			Number: 1, State: broker.AttemptPackaging, Reservation: rec.Reservation.ID, CreatedAt: f.Now, UpdatedAt: f.Now,
		}
	case broker.VerdictReview:
		job.State = broker.JobInReview
	case broker.VerdictDeny:
		job.State, job.FinishedAt, job.Code = broker.JobNotAdmitted, f.Now, "policy"
	}
	rec.Job = job
	var err error
	rec.Decision, rec.Entry, err = s.decision(decided{
		kind: broker.DecisionAdmission, facts: f, job: job, permit: p, input: in, result: res,
	})
	return rec, err
}

// decided is one evaluation and what it was about.
type decided struct {
	kind    string
	facts   Facts
	job     broker.Job
	attempt broker.AttemptID
	permit  broker.PermitRecord
	image   broker.Digest
	input   []byte
	result  policy.Result
}

// segment is said of the clearances of a job that may resume.
func (d decided) segment() int {
	if d.kind != broker.DecisionClearance || !d.job.Spec.Resume.Set() {
		return 0
	}
	return d.facts.Segment
}

// decision writes the decision document and the entry that the ledger commits.
func (s *Service) decision(d decided) (broker.Decision, ledger.Entry, error) {
	id := broker.NewID[broker.DecisionID]("dec")
	r := d.job.Spec.Resources
	doc := receipt.Document{
		Schema: receipt.DocumentSchema, Kind: d.kind, Decision: string(id), Job: string(d.job.ID),
		Attempt: string(d.attempt), Segment: d.segment(), Tenant: string(d.job.Tenant), At: receipt.Stamp(d.facts.Now), Verdict: d.result.Verdict,
		Reasons: []receipt.Reason{}, Submitter: string(d.job.Submitter),
		Permit: string(d.permit.ID), PermitVersion: d.permit.Version, PermitDigest: string(d.permit.Digest),
		StatusDigest: string(broker.DigestOf(d.permit.Status)), Spec: string(d.job.SpecDigest), Image: string(d.image),
		Site: string(d.facts.Site.ID), Account: d.facts.Site.Accounts[d.job.Submitter],
		Limits: receipt.Limits{
			Nodes: r.Nodes, GPUsPerNode: r.GPUsPerNode, GPUType: r.GPUType, CPUsPerNode: r.CPUsPerNode,
			MemoryMiB: r.MemoryMiB, WalltimeSeconds: seconds(r.Walltime),
		},
		Input: string(broker.DigestOf(d.input)), Policy: s.engine.Digest(), Engine: s.engine.Version(),
	}
	for _, x := range d.result.Reasons {
		doc.Reasons = append(doc.Reasons, receipt.Reason{Code: x.Code, Basis: x.Basis, Path: x.Path, Params: x.Params})
	}
	b, err := receipt.Encode(doc)
	if err != nil {
		return broker.Decision{}, ledger.Entry{}, unavailable("decision document", err)
	}
	dec := broker.Decision{
		ID: id, Tenant: d.job.Tenant, Project: d.job.Project, Job: d.job.ID, Attempt: d.attempt, Kind: d.kind,
		Verdict: broker.Verdict(d.result.Verdict), Reasons: reasons(d.result.Reasons), Permit: d.permit.ID,
		Input: d.input, Document: b, PolicyHash: broker.Digest(s.engine.Digest()), Engine: s.engine.Version(), At: d.facts.Now,
	}
	return dec, ledger.Entry{
		Kind: d.kind, Tenant: d.job.Tenant, Permit: d.permit.ID, Person: d.job.Submitter, Document: b, At: d.facts.Now,
	}, nil
}

// outcome is nil unless the job was not admitted.
func outcome(job broker.Job, dec broker.Decision) error {
	if dec.Verdict != broker.VerdictDeny {
		return nil
	}
	return &broker.Error{
		Kind: broker.KindNotAdmitted, Code: "not_admitted",
		Message:  "not admitted: a technical check of a job, not a decision on your permit",
		Value:    string(job.ID),
		Help:     "see each reason with: valico why " + string(job.ID),
		Who:      "your permit authority, who can also look at a decision that you contest",
		Reasons:  dec.Reasons,
		Decision: dec.ID,
	}
}
