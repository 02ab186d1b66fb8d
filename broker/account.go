package broker

import (
	"log/slog"
	"time"
)

// Roles of a person.
const (
	RoleDeveloper = "developer"
	RoleReviewer  = "reviewer"
	RoleOperator  = "operator"
)

// Person is a natural person known to the broker.
type Person struct {
	ID        PersonID
	Tenant    TenantID
	Project   ProjectID
	Name      string
	Roles     []string
	CreatedAt time.Time
}

// Token is a stored token; the secret itself is never stored.
type Token struct {
	ID        TokenID
	Tenant    TenantID
	Project   ProjectID
	Person    PersonID
	Hash      [32]byte // SHA-256 of the 256-bit secret as presented
	CreatedAt time.Time
	ExpiresAt time.Time
	RevokedAt time.Time
}

// Secret is a token as its owner holds it. It never prints.
type Secret string

// String hides the secret.
func (Secret) String() string { return "REDACTED" }

// GoString hides the secret from %#v.
func (Secret) GoString() string { return "REDACTED" }

// MarshalText hides the secret from encoders, which slog uses for structs.
func (Secret) MarshalText() ([]byte, error) { return []byte("REDACTED"), nil }

// LogValue hides the secret from slog.
func (Secret) LogValue() slog.Value { return slog.StringValue("REDACTED") }

// PermitRecord is a permit as imported.
type PermitRecord struct {
	ID       PermitID
	Version  int
	Tenant   TenantID
	Project  ProjectID
	JWS      []byte // compact, exact bytes
	Digest   Digest // of JWS
	Status   []byte // newest status statement, compact JWS
	StatusAt time.Time
	At       time.Time
}
