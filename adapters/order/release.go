package order

import (
	"bytes"
	"crypto"
	"errors"
	"fmt"
	"time"

	"github.com/go-json-experiment/json"

	"github.com/valico-hpc/valico/broker"
	"github.com/valico-hpc/valico/broker/airlock"
	"github.com/valico-hpc/valico/images/dsse"
)

// The names that make a statement a release. The payload type is its own, so
// that no other statement is signed under it.
const (
	ReleasePayloadType = "application/vnd.valico.release.v1+json"
	releaseSchema      = "valico-release/v1"
)

// Codes of a release that is refused.
const (
	CodeReleaseMalformed  = "release_malformed"
	CodeReleaseKeyUnknown = "release_key_unknown"
	CodeReleaseKeyRole    = "release_key_role"
	CodeReleaseSignature  = "release_signature"
	CodeReleaseReviewer   = "release_reviewer"
)

type wireRelease struct {
	Schema   string        `json:"schema"`
	Attempt  string        `json:"attempt"`
	Manifest broker.Digest `json:"manifest"`
	Reviewer string        `json:"reviewer"`
	At       string        `json:"at"`
}

// SignRelease makes a reviewer's statement that the outputs of one manifest
// may leave the quarantine. The key is the reviewer's own.
func SignRelease(s airlock.Statement, at time.Time, key crypto.Signer) ([]byte, error) {
	if key == nil {
		return nil, errors.New("sign release: a key is required")
	}
	payload, err := encodeRelease(wireRelease{
		Schema: releaseSchema, Attempt: string(s.Attempt), Manifest: s.Manifest, Reviewer: string(s.Reviewer), At: stamp(at),
	})
	if err != nil {
		return nil, fmt.Errorf("sign release: %w", err)
	}
	envelope, err := dsse.Sign(ReleasePayloadType, payload, key)
	if err != nil {
		return nil, fmt.Errorf("sign release: %w", err)
	}
	return envelope, nil
}

// VerifyRelease checks a reviewer's statement with the officers' keys that the
// site pinned. The key must be the named reviewer's own.
func VerifyRelease(envelope []byte, trust Trust) (airlock.Statement, error) {
	e, err := dsse.Parse(envelope)
	if err != nil {
		return airlock.Statement{}, refuseRelease(CodeReleaseMalformed, "", err)
	}
	w, err := decodeRelease(e.PayloadType, e.Payload)
	if err != nil {
		return airlock.Statement{}, refuseRelease(CodeReleaseMalformed, "", err)
	}
	key, ok := trust.keyOf(e.KeyID)
	if !ok {
		return airlock.Statement{}, refuseRelease(CodeReleaseKeyUnknown, e.KeyID, nil)
	}
	if key.role != RoleOfficer {
		return airlock.Statement{}, refuseRelease(CodeReleaseKeyRole, string(key.role), nil)
	}
	if _, err := e.Verify(ReleasePayloadType, key.key); err != nil {
		return airlock.Statement{}, refuseRelease(CodeReleaseSignature, "", err)
	}
	for _, o := range trust.Officer {
		if id, err := dsse.KeyID(o.Key); err == nil && id == e.KeyID && string(o.Person) == w.Reviewer {
			return airlock.Statement{
				Attempt: broker.AttemptID(w.Attempt), Manifest: w.Manifest, Reviewer: broker.PersonID(w.Reviewer),
			}, nil
		}
	}
	return airlock.Statement{}, refuseRelease(CodeReleaseReviewer, w.Reviewer, nil)
}

// VerifyRelease is the function VerifyRelease with this trust.
func (t Trust) VerifyRelease(envelope []byte) (airlock.Statement, error) {
	return VerifyRelease(envelope, t)
}

func encodeRelease(w wireRelease) ([]byte, error) {
	at, err := time.Parse(stampLayout, w.At)
	if err != nil || at.Year() < 2000 || w.Schema != releaseSchema || w.Attempt == "" || w.Reviewer == "" || !w.Manifest.Valid() {
		return nil, errors.New("a release names an attempt, a manifest's digest, a reviewer and a time")
	}
	return json.Marshal(w)
}

func decodeRelease(payloadType string, b []byte) (wireRelease, error) {
	var w wireRelease
	if payloadType != ReleasePayloadType {
		return w, fmt.Errorf("payload type %q", payloadType)
	}
	if err := json.Unmarshal(b, &w, json.RejectUnknownMembers(true)); err != nil {
		return w, err
	}
	again, err := encodeRelease(w)
	if err != nil {
		return w, err
	}
	if !bytes.Equal(again, b) {
		return w, errors.New("another encoding of the same release")
	}
	return w, nil
}

func refuseRelease(code, value string, err error) *broker.Error {
	e := &broker.Error{
		Kind: broker.KindForbidden, Code: code, Value: cut(value), Err: err, Message: "the release is not understood",
		Rule: "a release is signed with a key that the site pinned as the named reviewer's own",
		Help: "sign the release again with the reviewer's key", Who: whoSite,
	}
	switch code {
	case CodeReleaseKeyUnknown:
		e.Message, e.Help = "the release is signed with a key that the site does not know", "pin the reviewer's key in the site's trust file, if it is genuine"
	case CodeReleaseKeyRole:
		e.Message = "the release is signed with a key of another role"
	case CodeReleaseSignature:
		e.Message = "the release's signature does not hold"
	case CodeReleaseReviewer:
		e.Message = "the release is signed with another officer's key than the named reviewer's"
	}
	return e
}
