// Package queue says in which order jobs take their turn at a site, and why one
// comes before another.
//
// It knows no store, clock or loop: Order is a pure function over a Snapshot.
// The store asks it which attempts to claim, and the interface asks it for
// positions, so what a person reads is what dispatch does.
//
// Each turn goes to
//
//	the tenant   that was given least lately, divided by the weight of its next job's class;
//	its project  that was given least lately, divided likewise;
//	its job      that was submitted first, where each unit of weight is a head start of 15 minutes.
//
// Among equals the heavier class comes first, then the earlier submission, then
// the smaller id. What was given is counted in GPU-seconds over the last 24
// hours, a minute more for each job, and each turn in the order counts already.
//
// Invariants that must never break:
//   - no starvation between tenants: a tenant that was given nothing for 24 hours
//     waits for at most one job of each other such tenant, however many jobs the
//     others have;
//   - no starvation within a project: a job is passed only by jobs submitted
//     within (their weight − its weight) × 15 minutes after it;
//   - more weight never makes a job come later;
//   - equal snapshots have equal orders.
//
// It cannot fail. Start at order.go; the tests attack each invariant with random
// snapshots. What keeps sites out of the order, room and cordons, is the store's
// to apply: the order of a site's jobs is the same with or without room.
package queue
