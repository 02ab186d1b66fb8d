package admission

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/go-json-experiment/json"

	"github.com/valico-hpc/valico/broker"
	"github.com/valico-hpc/valico/policy"
)

// Clear decides with the same evaluator as admission, on the final digest and
// the permit's status as it is now, and records the decision. A denial is no
// error: the record has then moved the attempt to refused.
func (s *Service) Clear(ctx context.Context, r ClearRequest) (Cleared, error) {
	now := s.now().UTC().Truncate(time.Microsecond)
	principal, err := s.submitter(ctx, r.Job)
	if err != nil {
		return Cleared{}, err
	}
	facts, rec, err := s.facts(ctx, Request{Principal: principal, Spec: r.Job.Spec}, now)
	if err != nil {
		return Cleared{}, err
	}
	if facts.Site, err = s.store.Site(ctx, string(r.Job.Site)); err != nil {
		return Cleared{}, fmt.Errorf("read site: %w", err)
	}
	if facts.Held, facts.Allocation, err = s.store.Reserved(ctx, r.Job.Project, r.Attempt.Reservation); err != nil {
		return Cleared{}, fmt.Errorf("read the reservation: %w", err)
	}
	facts.Moment, facts.Image, facts.Segment = policy.MomentClearance, &r.Image, r.Attempt.Number
	in, res, err := evaluate(ctx, s.engine, facts)
	if err != nil {
		return Cleared{}, err
	}
	if res.Verdict == string(broker.VerdictReview) {
		// Nobody reviews at this moment: what policy would not allow does not run.
		res.Verdict = string(broker.VerdictDeny)
	}
	dec, entry, err := s.decision(decided{
		kind: broker.DecisionClearance, facts: facts, job: r.Job, attempt: r.Attempt.ID, permit: rec,
		image: broker.Digest(r.Image.Digest), input: in, result: res,
	})
	if err != nil {
		return Cleared{}, err
	}
	s.step("cleared_undecided")
	dec, err = s.store.Clear(ctx, ClearRecord{Attempt: r.Attempt.ID, Token: r.Token, Decision: dec, Entry: entry})
	if err != nil {
		return Cleared{}, fmt.Errorf("record the clearance: %w", err)
	}
	s.step("cleared")
	return Cleared{
		Decision: dec, Permit: rec, Site: facts.Site, Account: facts.Site.Accounts[r.Job.Submitter],
	}, nil
}

// submitter is who submitted the job and how they had signed in, as the
// admission recorded it.
func (s *Service) submitter(ctx context.Context, job broker.Job) (Principal, error) {
	ds, err := s.store.Decisions(ctx, job.ID)
	if err != nil {
		return Principal{}, fmt.Errorf("read decisions: %w", err)
	}
	for _, d := range ds {
		if d.Kind != broker.DecisionAdmission {
			continue
		}
		// The input may be of a version that had fewer fields; who asked was always there.
		var in struct {
			Submitter policy.Submitter `json:"submitter"`
		}
		if err := json.Unmarshal(d.Input, &in); err != nil || in.Submitter.ID != string(job.Submitter) {
			return Principal{}, unavailable("the admission's stored input", errors.Join(errors.New("it names another submitter"), err))
		}
		return Principal{
			Person: broker.Person{
				ID: broker.PersonID(in.Submitter.ID), Tenant: job.Tenant, Project: job.Project, Roles: in.Submitter.Roles,
			},
			Method: in.Submitter.Method, MFA: in.Submitter.MFA,
		}, nil
	}
	return Principal{}, unavailable("the admission's record", fmt.Errorf("job %s has none", job.ID))
}
