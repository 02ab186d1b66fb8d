// Package client is the Go SDK of the broker's HTTP interface; the command line
// uses nothing else.
//
// It may not know how the broker works inside: it speaks the forms of package
// wire and gives errors back as the *broker.Error that they were.
//
//	typed method ─▶ request ─▶ retry while idempotent ─▶ DTO | *broker.Error
//	Follow ─▶ stream of events ─ cut ─▶ resume after the last cursor
//
// Two invariants must never break: the token appears in no error, and never
// leaves over plain HTTP but to this machine; and a call that is not idempotent
// is sent once.
//
// A broker that does not answer is KindUnavailable. Start at client.go, then
// follow.go. Tests run against the real handlers of package httpapi and against
// servers that cut, stall and lie.
package client
