// Package sign makes and checks the signature of an image: a Sigstore bundle
// v0.3 whose DSSE envelope holds an in-toto statement "this manifest digest is
// signed", made with a long-lived key and no transparency log of strangers.
//
// It knows manifest digests and keys. It does not know images, registries or
// what else a key may be trusted for, and reaches no network code.
//
// Two invariants must never break: Verify succeeds only if one of the given
// keys signed exactly the given manifest digest, and only if the statement says
// by name that it is an image signature. The second one matters because the
// same envelope carries attestations too, and a verifier that does not ask for
// the predicate type takes an attestation for a signature (cosign verify does,
// measured with 3.1.3). For the same reason image keys sign nothing else.
//
// A bundle of another version, with a certificate, with two subjects, with
// members that the format does not have, or that is larger than MaxBytes is
// refused. Time stamps and log entries of other tools are read over: they prove
// nothing under a pinned key.
//
// Start reading at Verify. Tested by breaking one thing at a time, with bundles
// in the shape that cosign writes, and by fuzzing.
package sign
