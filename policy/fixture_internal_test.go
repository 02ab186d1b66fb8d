package policy

import (
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/valico-hpc/valico/policy/permit"
)

// sha is a digest that repeats one hexadecimal digit.
func sha(digit string) string { return "sha256:" + strings.Repeat(digit, 64) }

// admissionInput is a complete input that is allowed: every list has an entry
// and every optional field is set, unless setting it would deny.
func admissionInput() Input {
	now := time.Date(2027, 5, 4, 10, 0, 0, 0, time.UTC)
	return Input{
		Schema: InputSchema, Moment: MomentAdmission, Now: "2027-05-04T10:00:00.000000Z", Segment: 1,
		Job: jobFixture(),
		Submitter: Submitter{
			ID: "ada@biotech.example", Kind: "natural", Method: "local_token", Roles: []string{"developer"},
		},
		Permits: []Permit{permitFixture(now)},
		Site: Site{
			ID: "site_1", Name: "local", Country: "IT", Operator: "Example site operator", Scheduler: "slurm",
			Assurance: "advisory", Isolation: "userns", Account: "user1", GPUs: []GPUType{{Name: "h100", PerNode: 4}},
			MaxNodes: 4, CPUsPerNode: 64, MemoryMiB: 262144, MaxWallSeconds: 86400, KillMarginSeconds: 60,
			Datasets: []Dataset{{
				PURI: "https://data.example/dataset/screening", Version: "1", Digest: sha("d"), Format: "text/csv",
				Holder: "holder-sandbox", Country: "IT", Categories: []string{"a", "p"}, Synthetic: true,
			}},
		},
		Budget: Budget{
			Allocation: "alc_1", AccessMode: "playground", Granted: 720000, Available: 360000, Needed: 28880,
			GPUSeconds: 28880, Weight: 1000, MaxGPUs: 16, OpenGPUs: 4, MaxJobs: 10, OpenJobs: 2, MaxWallSeconds: 7200,
			ValidFrom: "2027-01-01T00:00:00.000000Z", ValidUntil: "2028-01-01T00:00:00.000000Z",
		},
	}
}

func jobFixture() Job {
	return Job{
		Name: "screening", Permit: "permit-1", Purpose: Purpose{Code: "53(1)(e)", Sub: "ii"}, Activity: "train",
		Datasets: []DatasetUse{{PURI: "https://data.example/dataset/screening", Version: "1", Mount: "screening"}},
		Site:     "local", Priority: "standard",
		Image: ImageSpec{
			Base: "none",
			Layers: []Layer{{
				Class: "source", MediaType: "application/vnd.oci.image.layer.v1.tar+zstd",
				Digest: sha("1"), DiffID: sha("2"), SizeBytes: 1024,
			}},
			Command: []string{"/train", "--epochs", "5"}, Env: []EnvVar{{Name: "OMP_NUM_THREADS", Value: "4"}},
			WorkDir: "/work", User: "1000:1000",
		},
		Resources: Resources{Nodes: 2, GPUsPerNode: 4, GPUType: "h100", CPUsPerNode: 16, MemoryMiB: 65536, WalltimeSeconds: 3550},
		Network:   "none", Telemetry: "metrics",
		Outputs: []Output{{Path: "model/weights.bin", Type: "model"}}, Resume: Resume{MaxSegments: 1},
	}
}

func permitFixture(now time.Time) Permit {
	doc := permit.Template(now)
	doc.ID, doc.Supersedes, doc.User.IsPublicBody = "permit-1", "permit-0", true
	doc.Datasets[0].PURI = "https://data.example/dataset/screening"
	doc.Datasets[0].Categories = []string{"a", "p"}
	doc.Conditions = []permit.Condition{{ID: "c1", Text: "Acknowledge the source."}}
	return Permit{
		Document: doc, Digest: sha("a"), Verified: true, InScope: true, IssuerKey: "key-1", Latest: true,
		Status: "GRANTED", StatusAgeSeconds: 30, StatusMaxAge: 900, GPUSecondsUsed: 3600,
	}
}

