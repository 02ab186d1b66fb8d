// Package adaptertest is the contract of the port agent.Scheduler as tests. An
// adapter proves itself by one call:
//
//	adaptertest.Run(t, adaptertest.Factory{New: …, Launch: …, Preempt: …, Cannot: …})
//
// against the real thing: processes for package local, a Slurm cluster for
// slurmrest, a Nomad agent for nomad, and the scripted site of package scripted.
// Every case has one expected outcome, the same on each of them.
//
//	together  what needs no fault of the site: submit, find, cancel, ends, usage, watch
//	one by one  what takes nodes or daemons away: requeue, pre-emption, a lost node,
//	            memory, failed launches, budgets, restart, hang, credentials, accounting
//
// Factory has a hook for each fault, which provokes it at the site itself: a
// daemon is killed, a node is taken, an answer is swallowed on the wire. A
// scheduler that truly cannot have a fault says why in Factory.Cannot. The suite
// fails when a hook is missing without a reason, or a reason is given beside a
// hook, and prints each reason.
//
// The suite counts starts where they happen, in a file that the program itself
// writes, never in what the adapter says. It knows no adapter. Time is never
// asserted but as a ceiling. Start reading at suite.go, then program.go; bench.go is
// what the adapters' benchmarks share.
package adaptertest
