package httpapi

import (
	"context"
	"io"
	"time"

	"github.com/valico-hpc/valico/broker"
	"github.com/valico-hpc/valico/broker/admission"
	"github.com/valico-hpc/valico/broker/airlock"
	"github.com/valico-hpc/valico/broker/httpapi/wire"
	"github.com/valico-hpc/valico/broker/ledger"
	"github.com/valico-hpc/valico/broker/ledger/receipt"
)

// Admission takes decisions. Package admission satisfies it.
type Admission interface {
	Submit(ctx context.Context, r admission.Request) (broker.Job, broker.Decision, error)
	Plan(ctx context.Context, r admission.Request) (admission.Plan, error)
}

// Accounts are persons and their tokens. Reads answer KindNotFound for what
// does not exist or is another tenant's; adding what exists is KindConflict.
type Accounts interface {
	// PersonByToken finds the token with that hash and its person. An unknown
	// token is KindNotFound or KindUnauthenticated; one that is revoked or
	// expired may be given back or be treated the same.
	PersonByToken(ctx context.Context, hash [32]byte) (broker.Person, broker.Token, error)
	AddPerson(ctx context.Context, p broker.Person) error
	People(ctx context.Context, tenant broker.TenantID) ([]broker.Person, error)
	AddToken(ctx context.Context, t broker.Token) error
	RevokeToken(ctx context.Context, tenant broker.TenantID, id broker.TokenID) error
	Tokens(ctx context.Context, tenant broker.TenantID, person broker.PersonID) ([]broker.Token, error)
}

// Sites are the admitted sites.
type Sites interface {
	AddSite(ctx context.Context, s broker.Site) error
	Sites(ctx context.Context) ([]broker.Site, error)
	Site(ctx context.Context, nameOrID string) (broker.Site, error)
	// ChangeSite records an operator's act with its ledger row of the project's;
	// one to a version that is not the newest is KindConflict with
	// broker.CodeStaleVersion.
	ChangeSite(ctx context.Context, project broker.ProjectID, act broker.SiteAct, e ledger.Entry) (broker.Site, error)
	SiteActs(ctx context.Context, id broker.SiteID) ([]broker.SiteAct, error)
	// SiteLoads counts the attempts of everybody that are not over.
	SiteLoads(ctx context.Context) (map[broker.SiteID]broker.SiteLoad, error)
}

// Allocations are the GPU time granted at sites, and what was used of it.
// Changes append the act's ledger row in the same transaction; one to a version
// that is not the newest is KindConflict with broker.CodeStaleVersion.
type Allocations interface {
	CreateAllocation(ctx context.Context, a broker.Allocation, act broker.AllocationAct, e ledger.Entry) (broker.Allocation, error)
	ChangeAllocation(ctx context.Context, a broker.Allocation, act broker.AllocationAct, e ledger.Entry) (broker.Allocation, error)
	Allocation(ctx context.Context, tenant broker.TenantID, id broker.AllocationID) (broker.Allocation, error)
	Allocations(ctx context.Context, project broker.ProjectID) ([]broker.Allocation, error)
	TenantAllocations(ctx context.Context, tenant broker.TenantID) ([]broker.Allocation, error)
	AllocationActs(ctx context.Context, tenant broker.TenantID, id broker.AllocationID) ([]broker.AllocationAct, error)
	Usage(ctx context.Context, q broker.UsageQuery) ([]broker.UsageRow, error)
}

// Permits are a project's imported permits. Writes append their ledger row in
// the same transaction and return its index.
type Permits interface {
	ImportPermit(ctx context.Context, r broker.PermitRecord, e ledger.Entry) (int64, error)
	SetPermitStatus(ctx context.Context, project broker.ProjectID, id broker.PermitID, status []byte, at time.Time, e ledger.Entry) (int64, error)
	Permits(ctx context.Context, project broker.ProjectID) ([]broker.PermitRecord, error)
	Permit(ctx context.Context, project broker.ProjectID, id broker.PermitID) (broker.PermitRecord, error)
}

// Jobs are a project's jobs and what is recorded of them.
type Jobs interface {
	Jobs(ctx context.Context, project broker.ProjectID, cursor string, limit int) ([]broker.Job, string, error)
	Job(ctx context.Context, project broker.ProjectID, id broker.JobID) (broker.Job, error)
	Attempts(ctx context.Context, id broker.JobID) ([]broker.Attempt, error)
	// NewestAttempts returns the newest attempt of each job that has one.
	NewestAttempts(ctx context.Context, jobs []broker.JobID) ([]broker.Attempt, error)
	Decisions(ctx context.Context, id broker.JobID) ([]broker.Decision, error)
	RequestCancel(ctx context.Context, project broker.ProjectID, id broker.JobID, at time.Time) error
	// Queue lists the project's jobs that wait for their turn, site by site.
	Queue(ctx context.Context, project broker.ProjectID) ([]broker.QueuePlace, error)
	Events(ctx context.Context, tenant broker.TenantID, id broker.JobID, after int64, limit int) ([]broker.Event, error)
}

// Store is the record. One type satisfies all of it.
type Store interface {
	Accounts
	Sites
	Allocations
	Permits
	Jobs
}

// Airlock lets outputs leave. Package airlock satisfies it.
type Airlock interface {
	Outputs(ctx context.Context, p broker.Person, id broker.JobID) ([]airlock.Sealed, error)
	Release(ctx context.Context, p broker.Person, id broker.JobID, envelope []byte) (broker.Release, error)
	Open(ctx context.Context, p broker.Person, id broker.JobID, path string) (io.ReadCloser, broker.OutputFile, error)
}

// Blobs are a tenant's image layers, by digest. Put reads r to its end and
// refuses with KindInvalid what is not size bytes of that digest; putting a
// blob twice is no error.
type Blobs interface {
	Has(ctx context.Context, tenant broker.TenantID, d broker.Digest) (bool, error)
	Put(ctx context.Context, tenant broker.TenantID, d broker.Digest, sizeBytes int64, r io.Reader) error
}

// Ledger is the transparency log. Package ledger satisfies it.
type Ledger interface {
	Origin() string
	Checkpoint(ctx context.Context) ([]byte, error)
	Leaves(ctx context.Context, from int64, n int) ([]receipt.Hash, error)
	Records(ctx context.Context, tenant broker.TenantID, from int64, limit int) ([]ledger.Row, error)
}

// Hub wakes whoever follows a job. Package telemetry satisfies it.
type Hub interface {
	Subscribe(tenant broker.TenantID, job broker.JobID) (wake <-chan struct{}, cancel func())
}

// Probe measures a site through its agent.
type Probe interface {
	Check(ctx context.Context, site broker.Site) ([]wire.Check, error)
	// Host says what processes, ports and data there are, how to stop them, and
	// what could not be looked at.
	Host(ctx context.Context, site broker.Site) ([]wire.ReportSection, error)
}
