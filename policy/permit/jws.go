package permit

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"encoding/base64"
	"fmt"
	"strings"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/cryptosigner"
	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// Types of the two statements, in the protected header.
const (
	TypePermit = "ehds-permit+jwt"
	TypeStatus = "ehds-permit-status+jwt"
)

// MaxBytes bounds a compact permit or status before anything is decoded.
const MaxBytes = 1 << 20

const maxKeyID = 200

// header is the whole protected header: anything else in it is refused, so
// that no token brings its own key.
type header struct {
	Algorithm jose.SignatureAlgorithm `json:"alg"`
	KeyID     string                  `json:"kid"`
	Type      string                  `json:"typ"`
}

// algorithm is the only algorithm for a key: the key chooses, never the token.
func algorithm(pub crypto.PublicKey) (jose.SignatureAlgorithm, error) {
	switch k := pub.(type) {
	case *ecdsa.PublicKey:
		if k.Curve == elliptic.P256() {
			return jose.ES256, nil
		}
		return "", fmt.Errorf("an ECDSA key must be on P-256")
	case ed25519.PublicKey:
		if len(k) == ed25519.PublicKeySize {
			return jose.EdDSA, nil
		}
		return "", fmt.Errorf("an Ed25519 key has %d bytes", ed25519.PublicKeySize)
	}
	return "", fmt.Errorf("a key is ECDSA P-256 or Ed25519, not %T", pub)
}

// KeyID is the RFC 7638 thumbprint of a public key, base64url: a name for a
// key that needs no register.
func KeyID(pub crypto.PublicKey) (string, error) {
	if _, err := algorithm(pub); err != nil {
		return "", err
	}
	sum, err := (&jose.JSONWebKey{Key: pub}).Thumbprint(crypto.SHA256)
	if err != nil {
		return "", fmt.Errorf("thumbprint: %w", err)
	}
	return base64.RawURLEncoding.EncodeToString(sum), nil
}

// sign makes the compact JWS of a statement: RFC 8785 canonical JSON under a
// header of alg, kid and typ.
func sign(statement any, typ string, key crypto.Signer, kid string) (string, error) {
	if key == nil {
		return "", fmt.Errorf("a signing key is required")
	}
	alg, err := algorithm(key.Public())
	if err != nil {
		return "", err
	}
	if kid == "" || len(kid) > maxKeyID {
		return "", fmt.Errorf("a key id has 1 to %d bytes", maxKeyID)
	}
	payload, err := canonical(statement)
	if err != nil {
		return "", fmt.Errorf("encode: %w", err)
	}
	opts := (&jose.SignerOptions{}).WithType(jose.ContentType(typ)).WithHeader("kid", kid)
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: alg, Key: cryptosigner.Opaque(key)}, opts)
	if err != nil {
		return "", fmt.Errorf("prepare the signature: %w", err)
	}
	jws, err := signer.Sign(payload)
	if err != nil {
		return "", fmt.Errorf("sign: %w", err)
	}
	compact, err := jws.CompactSerialize()
	if err != nil {
		return "", fmt.Errorf("serialize: %w", err)
	}
	if len(compact) > MaxBytes {
		return "", fmt.Errorf("a signed statement has at most %d bytes, this one %d", MaxBytes, len(compact))
	}
	return compact, nil
}

func canonical(v any) ([]byte, error) {
	b, err := json.Marshal(v)
	if err != nil {
		return nil, err
	}
	err = (*jsontext.Value)(&b).Canonicalize()
	return b, err
}

// parse reads the header of a compact JWS, strictly, and nothing else of it.
func parse(compact []byte, typ string) (header, error) {
	if len(compact) == 0 || len(compact) > MaxBytes {
		return header{}, malformed("not a signed statement: too long or empty", "", nil)
	}
	parts := strings.Split(string(compact), ".")
	if len(parts) != 3 {
		return header{}, malformed("not a compact JWS", string(compact), nil)
	}
	var decoded [3][]byte
	for i, part := range parts {
		b, err := base64.RawURLEncoding.Strict().DecodeString(part)
		// The decoder skips line ends; one token must have one spelling.
		if err != nil || len(b) == 0 || strings.ContainsAny(part, "\r\n") {
			return header{}, malformed("not a compact JWS: part "+string(rune('1'+i))+" is not base64url", part, err)
		}
		decoded[i] = b
	}
	var h header
	if err := json.Unmarshal(decoded[0], &h, json.RejectUnknownMembers(true)); err != nil {
		return header{}, malformed("the header is not understood", string(decoded[0]), err)
	}
	if h.Type != typ {
		return header{}, malformed("not a statement of type "+typ, h.Type, nil)
	}
	if h.KeyID == "" || len(h.KeyID) > maxKeyID {
		return header{}, malformed("the header names no key", "", nil)
	}
	return h, nil
}

// verify returns the payload if, and only if, the key signed it.
func verify(compact []byte, h header, pub crypto.PublicKey) ([]byte, error) {
	refuse := func(value string, err error) ([]byte, error) {
		return nil, &Error{
			Code: CodeSignature, Message: "the signature does not hold", Value: cut(value), Err: err,
			Rule: "the trusted key that the header names signed exactly these bytes, with its own algorithm",
			Help: "ask the authority for the file as it was signed",
		}
	}
	alg, err := algorithm(pub)
	if err != nil {
		return refuse(h.KeyID, err)
	}
	if h.Algorithm != alg {
		return refuse(string(h.Algorithm), fmt.Errorf("key %s signs with %s", h.KeyID, alg))
	}
	jws, err := jose.ParseSignedCompact(string(compact), []jose.SignatureAlgorithm{alg})
	if err != nil {
		return refuse(h.KeyID, err)
	}
	payload, err := jws.Verify(pub)
	if err != nil {
		return refuse(h.KeyID, err)
	}
	return payload, nil
}
