package receipt

// DocumentSchema is the version of Document.
const DocumentSchema = "valico-decision/v1"

// Document is what an admission or a clearance is, for whoever verifies it
// without trusting the broker: the ledger commits to its exact bytes. Encode
// gives them; Decode refuses anything that Encode would not have written.
// Digests are "sha256:<hex>"; times RFC 3339, UTC.
type Document struct {
	Schema    string   `json:"schema"`
	Kind      string   `json:"kind"` // admission or clearance
	Decision  string   `json:"decision"`
	Job       string   `json:"job"`
	Attempt   string   `json:"attempt"`
	Segment   int      `json:"segment,omitempty"` // of a clearance, when the job may resume
	Tenant    string   `json:"tenant"`
	At        string   `json:"at"`
	Verdict   string   `json:"verdict"`
	Reasons   []Reason `json:"reasons"`
	Submitter string   `json:"submitter"`

	Permit        string `json:"permit"`
	PermitVersion int    `json:"permit_version"`
	PermitDigest  string `json:"permit_digest"` // of the compact JWS
	StatusDigest  string `json:"status_digest"` // of the status statement's compact JWS

	Spec    string `json:"spec"`    // digest of the canonical job spec
	Image   string `json:"image"`   // digest of the image manifest; "" at admission
	Site    string `json:"site"`    // site id
	Account string `json:"account"` // operating-system account at the site

	Limits Limits `json:"limits"`
	Input  string `json:"input"`  // digest of the canonical policy input
	Policy string `json:"policy"` // digest of the packs that decided
	Engine string `json:"engine"`
}

// Reason is one finding of policy.
type Reason struct {
	Code   string            `json:"code"`
	Basis  string            `json:"basis"`
	Path   string            `json:"path"`
	Params map[string]string `json:"params"`
}

// Limits are the resources that the decision is about.
type Limits struct {
	Nodes           int    `json:"nodes"`
	GPUsPerNode     int    `json:"gpus_per_node"`
	GPUType         string `json:"gpu_type"`
	CPUsPerNode     int    `json:"cpus_per_node"`
	MemoryMiB       int    `json:"memory_mib"`
	WalltimeSeconds int64  `json:"walltime_seconds"`
}
