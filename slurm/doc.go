// Package slurm is a client for slurmrestd, Slurm's REST daemon, as its API
// version v0.0.42 behaves, which Slurm 24.11 and 26.05 both serve. It is usable
// outside this project and imports nothing of it.
//
//	New(Config) ─▶ Client ─▶ Ping · Submit · Cancel · Job · Jobs · JobStates     (slurmctld)
//	                      └▶ DBJob · DBJobs                                     (slurmdbd)
//
// It believes only what was measured. An accepted submission is HTTP 200 and a
// job id above zero, and nothing else: "errors is empty" means nothing. A
// warning that names a field of the request is fatal, because the daemon drops
// what it does not understand and would run the job without its GPUs; Submit
// then cancels the job and says so. A cancellation is judged by its status
// array, since a refused one is HTTP 200 too. Job ids are numbers by type: a
// path segment such as "null" has ended the daemon in earlier releases.
//
// Two invariants: Submit sends at most one request, never repeated by the
// transport; and after any error, Error.Unknown tells whether the request may
// have taken effect.
//
// Failures are *Error values with the HTTP status and Slurm's own number.
// Class tells a refused token (401, 511, 1007) from an outage (502, 504, 5004,
// 7000) and both from a refusal of the request. Answers are decoded tolerantly:
// unknown fields pass, wrong types and duplicate names do not, and no answer
// larger than the bound is read.
//
// Start at client.go and submit.go. Tests run over reduced copies of measured
// answers in testdata, and under the build tag integration against a real
// daemon.
package slurm
