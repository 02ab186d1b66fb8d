// Package sqlite keeps the record in one SQLite file: the embedded default.
//
// It knows no transport, no policy and no scheduler. SQL is written here and
// nowhere else; foreign errors are turned into *broker.Error here, by code.
//
//	reads  ─▶ pool of connections that cannot write
//	writes ─▶ queue ─▶ one goroutine, one connection:
//	          BEGIN IMMEDIATE; statements; per further request { SAVEPOINT; statements; RELEASE }; COMMIT
//
// A write is answered after the COMMIT that holds it is on disk (WAL,
// synchronous=FULL). Up to 64 requests share one COMMIT, those that come while it
// is being prepared too. When the first fails the transaction ends with it; each
// further one has its own savepoint and takes none of the others with it.
// Two writing connections would block each other for seconds.
//
// Invariants that must never break: an exported method is one transaction; an
// attempt from ready on holds an allowed clearance, its receipt and its order
// (P1); open reservations never exceed a grant or the limits that it sets, and
// are settled once, at their own weight (P3); a job has one live attempt (P4); a
// decision and its leaf are both there or both not. CHECKs and triggers in
// migrations/ hold the same, so a mistake in Go is refused by the database.
//
// Failures: a full or failing disk gives KindUnavailable and leaves nothing of
// the request; a lost race gives KindConflict; a refused invariant gives
// KindInternal with code "invariant". A caller that gives up while its request
// waits withdraws it; once it runs the caller waits for its outcome, for an
// unknown outcome is worse than a late one. Close finishes what was accepted.
//
// Start at store.go and writer.go, then admit.go, claim.go and advance.go. The
// contract suite is ../storetest; here are the tests of the file itself:
// migrations up and down, a full disk at each write, reopening after a crash.
package sqlite
