// Package registry serves images read-only in the form of an OCI registry: the
// pull half of the distribution specification v1.1 under /v2/, by digest.
//
//	GET|HEAD /v2/                             is there a registry, and may I
//	GET|HEAD /v2/<name>/manifests/<digest>
//	GET|HEAD /v2/<name>/blobs/<digest>        with ranges
//
// It does not know who may read what: for every request its Authorizer turns
// the bearer token and the repository's name into a Grant, and nothing that is
// not in the grant exists. There are no tags, because a tag never chooses what
// is pulled here, no lists and no uploads.
//
// Two invariants must never break: no byte of a blob leaves that the grant does
// not list, however the blob came into the store; and a repository that the
// token is not for looks the same whether it exists or not.
//
// Errors are the specification's JSON bodies: 401 with a challenge for no or a
// wrong token, 403 for another's repository, 404 for what the grant does not
// hold, 405 for anything but reading, 503 when the answer is not known. What
// went wrong inside is logged and never shown.
//
// Start at handler.go. Tested with the client of another project.
package registry
