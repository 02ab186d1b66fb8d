// Package admission takes the two decisions that stand between a person and a
// GPU: admission, on the job as asked for, and clearance, on the image as
// built, with fresh permit status.
//
//	request ─▶ facts (store, permit signature, site, budget) ─▶ Input (pure)
//	        ─▶ engine ─▶ decision document ─▶ one transaction:
//	           job + decision + ledger row + reservation + attempt + outbox
//
// It maps nouns to policy.Input and records what policy answered; it decides
// nothing itself, knows no HTTP, and never reaches a scheduler.
//
// Two invariants must never break: a verdict that is not recorded does not
// exist (an error of engine, store or ledger admits nothing), and the bytes
// that were evaluated are the bytes that are stored.
//
// A reservation is GPUs × weight × (walltime + kill margin), at the weight that
// the allocation gives the type of GPU then; permits count it without the weight.
// Policy is told of budgets as they were read, so the record holds each term once
// more in the transaction: grant, freeze, limits at once, the permit's ceiling.
//
// Start at service.go, then input.go. Tests drive the service over the real
// SQLite store and engine, 1,000 submissions at once and a process that is killed
// while it submits (budget_test.go); the pure mapping is tested field by field against
// broker.JobSpec.
package admission
