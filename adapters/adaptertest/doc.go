// Package adaptertest is the contract of the port agent.Scheduler as tests. An
// adapter proves itself by one call:
//
//	adaptertest.Run(t, adaptertest.Factory{New: …, Launch: …})
//
// against the real thing: processes for package local, a Slurm cluster for
// slurmrest. The suite counts starts where they happen, in a file that the
// program itself writes, never in what the adapter says.
//
// It knows no adapter; what they cannot all do (a second account, losing an
// answer, a restart) is an optional part of Factory, and a part that is missing
// leaves those cases out by name. Start reading at suite.go.
package adaptertest
