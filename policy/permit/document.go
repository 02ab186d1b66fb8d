package permit

import "time"

// Schema is the version of the permit document that this package reads.
const Schema = "ehds-permit/v1"

// Legal regimes (facts: Regulation (EU) 2025/327 Articles 54, 67(3), 75).
// EHDS_REQUEST (Article 69) exists only to be refused: it never gives access.
const (
	RegimeSandbox          = "SANDBOX"
	RegimeEHDSPermit       = "EHDS_PERMIT"
	RegimeNationalPermit   = "NATIONAL_PERMIT"
	RegimeAccessApproval   = "ACCESS_APPROVAL"
	RegimeDataUseAgreement = "DATA_USE_AGREEMENT"
	RegimeEHDSRequest      = "EHDS_REQUEST"
)

// Permit states that the access-management system knows (TEHDAS2 D6.4 §9.2);
// SUSPENDED is the broker's own for a pause that an authority ordered.
const (
	StatusGranted   = "GRANTED"
	StatusAmended   = "AMENDED"
	StatusRenewed   = "RENEWED"
	StatusRevoked   = "REVOKED"
	StatusExpired   = "EXPIRED"
	StatusSuspended = "SUSPENDED"
)

// Document is the permit as its authority signs it. It carries the digest of
// the signed legal decision and never claims to be that decision. Times are
// UTC, RFC 3339. Article numbers are of Regulation (EU) 2025/327.
type Document struct {
	Schema      string      `json:"schema"`
	ID          string      `json:"id"`
	Version     int         `json:"version"`
	Supersedes  string      `json:"supersedes,omitempty"`
	Reference   string      `json:"reference"` // the authority's diary number
	LegalRegime string      `json:"legal_regime"`
	Issuer      Issuer      `json:"issuer"`
	Decision    DecisionRef `json:"document"` // the signed legal decision
	Status      string      `json:"status"`
	User        User        `json:"user"`

	Persons       []Person  `json:"persons"`                      // 68(10)(d), 73(1)(a)
	Purposes      []Purpose `json:"purposes"`                     // 53(1), 68(10)(b)
	PurposeText   string    `json:"purpose_description"`          // 68(10)(b)
	Activities    []string  `json:"permitted_activities"`         // for example train, evaluate
	ProhibitedAck bool      `json:"prohibited_uses_acknowledged"` // 54

	Datasets     []Dataset    `json:"datasets"` // 68(10)(a)
	IssuedAt     time.Time    `json:"issued_at"`
	AccessPeriod AccessPeriod `json:"access_period"` // 68(10)(e)
	Retention    Retention    `json:"retention"`     // 68(12)

	SPE        SPE         `json:"spe"` // 68(10)(f)
	Execution  Execution   `json:"execution"`
	Outputs    Outputs     `json:"outputs"`              // 73(2), 61(4)
	Conditions []Condition `json:"conditions,omitempty"` // 68(10)(h)
}

// Issuer is the authority that decided.
type Issuer struct {
	HDAB    string `json:"hdab_id"`
	Name    string `json:"name"`
	Country string `json:"country"`
	Contact string `json:"contact"`
}

// DecisionRef points at the signed legal decision.
type DecisionRef struct {
	SHA256    string    `json:"sha256"` // 64 hexadecimal digits
	MediaType string    `json:"media_type"`
	SignedAt  time.Time `json:"signed_at"`
}

// User is the data user, who is the controller of the processing (74(1)).
type User struct {
	Kind         string `json:"kind"` // legal or natural
	Name         string `json:"name"`
	ID           string `json:"id"`
	Country      string `json:"country"`
	IsPublicBody bool   `json:"is_public_body"`
}

// Person is a natural person who may access the data.
type Person struct {
	ID          string    `json:"id"`
	Name        string    `json:"name"`
	Affiliation string    `json:"affiliation"`
	Role        string    `json:"role"` // PI or ANALYST
	From        time.Time `json:"from"`
	Until       time.Time `json:"until"`
}

// Purpose is a code of Article 53(1), "53(1)(e)", with the sub-point "i" or
// "ii" where it has one.
type Purpose struct {
	Code string `json:"code"`
	Sub  string `json:"sub,omitempty"`
}

// Dataset is one dataset that the permit covers.
type Dataset struct {
	PURI         string   `json:"id"`
	Version      string   `json:"version,omitempty"` // empty covers every version
	Categories   []string `json:"categories"`        // Article 51(1) letters
	Holder       string   `json:"holder"`
	Country      string   `json:"source_country"`
	Format       string   `json:"format"`
	AccessFormat string   `json:"access_format"` // ANONYMISED, PSEUDONYMISED or SYNTHETIC
}

// AccessPeriod is half-open: start ≤ t < end.
type AccessPeriod struct {
	Start time.Time `json:"start"`
	End   time.Time `json:"end"`
}

// Retention says when data in the environment are deleted at the latest.
type Retention struct {
	DeleteBy time.Time `json:"delete_by"`
}

// SPE names the secure processing environment and what it may run.
type SPE struct {
	ID         string      `json:"id"`
	Name       string      `json:"name"`
	Operator   string      `json:"operator"`
	Country    string      `json:"country"`
	Sites      []string    `json:"sites"` // site names
	Components []Component `json:"software_components"`
	MaxGPUs    int         `json:"max_gpus,omitempty"`  // at once; 0 sets no limit
	GPUHours   float64     `json:"gpu_hours,omitempty"` // in all; 0 sets no limit
}

// Component is an approved software component: an image manifest's or a
// layer's digest ("sha256:…"), or "none" for an empty base.
type Component struct {
	Image  string `json:"image"`
	Digest string `json:"digest"`
}

// Execution says how work under the permit runs.
type Execution struct {
	Telemetry string `json:"telemetry"` // sealed, metrics or full
	OwnCode   string `json:"own_code"`  // none, reviewed or free_under_output_review
	Network   string `json:"network"`   // none or job
	Placement string `json:"placement"` // at-holder, at-SPE or staged-to-HPC
}

// Outputs says what may be asked to leave.
type Outputs struct {
	AllowedTypes []string `json:"allowed_types"`
	ModelExport  string   `json:"model_export"` // none or with_report
	Reviewer     string   `json:"reviewer_authority"`
}

// Condition is a specific condition; Rego names a machine-readable one.
type Condition struct {
	ID   string `json:"id"`
	Text string `json:"text"`
	Rego string `json:"rego,omitempty"`
}
