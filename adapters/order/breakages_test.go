package order_test

import (
	"bytes"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/stretchr/testify/require"

	"github.com/valico-hpc/valico/adapters/order"
	"github.com/valico-hpc/valico/broker"
	"github.com/valico-hpc/valico/broker/ledger/receipt"
	"github.com/valico-hpc/valico/images/sign"
	"github.com/valico-hpc/valico/policy/permit"
)

// breakage breaks exactly one thing of a valid order.
type breakage struct {
	code, name string
	do         func(tb testing.TB, p *plan)
}

func one(code, name string, do func(p *plan)) breakage {
	return breakage{code, name, func(_ testing.TB, p *plan) { do(p) }}
}

func orderBreakages() []breakage {
	other := digestOf("other")
	return []breakage{
		one(order.CodeMalformed, "not JSON", func(p *plan) { p.raw = func([]byte) []byte { return []byte("no") } }),
		one(order.CodeMalformed, "unknown member", func(p *plan) {
			p.raw = func(b []byte) []byte { return replaced(string(b), `{`, `{"extra":1,`) }
		}),
		one(order.CodeMalformed, "repeated member", func(p *plan) {
			p.raw = func(b []byte) []byte { return replaced(string(b), `"evidence":{`, `"evidence":{"spec":"",`) }
		}),
		one(order.CodeMalformed, "another spelling", func(p *plan) { p.raw = func(b []byte) []byte { return append(b, ' ') } }),
		one(order.CodeMalformed, "too long", func(p *plan) { p.raw = func([]byte) []byte { return make([]byte, order.MaxBytes+1) } }),
		one(order.CodeKeyUnknown, "stranger's key", func(p *plan) { p.orderKey = p.ring.stranger }),
		one(order.CodeKeyUnknown, "key no longer pinned", func(p *plan) { p.trust.Order = nil }),
		one(order.CodeKeyRole, "image key", func(p *plan) { p.orderKey = p.ring.image }),
		one(order.CodeKeyRole, "officer's key", func(p *plan) { p.orderKey = p.ring.officer }),
		one(order.CodeKeyRole, "permit key", func(p *plan) { p.orderKey = p.ring.permit }),
		one(order.CodeKeyRole, "status key", func(p *plan) { p.orderKey = p.ring.status }),
		{order.CodeSignature, "order changed after signing", func(tb testing.TB, p *plan) {
			tb.Helper()
			p.raw = forge(tb)
		}},
		one(order.CodeKeyEpoch, "older epoch", func(p *plan) { p.order = func(o *broker.WorkOrder) { o.KeyEpoch = 1 } }),
		one(order.CodeKeyEpoch, "site moved on", func(p *plan) { p.trust.KeyEpochMin = 3 }),
		one(order.CodeWrongSite, "order of another site", func(p *plan) {
			p.order = func(o *broker.WorkOrder) { o.Site = "site_two" }
			p.clearance = func(c *receipt.Document) { c.Site = "site_two" }
		}),
		one(order.CodeWrongAccount, "account of nobody", func(p *plan) {
			p.order = func(o *broker.WorkOrder) { o.Account = "root" }
			p.clearance = func(c *receipt.Document) { c.Account = "root" }
			p.at.Account = "root"
		}),
		one(order.CodeWrongAccount, "run as another account", func(p *plan) { p.at.Account = "ehds0002" }),
		one(order.CodeNotYet, "before its time", func(p *plan) {
			p.order = func(o *broker.WorkOrder) { o.NotBefore = p.now.Add(time.Microsecond) }
		}),
		one(order.CodeExpired, "after its time", func(p *plan) {
			p.order = func(o *broker.WorkOrder) { o.NotAfter = p.now.Add(-time.Microsecond) }
		}),
		one(order.CodeSubmitter, "not a person of the permit", func(p *plan) {
			p.doc.Persons[0].ID = "eve@biotech.example"
		}),
		one(order.CodeSubmitter, "person's time is over", func(p *plan) { p.doc.Persons[0].Until = p.now }),
		one(order.CodeSubmitter, "person's time ends during the run", func(p *plan) {
			p.doc.Persons[0].Until = p.now.Add(p.spec.Resources.Walltime - time.Second)
		}),
		one(order.CodeSubmitter, "person's time has not begun", func(p *plan) { p.doc.Persons[0].From = p.now.Add(time.Second) }),
		one(order.CodeSubmitter, "account of another person", func(p *plan) {
			p.order = func(o *broker.WorkOrder) { o.Account = "ehds0002" }
			p.clearance = func(c *receipt.Document) { c.Account = "ehds0002" }
			p.at.Account = "ehds0002"
		}),
		one(order.CodeSubmitter, "another person was cleared", func(p *plan) {
			p.clearance = func(c *receipt.Document) { c.Submitter = "bob@biotech.example" }
		}),
		one(order.CodeSpec, "evidence of another spec", func(p *plan) {
			p.evidence = func(e *broker.Evidence) { e.Spec = bytes.Replace(e.Spec, []byte("screening"), []byte("screaming"), 1) }
		}),
		one(order.CodeSpec, "order names another spec", func(p *plan) { p.order = func(o *broker.WorkOrder) { o.Spec = other } }),
		one(order.CodeSpec, "another spec was cleared", func(p *plan) {
			p.clearance = func(c *receipt.Document) { c.Spec = string(other) }
		}),
		one(order.CodeSpec, "evidence is no spec", func(p *plan) {
			p.evidence = func(e *broker.Evidence) { e.Spec = []byte("{}") }
			p.order = func(o *broker.WorkOrder) { o.Spec = digestOf("{}") }
			p.clearance = func(c *receipt.Document) { c.Spec = string(digestOf("{}")) }
		}),
		one(order.CodeSpec, "more network", func(p *plan) { p.order = func(o *broker.WorkOrder) { o.Network = "job" } }),
		one(order.CodeSpec, "other telemetry", func(p *plan) { p.order = func(o *broker.WorkOrder) { o.Telemetry = "sealed" } }),
		one(order.CodeSpec, "other outputs", func(p *plan) { p.order = func(o *broker.WorkOrder) { o.Outputs = nil } }),
	}
}

