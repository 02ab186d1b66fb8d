package storetest

import (
	"context"
	"testing"
	"time"

	"github.com/valico-hpc/valico/broker"
	"github.com/valico-hpc/valico/broker/admission"
	"github.com/valico-hpc/valico/broker/airlock"
	"github.com/valico-hpc/valico/broker/dispatch"
	"github.com/valico-hpc/valico/broker/ledger"
	"github.com/valico-hpc/valico/broker/telemetry"
)

// Store is the union of what the parts of the broker ask of the record.
type Store interface {
	admission.Store
	dispatch.Store
	airlock.Store
	ledger.Store
	telemetry.Outbox
	telemetry.Projection
	Accounts
	Records
	Close() error
}

// Accounts is who may ask, where, and how much.
type Accounts interface {
	EnsureProject(ctx context.Context, name string) (broker.TenantID, broker.ProjectID, error)
	AddPerson(ctx context.Context, p broker.Person) error
	People(ctx context.Context, tenant broker.TenantID) ([]broker.Person, error)
	AddToken(ctx context.Context, k broker.Token) error
	PersonByToken(ctx context.Context, hash [32]byte) (broker.Person, broker.Token, error)
	RevokeToken(ctx context.Context, tenant broker.TenantID, id broker.TokenID) error
	Tokens(ctx context.Context, tenant broker.TenantID, person broker.PersonID) ([]broker.Token, error)
	AddSite(ctx context.Context, site broker.Site) error
	UpdateSite(ctx context.Context, site broker.Site) error
	AddRemoteSite(ctx context.Context, site broker.Site, e broker.Enrolment) error
	Enrol(ctx context.Context, e broker.Enrolment) error
	Enrolments(ctx context.Context) ([]broker.Enrolment, error)
	RecordAlerts(ctx context.Context, alerts []broker.SiteAlert) error
	Alerts(ctx context.Context, site broker.SiteID, limit int) ([]broker.SiteAlert, error)
	AddAllocation(ctx context.Context, a broker.Allocation) error
	Allocations(ctx context.Context, project broker.ProjectID) ([]broker.Allocation, error)
	CreateAllocation(ctx context.Context, a broker.Allocation, act broker.AllocationAct, e ledger.Entry) (broker.Allocation, error)
	ChangeAllocation(ctx context.Context, a broker.Allocation, act broker.AllocationAct, e ledger.Entry) (broker.Allocation, error)
	Allocation(ctx context.Context, tenant broker.TenantID, id broker.AllocationID) (broker.Allocation, error)
	TenantAllocations(ctx context.Context, tenant broker.TenantID) ([]broker.Allocation, error)
	AllocationActs(ctx context.Context, tenant broker.TenantID, id broker.AllocationID) ([]broker.AllocationAct, error)
	Usage(ctx context.Context, q broker.UsageQuery) ([]broker.UsageRow, error)
	Census(ctx context.Context) (broker.Census, error)
	ChangeSite(ctx context.Context, project broker.ProjectID, act broker.SiteAct, e ledger.Entry) (broker.Site, error)
	SiteActs(ctx context.Context, id broker.SiteID) ([]broker.SiteAct, error)
	SiteLoads(ctx context.Context) (map[broker.SiteID]broker.SiteLoad, error)
}

// Records is what people read and what authorities bring.
type Records interface {
	ImportPermit(ctx context.Context, p broker.PermitRecord, e ledger.Entry) (int64, error)
	SetPermitStatus(ctx context.Context, project broker.ProjectID, id broker.PermitID, status []byte, at time.Time, e ledger.Entry) (int64, error)
	Permits(ctx context.Context, project broker.ProjectID) ([]broker.PermitRecord, error)
	Jobs(ctx context.Context, project broker.ProjectID, cursor string, limit int) ([]broker.Job, string, error)
	Queue(ctx context.Context, project broker.ProjectID) ([]broker.QueuePlace, error)
	NewestAttempts(ctx context.Context, jobs []broker.JobID) ([]broker.Attempt, error)
	RequestCancel(ctx context.Context, project broker.ProjectID, id broker.JobID, at time.Time) error
	Events(ctx context.Context, tenant broker.TenantID, job broker.JobID, after int64, limit int) ([]broker.Event, error)
}

// Run runs the contract; open gives an empty store that is closed by the test's
// clean-up.
func Run(t *testing.T, open func(t *testing.T) Store) {
	t.Helper()
	for name, test := range map[string]func(*testing.T, Store){
		"a project is made once":                               projectOnce,
		"a token names its person until it ends":               tokenNamesPerson,
		"a site is found by name and id":                       siteByNameAndID,
		"one agent speaks for a remote site":                   agentsSpeak,
		"an alert grows and stays of its site":                 alertsKept,
		"a closed site starts and admits nothing":              closedSite,
		"a site changes by acts of its newest version":         siteActs,
		"what an attempt waits for is told once":               waitingTold,
		"the allocation valid at a moment is found":            allocationAtMoment,
		"an allocation changes by acts of its newest version":  allocationActs,
		"each term of an allocation is held":                   allocationTerms,
		"a reservation is settled at its own weight":           weightKept,
		"a permit's ceiling is held over all reservations":     permitCeiling,
		"a census counts what is there":                        census,
		"usage sums what was booked":                           usageSums,
		"a permit version has one text":                        permitHasOneText,
		"a permit's status only grows newer":                   statusOnlyNewer,
		"an admission is written whole":                        admissionWhole,
		"a denial reserves nothing":                            denialReservesNothing,
		"parts that do not belong together are refused":        inconsistentRefused,
		"an idempotency key stands for one request":            idempotencyKey,
		"parallel requests of one key admit once":              idempotencyParallel,
		"parallel reservations never exceed the grant":         reservationsNeverExceed,
		"random lives refund exactly":                          randomLivesRefundExactly,
		"an attempt lives from packaging to done":              attemptLives,
		"nothing is ready without clearance and receipt":       readyNeedsClearance,
		"a denied clearance ends job and attempt":              denialEndsJob,
		"segments follow each other":                           segmentsFollow,
		"a segment needs room of its own":                      segmentNeedsRoom,
		"a segment is the next of its job":                     segmentBelongs,
		"a segment that is refused or cancelled ends the job":  segmentRefused,
		"a stale token moves nothing":                          staleTokenMovesNothing,
		"a missing edge is a transition error":                 missingEdge,
		"a claim leases and comes back":                        claimLeases,
		"turns come in the order that people read":             turnsInOrder,
		"a site has no more in its queue than it takes":        siteKeepsItsQueue,
		"what a project was given puts it behind":              shareIsWhatWasGiven,
		"a cancellation is seen by whoever holds the attempt":  cancelIsSeen,
		"cancel ends what is not running and asks the rest":    cancelJob,
		"an attempt that fails before start ends its job":      failsBeforeStart,
		"jobs are listed newest first, page by page":           jobsByPage,
		"outputs are released once":                            releaseOnce,
		"events are projected once and in order":               eventsOnceInOrder,
		"events of strangers are refused":                      eventsOfStrangers,
		"the outbox tells of every state":                      outboxTellsStates,
		"receipts of parallel admissions verify":               receiptsVerify,
		"a checkpoint of a fork or of the future is refused":   checkpointRefused,
		"a party's records chain and match the log's leaves":   partyRecordsChain,
		"what is another project's looks like what is missing": strangersSeeNothing,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(t, open(t))
		})
	}
}
