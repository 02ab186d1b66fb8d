// Package local is a scheduler of one machine: it starts each launch as a
// process in its own session, so that the job outlives the broker, and finds it
// again afterwards. It satisfies the port agent.Scheduler.
//
//	Submit ─▶ record "queued" (O_EXCL, fsync) ─ a slot is free ─▶ process started, waiting at a gate
//	       ─▶ record "running" {pid, start time, boot} (fsync) ─▶ gate opened: the program runs
//	       ─▶ record "ended" {exit code, outcome}
//
// One record per launch, SITE/local/NAME.json, is all its memory. The gate is a
// shell that reads one word from a pipe before it becomes the program: if this
// process dies before the record names the pid, the pipe closes and the shell
// ends without having run anything, so a record without a pid may be started
// again. A record with a pid is never started again. This holds against a crash
// of the broker; against everything else, such as a copied site folder, the
// start mark that valico-exec creates with O_EXCL before it runs anything is the
// last line: a second process over the same attempt refuses itself.
//
// A process is known by pid, start time and boot, so that a pid used again by
// somebody else is never taken for ours and never signalled. A lock on the
// folder keeps a second scheduler away from it.
//
// What this process started it also reaps and so knows the exit code. What it
// adopted after a restart it can only see disappear: that is SchedulerGone, and
// the spool says how it ended. TERM goes to the launched process alone, which
// passes it on and records the outcome; KILL goes to its whole group, and so
// does what it leaves behind when it ends. Time limits and the step from TERM to KILL are
// kept whenever any method is called; the agent calls Watch all the time.
//
// It decides nothing about orders, permits or outputs. Start at submit.go, then
// process.go. The contract suite of package adaptertest runs on it, and tests
// kill it between any two of its steps.
package local
