package storetest

import (
	"crypto/sha256"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/valico-hpc/valico/broker"
	"github.com/valico-hpc/valico/broker/admission"
	"github.com/valico-hpc/valico/broker/dispatch"
	"github.com/valico-hpc/valico/broker/jobspec"
	"github.com/valico-hpc/valico/broker/ledger"
)

// Permit is the permit of the fixture's jobs.
const Permit = broker.PermitID("permit-2026-1")

// Fixture is a store with a project, a person, a site and a grant.
type Fixture struct {
	Store      Store
	Tenant     broker.TenantID
	Project    broker.ProjectID
	Person     broker.Person
	Site       broker.Site
	Allocation broker.Allocation
	now        time.Time
}

// Fill makes a Fixture whose grant holds gpuSeconds.
func Fill(tb testing.TB, s Store, gpuSeconds int64) Fixture {
	tb.Helper()
	ctx := tb.Context()
	tenant, project, err := s.EnsureProject(ctx, "oncology")
	require.NoError(tb, err)
	f := Fixture{Store: s, Tenant: tenant, Project: project, now: time.Now().UTC().Truncate(time.Microsecond)}
	f.Person = broker.Person{
		ID: "ada@example.org", Tenant: tenant, Project: project, Name: "Ada",
		Roles: []string{broker.RoleDeveloper}, CreatedAt: f.now,
	}
	require.NoError(tb, s.AddPerson(ctx, f.Person))
	f.Site = broker.Site{
		ID: broker.NewID[broker.SiteID]("sit"), Name: "here", Country: "SI", Operator: "op", Scheduler: "local",
		Assurance: broker.AssuranceAdvisory, Isolation: broker.IsolationUserNS,
		GPUs: []broker.GPUType{{Name: "h100", PerNode: 4}}, MaxNodes: 2, CPUs: 8, MemoryMiB: 1024,
		MaxWall: time.Hour, KillMargin: 30 * time.Second, Accounts: map[broker.PersonID]string{f.Person.ID: "u1"},
		Datasets: []broker.Dataset{{
			PURI: "https://example.org/d/1", Version: "1", Path: "/d/1", Digest: broker.DigestOf([]byte("d")),
			Synthetic: true, CheckedAt: f.now, Categories: []string{"(f)"},
		}},
		CreatedAt: f.now,
	}
	require.NoError(tb, s.AddSite(ctx, f.Site))
	f.Allocation = broker.Allocation{
		ID: broker.NewID[broker.AllocationID]("alc"), Tenant: tenant, Project: project, Site: f.Site.ID,
		AccessMode: "playground", GPUSeconds: gpuSeconds, ValidFrom: f.now.Add(-time.Hour), ValidUntil: f.now.Add(24 * time.Hour),
		Version: 1,
	}
	require.NoError(tb, s.AddAllocation(ctx, f.Allocation))
	return f
}

// Spec is a job of the fixture's permit.
func Spec(name string, gpus int) broker.JobSpec {
	return broker.JobSpec{
		Name: name, Permit: Permit, Purpose: broker.Purpose{Code: "53(1)(e)", Sub: "ii"}, Activity: "train",
		Datasets:  []broker.DatasetUse{{PURI: "https://example.org/d/1", Version: "1", Mount: "cohort"}},
		Image:     broker.ImageSpec{Base: "none", Command: []string{"/train"}},
		Resources: broker.Resources{Nodes: 1, GPUsPerNode: gpus, CPUsPerNode: 1, MemoryMiB: 64, Walltime: time.Minute},
		Network:   "none", Telemetry: "full", Outputs: []broker.OutputSpec{{Path: "model.bin", Type: "model"}},
	}
}

