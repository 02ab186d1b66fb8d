package broker

import "time"

// Census counts what a record holds at one moment. It names no job, permit or
// person.
type Census struct {
	Attempts []AttemptCount // that are not over
	Waiting  []WaitCount    // why those wait that say so
	Reviews  int64          // jobs that wait for a review
	Outbox   int64          // events that the projection has not
	Budgets  []BudgetCount
}

// AttemptCount counts a site's attempts in one state.
type AttemptCount struct {
	Site   SiteID
	State  AttemptState
	N      int64
	Oldest time.Time // when the oldest of them came into it
}

// WaitCount counts a site's attempts that wait for one thing.
type WaitCount struct {
	Site   SiteID
	Code   WaitCode
	N      int64
	Oldest time.Time // since when the first of them waits for it
}

// BudgetCount sums a site's allocations that are valid, in charged GPU-seconds.
type BudgetCount struct {
	Site                    SiteID
	Granted, Reserved, Used int64
	N, Frozen, UsedUp       int64
	Ending                  int64 // within 14 days
	Overrun                 int64 // whose bookings passed what they had set aside, and so the grant
}
