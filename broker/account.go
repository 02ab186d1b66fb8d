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

// Allocation is a grant of GPU time to a project at a site.
type Allocation struct {
	ID         AllocationID
	Tenant     TenantID
	Project    ProjectID
	Site       SiteID
	AccessMode string // "playground", "fast_lane", …: data, not constants
	GPUSeconds int64  // granted
	Reserved   int64  // GPU-seconds set aside by open reservations
	Used       int64  // GPU-seconds booked; may exceed GPUSeconds by overrun
	ValidFrom  time.Time
	ValidUntil time.Time
}

// Available is what a new reservation may take, in GPU-seconds; overrun makes
// it negative.
func (a Allocation) Available() int64 { return a.GPUSeconds - a.Reserved - a.Used }

// Reservation is GPU time set aside for one attempt until it is settled.
type Reservation struct {
	ID         ReservationID
	Allocation AllocationID
	Job        JobID
	GPUSeconds int64
	Settled    bool
	Booked     int64 // GPU-seconds booked when settled
}

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
