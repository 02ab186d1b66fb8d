package dispatch

import (
	"context"
	"time"

	"github.com/valico-hpc/valico/broker"
	"github.com/valico-hpc/valico/broker/admission"
	"github.com/valico-hpc/valico/policy"
)

// Store is what dispatch needs of the record: claim work under a lease, and
// move it on under that lease's fencing token.
type Store interface {
	// Claim leases attempts in the given states that are due and whose lease is
	// free or over, and raises their fencing tokens. Those that are packaging have
	// not begun: they come when it is their turn, in the order of package queue,
	// at sites that have room below max_queue. The others have had theirs, and come
	// oldest due first.
	Claim(ctx context.Context, q ClaimQuery) ([]Claimed, error)
	// Renew extends the leases of claims; those whose token is stale are left
	// out of the answer.
	Renew(ctx context.Context, cs []Claimed, until time.Time) ([]broker.AttemptID, error)
	// Release ends leases and makes each attempt due again at its time. A stale
	// token is no error: somebody else has the attempt.
	Release(ctx context.Context, rs []Released) error
	// Cancelled lists the attempts at a site whose end a person asked for.
	Cancelled(ctx context.Context) ([]broker.AttemptID, error)
	// Advance moves one attempt, and with it its job, in one transaction with
	// an outbox event for each state that changed. It answers KindConflict with
	// code "lease_lost" when the token is stale and a *broker.TransitionError
	// when the edge does not exist. A change to done settles the reservation:
	// Usage.GPUSeconds is booked, the rest is refunded. KindQuota says that
	// Change.Next finds no room, and nothing was written.
	Advance(ctx context.Context, c Claimed, ch Change) (broker.Attempt, error)
	// SiteOperation says what an operator lets happen at a site. A change to
	// submitting asks again in its own transaction, and answers KindUnavailable
	// with broker.CodeSiteClosed at a site that is not open.
	SiteOperation(ctx context.Context, id broker.SiteID) (broker.SiteOperation, error)
	// SpecBytes returns the canonical job spec as stored.
	SpecBytes(ctx context.Context, id broker.JobID) ([]byte, error)
	// OrderBytes returns Change.Order as it was stored with the attempt.
	OrderBytes(ctx context.Context, id broker.AttemptID) ([]byte, error)
}

// Released is a claim given back, due again at Due.
type Released struct {
	Claimed Claimed
	Due     time.Time
}

// ClaimQuery asks for work.
type ClaimQuery struct {
	Owner  string
	States []broker.AttemptState
	Now    time.Time
	Until  time.Time
	Limit  int
}

// Claimed is an attempt under lease with its job.
type Claimed struct {
	Attempt broker.Attempt
	Job     broker.Job
	Token   int64
	Cancel  bool // a person asked to cancel the job
}

// Change is one step of an attempt. Zero fields stay as they are, except
// Waiting, which is of the state as it now is.
type Change struct {
	To         broker.AttemptState // may equal the present state, to record Waiting or Usage
	JobTo      broker.JobState     // "" leaves the job
	JobCode    string              // why the job ends; Code when ""
	Next       *admission.Segment  // takes the job on, in the same transaction; only with To = done
	Outcome    broker.Outcome
	ExitCode   int
	Code       string
	Waiting    broker.Waiting
	Image      broker.Digest
	Clearance  broker.DecisionID
	Order      broker.OrderID
	Receipt    []byte // stored with the attempt; required by To = ready
	OrderBytes []byte // the encoded signed order; required by To = ready
	Usage      broker.Usage
	Outputs    *broker.OutputManifest
	StartedAt  time.Time
	FinishedAt time.Time
}

// Site is an agent, in this process or far away. Start is idempotent by
// attempt: a repeated Start of an attempt that the site knows does nothing.
type Site interface {
	// Start hands over a signed order. A refusal is a *broker.Error of kind
	// forbidden with one of the codes of package order; KindUnavailable means
	// the answer is unknown and Start may be repeated.
	Start(ctx context.Context, o broker.SignedOrder) error
	// Stop ends an attempt's work; stopping what is not there is no error.
	Stop(ctx context.Context, id broker.AttemptID) error
	// Reports says how attempts stand; those that the site does not know are
	// left out.
	Reports(ctx context.Context, ids []broker.AttemptID) ([]broker.AttemptReport, error)
}

// Packager assembles, checks, stores and signs a job's image. It is
// idempotent: the same spec gives the same manifest digest.
type Packager interface {
	Package(ctx context.Context, tenant broker.TenantID, spec broker.ImageSpec) (Packaged, error)
	// Packaged returns an image that Package made before, re-verified.
	Packaged(ctx context.Context, tenant broker.TenantID, image broker.Digest) (Packaged, error)
}

// Packaged is a signed image: exact bytes and what policy may know of them.
type Packaged struct {
	Digest    broker.Digest
	Manifest  []byte
	Config    []byte
	Signature []byte // Sigstore bundle
	View      policy.Image
}

// OrderSigner signs work orders with the broker's order key.
type OrderSigner interface {
	Sign(ctx context.Context, o broker.WorkOrder, e broker.Evidence) (broker.SignedOrder, error)
}

// OrderCodec turns a signed order into the bytes that are stored and staged.
type OrderCodec interface {
	Encode(o broker.SignedOrder) ([]byte, error)
	Decode(b []byte) (broker.SignedOrder, error)
}

// Clearer decides whether an attempt may run, and prepares the one after it;
// package admission satisfies it.
type Clearer interface {
	Clear(ctx context.Context, r admission.ClearRequest) (admission.Cleared, error)
	Next(ctx context.Context, job broker.Job, ended broker.Attempt) (admission.Segment, error)
}

// Ledger gives a receipt for a leaf, integrating and signing a checkpoint
// that covers it when none does yet.
type Ledger interface {
	Receipt(ctx context.Context, index int64) ([]byte, error)
}
