// Package ledger is the transparency log of every decision and human act: an
// RFC 6962 Merkle tree whose leaves are appended in the transaction of what
// they record, and checkpoints over it that the broker signs.
//
// It knows no SQL (a store gives it Tx and Store), no transport and no policy,
// and never reads a document that it commits to.
//
//	store's transaction: decision + Append(Tx, Entry) ─▶ row, leaf, tree hashes
//	Log.Receipt(index)  ─▶ newest checkpoint covers it? ─ no ─▶ sign one over all
//	                       rows there are ─▶ inclusion proof ─▶ receipt
//
// Public are checkpoints and hash tiles. Rows go to parties only: a leaf is the
// hash of salted commitments and says nothing of who or what.
//
// Entries chain per permit of a tenant. Acts that are about a project and none of
// its permits, those on allocations, chain per project (ProjectChain) in the same
// form of record, under a key of their own.
//
// Two invariants must never break: an entry is in the tree exactly if the act
// it records is in the store, for they are one transaction; and a checkpoint is
// signed only over a tree that holds, unchanged, the tree of the checkpoint
// before it.
//
// A store that does not answer gives KindUnavailable and no receipt, so nothing
// is cleared. A tree that no longer hashes to what was signed gives KindInternal
// with code "ledger_diverged" and nothing is ever signed again until a human has
// looked: a log that contradicts itself must stop, not go on.
//
// Start at append.go, then log.go; receipt/ has the forms and the offline
// verifier. Tests run over a store in memory here and over SQLite in
// broker/store/storetest; the fork, flip and roll-back attacks are in
// log_test.go.
package ledger
