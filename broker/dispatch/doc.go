// Package dispatch moves admitted attempts on: package the image, clear it,
// sign the work order, hand it to a site, watch it and settle it.
//
// Two loops claim attempts under a lease with a fencing token. One begins those
// whose turn it is, in the order of package queue and as many as a site has room
// for, and gives each back once it is at its site. The other keeps those at a
// site in hand and watches them at full rate, by one question a site, whatever
// waits for its turn; an attempt of which there is nothing new costs the record
// nothing but its lease:
//
//	packaging ─ Packager ─▶ clearing ─ Clearer + Ledger + OrderSigner ─▶ ready
//	ready ─▶ submitting ─ Site.Start ─▶ queued … running … sealing ─ Site.Reports ─▶ done
//
// It knows no adapter, no image format and no HTTP: it declares the ports it
// calls in ports.go and cmd/valico wires them.
//
// Two invariants must never break: the signed order is stored with the receipt
// of its clearance before a site hears of it, and what a site is told after a
// lost answer is byte for byte the same order, so that a repeated Start finds
// the first one. Hence a crash between any two statements is healed by doing
// the step again.
//
// An attempt that ends with more to do (broker.Resume) is followed by the next one,
// with a reservation of its own, in the same transaction; what that one may do its
// own clearance decides. Where grant or permit have no room the job ends with the
// code of the term that it does not meet, and its checkpoints stay at the site.
//
// At a site that an operator closed (broker.SiteOperation) nothing new starts: the
// queue gives no turn, each step asks, and the transaction that moves an attempt to
// submitting asks last. What is there goes on. While the site is being emptied, what
// the site has not begun is stopped; the record says so before the site does, so an
// attempt that was told to leave ends as cancelled with broker.CodeSiteDrained
// whatever comes between.
//
// What keeps an attempt where it is stands on it as broker.Waiting: the scheduler's
// reason, a step that failed, a closed site, a site that has been silent.
//
// A part that does not answer leaves the attempt where it is, due again later.
// Start at loop.go, then step.go, watch.go and operation.go. Tests run the loop over the real
// store with scripted sites; the kill -9 attack over real processes is in
// cmd/valico.
package dispatch
