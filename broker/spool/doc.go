// Package spool is the node's telemetry file: what one attempt said, in order,
// written beside the workload and read by the site's agent while it grows.
//
// It imports the standard library alone and knows nothing of orders, jobs,
// sandboxes or transports. Only one process writes a spool; any number read it.
//
//	file    = magic "VALSPOOL" + version u32
//	record  = length u32 + CRC32C(payload) u32 + payload        little endian
//	payload = one Record as canonical JSON, at most MaxPayload bytes
//
// A writer starts with Create (which never reuses a file), numbers records
// from 1 without gaps, and ends with one Outcome record; nothing may follow
// it. The whole file stays below a limit: when the budget is used up, metric
// and log records are dropped and counted in the outcome's Dropped, while
// started, notice and outcome records still fit into a reserve.
//
// Two invariants must never break: what a reader returns is exactly what the
// writer appended, in order; and an outcome record is never followed by
// anything.
//
// Failure behaviour. A crash of the writer leaves a torn tail, which a reader
// takes as "no more yet", never as an error. Damage anywhere else is
// ErrCorrupt with its offset. The person whose job it is owns the file, so a
// reader follows no symbolic link, refuses anything but a regular file with
// one name, and bounds what it reads at once.
//
// Start reading at record.go, then writer.go and reader.go. Tests cut and flip
// every byte of a spool; FuzzReadFrom feeds the reader foreign bytes.
package spool