// Admission is a record with all its parts; reserve is what an allowed one
// sets aside, in GPU-seconds.
func (f Fixture) Admission(tb testing.TB, verdict broker.Verdict, reserve int64) admission.AdmitRecord {
	tb.Helper()
	spec := Spec("job", 1)
	b, err := jobspec.EncodeSpec(spec)
	require.NoError(tb, err)
	job := broker.Job{
		ID: broker.NewID[broker.JobID]("job"), Tenant: f.Tenant, Project: f.Project, Submitter: f.Person.ID,
		Spec: spec, SpecDigest: broker.DigestOf(b), Site: f.Site.ID, CreatedAt: time.Now().UTC().Truncate(time.Microsecond),
	}
	dec := broker.Decision{
		ID: broker.NewID[broker.DecisionID]("dec"), Tenant: f.Tenant, Project: f.Project, Job: job.ID,
		Kind: broker.DecisionAdmission, Verdict: verdict, Permit: Permit, Input: []byte(`{"in":1}`),
		PolicyHash: broker.DigestOf([]byte("packs")), Engine: "opa", At: job.CreatedAt,
	}
	dec.Document = []byte("document of " + dec.ID)
	r := admission.AdmitRecord{SpecBytes: b}
	switch verdict {
	case broker.VerdictAllow:
		job.State, job.Priority = broker.JobAdmitted, broker.Priority{Class: "standard", Weight: 4}
		r.Reservation = &broker.Reservation{
			ID: broker.NewID[broker.ReservationID]("res"), Allocation: f.Allocation.ID, Job: job.ID, GPUSeconds: reserve,
			Unweighted: reserve, Weight: broker.WeightOne, GPUs: spec.Resources.GPUs(),
		}
		r.Attempt = &broker.Attempt{
			ID: broker.NewID[broker.AttemptID]("att"), Tenant: f.Tenant, Project: f.Project, Job: job.ID, Number: 1,
			State: broker.AttemptPackaging, Reservation: r.Reservation.ID, CreatedAt: job.CreatedAt,
		}
	case broker.VerdictReview:
		job.State = broker.JobInReview
	case broker.VerdictDeny:
		job.State, job.FinishedAt, job.Code = broker.JobNotAdmitted, job.CreatedAt, "policy"
		dec.Reasons = []broker.Reason{{Code: "purpose", Basis: "permit_condition", Path: "job.purpose", Params: map[string]string{"a": "b"}}}
	}
	r.Job, r.Decision = job, dec
	r.Entry = ledger.Entry{
		Kind: dec.Kind, Tenant: f.Tenant, Permit: Permit, Person: f.Person.ID, Document: dec.Document, At: dec.At,
	}
	return r
}

// Admit admits a job that reserves GPU time.
func (f Fixture) Admit(tb testing.TB, reserve int64) (broker.Job, broker.Attempt) {
	tb.Helper()
	r := f.Admission(tb, broker.VerdictAllow, reserve)
	job, _, err := f.Store.Admit(tb.Context(), r)
	require.NoError(tb, err)
	return job, *r.Attempt
}

// Claim leases the attempt of a job. The others that it claims on the way stay
// leased for a short time only.
func (f Fixture) Claim(tb testing.TB, id broker.AttemptID) dispatch.Claimed {
	tb.Helper()
	now := time.Now().UTC().Add(time.Minute)
	cs, err := f.Store.Claim(tb.Context(), dispatch.ClaimQuery{
		Owner: "test", States: broker.AttemptStates(), Now: now, Until: now.Add(time.Microsecond), Limit: 1000,
	})
	require.NoError(tb, err)
	for _, c := range cs {
		if c.Attempt.ID == id {
			return c
		}
	}
	require.Fail(tb, "the attempt was not due", "%s", id)
	return dispatch.Claimed{}
}

// Clearance is a clearance of a claimed attempt with all its parts.
func (f Fixture) Clearance(c dispatch.Claimed, verdict broker.Verdict) admission.ClearRecord {
	at := time.Now().UTC().Truncate(time.Microsecond)
	d := broker.Decision{
		ID: broker.NewID[broker.DecisionID]("dec"), Tenant: f.Tenant, Project: f.Project, Job: c.Job.ID, Attempt: c.Attempt.ID,
		Kind: broker.DecisionClearance, Verdict: verdict, Permit: Permit, Input: []byte(`{"in":2}`),
		PolicyHash: broker.DigestOf([]byte("packs")), Engine: "opa", At: at,
	}
	d.Document = []byte("document of " + d.ID)
	return admission.ClearRecord{Attempt: c.Attempt.ID, Token: c.Token, Decision: d, Entry: ledger.Entry{
		Kind: d.Kind, Tenant: f.Tenant, Permit: Permit, Person: f.Person.ID, Document: d.Document, At: at,
	}}
}

