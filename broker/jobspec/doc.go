// Package jobspec turns what a person asks for into exact bytes and back: the
// canonical wire form of broker.JobSpec, whose digest decisions and work orders
// name, and job.yaml, the file that people write.
//
// It may not know what a permit allows or what a site has: a value that is well
// formed but not allowed is policy's to deny, with a reason. It reads no file
// and knows no transport.
//
//	job.yaml ──ParseYAML──▶ File ──Spec(layers, base)──▶ broker.JobSpec ──EncodeSpec──▶ bytes
//	                                                     broker.JobSpec ◀──DecodeSpec── bytes
//
// Two invariants must never break: one spec has exactly one encoding, so
// DecodeSpec refuses bytes that EncodeSpec would not have written; and every
// field of broker.JobSpec is in those bytes (a test walks them by reflection).
//
// Every fault is reported, not only the first: *Error carries one Problem per
// fault, each with its path, the rule, the value and what helps.
//
// Start at spec.go, then check.go for the rules and file.go for job.yaml. Tests
// are round trips by property, one broken document per rule, and two fuzz
// targets.
package jobspec
