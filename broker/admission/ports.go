package admission

import (
	"context"
	"time"

	"github.com/valico-hpc/valico/broker"
	"github.com/valico-hpc/valico/broker/ledger"
	"github.com/valico-hpc/valico/policy"
)

// Store is what admission needs of the record. Reads answer KindNotFound for
// what does not exist or is not the project's. All methods may be called
// concurrently.
type Store interface {
	// Sites lists the admitted sites, by name.
	Sites(ctx context.Context) ([]broker.Site, error)
	// Site returns a site by its id or name.
	Site(ctx context.Context, nameOrID string) (broker.Site, error)
	// Decisions lists a job's decisions, oldest first.
	Decisions(ctx context.Context, id broker.JobID) ([]broker.Decision, error)
	// Permit returns the newest imported version of a project's permit.
	Permit(ctx context.Context, project broker.ProjectID, id broker.PermitID) (broker.PermitRecord, error)
	// PermitUsage sums GPU-seconds used and reserved under a permit, over all sites.
	PermitUsage(ctx context.Context, project broker.ProjectID, id broker.PermitID) (int64, error)
	// AllocationsAt returns the project's allocations at a site that are valid at
	// t, eight at most: those that are not frozen before those that are, then
	// those with most left.
	AllocationsAt(ctx context.Context, project broker.ProjectID, site broker.SiteID, t time.Time) ([]broker.Allocation, error)
	// Reserved returns a reservation of the project and the allocation that it
	// was taken from, as that is now; a zero allocation if it was from none.
	Reserved(ctx context.Context, project broker.ProjectID, id broker.ReservationID) (broker.Reservation, broker.Allocation, error)
	// Idempotent returns the job that an earlier Admit stored under the key, or
	// KindNotFound; KindConflict with code "idempotency_reused" if the request
	// differed.
	Idempotent(ctx context.Context, project broker.ProjectID, key Idempotency) (broker.Job, broker.Decision, error)
	// Admit writes everything in one transaction or nothing. It answers
	// KindQuota when the allocation has no room for the reservation at that
	// moment, with the code of the term that it does not meet: budget_exceeded,
	// allocation_frozen, allocation_gpus_in_use, allocation_jobs_in_use or
	// walltime_over_allocation; or gpu_hours_over_permit when it would pass the
	// permit's ceiling. It behaves as Idempotent when the key is
	// already taken. It sets the decision's ledger index.
	Admit(ctx context.Context, r AdmitRecord) (broker.Job, broker.Decision, error)
	// Clear writes a clearance in one transaction: the decision, its ledger row,
	// and for a deny the attempt as refused, the job as not_admitted, or failed
	// if it ran before, and the reservation as settled with nothing booked. An allow leaves the attempt
	// clearing: only its receipt makes it ready. It checks that the attempt is
	// clearing and answers KindConflict otherwise.
	Clear(ctx context.Context, r ClearRecord) (broker.Decision, error)
}

// Idempotency is a client's key and the hash of the request that used it.
type Idempotency struct {
	Key         string
	RequestHash [32]byte
}

// AdmitRecord is one admission. Attempt and Reservation are nil unless allowed.
type AdmitRecord struct {
	Job         broker.Job
	SpecBytes   []byte
	Decision    broker.Decision
	Entry       ledger.Entry
	Attempt     *broker.Attempt
	Reservation *broker.Reservation
	// PermitCeiling is what the permit grants in all, over all sites, in
	// GPU-seconds; nil when it sets no ceiling.
	PermitCeiling *int64
	Idempotency   Idempotency // Key "" when the client gave none
}

// ClearRecord is one clearance of one attempt. Token fences it.
type ClearRecord struct {
	Attempt  broker.AttemptID
	Token    int64
	Decision broker.Decision
	Entry    ledger.Entry
}

// Engine evaluates canonical policy input. It fails closed: an error is never
// an allow.
type Engine interface {
	Evaluate(ctx context.Context, input []byte) (policy.Result, error)
	// Digest names the packs that decide, Version the engine.
	Digest() string
	Version() string
}

// ClearRequest asks whether one attempt may run, with its image as built.
type ClearRequest struct {
	Job     broker.Job
	Attempt broker.Attempt
	Token   int64 // the caller's fencing token
	Image   policy.Image
}

// Cleared is a recorded clearance with the evidence that it rests on.
type Cleared struct {
	Decision broker.Decision
	Permit   broker.PermitRecord
	Site     broker.Site
	Account  string
}
