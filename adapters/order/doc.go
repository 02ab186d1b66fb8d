// Package order is the work order as it travels, and the one verification of
// it that the agent and the launcher on the node share: strict codec, DSSE
// envelope, the site's pinned trust, and every check in one order.
//
// It may not know a scheduler, a network, a policy language or a store, and it
// never decides what the law decides: it asks whether what was decided is what
// is about to run.
//
//	broker: WorkOrder + Evidence ──Signer.Sign──▶ SignedOrder ──Encode──▶ order.json
//	site:   order.json + trust.json ──Verify(stage)──▶ Verified, or the first code that refuses
//
// Verify runs the checks of Codes from first to last and stops at the first
// that fails. Each code belongs to exactly one check. What it returns was
// signed by a key that the site pinned for that role, and agrees in every part:
// order, job spec, permit, status, clearance, receipt, image.
//
// Two invariants must never break: a statement verifies only as its own type
// under a key pinned for its own role (a key in two roles is an error of
// configuration), and nothing that fails a check is in what Verify returns.
//
// Every refusal is a *broker.Error of kind forbidden whose code is one of
// Codes; Refuse makes them for the checks that happen elsewhere, such as the
// layers while they are unpacked.
//
// Limits, on purpose: sites are advisory in this version, so every regime but
// SANDBOX is refused here whatever the order says; a layer's bytes are checked
// by whoever unpacks them.
//
// Start at verify.go, then refuse.go for the codes and trust.go for what a site
// pins. The main test breaks one thing at a time in a valid order, signs again
// what must be signed again, and expects exactly that one code; another offers
// every type of statement to every verifier with every role's key.
package order
