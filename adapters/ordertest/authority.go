package ordertest

import (
	"bytes"
	"crypto"
	"crypto/rand"
	"encoding/json"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/stretchr/testify/require"
	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"

	"github.com/valico-hpc/valico/adapters/order"
	"github.com/valico-hpc/valico/broker"
	"github.com/valico-hpc/valico/broker/airlock"
	"github.com/valico-hpc/valico/broker/jobspec"
	"github.com/valico-hpc/valico/broker/ledger/receipt"
	"github.com/valico-hpc/valico/images/dsse"
	"github.com/valico-hpc/valico/images/sign"
	"github.com/valico-hpc/valico/policy/permit"
)

// Whom and what the orders name.
const (
	Person   = "ada@biotech.example"
	Reviewer = "rita@authority.example"
	Account  = "ehds0001"
	Origin   = "ledger.example/valico"
)

// Authority signs everything that a site asks for: permit, status, image,
// ledger and order, each with its own key.
type Authority struct {
	Order, Permit, Status, Image, Officer, Submitter, Link crypto.Signer
	Ledger                                                 note.Signer
	Doc                                                    permit.Document
	Now                                                    time.Time
	Trust                                                  order.Trust // of the site
	Layer                                                  []byte      // of the image

	// What the orders ask for.
	Telemetry   string
	GPUs, Nodes int
	Network     string
	Resume      broker.Resume
	Segment     int // when Resume is set
}

// New makes an authority whose site trusts it.
func New(tb testing.TB, now time.Time) *Authority {
	tb.Helper()
	key := func() crypto.Signer {
		k, err := dsse.GenerateKey()
		require.NoError(tb, err)
		return k
	}
	a := &Authority{
		Order: key(), Permit: key(), Status: key(), Image: key(), Officer: key(), Submitter: key(), Link: key(),
		Now: now, Doc: permit.Template(now.AddDate(0, -1, 0)), Layer: []byte("layer"), Telemetry: "full", GPUs: 1,
		Nodes: 1, Network: "none",
	}
	secret, public, err := note.GenerateKey(rand.Reader, Origin)
	require.NoError(tb, err)
	a.Ledger, err = note.NewSigner(secret)
	require.NoError(tb, err)
	data := a.Doc.Datasets[0]
	a.Trust = order.Trust{
		Site: "site_one", Name: "local", Isolation: broker.IsolationUserNS, StatusMaxAge: 15 * time.Minute,
		Order: []crypto.PublicKey{a.Order.Public()}, Link: []crypto.PublicKey{a.Link.Public()}, Image: []crypto.PublicKey{a.Image.Public()}, Ledger: []string{public},
		Permit: []permit.TrustedIssuer{{
			KeyID: a.keyID(tb, a.Permit), Public: a.Permit.Public(), Issuer: a.Doc.Issuer.HDAB,
			Scope: permit.Scope{
				Regimes: []string{permit.RegimeSandbox}, DatasetPrefixes: []string{"https://data.example/dataset"},
				Holders: []string{data.Holder}, SyntheticOnly: true,
			},
		}},
		Status:  []permit.TrustedStatusKey{{KeyID: a.keyID(tb, a.Status), Public: a.Status.Public(), Issuer: a.Doc.Issuer.HDAB}},
		Officer: []order.Officer{{Person: Reviewer, Key: a.Officer.Public()}, {Person: Person, Key: a.Submitter.Public()}},
		Datasets: []order.Dataset{{
			PURI: data.PURI, Version: data.Version, Path: "/srv/data/cohort", Digest: DigestOf("cohort"), Holder: data.Holder,
			Country: data.Country, Synthetic: true,
		}},
		Accounts: map[broker.PersonID]string{Person: Account},
	}
	return a
}

func (a *Authority) keyID(tb testing.TB, k crypto.Signer) string {
	tb.Helper()
	id, err := permit.KeyID(k.Public())
	require.NoError(tb, err)
	return id
}

