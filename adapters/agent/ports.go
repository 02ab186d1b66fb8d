package agent

import (
	"context"
	"io"
	"time"

	"github.com/valico-hpc/valico/adapters/order"
	"github.com/valico-hpc/valico/broker"
)

// Scheduler is the port that every adapter satisfies; package adaptertest is
// its contract. Methods may be called concurrently. Errors are *broker.Error:
// KindUnavailable when the answer is unknown, KindInvalid when the scheduler
// refused for good.
type Scheduler interface {
	// Submit starts a launch at most once. Calling it again with the same Name
	// and OrderDigest after an unknown answer finds the first submission and
	// does not make a second. A stranger's job of that name is not ours.
	Submit(ctx context.Context, l broker.Launch) error
	// Find returns how a launch stands, or KindNotFound when the scheduler
	// never knew it.
	Find(ctx context.Context, l broker.Launch) (Status, error)
	// Cancel ends a launch: TERM, then KILL after the site's kill margin.
	// Cancelling what has ended or is unknown is no error.
	Cancel(ctx context.Context, l broker.Launch) error
	// Watch returns the statuses of the launches that the scheduler knows, at
	// a cost that does not grow with each launch asked for.
	Watch(ctx context.Context, ls []broker.Launch) ([]Status, error)
	// Usage returns what an ended launch consumed over all its incarnations.
	Usage(ctx context.Context, l broker.Launch) (broker.Usage, error)
}

// SchedulerState is a scheduler's state of a job in our words; each adapter
// translates by one total function.
type SchedulerState string

// The states a scheduler may report.
const (
	// SchedulerUnknown is a word we do not know: counted, and watched on.
	SchedulerUnknown SchedulerState = "unknown"
	SchedulerQueued  SchedulerState = "queued"
	SchedulerRunning SchedulerState = "running"
	SchedulerEnding  SchedulerState = "ending"
	SchedulerEnded   SchedulerState = "ended"
	// SchedulerGone means that the process is not there and left no outcome.
	SchedulerGone SchedulerState = "gone"
)

// Status is what a scheduler says of one launch.
type Status struct {
	Name     string // Launch.Name
	Handle   string // the scheduler's own id
	State    SchedulerState
	Outcome  broker.Outcome // set when ended, as far as the scheduler knows
	ExitCode int
	Waiting  broker.Waiting // why it is queued, made with broker.Wait
	Granted  int            // GPUs granted, -1 when the scheduler does not say
}

// Blobs reads the blobs of an order's image by digest; the reader's bytes are
// checked by whoever consumes them.
type Blobs interface {
	OpenBlob(ctx context.Context, o broker.WorkOrder, d broker.Digest) (io.ReadCloser, int64, error)
}

// Rules are a site's own, asked of each order that order.Verify has passed. They
// may refuse and never permit.
type Rules interface {
	// Decide returns nil to let the order start, KindInvalid to refuse it, and
	// KindUnavailable when there is no decision: then nothing starts and the
	// order may come again.
	Decide(ctx context.Context, v order.Verified, e broker.Evidence, now time.Time) error
}

// Publisher sends telemetry to the broker and returns when it is acknowledged.
type Publisher interface {
	Publish(ctx context.Context, events []broker.Event) error
}
