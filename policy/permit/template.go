package permit

import (
	"strings"
	"time"
)

// Template is a complete SANDBOX permit to start from: it passes Validate as
// it is. Its digest of the legal decision is all zeros, for the authority to
// replace.
func Template(now time.Time) Document {
	start := now.UTC().Truncate(24 * time.Hour)
	end := start.AddDate(1, 0, 0)
	return Document{
		Schema: Schema, ID: "sandbox-" + start.Format("2006-01-02"), Version: 1, Reference: "SANDBOX/" + start.Format("2006") + "/1",
		LegalRegime: RegimeSandbox, Status: StatusGranted,
		Issuer:   Issuer{HDAB: "hdab-sandbox", Name: "Sandbox permit authority", Country: "IT", Contact: "permits@authority.example"},
		Decision: DecisionRef{SHA256: strings.Repeat("0", 64), MediaType: "application/pdf", SignedAt: start},
		User:     User{Kind: "legal", Name: "Example Biotech", ID: "example-biotech", Country: "IT"},
		Persons: []Person{{
			ID: "ada@biotech.example", Name: "Ada Example", Affiliation: "Example Biotech", Role: RolePI, From: start, Until: end,
		}},
		Purposes:    []Purpose{{Code: "53(1)(e)", Sub: "ii"}},
		PurposeText: "Train and evaluate a screening model on synthetic data.",
		Activities:  []string{"train", "evaluate"}, ProhibitedAck: true,
		Datasets: []Dataset{{
			PURI: "https://data.example/dataset/synthetic-screening", Version: "1", Categories: []string{"p"},
			Holder: "holder-sandbox", Country: "IT", Format: "text/csv", AccessFormat: FormatSynthetic,
		}},
		IssuedAt: start, AccessPeriod: AccessPeriod{Start: start, End: end}, Retention: Retention{DeleteBy: end.AddDate(0, 3, 0)},
		SPE: SPE{
			ID: "spe-sandbox", Name: "Sandbox environment", Operator: "Example site operator", Country: "IT", Sites: []string{"local"},
			Components: []Component{{Image: "empty base", Digest: "none"}}, MaxGPUs: 8, GPUHours: 100,
		},
		Execution: Execution{Telemetry: "full", OwnCode: "free_under_output_review", Network: "none", Placement: "at-SPE"},
		Outputs:   Outputs{AllowedTypes: []string{"model", "metrics"}, ModelExport: "with_report", Reviewer: "Sandbox permit authority"},
	}
}