// DigestOf is the digest of a text.
func DigestOf(s string) broker.Digest { return broker.DigestOf([]byte(s)) }

// Pin writes the site's trust file.
func (a *Authority) Pin(tb testing.TB, dir string) {
	tb.Helper()
	b, err := order.EncodeTrust(a.Trust)
	require.NoError(tb, err)
	require.NoError(tb, os.WriteFile(filepath.Join(dir, "trust.json"), b, 0o644)) //nolint:gosec // public keys
}

// Issue makes a valid signed order of an attempt; edit comes before it is signed.
func (a *Authority) Issue(tb testing.TB, id broker.AttemptID, edit func(*broker.WorkOrder)) broker.SignedOrder {
	tb.Helper()
	data := a.Doc.Datasets[0]
	spec := broker.JobSpec{
		Name: "screening", Permit: broker.PermitID(a.Doc.ID), Purpose: broker.Purpose{Code: "53(1)(e)", Sub: "ii"}, Activity: "train",
		Datasets: []broker.DatasetUse{{PURI: data.PURI, Version: data.Version, Mount: "cohort"}},
		Image: broker.ImageSpec{
			Base: "none", Command: []string{"/train"}, Env: []broker.EnvVar{{Name: "SEED", Value: "7"}}, WorkDir: "/work",
			Layers: []broker.Layer{{
				Class: "source", MediaType: ocispec.MediaTypeImageLayerGzip, Digest: broker.DigestOf(a.Layer), DiffID: DigestOf("diff"), SizeBytes: int64(len(a.Layer)),
			}},
		},
		Resources: broker.Resources{Nodes: a.Nodes, GPUsPerNode: a.GPUs, CPUsPerNode: 1, MemoryMiB: 512, Walltime: 10 * time.Minute},
		Network:   a.Network, Telemetry: a.Telemetry, Outputs: []broker.OutputSpec{{Path: "model.bin", Type: "model"}},
		Resume: a.Resume,
	}
	var ev broker.Evidence
	jws, err := permit.Sign(a.Doc, a.Permit, a.keyID(tb, a.Permit))
	require.NoError(tb, err)
	ev.Permit = []byte(jws)
	jws, err = permit.SignStatus(permit.Status{
		PermitID: a.Doc.ID, Version: a.Doc.Version, Status: permit.StatusGranted, At: a.Now.Add(-time.Minute),
	}, a.Status, a.keyID(tb, a.Status))
	require.NoError(tb, err)
	ev.Status = []byte(jws)
	ev.Spec, err = jobspec.EncodeSpec(spec)
	require.NoError(tb, err)
	a.build(tb, &ev)
	a.clear(tb, id, spec.Resources, &ev)
	o := broker.WorkOrder{
		ID: "ord_one", Site: a.Trust.Site, Account: Account, NotBefore: a.Now.Add(-time.Minute), NotAfter: a.Now.Add(time.Hour),
		Tenant: "ten_one", Job: "job_one", Attempt: id, Submitter: Person,
		Spec: broker.DigestOf(ev.Spec), Permit: broker.DigestOf(ev.Permit), Clearance: broker.DigestOf(ev.Clearance),
		Image: broker.DigestOf(ev.Manifest), Command: spec.Image.Command, Env: spec.Image.Env, WorkDir: spec.Image.WorkDir,
		Mounts: []broker.Mount{{Name: "cohort", PURI: data.PURI, Version: data.Version, Digest: DigestOf("cohort")}},
		Limits: spec.Resources, Network: spec.Network, Telemetry: spec.Telemetry, Outputs: spec.Outputs,
		Resume: a.Resume, Segment: a.Segment,
	}
	if edit != nil {
		edit(&o)
	}
	signer, err := order.NewSigner(a.Order)
	require.NoError(tb, err)
	signed, err := signer.Sign(tb.Context(), o, ev)
	require.NoError(tb, err)
	return signed
}

