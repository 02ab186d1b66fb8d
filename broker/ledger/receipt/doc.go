// Package receipt holds the forms that anyone can verify without trusting the
// broker: the decision document, the leaf of the ledger, the receipt that a
// leaf is in the log, and the checkpoint that its signer stands for.
//
// It knows no store, clock or key of its own, and imports the standard library
// and golang.org/x/mod alone, so that the launcher on a compute node and an
// auditor's laptop carry nothing else.
//
//	document ──salt──▶ Record.Document ─┐
//	person ──permit's key──▶ Pseudonym ─┤
//	permit's leaf before ──▶ Prev, Seq ─┴▶ Record ──SHA-256──▶ Leaf
//	Leaf ──RFC 6962──▶ tree ──▶ Checkpoint (C2SP tlog-checkpoint, signed note)
//	Receipt = Record + salt + inclusion proof + checkpoint
//
// Two invariants must never break: a value has exactly one encoding, so a digest
// is over what the reader sees, and every Decode refuses bytes that its Encode
// would not have written; and Verify succeeds only if a pinned key signed a tree
// that holds the leaf of a record that commits to the document given.
//
// Every failure is an *Error with a Code; nothing is repaired or guessed. What
// VerifyLog cannot see: a decision that was never logged and a permit's newest
// leaves cut off. The first is found by reconciliation with the schedulers, the
// second by comparing checkpoints.
//
// Start at record.go, then verify.go and log.go. Tests break each part of a
// receipt one at a time; fuzz targets hold the one-encoding invariant.
package receipt
