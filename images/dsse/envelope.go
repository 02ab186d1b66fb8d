package dsse

import (
	"crypto"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"strconv"

	"github.com/go-json-experiment/json"
)

// MaxBytes is the largest envelope that Parse reads and Sign writes.
const MaxBytes = 8 << 20

// maxType bounds the payload type, a media type in practice.
const maxType = 256

var (
	// ErrMalformed says that bytes are not an envelope in the one accepted form.
	ErrMalformed = errors.New("malformed envelope")
	// ErrPayloadType says that an envelope holds another type of statement than
	// the one wanted.
	ErrPayloadType = errors.New("other payload type than wanted")
	// ErrSignature says that the key did not sign this payload under this type.
	ErrSignature = errors.New("signature does not verify")
	// ErrKey says that a key is of a kind that is not used here.
	ErrKey = errors.New("unsupported key")
)

// Envelope is a parsed envelope. Nothing in it is trusted before Verify.
type Envelope struct {
	PayloadType string
	Payload     []byte
	KeyID       string // a hint, "" when the envelope names no key
	Sig         []byte
}

// wire is the JSON form. Pointers tell an absent member from an empty one.
type wire struct {
	PayloadType *string     `json:"payloadType"`
	Payload     *string     `json:"payload"`
	Signatures  []signature `json:"signatures"`
}

type signature struct {
	KeyID string  `json:"keyid,omitzero"`
	Sig   *string `json:"sig"`
}

// PAE is the pre-authentication encoding: the bytes that are signed.
func PAE(payloadType string, payload []byte) []byte {
	b := make([]byte, 0, len(payload)+len(payloadType)+48)
	b = append(b, "DSSEv1 "...)
	b = strconv.AppendInt(b, int64(len(payloadType)), 10)
	b = append(b, ' ')
	b = append(b, payloadType...)
	b = append(b, ' ')
	b = strconv.AppendInt(b, int64(len(payload)), 10)
	b = append(b, ' ')
	return append(b, payload...)
}

// Sign returns an envelope of payload, signed by s, as compact JSON.
func Sign(payloadType string, payload []byte, s crypto.Signer) ([]byte, error) {
	id, err := KeyID(s.Public())
	if err != nil {
		return nil, err
	}
	sig, err := SignBytes(payloadType, payload, s)
	if err != nil {
		return nil, err
	}
	body, sigText := base64.StdEncoding.EncodeToString(payload), base64.StdEncoding.EncodeToString(sig)
	b, err := json.Marshal(wire{
		PayloadType: &payloadType, Payload: &body,
		Signatures: []signature{{KeyID: id, Sig: &sigText}},
	})
	if err != nil {
		return nil, fmt.Errorf("encode envelope: %w", err)
	}
	if len(b) > MaxBytes {
		return nil, fmt.Errorf("%w: %d bytes, at most %d", ErrMalformed, len(b), MaxBytes)
	}
	return b, nil
}

// SignBytes returns the bare signature of payload under payloadType, for
// formats that wrap an envelope in something else.
func SignBytes(payloadType string, payload []byte, s crypto.Signer) ([]byte, error) {
	if payloadType == "" || len(payloadType) > maxType {
		return nil, fmt.Errorf("%w: payload type of %d bytes, 1 to %d", ErrMalformed, len(payloadType), maxType)
	}
	opts, err := signerOpts(s.Public())
	if err != nil {
		return nil, err
	}
	sig, err := crypto.SignMessage(s, rand.Reader, PAE(payloadType, payload), opts)
	if err != nil {
		return nil, fmt.Errorf("sign %s: %w", payloadType, err)
	}
	return sig, nil
}

// Parse reads an envelope in its one accepted form. It verifies nothing.
func Parse(env []byte) (Envelope, error) {
	if len(env) > MaxBytes {
		return Envelope{}, fmt.Errorf("%w: %d bytes, at most %d", ErrMalformed, len(env), MaxBytes)
	}
	var w wire
	if err := json.Unmarshal(env, &w, json.RejectUnknownMembers(true)); err != nil {
		return Envelope{}, fmt.Errorf("%w: %w", ErrMalformed, err)
	}
	switch {
	case w.PayloadType == nil || *w.PayloadType == "" || len(*w.PayloadType) > maxType:
		return Envelope{}, fmt.Errorf("%w: payloadType must have 1 to %d bytes", ErrMalformed, maxType)
	case w.Payload == nil:
		return Envelope{}, fmt.Errorf("%w: no payload", ErrMalformed)
	case len(w.Signatures) != 1 || w.Signatures[0].Sig == nil:
		return Envelope{}, fmt.Errorf("%w: exactly one signature is required", ErrMalformed)
	case len(w.Signatures[0].KeyID) > maxType:
		return Envelope{}, fmt.Errorf("%w: keyid of %d bytes, at most %d", ErrMalformed, len(w.Signatures[0].KeyID), maxType)
	}
	payload, err := Base64(*w.Payload)
	if err != nil {
		return Envelope{}, fmt.Errorf("payload: %w", err)
	}
	sig, err := Base64(*w.Signatures[0].Sig)
	if err != nil {
		return Envelope{}, fmt.Errorf("signature: %w", err)
	}
	return Envelope{PayloadType: *w.PayloadType, Payload: payload, KeyID: w.Signatures[0].KeyID, Sig: sig}, nil
}

// Verify returns the payload if pub signed it under payloadType.
func (e Envelope) Verify(payloadType string, pub crypto.PublicKey) ([]byte, error) {
	if e.PayloadType != payloadType {
		return nil, fmt.Errorf("%w: %q, not %q", ErrPayloadType, e.PayloadType, payloadType)
	}
	if err := VerifyBytes(payloadType, e.Payload, e.Sig, pub); err != nil {
		return nil, err
	}
	return e.Payload, nil
}

// Base64 decodes canonical standard base64: one text for each byte string, so
// no line breaks, no missing padding and no stray bits.
func Base64(s string) ([]byte, error) {
	b, err := base64.StdEncoding.Strict().DecodeString(s)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrMalformed, err)
	}
	if len(s) != base64.StdEncoding.EncodedLen(len(b)) { // the decoder skips line breaks
		return nil, fmt.Errorf("%w: base64 with line breaks", ErrMalformed)
	}
	return b, nil
}
