package httpapi

import (
	"encoding/base64"
	"time"

	"github.com/valico-hpc/valico/broker/httpapi/wire"
)

// Examples of the OpenAPI document; they stay the same from build to build.
const exampleDigest = "sha256:2d711642b726b04401627ca9fbac32f5c8530fb1903cc4db02258717921a4881"

func exampleTime() time.Time { return time.Date(2026, time.November, 24, 12, 0, 0, 0, time.UTC) }

func exampleJob() wire.Job {
	return wire.Job{
		ID: "job_0123456789abcdefghjkmnpqrs", Name: "screening", Submitter: "ada@biotech.example", Permit: "sandbox-2026-11-24",
		SiteID: "site_0123456789abcdefghjkmnpqrs", Site: "local", State: "admitted", SpecDigest: exampleDigest,
		CreatedAt: exampleTime(), UpdatedAt: exampleTime(),
	}
}

func exampleDecision() wire.Decision {
	return wire.Decision{
		ID: "dec_0123456789abcdefghjkmnpqrs", Kind: "admission", Verdict: "deny", Permit: "sandbox-2026-11-24",
		Policy: exampleDigest, Engine: "opa", LedgerIndex: 3, At: exampleTime(),
		Reasons: []wire.Reason{{Code: "permit_expired", Basis: "permit_condition", Path: "permits[0].access_period.end"}},
	}
}

func base64Std(b []byte) string { return base64.StdEncoding.EncodeToString(b) }
