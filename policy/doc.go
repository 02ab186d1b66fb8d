// Package policy decides whether a job may run: it evaluates the embedded Rego
// packs on one document, Input, and answers with a verdict and its reasons. It
// is a technical check of a job, never a decision on a permit.
//
// It knows no store, clock, network or site: whatever a rule needs is in Input,
// and the bytes of Input that the ledger keeps are the bytes that were
// evaluated, so every decision replays. It imports nothing of ours but
// policy/permit, whose document is part of Input.
//
//	Input ─Canonical─▶ bytes ─Evaluate─▶ data.eu.decision      ─┐
//	                    (refused unless   data.sandbox.decision ─┼─▶ Result
//	                     canonical)       data.site.decision    ─┘
//
// Packs: lib (helpers, the calendar of Regulation (EU) 2025/327), eu (what the
// permit says, read with that regulation), sandbox (synthetic data only) and
// site (the contract with a site, and what the site measured of itself; the
// classes of priority are its data document, site/data.json). Any
// pack's deny is a deny, else any review is a review, else allow. A pack has no
// say in matters of another regime by having no reasons, never by being absent.
//
// Two invariants must never break. A missing or malformed field never allows:
// rules deny by negated helpers, form.rego denies each key that is not there,
// and Evaluate refuses bytes that are not canonical. And no rule is undefined
// in a way that allows: an undefined pack, an evaluation error, a timeout or a
// result of another form is an error, and an error is never an allow.
//
// Chapter IV of the regulation applies from 26 March 2029. Before, a rule's
// basis is what the permit or the contract says, never "in_force"; lib.ehds
// computes it from input.now and the permit's legal regime.
//
// Start reading at engine.go, then rego/lib, rego/eu/main.rego. Tests: Rego
// tests beside the rules with full coverage (rego_test.go), golden decisions
// (testdata/golden), every leaf removed in turn and every leaf named by a rule
// or by a written exemption (fields_test.go), and the schema and capabilities
// generated anew and compared (schema_test.go).
package policy
