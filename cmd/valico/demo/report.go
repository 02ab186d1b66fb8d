package demo

// Report is what the story found, the one JSON object that
// `valico demo --exit --json` prints last.
type Report struct {
	Site        string     `json:"site"`
	Isolation   string     `json:"isolation"`
	Job         string     `json:"job"`
	State       string     `json:"state"`
	Decisions   []Decision `json:"decisions"`
	Image       Image      `json:"image"`
	Telemetry   Telemetry  `json:"telemetry"`
	NotAdmitted []Reason   `json:"not_admitted"`
	Refused     []string   `json:"refused"`
	Outputs     []Output   `json:"outputs"`
}

// Decision is a recorded decision and the index of its leaf.
type Decision struct {
	Kind        string `json:"kind"`
	Verdict     string `json:"verdict"`
	LedgerIndex int64  `json:"ledger_index"`
}

// Image is the image that ran, and whether the node's own check of order,
// signature and digests passed.
type Image struct {
	Digest   string `json:"digest"`
	Verified bool   `json:"verified"`
}

// Telemetry counts what came back while the job ran.
type Telemetry struct {
	Events  int `json:"events"`
	Metrics int `json:"metrics"`
}

// Reason is why something was not admitted.
type Reason struct {
	Code  string `json:"code"`
	Basis string `json:"basis"`
}

// Output is a fetched output whose digest was compared with the sealed one.
type Output struct {
	Path     string `json:"path"`
	Digest   string `json:"digest"`
	Released bool   `json:"released"`
}
