package wire

import (
	"time"

	"github.com/valico-hpc/valico/policy/permit"
)

// Permit is an imported permit and what checking it now establishes.
type Permit struct {
	ID          string           `json:"id" example:"sandbox-2026-11-24"`
	Version     int              `json:"version"`
	Digest      string           `json:"digest"`
	LegalRegime string           `json:"legal_regime" example:"SANDBOX"`
	Verified    bool             `json:"verified" doc:"Signed by a trusted key."`
	InScope     bool             `json:"in_scope" doc:"Within what that key is trusted for."`
	IssuerKey   string           `json:"issuer_key"`
	Status      string           `json:"status" doc:"The newest status statement, empty when there is none." example:"GRANTED"`
	StatusAt    *time.Time       `json:"status_at,omitempty"`
	AccessEnd   *time.Time       `json:"access_end,omitempty"`
	ImportedAt  time.Time        `json:"imported_at"`
	Document    *permit.Document `json:"document,omitempty"`
	LedgerIndex *int64           `json:"ledger_index,omitempty" doc:"Leaf of the import or the status, in its answer."`
}

// Permits are a project's permits.
type Permits struct {
	Permits []Permit `json:"permits" nullable:"false"`
}

// PermitImport carries a signed permit and, if there is one, its status.
type PermitImport struct {
	JWS    string `json:"jws" minLength:"1" maxLength:"262144" doc:"Compact JWS of the permit."`
	Status string `json:"status,omitempty" maxLength:"65536" doc:"Compact JWS of its status."`
}

// PermitStatus carries a signed status statement.
type PermitStatus struct {
	JWS string `json:"jws" minLength:"1" maxLength:"65536" doc:"Compact JWS of the status."`
}