func permitBreakages() []breakage {
	other := string(digestOf("other"))
	return []breakage{
		one(order.CodePermitSignature, "signed by a stranger", func(p *plan) { p.permitKey = p.ring.stranger }),
		one(order.CodePermitSignature, "signed with the status key", func(p *plan) { p.permitKey = p.ring.status }),
		one(order.CodePermitSignature, "key not pinned", func(p *plan) { p.trust.Permit[0].KeyID = "another" }),
		one(order.CodePermitSignature, "order names another permit", func(p *plan) {
			p.order = func(o *broker.WorkOrder) { o.Permit = broker.Digest(other) }
		}),
		one(order.CodePermitSignature, "evidence changed", func(p *plan) {
			p.evidence = func(e *broker.Evidence) { e.Permit = e.Permit[1:] }
		}),
		one(order.CodePermitSignature, "breaks a rule of its form", func(p *plan) { p.doc.ProhibitedAck = false }),
		one(order.CodePermitScope, "regime not trusted", func(p *plan) {
			p.doc.LegalRegime, p.doc.Execution.Telemetry = permit.RegimeNationalPermit, "sealed"
		}),
		one(order.CodePermitScope, "holder not trusted", func(p *plan) { p.trust.Permit[0].Scope.Holders = []string{"other"} }),
		one(order.CodePermitScope, "dataset not trusted", func(p *plan) {
			p.trust.Permit[0].Scope.DatasetPrefixes = []string{"https://data.example/dataset/synthetic-screen"}
		}),
		one(order.CodePermitScope, "key of another authority", func(p *plan) {
			p.trust.Permit[0].Issuer = "hdab-other"
		}),
		one(order.CodePermitScope, "site not in the permit", func(p *plan) { p.doc.SPE.Sites = []string{"elsewhere"} }),
		one(order.CodePermitScope, "purpose not in the permit", func(p *plan) { p.spec.Purpose.Sub = "i" }),
		one(order.CodePermitScope, "activity not in the permit", func(p *plan) { p.spec.Activity = "fine_tune" }),
		one(order.CodePermitScope, "job under another permit", func(p *plan) { p.spec.Permit = "another" }),
		one(order.CodePermitScope, "version not in the permit", func(p *plan) { p.doc.Datasets[0].Version = "2" }),
		one(order.CodePermitExpired, "period over", func(p *plan) { p.period(p.now.AddDate(0, -2, 0), p.now) }),
		one(order.CodePermitExpired, "period ends during the run", func(p *plan) {
			p.period(p.now.AddDate(0, -2, 0), p.now.Add(10*time.Minute-time.Second))
		}),
		one(order.CodePermitExpired, "period not begun", func(p *plan) { p.period(p.now.Add(time.Second), p.now.AddDate(0, 2, 0)) }),
		one(order.CodePermitStatus, "revoked", func(p *plan) { p.status.Status = permit.StatusRevoked }),
		one(order.CodePermitStatus, "suspended", func(p *plan) { p.status.Status = permit.StatusSuspended }),
		one(order.CodePermitStatus, "expired", func(p *plan) { p.status.Status = permit.StatusExpired }),
		one(order.CodePermitStatus, "too old", func(p *plan) { p.status.At = p.now.Add(-15*time.Minute - time.Second) }),
		one(order.CodePermitStatus, "from the future", func(p *plan) { p.status.At = p.now.Add(2 * time.Minute) }),
		one(order.CodePermitStatus, "of another permit", func(p *plan) { p.status.PermitID = "another" }),
		one(order.CodePermitStatus, "of another version", func(p *plan) { p.status.Version = 2 }),
		one(order.CodePermitStatus, "signed by the permit key", func(p *plan) { p.statusKey = p.ring.permit }),
		one(order.CodePermitStatus, "key of another authority", func(p *plan) { p.trust.Status[0].Issuer = "hdab-other" }),
		one(order.CodeClearance, "order names another clearance", func(p *plan) {
			p.order = func(o *broker.WorkOrder) { o.Clearance = broker.Digest(other) }
		}),
		one(order.CodeClearance, "evidence changed", func(p *plan) {
			p.evidence = func(e *broker.Evidence) { e.Clearance = append(e.Clearance, ' ') }
		}),
		one(order.CodeClearance, "status replaced by a newer one", func(p *plan) {
			p.clearance = func(c *receipt.Document) { c.StatusDigest = other }
		}),
		one(order.CodeClearance, "evidence is no clearance", func(p *plan) {
			p.evidence = func(e *broker.Evidence) { e.Clearance = []byte("{}") }
			p.order = func(o *broker.WorkOrder) { o.Clearance = digestOf("{}") }
		}),
		one(order.CodeReceipt, "signed by another ledger", func(p *plan) { p.ledgerKey = nil }),
		one(order.CodeReceipt, "leaf of another kind", func(p *plan) {
			p.record = func(r *receipt.Record) { r.Kind = broker.DecisionAdmission }
		}),
		one(order.CodeReceipt, "leaf of another document", func(p *plan) {
			p.record = func(r *receipt.Record) { r.Document = receipt.Hash{} }
		}),
		one(order.CodeReceipt, "no receipt", func(p *plan) { p.evidence = func(e *broker.Evidence) { e.Receipt = nil } }),
	}
}

