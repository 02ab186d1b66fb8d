package airlock

import (
	"context"
	"io"

	"github.com/valico-hpc/valico/broker"
	"github.com/valico-hpc/valico/broker/ledger"
)

// Store is what the airlock needs of the record.
type Store interface {
	// Job returns a project's job.
	Job(ctx context.Context, project broker.ProjectID, id broker.JobID) (broker.Job, error)
	// Attempts lists a job's attempts, oldest first.
	Attempts(ctx context.Context, id broker.JobID) ([]broker.Attempt, error)
	// Manifest returns what a site sealed of an attempt, or KindNotFound.
	Manifest(ctx context.Context, id broker.AttemptID) (broker.OutputManifest, error)
	// RecordRelease writes a release and its ledger row in one transaction and
	// returns it with its index. Releasing the same manifest twice answers
	// KindConflict with code "already_released".
	RecordRelease(ctx context.Context, r broker.Release, e ledger.Entry) (broker.Release, error)
	// Releases lists the releases of a job.
	Releases(ctx context.Context, id broker.JobID) ([]broker.Release, error)
}

// Site is the part of a site that holds the quarantine.
type Site interface {
	// Release hands the reviewer's signed statement to the site, which verifies
	// it with keys of its own. It is idempotent.
	Release(ctx context.Context, id broker.AttemptID, envelope []byte) error
	// Open reads one released file; anything else is KindNotFound.
	Open(ctx context.Context, id broker.AttemptID, path string) (io.ReadCloser, broker.OutputFile, error)
}

// Verifier checks a reviewer's statement with the pinned officers' keys.
type Verifier interface {
	VerifyRelease(envelope []byte) (Statement, error)
}

// Statement is what a reviewer signed.
type Statement struct {
	Attempt  broker.AttemptID
	Manifest broker.Digest
	Reviewer broker.PersonID
}
