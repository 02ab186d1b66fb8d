package policy

import (
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

var update = flag.Bool("update", false, "write golden files instead of comparing with them")

// golden compares b with a file, or writes it.
func golden(t *testing.T, file string, b []byte) {
	t.Helper()
	if *update {
		require.NoError(t, os.WriteFile(file, b, 0o644))
		return
	}
	want, err := os.ReadFile(file)
	require.NoError(t, err)
	require.Equal(t, string(want), string(b), "%s is stale: run the test with -update and read the difference", file)
}

// decisions are inputs whose whole result is kept: what a change of a rule or
// of the engine does to them shows in review.
func decisions() map[string]Input {
	out := map[string]Input{
		"admission_allow": admissionInput(), "clearance_allow": clearanceInput(),
		"based_allow": basedInput(), "real_2032_allow": realInput(),
	}
	change := func(name string, in Input, f func(*Input)) {
		f(&in)
		out[name] = in
	}
	change("isolation_none_allow", admissionInput(), func(in *Input) { in.Site.Isolation = "none" })
	change("own_code_review", admissionInput(), func(in *Input) { in.Permits[0].Document.Execution.OwnCode = "reviewed" })
	change("permit_expired_deny", admissionInput(), func(in *Input) { in.Now = "2028-06-01T00:00:00.000000Z" })
	change("permit_revoked_deny", clearanceInput(), func(in *Input) { in.Permits[0].Status = "REVOKED" })
	change("six_reasons_deny", admissionInput(), sixFaults)
	change("real_data_here_deny", realInput(), func(in *Input) {
		s := &in.Site
		s.Assurance, s.MFA, s.Quarantine, s.TelemetryBudget, s.Airlock = "advisory", false, false, false, false
		in.Submitter.Method, in.Submitter.MFA = "local_token", false
	})
	change("image_tampered_deny", clearanceInput(), func(in *Input) {
		in.Image.Signed = false
		in.Image.Config.Entrypoint = []string{"/bin/sh", "-c"}
	})
	change("no_permit_deny", admissionInput(), func(in *Input) { in.Permits = []Permit{} })
	return out
}

// sixFaults gives an input six reasons to be denied.
func sixFaults(in *Input) {
	in.Job.Activity = "inference_internal"
	in.Job.Network = "job"
	in.Job.Telemetry = "full"
	in.Permits[0].Document.Execution.Telemetry = "metrics"
	in.Job.Outputs[0].Type = "table"
	in.Budget.Available = 10
	in.Site.Account = ""
}

func TestGoldenDecisionsAreReproduced(t *testing.T) {
	t.Parallel()
	e := engine(t)
	for name, in := range decisions() {
		b := encode(t, in)
		r, err := e.Evaluate(t.Context(), b)
		require.NoError(t, err, name)
		require.True(t, strings.HasSuffix(name, "_"+r.Verdict), "%s: %s %v", name, r.Verdict, codes(r))
		out, err := json.MarshalIndent(struct {
			Input  json.RawMessage `json:"input"`
			Result Result          `json:"result"`
		}{b, r}, "", "  ")
		require.NoError(t, err)
		golden(t, filepath.Join("testdata", "golden", name+".json"), append(out, '\n'))
	}
	files, err := filepath.Glob("testdata/golden/*.json")
	require.NoError(t, err)
	require.Len(t, files, len(decisions()), "a golden file that nothing reproduces")
}
