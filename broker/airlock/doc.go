// Package airlock lets outputs leave a site, or not.
//
// At the end of an attempt its site seals /out in a quarantine and reports a
// manifest. A reviewer, never the submitter, signs that manifest's digest with
// a key of their own; the broker checks the statement, records it with a ledger
// row, and hands it to the site, which checks it again with keys that the site
// pinned and from then on serves exactly those digests:
//
//	manifest ─▶ statement (reviewer's key) ─▶ Release: check, record, site
//	         ─▶ Open: the site serves what was released, nothing else exists
//
// In regime SANDBOX one reviewer suffices. The package knows no signature
// format (its Verifier is given) and no transport. What is not released and
// what does not exist look alike. Tests: release_test.go.
package airlock
