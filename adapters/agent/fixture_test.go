package agent_test

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

const (
	person   = "ada@biotech.example"
	reviewer = "rita@authority.example"
	account  = "ehds0001"
	origin   = "ledger.example/valico"
)

// authority signs everything that a site asks for: permit, status, image,
// ledger and order, each with its own key.
type authority struct {
	order, permit, status, image, officer, submitter crypto.Signer
	ledger                                           note.Signer
	doc                                              permit.Document
	now                                              time.Time
	trust                                            order.Trust
	layer                                            []byte
	telemetry                                        string
	gpus                                             int
	resume                                           broker.Resume
	segment                                          int // when resume is set
	nodes                                            int
	network                                          string
}

func newAuthority(t *testing.T, now time.Time) *authority {
	t.Helper()
	key := func() crypto.Signer {
		k, err := dsse.GenerateKey()
		require.NoError(t, err)
		return k
	}
	a := &authority{
		order: key(), permit: key(), status: key(), image: key(), officer: key(), submitter: key(),
		now: now, doc: permit.Template(now.AddDate(0, -1, 0)), layer: []byte("layer"), telemetry: "full", gpus: 1,
		nodes: 1, network: "none",
	}
	secret, public, err := note.GenerateKey(rand.Reader, origin)
	require.NoError(t, err)
	a.ledger, err = note.NewSigner(secret)
	require.NoError(t, err)
	data := a.doc.Datasets[0]
	a.trust = order.Trust{
		Site: "site_one", Name: "local", Isolation: broker.IsolationUserNS, StatusMaxAge: 15 * time.Minute,
		Order: []crypto.PublicKey{a.order.Public()}, Image: []crypto.PublicKey{a.image.Public()}, Ledger: []string{public},
		Permit: []permit.TrustedIssuer{{
			KeyID: a.keyID(t, a.permit), Public: a.permit.Public(), Issuer: a.doc.Issuer.HDAB,
			Scope: permit.Scope{
				Regimes: []string{permit.RegimeSandbox}, DatasetPrefixes: []string{"https://data.example/dataset"},
				Holders: []string{data.Holder}, SyntheticOnly: true,
			},
		}},
		Status:  []permit.TrustedStatusKey{{KeyID: a.keyID(t, a.status), Public: a.status.Public(), Issuer: a.doc.Issuer.HDAB}},
		Officer: []order.Officer{{Person: reviewer, Key: a.officer.Public()}, {Person: person, Key: a.submitter.Public()}},
		Datasets: []order.Dataset{{
			PURI: data.PURI, Version: data.Version, Path: "/srv/data/cohort", Digest: digestOf("cohort"), Holder: data.Holder,
			Country: data.Country, Synthetic: true,
		}},
		Accounts: map[broker.PersonID]string{person: account},
	}
	return a
}

func (a *authority) keyID(t *testing.T, k crypto.Signer) string {
	t.Helper()
	id, err := permit.KeyID(k.Public())
	require.NoError(t, err)
	return id
}

func digestOf(s string) broker.Digest { return broker.DigestOf([]byte(s)) }

// pin writes the site's trust file.
func (a *authority) pin(t *testing.T, dir string) {
	t.Helper()
	b, err := order.EncodeTrust(a.trust)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(filepath.Join(dir, "trust.json"), b, 0o644))
}

// issue makes a valid signed order of an attempt; edit comes before it is signed.
func (a *authority) issue(t *testing.T, id broker.AttemptID, edit func(*broker.WorkOrder)) broker.SignedOrder {
	t.Helper()
	data := a.doc.Datasets[0]
	spec := broker.JobSpec{
		Name: "screening", Permit: broker.PermitID(a.doc.ID), Purpose: broker.Purpose{Code: "53(1)(e)", Sub: "ii"}, Activity: "train",
		Datasets: []broker.DatasetUse{{PURI: data.PURI, Version: data.Version, Mount: "cohort"}},
		Image: broker.ImageSpec{
			Base: "none", Command: []string{"/train"}, Env: []broker.EnvVar{{Name: "SEED", Value: "7"}}, WorkDir: "/work",
			Layers: []broker.Layer{{
				Class: "source", MediaType: ocispec.MediaTypeImageLayerGzip, Digest: broker.DigestOf(a.layer), DiffID: digestOf("diff"), SizeBytes: int64(len(a.layer)),
			}},
		},
		Resources: broker.Resources{Nodes: a.nodes, GPUsPerNode: a.gpus, CPUsPerNode: 1, MemoryMiB: 512, Walltime: 10 * time.Minute},
		Network:   a.network, Telemetry: a.telemetry, Outputs: []broker.OutputSpec{{Path: "model.bin", Type: "model"}},
		Resume: a.resume,
	}
	var ev broker.Evidence
	jws, err := permit.Sign(a.doc, a.permit, a.keyID(t, a.permit))
	require.NoError(t, err)
	ev.Permit = []byte(jws)
	jws, err = permit.SignStatus(permit.Status{
		PermitID: a.doc.ID, Version: a.doc.Version, Status: permit.StatusGranted, At: a.now.Add(-time.Minute),
	}, a.status, a.keyID(t, a.status))
	require.NoError(t, err)
	ev.Status = []byte(jws)
	ev.Spec, err = jobspec.EncodeSpec(spec)
	require.NoError(t, err)
	a.build(t, &ev)
	a.clear(t, id, spec.Resources, &ev)
	o := broker.WorkOrder{
		ID: "ord_one", Site: a.trust.Site, Account: account, NotBefore: a.now.Add(-time.Minute), NotAfter: a.now.Add(time.Hour),
		Tenant: "ten_one", Job: "job_one", Attempt: id, Submitter: person,
		Spec: broker.DigestOf(ev.Spec), Permit: broker.DigestOf(ev.Permit), Clearance: broker.DigestOf(ev.Clearance),
		Image: broker.DigestOf(ev.Manifest), Command: spec.Image.Command, Env: spec.Image.Env, WorkDir: spec.Image.WorkDir,
		Mounts: []broker.Mount{{Name: "cohort", PURI: data.PURI, Version: data.Version, Digest: digestOf("cohort")}},
		Limits: spec.Resources, Network: spec.Network, Telemetry: spec.Telemetry, Outputs: spec.Outputs,
		Resume: a.resume, Segment: a.segment,
	}
	if edit != nil {
		edit(&o)
	}
	signer, err := order.NewSigner(a.order)
	require.NoError(t, err)
	signed, err := signer.Sign(t.Context(), o, ev)
	require.NoError(t, err)
	return signed
}

