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
	KindAllocation   = "allocation" // an operator's act on GPU time, in the chain of its project
	KindSite         = "site"       // an operator's act on a site, in the chain of the site
)

// ProjectChain is what Entry.Permit says of an act that is about a project and
// no permit of it: such acts form a chain of their own, with its own key. The
// space keeps it apart from every permit, whose identifiers have none.
func ProjectChain(p broker.ProjectID) broker.PermitID { return broker.PermitID("project " + p) }

// SiteChain is the same for acts that are about a site: each tenant whose
// operators act on it has such a chain.
func SiteChain(s broker.SiteID) broker.PermitID { return broker.PermitID("site " + s) }

// Entry is what a store is asked to append in the transaction of the decision
// or act that it records. The ledger adds salt, pseudonym, sequence and the
// previous leaf of the permit.
type Entry struct {
	Kind     string
	Tenant   broker.TenantID
	Permit   broker.PermitID // or a ProjectChain
	Person   broker.PersonID // who asked or acted
	Document []byte          // the exact bytes that the leaf commits to
	At       time.Time
}
