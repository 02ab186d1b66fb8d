package admission

import (
	"context"
	"fmt"
	"time"

	"github.com/valico-hpc/valico/broker"
	"github.com/valico-hpc/valico/policy"
)

// SitePlan is what policy says of a job at one site.
type SitePlan struct {
	Site         broker.Site
	Verdict      broker.Verdict
	Reasons      []broker.Reason
	Obligations  []string
	GPUHoursLeft float64 // of the project's allocation there
	GPUHours     float64 // that the job would be charged at most for one segment, by the weight of its type of GPU
	Segments     int     // that it may have; each is charged by itself
}

// Plan is a decision that is not taken: what would be decided now, site by
// site. Nothing is recorded and nothing reserved.
type Plan struct {
	Verdict  broker.Verdict
	Site     string // the site that would take the job, "" when none would
	Sites    []SitePlan
	DaysLeft int // whole days until the permit's access period ends
	// PermitGPUHoursLeft is what the permit's ceiling still holds; -1 when the
	// permit sets none.
	PermitGPUHoursLeft float64
	Reviewer           string // who reviews the outputs
}

// SiteBudget is a site and one of the project's allocations there.
type SiteBudget struct {
	Site       broker.Site
	Allocation broker.Allocation
}

// PlanSites evaluates one job at each site, where a site's allocations follow
// each other the best counts. Where the job names a site, that one alone decides;
// of the others the plan says what would be decided had the job named none.
// Facts carry everything but Site and Allocation. It needs no server and no store.
func PlanSites(ctx context.Context, engine Engine, facts Facts, sites []SiteBudget) (Plan, error) {
	doc := facts.Permit.Document
	plan := Plan{
		Verdict: broker.VerdictDeny, PermitGPUHoursLeft: -1, Reviewer: doc.Outputs.Reviewer,
		DaysLeft: max(0, int(doc.AccessPeriod.End.Sub(facts.Now)/(24*time.Hour))),
	}
	if doc.SPE.GPUHours > 0 {
		plan.PermitGPUHoursLeft = doc.SPE.GPUHours - hours(facts.Permit.GPUSecondsUsed)
	}
	named := facts.Spec.Site
	for _, s := range sites {
		facts.Site, facts.Allocation, facts.Spec.Site = s.Site, s.Allocation, ""
		if s.Site.Name == named {
			facts.Spec.Site = named
		}
		_, res, err := evaluate(ctx, engine, facts)
		if err != nil {
			return Plan{}, err
		}
		sp := SitePlan{
			Site: s.Site, Verdict: broker.Verdict(res.Verdict), Reasons: reasons(res.Reasons), Obligations: res.Obligations,
			GPUHoursLeft: hours(s.Allocation.Available()),
			GPUHours:     hours(facts.reservation().GPUSeconds),
			Segments:     facts.Spec.Resume.Segments(),
		}
		if !s.Site.Operation.Admits() {
			sp.Verdict = broker.VerdictDeny // by no rule of policy: Site.Operation says why
		}
		if n := len(plan.Sites); n > 0 && plan.Sites[n-1].Site.ID == s.Site.ID { // another allocation there
			if better(sp.Verdict, plan.Sites[n-1].Verdict) {
				plan.Sites[n-1] = sp
			}
		} else {
			plan.Sites = append(plan.Sites, sp)
		}
		if (named == "" || named == s.Site.Name) && better(sp.Verdict, plan.Verdict) {
			plan.Verdict, plan.Site = sp.Verdict, s.Site.Name
		}
	}
	return plan, nil
}

// better orders verdicts: allow before review before deny.
func better(a, b broker.Verdict) bool {
	rank := func(v broker.Verdict) int {
		switch v {
		case broker.VerdictAllow:
			return 2
		case broker.VerdictReview:
			return 1
		case broker.VerdictDeny:
			return 0
		}
		return 0
	}
	return rank(a) > rank(b)
}

// evaluate maps facts to canonical input and asks the engine. The bytes that
// are returned are the bytes that were evaluated.
func evaluate(ctx context.Context, engine Engine, f Facts) ([]byte, policy.Result, error) {
	in, err := policy.Canonical(Input(f))
	if err != nil {
		return nil, policy.Result{}, unavailable("policy input", err)
	}
	res, err := engine.Evaluate(ctx, in)
	if err != nil {
		return nil, policy.Result{}, unavailable("policy engine", err)
	}
	switch broker.Verdict(res.Verdict) {
	case broker.VerdictAllow, broker.VerdictDeny, broker.VerdictReview:
		return in, res, nil
	}
	return nil, policy.Result{}, unavailable("policy engine", fmt.Errorf("verdict %q", res.Verdict))
}

func reasons(rs []policy.Reason) []broker.Reason {
	out := make([]broker.Reason, 0, len(rs))
	for _, r := range rs {
		out = append(out, broker.Reason{Code: r.Code, Basis: r.Basis, Path: r.Path, Params: r.Params})
	}
	return out
}

func hours(gpuSeconds int64) float64 { return float64(gpuSeconds) / 3600 }

// unavailable wraps what kept a decision from being taken: nothing is admitted.
func unavailable(what string, err error) error {
	return &broker.Error{
		Kind: broker.KindUnavailable, Code: "decision_unavailable",
		Message: "the decision could not be taken, so nothing was admitted", Value: what,
		Rule: "no decision, no job (promise P1)", Help: "try again; nothing was lost", Who: "the broker's operator", Err: err,
	}
}
