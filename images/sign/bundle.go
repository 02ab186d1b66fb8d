package sign

import (
	"crypto"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/valico-hpc/valico/images/dsse"
)

// The names that make a bundle an image signature.
const (
	// MediaType is a bundle's media type, also the artifact type of the OCI
	// manifest that carries one.
	MediaType = "application/vnd.dev.sigstore.bundle.v0.3+json"
	// PredicateType says that a statement is an image signature.
	PredicateType = "https://sigstore.dev/cosign/sign/v1"
	// StatementType is the in-toto statement's version.
	StatementType = "https://in-toto.io/Statement/v1"
	// PayloadType is the type under which in-toto statements are signed.
	PayloadType = "application/vnd.in-toto+json"
)

// MaxBytes is the largest bundle that Verify reads; ours take some 800 bytes.
const MaxBytes = 256 << 10

const algorithm = "sha256"

var (
	// ErrMalformed says that bytes are not a bundle in the accepted form.
	ErrMalformed = errors.New("malformed signature bundle")
	// ErrStatement says that a bundle is signed but states something else than
	// an image signature of one digest.
	ErrStatement = errors.New("not an image signature")
	// ErrSubject says that a bundle signs another image.
	ErrSubject = errors.New("signature is about another image")
	// ErrKeyUnknown says that none of the given keys is the one named.
	ErrKeyUnknown = errors.New("signed by an unknown key")
	// ErrSignature says that the key did not sign this statement.
	ErrSignature = dsse.ErrSignature
	// ErrDigest says that a manifest digest is not sha256 and 64 hex digits.
	ErrDigest = errors.New("not a sha256 digest")
)

type bundle struct {
	MediaType            string    `json:"mediaType"`
	VerificationMaterial *material `json:"verificationMaterial"`
	Envelope             *envelope `json:"dsseEnvelope"`
}

type material struct {
	PublicKey *publicKey `json:"publicKey"`
	// Members of the format that a pinned key needs not.
	TlogEntries jsontext.Value `json:"tlogEntries,omitzero"`
	Timestamps  jsontext.Value `json:"timestampVerificationData,omitzero"`
}

type publicKey struct {
	Hint string `json:"hint,omitzero"` // base64 SHA-256 of the PKIX DER form
}

type envelope struct {
	Payload     string      `json:"payload"`
	PayloadType string      `json:"payloadType"`
	Signatures  []signature `json:"signatures"`
}

type signature struct {
	Sig   string `json:"sig"`
	KeyID string `json:"keyid,omitzero"`
}

type statement struct {
	Type          string         `json:"_type"`
	Subject       []subject      `json:"subject"`
	PredicateType string         `json:"predicateType"`
	Predicate     jsontext.Value `json:"predicate"`
}

type subject struct {
	Name   string            `json:"name,omitzero"`
	Digest map[string]string `json:"digest"`
}

// Sign returns a bundle in which s signs a manifest digest ("sha256:<hex>").
func Sign(s crypto.Signer, manifestDigest string) ([]byte, error) {
	hexDigest, err := parseDigest(manifestDigest)
	if err != nil {
		return nil, err
	}
	sum, err := dsse.Fingerprint(s.Public())
	if err != nil {
		return nil, err
	}
	payload, err := json.Marshal(statement{
		Type:    StatementType,
		Subject: []subject{{Digest: map[string]string{algorithm: hexDigest}}}, PredicateType: PredicateType,
		Predicate: jsontext.Value("{}"),
	})
	if err != nil {
		return nil, fmt.Errorf("encode statement: %w", err)
	}
	sig, err := dsse.SignBytes(PayloadType, payload, s)
	if err != nil {
		return nil, err
	}
	b64 := base64.StdEncoding.EncodeToString
	b, err := json.Marshal(bundle{
		MediaType:            MediaType,
		VerificationMaterial: &material{PublicKey: &publicKey{Hint: b64(sum[:])}},
		Envelope: &envelope{
			Payload: b64(payload), PayloadType: PayloadType, Signatures: []signature{{Sig: b64(sig)}},
		},
	})
	if err != nil {
		return nil, fmt.Errorf("encode bundle: %w", err)
	}
	return b, nil
}