func (a *Authority) build(tb testing.TB, ev *broker.Evidence) {
	tb.Helper()
	var err error
	ev.Config, err = json.Marshal(ocispec.Image{
		Config: ocispec.ImageConfig{Cmd: []string{"/train"}, Env: []string{"SEED=7"}, WorkingDir: "/work"},
		RootFS: ocispec.RootFS{Type: "layers", DiffIDs: []digest.Digest{digest.Digest(DigestOf("diff"))}},
	})
	require.NoError(tb, err)
	m := ocispec.Manifest{
		MediaType: ocispec.MediaTypeImageManifest,
		Config:    ocispec.Descriptor{MediaType: ocispec.MediaTypeImageConfig, Digest: digest.Digest(broker.DigestOf(ev.Config)), Size: int64(len(ev.Config))},
		Layers: []ocispec.Descriptor{{
			MediaType: ocispec.MediaTypeImageLayerGzip, Digest: digest.Digest(broker.DigestOf(a.Layer)), Size: int64(len(a.Layer)),
		}},
	}
	m.SchemaVersion = 2
	ev.Manifest, err = json.Marshal(m)
	require.NoError(tb, err)
	ev.Signature, err = sign.Sign(a.Image, string(broker.DigestOf(ev.Manifest)))
	require.NoError(tb, err)
}

func (a *Authority) clear(tb testing.TB, id broker.AttemptID, res broker.Resources, ev *broker.Evidence) {
	tb.Helper()
	c := receipt.Document{
		Schema: receipt.DocumentSchema, Kind: broker.DecisionClearance, Decision: "dec_one", Job: "job_one", Attempt: string(id),
		Tenant: "ten_one", At: receipt.Stamp(a.Now), Verdict: "allow", Submitter: Person, Segment: a.Segment,
		Permit: a.Doc.ID, PermitVersion: a.Doc.Version, PermitDigest: string(broker.DigestOf(ev.Permit)),
		StatusDigest: string(broker.DigestOf(ev.Status)), Spec: string(broker.DigestOf(ev.Spec)),
		Image: string(broker.DigestOf(ev.Manifest)), Site: string(a.Trust.Site), Account: Account,
		Limits: receipt.Limits{
			Nodes: res.Nodes, GPUsPerNode: res.GPUsPerNode, CPUsPerNode: res.CPUsPerNode,
			MemoryMiB: res.MemoryMiB, WalltimeSeconds: int64(res.Walltime / time.Second),
		},
		Input: string(DigestOf("input")), Policy: string(DigestOf("policy")), Engine: "opa",
	}
	var err error
	ev.Clearance, err = receipt.Encode(c)
	require.NoError(tb, err)
	salt := receipt.Hash{1, 2, 3}
	rec := receipt.Record{
		Version: receipt.RecordVersion, Kind: broker.DecisionClearance, At: c.At, Seq: 1, Document: receipt.DocumentCommitment(salt, ev.Clearance),
	}
	leaf := rec.Leaf()
	text := receipt.Checkpoint{Origin: Origin, Size: 1, Root: tlog.RecordHash(leaf[:])}.Text()
	signed, err := note.Sign(&note.Note{Text: text}, a.Ledger)
	require.NoError(tb, err)
	ev.Receipt, err = receipt.EncodeReceipt(receipt.Receipt{
		Schema: receipt.ReceiptSchema, Record: rec, Salt: salt, Index: 0, TreeSize: 1, Checkpoint: string(signed),
	})
	require.NoError(tb, err)
}

// Statement is a Reviewer's release, signed.
func Statement(tb testing.TB, id broker.AttemptID, m broker.Digest, who broker.PersonID, key crypto.Signer, at time.Time) []byte {
	tb.Helper()
	b, err := order.SignRelease(airlock.Statement{Attempt: id, Manifest: m, Reviewer: who}, at, key)
	require.NoError(tb, err)
	require.False(tb, bytes.Contains(b, []byte("\x00")))
	return b
}