// clearanceInput is admissionInput with the image as assembled.
func clearanceInput() Input {
	in := admissionInput()
	in.Moment = MomentClearance
	in.Image = &Image{
		Digest: sha("e"), Base: "none", Signed: true, SignerKey: "image-key-1", Layers: in.Job.Image.Layers,
		Config: ImageConfig{
			Author: "valico", Architecture: "amd64", OS: "linux", User: "1000:1000", WorkDir: "/work",
			Env: in.Job.Image.Env, Cmd: in.Job.Image.Command, DiffIDs: []string{sha("2")}, StopSignal: "SIGTERM",
			OSFeatures: []string{}, ExposedPorts: []string{}, Entrypoint: []string{}, Volumes: []string{}, Labels: map[string]string{},
		},
	}
	return in
}

// basedInput is clearanceInput on an approved base with a layer of dependencies.
func basedInput() Input {
	in := clearanceInput()
	base, dep := sha("b"), Layer{
		Class: "dependencies", MediaType: "application/vnd.oci.image.layer.v1.tar+gzip",
		Digest: sha("3"), DiffID: sha("4"), SizeBytes: 2048,
	}
	in.Permits[0].Document.SPE.Components = append(in.Permits[0].Document.SPE.Components,
		permit.Component{Image: "base", Digest: base}, permit.Component{Image: "wheels", Digest: dep.Digest})
	in.Job.Image.Base, in.Image.Base = base, base
	in.Job.Image.Layers = []Layer{dep, in.Job.Image.Layers[0]}
	in.Image.Layers = append([]Layer{{
		Class: "base", MediaType: dep.MediaType, Digest: sha("5"), DiffID: sha("6"), SizeBytes: 4096,
	}}, in.Job.Image.Layers...)
	in.Image.Config.DiffIDs = []string{sha("6"), sha("4"), sha("2")}
	in.Image.Config.Env = append([]EnvVar{{Name: "PATH", Value: "/usr/bin"}}, in.Job.Image.Env...)
	in.Image.Config.Labels = map[string]string{"org.opencontainers.image.title": "base"}
	return in
}

// realInput is an EHDS permit for real data after 2031 at an enforced site that
// has everything real data need.
func realInput() Input {
	in := admissionInput()
	in.Now = "2032-05-04T10:00:00.000000Z"
	in.Permits[0] = permitFixture(time.Date(2032, 5, 4, 10, 0, 0, 0, time.UTC))
	doc := &in.Permits[0].Document
	doc.LegalRegime = permit.RegimeEHDSPermit
	doc.Datasets[0].AccessFormat = permit.FormatPseudonymised
	in.Submitter.Method, in.Submitter.MFA = "oidc", true
	s := &in.Site
	s.Assurance, s.MFA, s.Quarantine, s.TelemetryBudget, s.Airlock = "enforced", true, true, true, true
	s.Datasets[0].Synthetic = false
	in.Budget.ValidFrom, in.Budget.ValidUntil = "2032-01-01T00:00:00.000000Z", "2033-01-01T00:00:00.000000Z"
	return in
}

// manyInput is clearanceInput with so many more datasets, variables and outputs;
// a job may have 1024 of each.
func manyInput(more int) Input {
	in := clearanceInput()
	use, granted, held := in.Job.Datasets[0], in.Permits[0].Document.Datasets[0], in.Site.Datasets[0]
	for i := range more {
		n := strconv.Itoa(i)
		use.PURI, use.Mount = "https://data.example/dataset/"+n, "m"+n
		granted.PURI, held.PURI = use.PURI, use.PURI
		in.Job.Datasets = append(in.Job.Datasets, use)
		in.Permits[0].Document.Datasets = append(in.Permits[0].Document.Datasets, granted)
		in.Site.Datasets = append(in.Site.Datasets, held)
		in.Job.Image.Env = append(in.Job.Image.Env, EnvVar{Name: "V" + n, Value: n})
		in.Job.Outputs = append(in.Job.Outputs, Output{Path: "o/" + n, Type: "model"})
	}
	in.Image.Config.Env = in.Job.Image.Env
	return in
}

// encode is Canonical for tests.
func encode(tb testing.TB, in Input) []byte {
	tb.Helper()
	b, err := Canonical(in)
	require.NoError(tb, err)
	return b
}

// engine compiles the packs.
func engine(tb testing.TB) *Engine {
	tb.Helper()
	e, err := New(tb.Context())
	require.NoError(tb, err)
	return e
}

// codes lists the codes of a result's reasons.
func codes(r Result) []string {
	out := []string{}
	for _, x := range r.Reasons {
		out = append(out, x.Code)
	}
	return out
}
