package telemetry

import (
	"context"

	"github.com/valico-hpc/valico/broker"
)

// CodeGap is the code of the KindConflict error with which a store answers
// events that do not follow on what it holds: a number is missing before them.
const CodeGap = "event_gap"

// Outbox is the part of the record that the relay empties.
type Outbox interface {
	// Outbox returns the oldest unsent events, at most limit, in the order in
	// which they were written.
	Outbox(ctx context.Context, limit int) ([]broker.OutboxEvent, error)
	// OutboxSent marks events as sent. Marking one twice is no error.
	OutboxSent(ctx context.Context, ids []int64) error
}

// Projection is the part of the record that the projector fills.
type Projection interface {
	// ApplyEvents appends events to the projection in one transaction and
	// returns how many were new. Per (job, attempt, source) it holds the highest
	// number applied: what is not above it is dropped as seen, what does not
	// follow on it fails with KindConflict and CodeGap. An event that can never
	// be applied, such as one of an attempt that is another tenant's or another
	// site's, fails with KindInvalid, KindForbidden or KindNotFound. On any
	// error nothing of the call stays.
	ApplyEvents(ctx context.Context, events []broker.Event) (applied int, err error)
}
