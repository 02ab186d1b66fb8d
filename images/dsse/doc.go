// Package dsse signs and opens DSSE v1 envelopes (Dead Simple Signing
// Envelope): signed statements whose type is part of what is signed.
//
// It knows keys and bytes, nothing of what a payload means, and reaches no
// network code, so that a launcher on a compute node can use it.
//
//	Sign(type, payload, key) ──▶ envelope bytes
//	Parse(envelope bytes)    ──▶ Envelope ── Verify(type, public key) ──▶ payload
//
// Two invariants must never break: Verify returns a payload only if the given
// key signed exactly that payload under exactly the wanted type, and Parse
// accepts one spelling of an envelope only, so that nobody can pass two
// readings of the same bytes to two verifiers. Hence an envelope carries
// exactly one signature, base64 is canonical, and unknown or repeated members
// are refused. The key id in an envelope is a hint for finding a key; it is not
// signed and decides nothing.
//
// Keys are ECDSA P-256 (ASN.1 signature over SHA-256) and Ed25519; a key id is
// the hex SHA-256 of the key's PKIX DER form. Every failure wraps one of the
// sentinel errors below; anything unexpected is an error, never a payload.
//
// Start reading at envelope.go; key.go holds keys and their PEM files. Tested
// with the example of the DSSE specification, by breaking one thing at a time,
// and by fuzzing Parse.
package dsse
