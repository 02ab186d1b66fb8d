// Package brokertest runs `valico serve` as a process for tests that kill it.
//
//	Programs ─▶ Prepare(Sites) ─▶ Start(point) … Kill … Revive ─▶ Submit, VerifyLedger
//
// A Broker is one process after the other over one data folder, each on a port
// of its own. What it submits goes through the command, as a person would do it:
// repeated with the same idempotency key until a broker answers. A process dies
// by SIGKILL alone; any other end fails the test and shows the log.
//
// It knows the story's world (package demo) and no site. Start at broker.go.
package brokertest
