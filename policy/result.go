package policy

// Result is what policy answers.
type Result struct {
	Verdict     string   `json:"verdict"` // allow, deny or review
	Reasons     []Reason `json:"reasons"` // sorted by code, then path
	Obligations []string `json:"obligations"`
}

// Reason is one finding. Texts come from package messages by Code.
type Reason struct {
	Code   string            `json:"code"`
	Basis  string            `json:"basis"` // in_force, national, permit_condition, contract or anticipated
	Params map[string]string `json:"params"`
	Path   string            `json:"path"`
}
