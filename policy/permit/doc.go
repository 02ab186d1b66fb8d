// Package permit owns the permit document: its rules, its signed form, the
// authorities that may issue it and the statements of its status.
//
// It may not know jobs, sites, policy or transport, and it decides nothing
// about a job: it answers whether a document is what an authority signed,
// whether that authority was trusted for this, and which of the rules that hold
// without context it breaks.
//
//	Document ──Sign──▶ compact JWS ──Verify(trusted issuers)──▶ Verified
//	Status ──SignStatus──▶ compact JWS ──VerifyStatus(trusted keys)──▶ Status
//
// Verify goes in one order and stops at the first fault: size and form, the
// protected header (exactly alg, kid and typ), typ, a known kid, the signature
// with that one key, the strict document, then the issuer's scope. Nothing of a
// document is read before its signature holds.
//
// Two invariants must never break: a key verifies only what it is trusted for
// (typ, algorithm, issuer, scope), and what is not understood is refused.
//
// The document carries the digest of the signed legal decision and never claims
// to be that decision. Chapter IV of Regulation (EU) 2025/327 applies from
// 26 March 2029; rules cite its articles because the document mirrors them.
//
// Start at document.go, then verify.go and validate.go. Tests break one thing
// at a time: one forged token per step of Verify, one document per rule of
// Validate, and a fuzz target over the decoder.
package permit
