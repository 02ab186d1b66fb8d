package ledger

import (
	"time"

	"github.com/valico-hpc/valico/broker"
)

// Kinds of entries: decisions and human acts.
const (
	KindAdmission    = broker.DecisionAdmission
	KindClearance    = broker.DecisionClearance
	KindPermitImport = "permit_import"
	KindPermitStatus = "permit_status"
	KindRelease      = "release"
)

// Entry is what a store is asked to append in the transaction of the decision
// or act that it records. The ledger adds salt, pseudonym, sequence and the
// previous leaf of the permit.
type Entry struct {
	Kind     string
	Tenant   broker.TenantID
	Permit   broker.PermitID
	Person   broker.PersonID // who asked or acted
	Document []byte          // the exact bytes that the leaf commits to
	At       time.Time
}