// Ready is the change that makes a cleared attempt ready.
func Ready(d broker.Decision) dispatch.Change {
	return dispatch.Change{
		To: broker.AttemptReady, Clearance: d.ID, Receipt: []byte("receipt"), Order: broker.NewID[broker.OrderID]("ord"),
		OrderBytes: []byte("order of " + d.ID),
	}
}

// Image is the digest that the fixture's attempts are packaged as.
func Image() broker.Digest { return broker.DigestOf([]byte("image")) }

// Take moves a claimed attempt along changes and keeps the claim up to date.
func (f Fixture) Take(tb testing.TB, c *dispatch.Claimed, chs ...dispatch.Change) {
	tb.Helper()
	for _, ch := range chs {
		a, err := f.Store.Advance(tb.Context(), *c, ch)
		require.NoError(tb, err, "to %s", ch.To)
		require.Equal(tb, ch.To, a.State)
		c.Attempt = a
	}
}

// ToReady takes a new attempt as far as ready.
func (f Fixture) ToReady(tb testing.TB, id broker.AttemptID) dispatch.Claimed {
	tb.Helper()
	c := f.Claim(tb, id)
	f.Take(tb, &c, dispatch.Change{To: broker.AttemptClearing, Image: Image()})
	d, err := f.Store.Clear(tb.Context(), f.Clearance(c, broker.VerdictAllow))
	require.NoError(tb, err)
	f.Take(tb, &c, Ready(d))
	return c
}

// ToRunning takes a new attempt as far as running.
func (f Fixture) ToRunning(tb testing.TB, id broker.AttemptID) dispatch.Claimed {
	tb.Helper()
	c := f.ToReady(tb, id)
	f.Take(tb, &c,
		dispatch.Change{To: broker.AttemptSubmitting, JobTo: broker.JobActive},
		dispatch.Change{To: broker.AttemptQueued, Waiting: broker.Wait(broker.WaitPriority, "Priority", time.Time{})},
		dispatch.Change{To: broker.AttemptRunning, StartedAt: time.Now()})
	return c
}

// Done is the change that ends an attempt having used GPU time.
func Done(o broker.Outcome, gpuSeconds int64) dispatch.Change {
	return dispatch.Change{
		To: broker.AttemptDone, JobTo: o.JobState(), Outcome: o, FinishedAt: time.Now(),
		Usage: broker.Usage{GPUSeconds: gpuSeconds, Method: "spool"},
	}
}

// Sealed is a manifest of an attempt with one file.
func Sealed(id broker.AttemptID) *broker.OutputManifest {
	b := fmt.Appendf(nil, `{"attempt":%q}`, id)
	return &broker.OutputManifest{
		Attempt: id, Sandbox: true, Digest: broker.DigestOf(b), Bytes: b, SealedAt: time.Now().UTC().Truncate(time.Microsecond),
		Files: []broker.OutputFile{{Path: "model.bin", SizeBytes: 7, Digest: broker.DigestOf([]byte("model"))}},
	}
}

// Grant reads the fixture's allocation back.
func (f Fixture) Grant(tb testing.TB) broker.Allocation {
	tb.Helper()
	as, err := f.Store.Allocations(tb.Context(), f.Project)
	require.NoError(tb, err)
	require.Len(tb, as, 1)
	return as[0]
}

// Key is an idempotency key and the hash of a request.
func Key(key, request string) admission.Idempotency {
	return admission.Idempotency{Key: key, RequestHash: sha256.Sum256([]byte(request))}
}
