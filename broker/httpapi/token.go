package httpapi

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"strings"

	"github.com/valico-hpc/valico/broker"
)

// tokenPrefix begins every token, so that one that was pasted somewhere can be
// recognised.
const tokenPrefix = "vlc_"

// NewSecret draws a token of 256 bits: "vlc_" and 43 characters of base64url.
// What a store keeps is its hash.
func NewSecret() (broker.Secret, [32]byte) {
	var b [32]byte
	_, _ = rand.Read(b[:]) // crypto/rand.Read never returns an error
	s := broker.Secret(tokenPrefix + base64.RawURLEncoding.EncodeToString(b[:]))
	return s, HashSecret(s)
}

// HashSecret is what is stored of a token: the SHA-256 of it as presented.
func HashSecret(s broker.Secret) [32]byte { return sha256.Sum256([]byte(s)) }

// bearer reads a token from an Authorization header; "" when it has no token's
// form.
func bearer(header string) broker.Secret {
	scheme, token, ok := strings.Cut(header, " ")
	if !ok || !strings.EqualFold(scheme, "Bearer") {
		return ""
	}
	digits, ok := strings.CutPrefix(token, tokenPrefix)
	if !ok || len(digits) != 43 {
		return ""
	}
	if b, err := base64.RawURLEncoding.Strict().DecodeString(digits); err != nil || len(b) != 32 {
		return ""
	}
	return broker.Secret(token)
}
