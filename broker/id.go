package broker

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/base32"
	"encoding/hex"
	"fmt"
	"strings"
)

// Identifiers are opaque: 128 random bits that say nothing of what they name,
// because some of them reach a scheduler that strangers can read (promise P12).
type (
	// TenantID names an organisation that owns tokens, jobs and blobs.
	TenantID string
	// ProjectID names a tenant's unit that holds allocations and permits.
	ProjectID string
	// PersonID is the natural person's identifier as permits write it,
	// for example an eduPersonPrincipalName; it is not opaque.
	PersonID string
	// TokenID names a person's token; it is not the secret.
	TokenID string
	// SiteID names an admitted site.
	SiteID string
	// JobID names a job.
	JobID string
	// AttemptID names one execution of a job.
	AttemptID string
	// DecisionID names an admission or a clearance.
	DecisionID string
	// OrderID names a work order.
	OrderID string
	// AllocationID names GPU-hours granted to a project at a site.
	AllocationID string
	// ReservationID names GPU-hours set aside for one attempt.
	ReservationID string
	// ReleaseID names a reviewer's release of outputs.
	ReleaseID string
	// PermitID is the authority's identifier of a permit; it is not opaque.
	PermitID string
)

//nolint:gochecknoglobals // a constant in all but syntax
var idEncoding = base32.NewEncoding("0123456789abcdefghjkmnpqrstvwxyz").WithPadding(base32.NoPadding)

// NewID draws an identifier: prefix, an underscore, and 128 bits from
// crypto/rand as 26 characters of lower-case Crockford base32.
func NewID[T ~string](prefix string) T {
	var b [16]byte
	_, _ = rand.Read(b[:]) // crypto/rand.Read never returns an error
	return T(prefix + "_" + idEncoding.EncodeToString(b[:]))
}

// IDOf derives an identifier of the same form from what makes a thing one: equal
// parts give equal identifiers, and nothing of them can be read from it as long
// as one part cannot be guessed.
func IDOf[T ~string](prefix string, parts ...string) T {
	h := sha256.New()
	for _, p := range parts {
		_, _ = fmt.Fprintf(h, "%d:%s", len(p), p) // a hash takes every write
	}
	return T(prefix + "_" + idEncoding.EncodeToString(h.Sum(nil)[:16]))
}

// ValidID reports whether s has the form that NewID gives for this prefix.
func ValidID(prefix, s string) bool {
	rest, ok := strings.CutPrefix(s, prefix+"_")
	if !ok || len(rest) != 26 {
		return false
	}
	_, err := idEncoding.DecodeString(rest)
	return err == nil
}

// Digest is "sha256:" and 64 lower-case hexadecimal digits.
type Digest string

// Valid reports whether d has the only form that Valico accepts.
func (d Digest) Valid() bool {
	digits, ok := strings.CutPrefix(string(d), "sha256:")
	if !ok || len(digits) != 64 {
		return false
	}
	return strings.Trim(digits, "0123456789abcdef") == ""
}

// DigestOf is the SHA-256 of b.
func DigestOf(b []byte) Digest {
	h := sha256.Sum256(b)
	return Digest("sha256:" + hex.EncodeToString(h[:]))
}

// Hex returns the digits without the algorithm.
func (d Digest) Hex() string { return strings.TrimPrefix(string(d), "sha256:") }