// Verify checks that one of keys signed manifestDigest as an image and returns
// that key's id (dsse.KeyID).
func Verify(bundleBytes []byte, manifestDigest string, keys []crypto.PublicKey) (keyID string, err error) {
	hexDigest, err := parseDigest(manifestDigest)
	if err != nil {
		return "", err
	}
	b, payload, sig, err := parse(bundleBytes)
	if err != nil {
		return "", err
	}
	keyID, err = verifySignature(b.VerificationMaterial.PublicKey.Hint, payload, sig, keys)
	if err != nil {
		return "", err
	}
	if err := checkStatement(payload, hexDigest); err != nil {
		return "", err
	}
	return keyID, nil
}

// parse reads a bundle up to its bytes; nothing is verified yet.
func parse(raw []byte) (b bundle, payload, sig []byte, err error) {
	if len(raw) > MaxBytes {
		return b, nil, nil, fmt.Errorf("%w: %d bytes, at most %d", ErrMalformed, len(raw), MaxBytes)
	}
	if err := json.Unmarshal(raw, &b, json.RejectUnknownMembers(true)); err != nil {
		return b, nil, nil, fmt.Errorf("%w: %w", ErrMalformed, err)
	}
	switch {
	case b.MediaType != MediaType:
		return b, nil, nil, fmt.Errorf("%w: media type %q", ErrMalformed, b.MediaType)
	case b.VerificationMaterial == nil || b.VerificationMaterial.PublicKey == nil:
		return b, nil, nil, fmt.Errorf("%w: names no public key", ErrMalformed)
	case b.Envelope == nil || len(b.Envelope.Signatures) != 1:
		return b, nil, nil, fmt.Errorf("%w: exactly one signature is required", ErrMalformed)
	case b.Envelope.PayloadType != PayloadType:
		return b, nil, nil, fmt.Errorf("%w: payload type %q", ErrStatement, b.Envelope.PayloadType)
	}
	if payload, err = dsse.Base64(b.Envelope.Payload); err != nil {
		return b, nil, nil, fmt.Errorf("%w: payload: %w", ErrMalformed, err)
	}
	if sig, err = dsse.Base64(b.Envelope.Signatures[0].Sig); err != nil {
		return b, nil, nil, fmt.Errorf("%w: signature: %w", ErrMalformed, err)
	}
	return b, payload, sig, nil
}

// verifySignature tries the key that the hint names, or every key when it names
// none. The hint is not signed: it can only make the check fail.
func verifySignature(hint string, payload, sig []byte, keys []crypto.PublicKey) (string, error) {
	found := ErrKeyUnknown
	for _, k := range keys {
		sum, err := dsse.Fingerprint(k)
		if err != nil {
			return "", err
		}
		if hint != "" && hint != base64.StdEncoding.EncodeToString(sum[:]) {
			continue
		}
		if err := dsse.VerifyBytes(PayloadType, payload, sig, k); err == nil {
			return hex.EncodeToString(sum[:]), nil
		}
		found = ErrSignature
	}
	return "", found
}

// checkStatement checks that a verified payload is an image signature of one
// digest, the wanted one.
func checkStatement(payload []byte, hexDigest string) error {
	var st statement
	if err := json.Unmarshal(payload, &st, json.RejectUnknownMembers(true)); err != nil {
		return fmt.Errorf("%w: %w", ErrStatement, err)
	}
	switch {
	case st.Type != StatementType:
		return fmt.Errorf("%w: statement type %q", ErrStatement, st.Type)
	case st.PredicateType != PredicateType:
		return fmt.Errorf("%w: predicate type %q", ErrStatement, st.PredicateType)
	case st.Predicate.Kind() != '{':
		return fmt.Errorf("%w: the predicate is not an object", ErrStatement)
	case len(st.Subject) != 1 || len(st.Subject[0].Digest) != 1:
		return fmt.Errorf("%w: exactly one subject with one digest is required", ErrStatement)
	case st.Subject[0].Digest[algorithm] != hexDigest:
		return fmt.Errorf("%w: %s", ErrSubject, st.Subject[0].Digest[algorithm])
	}
	return nil
}

// parseDigest returns the hex part of "sha256:<64 lower-case hex digits>".
func parseDigest(s string) (string, error) {
	h, ok := strings.CutPrefix(s, algorithm+":")
	if !ok || len(h) != 64 || strings.Trim(h, "0123456789abcdef") != "" {
		return "", fmt.Errorf("%w: %q", ErrDigest, s)
	}
	return h, nil
}
