package permit

import (
	"crypto"
	"fmt"

	"github.com/go-json-experiment/json"
)

// TrustedIssuer is a key that may sign permits, and for what.
type TrustedIssuer struct {
	KeyID  string
	Public crypto.PublicKey // ECDSA P-256 or Ed25519
	Issuer string           // the hdab_id whose key it is
	Scope  Scope
}

// Verified is a permit whose signature holds.
type Verified struct {
	Document Document
	KeyID    string
	Issuer   string
}

// Sign makes the compact JWS of a permit with ES256 or EdDSA, as the key is.
// It does not judge the document: see Validate.
func Sign(doc Document, key crypto.Signer, kid string) (string, error) {
	s, err := sign(doc, TypePermit, key, kid)
	if err != nil {
		return "", fmt.Errorf("sign permit %s: %w", doc.ID, err)
	}
	return s, nil
}

// Verify checks a compact JWS with the one trusted key that it names. With an
// error of code permit_scope the signature held, and Verified says of what.
func Verify(compact []byte, issuers []TrustedIssuer) (Verified, error) {
	h, err := parse(compact, TypePermit)
	if err != nil {
		return Verified{}, err
	}
	at, err := find(h.KeyID, len(issuers), func(i int) string { return issuers[i].KeyID })
	if err != nil {
		return Verified{}, err
	}
	issuer := issuers[at]
	payload, err := verify(compact, h, issuer.Public)
	if err != nil {
		return Verified{}, err
	}
	doc, err := decodeDocument(payload)
	if err != nil {
		return Verified{}, err
	}
	v := Verified{Document: doc, KeyID: issuer.KeyID, Issuer: issuer.Issuer}
	if issuer.Issuer == "" || doc.Issuer.HDAB != issuer.Issuer {
		return v, outside("the key is not this authority's", doc.Issuer.HDAB, "a key signs permits of its own authority only: "+issuer.Issuer)
	}
	return v, issuer.Scope.Covers(doc)
}

// find returns the index of the one key of that id. Two keys of one id are no
// key: trust that can be read in two ways is none.
func find(kid string, n int, id func(int) string) (int, error) {
	at, count := 0, 0
	for i := range n {
		if id(i) == kid {
			at, count = i, count+1
		}
	}
	if count == 1 {
		return at, nil
	}
	e := &Error{
		Code: CodeKeyUnknown, Message: "signed with a key that is not trusted", Value: cut(kid),
		Rule: "a permit or status is signed with a key that was pinned for this beforehand",
		Help: "pin the authority's key if you know it to be genuine, or use a permit signed with a pinned one",
	}
	if count > 1 {
		e.Message = "signed with a key id that two trusted keys share"
	}
	return 0, e
}

// decodeDocument reads a payload strictly: unknown and repeated members refuse.
func decodeDocument(payload []byte) (Document, error) {
	var doc Document
	if err := json.Unmarshal(payload, &doc, json.RejectUnknownMembers(true)); err != nil {
		return Document{}, malformed("the permit document is not understood", "", err)
	}
	if doc.Schema != Schema {
		return Document{}, malformed("not a document of schema "+Schema, doc.Schema, nil)
	}
	return doc, nil
}
