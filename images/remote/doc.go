// Package remote pulls base images from OCI registries into a store.
//
// It is the only package of images that speaks to a network. It knows
// references and registries; it does not decide which image may be used, and it
// never trusts a registry: an image is named by its manifest digest, and every
// byte that comes is checked against a digest that hangs on that one.
//
//	"registry.example/team/base@sha256:…" ─ Pull ─▶ layout.Store.Import
//
// Two invariants must never break: a tag never chooses what is pulled, and an
// image is listed in the store only once all of it is there and checked. A pull
// that was cut off leaves checked blobs behind, and the next one goes on from
// there. Plain HTTP works for loopback addresses only.
//
// Source reads single blobs, for a site that keeps a layout of its own: over as
// many connections as it takes, each going on where the last one broke.
//
// Errors wrap ErrReference for a reference that is refused before anything is
// asked for, or what the registry's client or the store says. Credentials are
// asked for by host and never appear in an error.
//
// Start reading at Pull, or at Source in blob.go. Tested against an in-process registry, and against
// servers that lie.
package remote
