// Package agent is a site's own process: the only thing that talks to the
// site's scheduler. It verifies work orders with keys the site pinned, keeps a
// journal, stages image and order, submits, watches, passes telemetry on, and
// seals what an attempt wrote until a reviewer releases it.
//
//	Start ─ order.Verify ─▶ received ─ stage ─▶ staged ─▶ submitting ─ Scheduler.Submit ─▶ submitted
//	      ─ scheduler says gone, spool says how ─▶ ended ─ out/ to the quarantine ─▶ sealed
//
// The journal has one file per attempt, replaced atomically and flushed before
// the step that it announces. After a crash New reads it and every step is done
// again: staging renames a whole folder into place, Submit is idempotent by
// name and order digest, sealing copies into a new folder and renames it.
//
// Three invariants must never break: nothing is submitted that order.Verify has
// not passed; an attempt is submitted as one launch however often a step is
// repeated, and one whose fate cannot be known ends as lost; and nothing in the
// quarantine is served unless its manifest's digest is in a statement that a
// pinned officer signed, who is not the submitter.
//
// How an attempt ended: the outcome record of its spool says it. A spool's
// "cancelled" only means that TERM came, so a scheduler that knows why (time
// limit, preemption, memory, node) is believed over it. Without an outcome
// record the scheduler's oom, walltime, node_fail, preempted and cancelled
// count; anything else is lost. If there is no start mark either, the agent
// creates it, so that the launch can never start later, and the attempt ends as
// launch_failed or cancelled.
//
// A job that resumes has a folder for its checkpoints, ckpt/<job>, which its first
// segment makes and the others find: owner.json, the agent's, ties it to one job,
// person, account, spec and image, and data/, the account's, is /ckpt. It is no
// output and never leaves the site. It goes when the job succeeds, otherwise
// Config.CkptKeep after its newest attempt; a segment that finds none is refused.
// Where nothing shuts jobs in (isolation none), an account can reach the
// checkpoints of its own other jobs, and of no other account's.
//
// A job on several nodes has a start mark and a spool per rank (package layout),
// out/ together, and ends as its ranks say together (rank.go). Telemetry is what
// the first rank says; the spools of the others stay at the site.
//
// Telemetry: event 1 of an attempt is the agent's own word on the order, then
// come the spool's records as far as the order's telemetry level lets them out,
// then notices of sealing. The acknowledged place in the spool and the last
// number are journaled together, so a restart sends the same events under the
// same numbers. The outcome does not wait for telemetry for ever: an attempt is
// reported done when its events are acknowledged or Config.TelemetryGrace after
// it was sealed; what is left is still sent afterwards.
//
// Rules of the site's own (Config.Rules) are asked of an order after order.Verify
// and before the journal: they refuse, or let what was decided elsewhere stand.
// As whom jobs may run is Identities' to say (identity.go).
//
// Images are kept for the next attempt that needs them, within Config.ImageBytes:
// when room is needed those that no attempt needs go, the least recently used
// first (room.go). Without room a start ends as launch_failed, site_disk_full;
// what runs keeps its image.
//
// Of an attempt that ended, folder and kept order go Config.AttemptKeep after it
// was sealed, earlier, the oldest first, when all of them take more than
// Config.AttemptBytes, and never before nobody needs them (keep.go): its outputs
// lie in the quarantine, which this never touches; everything it said was
// acknowledged; and the order's not_after is an hour past. The journal record
// stays, a kilobyte or two, with the outcome: a broker that was away is still told,
// and every order of the attempt is refused. So a second start has three things
// against it: the record, for the agent; the folder that was taken out of its place
// whole, so that a launcher finds the order with its start mark or neither; and
// not_after, for a launcher that holds the order already. What was not acknowledged
// is never dropped: it counts, and beyond the bound new starts end as
// launch_failed, site_disk_full. One folder counts as no more than an attempt may
// rightly leave, so that no account fills the bound for the others. What runs is
// not counted and goes on.
//
// What others at the site can learn. Other users of the scheduler: the launch's
// name, its account, its sizes and the digest of its order. Other users of a file
// system: the names of attempts' folders if they know them from the scheduler
// (attempts/ cannot be listed), none of what is in them (0700, the account's); a
// blob of an image if they were told its digest (blobs/sha256 cannot be listed).
// Other users of the node: what package images/sandbox says of the process table.
// The account itself can do anything to its attempt's folder: what the agent reads
// there is opened without following links, bounded, held to what the agent saw,
// and believed about that attempt alone; sealing takes regular files that the
// account owns and nothing else; whatever cannot be read is skipped or damage and
// holds nothing up.
//
// The package knows no SQL, HTTP or policy, and no scheduler but its port
// (ports.go). Start reading at agent.go, then step.go. Tests abandon an agent
// after every journal write and open another over the same folder.
package agent