func (a *authority) build(t *testing.T, ev *broker.Evidence) {
	t.Helper()
	var err error
	ev.Config, err = json.Marshal(ocispec.Image{
		Config: ocispec.ImageConfig{Cmd: []string{"/train"}, Env: []string{"SEED=7"}, WorkingDir: "/work"},
		RootFS: ocispec.RootFS{Type: "layers", DiffIDs: []digest.Digest{digest.Digest(digestOf("diff"))}},
	})
	require.NoError(t, err)
	m := ocispec.Manifest{
		MediaType: ocispec.MediaTypeImageManifest,
		Config:    ocispec.Descriptor{MediaType: ocispec.MediaTypeImageConfig, Digest: digest.Digest(broker.DigestOf(ev.Config)), Size: int64(len(ev.Config))},
		Layers: []ocispec.Descriptor{{
			MediaType: ocispec.MediaTypeImageLayerGzip, Digest: digest.Digest(broker.DigestOf(a.layer)), Size: int64(len(a.layer)),
		}},
	}
	m.SchemaVersion = 2
	ev.Manifest, err = json.Marshal(m)
	require.NoError(t, err)
	ev.Signature, err = sign.Sign(a.image, string(broker.DigestOf(ev.Manifest)))
	require.NoError(t, err)
}

func (a *authority) clear(t *testing.T, id broker.AttemptID, res broker.Resources, ev *broker.Evidence) {
	t.Helper()
	c := receipt.Document{
		Schema: receipt.DocumentSchema, Kind: broker.DecisionClearance, Decision: "dec_one", Job: "job_one", Attempt: string(id),
		Tenant: "ten_one", At: receipt.Stamp(a.now), Verdict: "allow", Submitter: person, Segment: a.segment,
		Permit: a.doc.ID, PermitVersion: a.doc.Version, PermitDigest: string(broker.DigestOf(ev.Permit)),
		StatusDigest: string(broker.DigestOf(ev.Status)), Spec: string(broker.DigestOf(ev.Spec)),
		Image: string(broker.DigestOf(ev.Manifest)), Site: string(a.trust.Site), Account: account,
		Limits: receipt.Limits{
			Nodes: res.Nodes, GPUsPerNode: res.GPUsPerNode, CPUsPerNode: res.CPUsPerNode,
			MemoryMiB: res.MemoryMiB, WalltimeSeconds: int64(res.Walltime / time.Second),
		},
		Input: string(digestOf("input")), Policy: string(digestOf("policy")), Engine: "opa",
	}
	var err error
	ev.Clearance, err = receipt.Encode(c)
	require.NoError(t, err)
	salt := receipt.Hash{1, 2, 3}
	rec := receipt.Record{
		Version: receipt.RecordVersion, Kind: broker.DecisionClearance, At: c.At, Seq: 1, Document: receipt.DocumentCommitment(salt, ev.Clearance),
	}
	leaf := rec.Leaf()
	text := receipt.Checkpoint{Origin: origin, Size: 1, Root: tlog.RecordHash(leaf[:])}.Text()
	signed, err := note.Sign(&note.Note{Text: text}, a.ledger)
	require.NoError(t, err)
	ev.Receipt, err = receipt.EncodeReceipt(receipt.Receipt{
		Schema: receipt.ReceiptSchema, Record: rec, Salt: salt, Index: 0, TreeSize: 1, Checkpoint: string(signed),
	})
	require.NoError(t, err)
}

// statement is a reviewer's release, signed.
func statement(t *testing.T, id broker.AttemptID, m broker.Digest, who broker.PersonID, key crypto.Signer, at time.Time) []byte {
	t.Helper()
	b, err := order.SignRelease(airlock.Statement{Attempt: id, Manifest: m, Reviewer: who}, at, key)
	require.NoError(t, err)
	require.False(t, bytes.Contains(b, []byte("\x00")))
	return b
}
