// Package slurm is a client for slurmrestd, Slurm's REST daemon, in its API
// versions v0.0.40 to v0.0.45, as Slurm 24.11 and 26.05 serve them. It is usable
// outside this project and imports nothing of it.
//
// The first request agrees on a version: the newest that both know, tried by its
// ping. A configured version is spoken and no other. When slurmrestd stops to
// serve the version, as after an upgrade, that request fails with ClassVersion
// and the next one agrees again. Nearly all of what the versions do otherwise is
// read alike (a number or an object with a number, a word or a list of words);
// what is not is data in version.go, and a test compares every field that is
// sent or read with the schema of each version.
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
// 7000), both from what the account may not do (2002) and all from a refusal of
// the request. slurmdbd's half answers a bad token as it answers an outage; the
// client then asks slurmctld's half, which tells them apart. Answers are decoded tolerantly:
// unknown fields pass, wrong types and duplicate names do not, and no answer
// larger than its bound is read and no request larger than its bound is sent.
//
// Start at client.go, version.go and submit.go. Tests run over reduced copies of measured
// answers in testdata, and under the build tag integration against a real
// daemon.
package slurm