// clearanceBreakages changes each field that the clearance binds.
func clearanceBreakages() []breakage {
	var out []breakage
	for name, change := range map[string]func(*receipt.Document){
		"verdict": func(c *receipt.Document) { c.Verdict = "deny" }, "kind": func(c *receipt.Document) { c.Kind = "admission" },
		"job": func(c *receipt.Document) { c.Job = "job_two" }, "attempt": func(c *receipt.Document) { c.Attempt = "att_two" },
		"tenant": func(c *receipt.Document) { c.Tenant = "ten_two" }, "site": func(c *receipt.Document) { c.Site = "site_two" },
		"account":        func(c *receipt.Document) { c.Account = "ehds0002" },
		"image":          func(c *receipt.Document) { c.Image = string(digestOf("other")) },
		"permit":         func(c *receipt.Document) { c.Permit = "another" },
		"permit version": func(c *receipt.Document) { c.PermitVersion++ },
		"permit digest":  func(c *receipt.Document) { c.PermitDigest = string(digestOf("other")) },
	} {
		out = append(out, one(order.CodeClearance, name, func(p *plan) { p.clearance = change }))
	}
	return out
}

func runBreakages() []breakage {
	return []breakage{
		one(order.CodeImageSignature, "signed by a stranger", func(p *plan) { p.imageKey = p.ring.stranger }),
		one(order.CodeImageSignature, "signed with the order key", func(p *plan) { p.imageKey = p.ring.order }),
		one(order.CodeImageSignature, "not signed", func(p *plan) { p.evidence = func(e *broker.Evidence) { e.Signature = nil } }),
		{order.CodeImageSignature, "signature of another image", func(tb testing.TB, p *plan) {
			tb.Helper()
			b, err := sign.Sign(p.ring.image, string(digestOf("other")))
			require.NoError(tb, err)
			p.evidence = func(e *broker.Evidence) { e.Signature = b }
		}},
		one(order.CodeImageTampered, "manifest changed", func(p *plan) {
			p.evidence = func(e *broker.Evidence) { e.Manifest = append(e.Manifest, ' ') }
		}),
		one(order.CodeImageTampered, "config changed", func(p *plan) {
			p.evidence = func(e *broker.Evidence) { e.Config = bytes.Replace(e.Config, []byte("SEED=7"), []byte("SEED=8"), 1) }
		}),
		one(order.CodeImageTampered, "layers disagree", func(p *plan) { p.config.RootFS.DiffIDs = nil }),
		one(order.CodeImageTampered, "layer from elsewhere", func(p *plan) {
			p.manifest = func(m *ocispec.Manifest) { m.Layers[0].URLs = []string{"https://other.example/layer"} }
		}),
		one(order.CodeImageTampered, "layer without digest", func(p *plan) {
			p.manifest = func(m *ocispec.Manifest) { m.Layers[0].Digest = digest.Digest("sha512:00") }
		}),
		{order.CodeImageTampered, "manifest is no manifest", func(tb testing.TB, p *plan) {
			tb.Helper()
			p.other(tb, []byte("[]"))
		}},
		{order.CodeImageTampered, "repeated member in the manifest", func(tb testing.TB, p *plan) {
			tb.Helper()
			p.other(tb, []byte(`{"layers":[],"layers":[]}`))
		}},
		one(order.CodeImageTampered, "config of another size", func(p *plan) {
			p.manifest = func(m *ocispec.Manifest) { m.Config.Size++ }
		}),
		one(order.CodeImageTampered, "diff id without digest", func(p *plan) { p.config.RootFS.DiffIDs[0] = "md5:00" }),
		one(order.CodeImageTampered, "no layers", func(p *plan) {
			p.config.RootFS.DiffIDs = nil
			p.manifest = func(m *ocispec.Manifest) { m.Layers = nil }
		}),
		one(order.CodeMountNotSynthetic, "not flagged synthetic", func(p *plan) { p.trust.Datasets[0].Synthetic = false }),
		one(order.CodeMountNotSynthetic, "not in the registry", func(p *plan) { p.trust.Datasets = nil }),
		one(order.CodeMountNotSynthetic, "other bytes", func(p *plan) { p.trust.Datasets[0].Digest = digestOf("other") }),
		one(order.CodeMountNotSynthetic, "other version", func(p *plan) { p.trust.Datasets[0].Version = "2" }),
		one(order.CodeMountNotSynthetic, "other holder", func(p *plan) { p.trust.Datasets[0].Holder = "other" }),
		one(order.CodeMountNotSynthetic, "other country", func(p *plan) { p.trust.Datasets[0].Country = "DE" }),
		one(order.CodeMountNotSynthetic, "other name", func(p *plan) { p.order = func(o *broker.WorkOrder) { o.Mounts[0].Name = "x" } }),
		one(order.CodeMountNotSynthetic, "left out", func(p *plan) { p.order = func(o *broker.WorkOrder) { o.Mounts = nil } }),
		one(order.CodeMountNotSynthetic, "real data at an advisory site", func(p *plan) {
			p.doc.LegalRegime, p.doc.Execution.Telemetry = permit.RegimeNationalPermit, "sealed"
			p.trust.Permit[0].Scope.Regimes, p.trust.Permit[0].Scope.SyntheticOnly = []string{permit.RegimeNationalPermit}, false
		}),
		one(order.CodeCommand, "order runs another command", func(p *plan) {
			p.order = func(o *broker.WorkOrder) { o.Command = []string{"/bin/sh"} }
		}),
		one(order.CodeCommand, "image runs another command", func(p *plan) { p.config.Config.Cmd = []string{"/bin/sh"} }),
		one(order.CodeCommand, "image has an entrypoint", func(p *plan) { p.config.Config.Entrypoint = []string{"/bin/sh"} }),
		one(order.CodeCommand, "order has another environment", func(p *plan) {
			p.order = func(o *broker.WorkOrder) { o.Env = []broker.EnvVar{{Name: "SEED", Value: "8"}} }
		}),
		one(order.CodeCommand, "image has another environment", func(p *plan) { p.config.Config.Env = []string{"SEED=8"} }),
		one(order.CodeCommand, "image adds a variable", func(p *plan) {
			p.config.Config.Env = []string{"SEED=7", "LD_PRELOAD=/x"}
		}),
		one(order.CodeCommand, "image sets a variable twice", func(p *plan) { p.config.Config.Env = []string{"SEED=7", "SEED=8"} }),
		one(order.CodeCommand, "order has another folder", func(p *plan) { p.order = func(o *broker.WorkOrder) { o.WorkDir = "/tmp" } }),
		one(order.CodeCommand, "image has another folder", func(p *plan) { p.config.Config.WorkingDir = "/tmp" }),
		one(order.CodeCommand, "spec and order agree on another folder", func(p *plan) { p.spec.Image.WorkDir = "/tmp" }),
		one(order.CodeCommand, "image has a folder that nobody asked for", func(p *plan) { p.spec.Image.WorkDir = "" }),
		one(order.CodeCommand, "image has another user", func(p *plan) { p.spec.Image.User = "1000" }),
		one(order.CodeCommand, "spec asks for another environment", func(p *plan) {
			p.spec.Image.Env = []broker.EnvVar{{Name: "SEED", Value: "8"}}
			p.order = func(o *broker.WorkOrder) { o.Env = []broker.EnvVar{{Name: "SEED", Value: "7"}} }
		}),
		one(order.CodeCommand, "image has a variable without value", func(p *plan) { p.config.Config.Env = []string{"SEED"} }),
		one(order.CodeLimits, "order takes more", func(p *plan) { p.order = func(o *broker.WorkOrder) { o.Limits.GPUsPerNode = 8 } }),
		one(order.CodeLimits, "order runs longer", func(p *plan) { p.order = func(o *broker.WorkOrder) { o.Limits.Walltime += time.Second } }),
		one(order.CodeLimits, "order and clearance take more than the spec", func(p *plan) {
			p.order = func(o *broker.WorkOrder) { o.Limits.GPUsPerNode = 8 }
			p.clearance = func(c *receipt.Document) { c.Limits.GPUsPerNode = 8 }
		}),
		one(order.CodeLimits, "less was cleared", func(p *plan) { p.clearance = func(c *receipt.Document) { c.Limits.MemoryMiB = 1 } }),
		one(order.CodeSecondStart, "started before", func(p *plan) { p.at.Marked = true }),
	}
}

// other replaces the manifest by other bytes that are signed and cleared.
func (p *plan) other(tb testing.TB, manifest []byte) {
	tb.Helper()
	d := broker.DigestOf(manifest)
	b, err := sign.Sign(p.ring.image, string(d))
	require.NoError(tb, err)
	p.clearance = func(c *receipt.Document) { c.Image = string(d) }
	p.order = func(o *broker.WorkOrder) { o.Image = d }
	p.evidence = func(e *broker.Evidence) { e.Manifest, e.Signature = manifest, b }
}

func breakages() []breakage {
	all := append(orderBreakages(), permitBreakages()...)
	return append(append(all, clearanceBreakages()...), runBreakages()...)
}

// period moves the permit's access period and its persons with it.
func (p *plan) period(start, end time.Time) {
	p.doc.AccessPeriod = permit.AccessPeriod{Start: start, End: end}
	p.doc.Retention.DeleteBy = end
	for i := range p.doc.Persons {
		p.doc.Persons[i].From, p.doc.Persons[i].Until = start, end
	}
}
