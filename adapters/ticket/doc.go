// Package ticket is the bearer token with which a remote site's agent pulls the
// image of one work order from its broker.
//
// The agent makes it, not the broker: it is a statement that the agent signs
// with the key that it was enrolled with, over site, attempt, order and a moment
// at which it ends. So no secret is minted, sent over NATS or kept by anybody: a
// stolen database of the broker holds none, and what passes by on the wire is of
// one order and some minutes.
//
//	agent:  Sign(Ticket) ──Authorization: Bearer──▶ broker: Parse ─▶ key of the site ─▶ Verify
//
// The package does not know what a ticket opens: the broker looks up the order
// of that attempt, and only while it is that site's and may still be started are
// its manifest and the blobs of that manifest served.
//
// Two invariants must never break: a ticket verifies only as its own type of
// statement, under the key of the site that it names; and one that would be
// valid for longer than MaxLife is refused, however it was signed.
//
// Start at ticket.go. Tests alter each field and offer other statements.
package ticket
