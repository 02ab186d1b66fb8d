package broker

import "time"

// Verdict is the result of a decision.
type Verdict string

// The verdicts.
const (
	VerdictAllow  Verdict = "allow"
	VerdictDeny   Verdict = "deny"
	VerdictReview Verdict = "review"
)

// Decision kinds.
const (
	DecisionAdmission = "admission"
	DecisionClearance = "clearance"
)

// Reason is one finding of policy. Texts and remedies live in message
// catalogues by Code, so a typo never changes a policy bundle.
type Reason struct {
	Code   string
	Basis  string // in_force, national, permit_condition, contract or anticipated
	Path   string // which input it is about, for example "job.datasets[0].puri"
	Params map[string]string
}

// Decision is a stored admission or clearance.
type Decision struct {
	ID          DecisionID
	Tenant      TenantID
	Project     ProjectID
	Job         JobID
	Attempt     AttemptID // "" for an admission
	Kind        string
	Verdict     Verdict
	Reasons     []Reason
	Permit      PermitID
	Input       []byte // the canonical policy input, exact bytes
	Document    []byte // the decision document that the ledger commits to
	PolicyHash  Digest // of the policy packs that decided
	Engine      string // name and version of the policy engine
	LedgerIndex int64  // index of its leaf
	At          time.Time
}
