// Command valico-exec is the launcher on the node: it starts one attempt of
// one work order, once, shut in, and writes down how it ended.
//
// It reaches no network, scheduler or policy engine, and believes nobody: the
// order, which the agent verified before, is verified again here with the keys
// that the site pinned, as the account that it runs as.
//
//	order.json ─ verify ─▶ start (O_EXCL) ─▶ spool: started ─▶ unpack, every digest
//	     │ refused                                                │ image_tampered
//	     ▼                                                        ▼
//	spool: outcome launch_failed          sandbox ─ lines, metrics ─▶ spool ─▶ outcome
//
// Two invariants must never break: nothing of the image runs before the order
// verified and the start mark is on the disk, and an attempt that has a start
// mark is never started again. Whatever happens the last record of a spool is
// an outcome; a spool without one and without a process means that the outcome
// is lost.
//
// The exit status is the workload's; 64 for a usage error, 70 when the node
// failed, 77 when the order was refused, with the reason as JSON on stderr.
// TERM, INT and HUP end the workload with TERM, then KILL after the margin, as
// does the end of the order's walltime.
//
// Start at run.go. The tests build this program, run it on real orders and
// images, break one thing at a time, and kill it at every point of killpoint_on.go,
// which no production build contains.
package main
