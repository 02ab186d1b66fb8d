package order_test

import (
	"bytes"
	"crypto"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/stretchr/testify/require"
	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"

	"github.com/valico-hpc/valico/adapters/order"
	"github.com/valico-hpc/valico/broker"
	"github.com/valico-hpc/valico/broker/jobspec"
	"github.com/valico-hpc/valico/broker/ledger/receipt"
	"github.com/valico-hpc/valico/images/dsse"
	"github.com/valico-hpc/valico/images/sign"
	"github.com/valico-hpc/valico/policy/permit"
)

const (
	account  = "ehds0001"
	person   = "ada@biotech.example"
	reviewer = "rita@authority.example"
	origin   = "ledger.example/valico"
)

// ring holds one key per role, and a key that nobody pinned.
type ring struct {
	order, permit, status, image, officer, stranger crypto.Signer
	ledger                                          note.Signer
	ledgerKey                                       string
}

func newRing(tb testing.TB) ring {
	tb.Helper()
	key := func() crypto.Signer {
		k, err := dsse.GenerateKey()
		require.NoError(tb, err)
		return k
	}
	r := ring{order: key(), permit: key(), status: key(), image: key(), officer: key(), stranger: key()}
	secret, public, err := note.GenerateKey(rand.Reader, origin)
	require.NoError(tb, err)
	r.ledgerKey = public
	r.ledger, err = note.NewSigner(secret)
	require.NoError(tb, err)
	return r
}

// fixedRing is the same in every process: a fuzz target runs in several, and
// its coverage must depend on the input alone.
func fixedRing(tb testing.TB) ring {
	tb.Helper()
	key := func(n byte) crypto.Signer { return ed25519.NewKeyFromSeed(bytes.Repeat([]byte{n}, ed25519.SeedSize)) }
	r := ring{order: key(1), permit: key(2), status: key(3), image: key(4), officer: key(5), stranger: key(6)}
	secret, public, err := note.GenerateKey(bytes.NewReader(bytes.Repeat([]byte{7}, 64)), origin)
	require.NoError(tb, err)
	r.ledgerKey = public
	r.ledger, err = note.NewSigner(secret)
	require.NoError(tb, err)
	return r
}

func keyID(tb testing.TB, k crypto.Signer) string {
	tb.Helper()
	id, err := permit.KeyID(k.Public())
	require.NoError(tb, err)
	return id
}

// plan is a fully valid order in parts. A test changes one part; build links
// and signs everything after it, so that only the changed thing is wrong.
type plan struct {
	ring  ring
	now   time.Time
	trust order.Trust
	at    order.At

	doc    permit.Document
	status permit.Status
	spec   broker.JobSpec
	config ocispec.Image

	segment int // when spec.Resume is set

	permitKey, statusKey, imageKey, orderKey crypto.Signer
	ledgerKey                                note.Signer
	agentKey                                 crypto.PublicKey

	// The edits come after a part is linked to the others and before it is
	// encoded and signed.
	manifest  func(*ocispec.Manifest)
	clearance func(*receipt.Document)
	record    func(*receipt.Record)
	order     func(*broker.WorkOrder)
	// evidence comes after everything is signed.
	evidence func(*broker.Evidence)
	raw      func([]byte) []byte
}

func newPlan(tb testing.TB) *plan {
	tb.Helper()
	return planOf(tb, newRing(tb))
}

func planOf(tb testing.TB, r ring) *plan {
	tb.Helper()
	p := &plan{ring: r, now: time.Date(2026, 3, 2, 9, 0, 0, 0, time.UTC)}
	p.permitKey, p.statusKey, p.imageKey, p.orderKey, p.ledgerKey = r.permit, r.status, r.image, r.order, r.ledger
	p.doc = permit.Template(p.now.AddDate(0, -1, 0))
	p.status = permit.Status{PermitID: p.doc.ID, Version: 1, Status: permit.StatusGranted, At: p.now.Add(-5 * time.Minute)}
	data := p.doc.Datasets[0]
	p.spec = broker.JobSpec{
		Name: "screening", Permit: broker.PermitID(p.doc.ID), Purpose: broker.Purpose{Code: "53(1)(e)", Sub: "ii"}, Activity: "train",
		Datasets: []broker.DatasetUse{{PURI: data.PURI, Version: data.Version, Mount: "cohort"}},
		Image: broker.ImageSpec{
			Base: "none", Command: []string{"/train", "--epochs", "5"}, Env: []broker.EnvVar{{Name: "SEED", Value: "7"}}, WorkDir: "/work",
			Layers: []broker.Layer{{
				Class: "source", MediaType: ocispec.MediaTypeImageLayerGzip, Digest: digestOf("layer"), DiffID: digestOf("diff"), SizeBytes: 5,
			}},
		},
		Resources: broker.Resources{Nodes: 1, GPUsPerNode: 1, CPUsPerNode: 2, MemoryMiB: 512, Walltime: 10 * time.Minute},
		Network:   "none", Telemetry: "full", Outputs: []broker.OutputSpec{{Path: "model.bin", Type: "model"}},
	}
	p.config = ocispec.Image{
		Config: ocispec.ImageConfig{Cmd: []string{"/train", "--epochs", "5"}, Env: []string{"SEED=7"}, WorkingDir: "/work"},
		RootFS: ocispec.RootFS{Type: "layers", DiffIDs: []digest.Digest{digest.Digest(digestOf("diff"))}},
	}
	p.trust = order.Trust{
		Site: "site_one", Name: "local", Isolation: broker.IsolationUserNS, KeyEpochMin: 2, StatusMaxAge: 15 * time.Minute,
		Order: []crypto.PublicKey{r.order.Public()}, Image: []crypto.PublicKey{r.image.Public()}, Ledger: []string{r.ledgerKey},
		Permit: []permit.TrustedIssuer{{
			KeyID: keyID(tb, r.permit), Public: r.permit.Public(), Issuer: p.doc.Issuer.HDAB,
			Scope: permit.Scope{
				Regimes: []string{permit.RegimeSandbox}, DatasetPrefixes: []string{"https://data.example/dataset"},
				Holders: []string{data.Holder}, SyntheticOnly: true,
			},
		}},
		Status:  []permit.TrustedStatusKey{{KeyID: keyID(tb, r.status), Public: r.status.Public(), Issuer: p.doc.Issuer.HDAB}},
		Officer: []order.Officer{{Person: reviewer, Key: r.officer.Public()}},
		Datasets: []order.Dataset{{
			PURI: data.PURI, Version: data.Version, Path: "/srv/data/cohort", Digest: digestOf("cohort"), Holder: data.Holder,
			Country: data.Country, Synthetic: true,
		}},
		Accounts: map[broker.PersonID]string{person: account, "bob@biotech.example": "ehds0002"},
	}
	p.at = order.At{Now: p.now}
	return p
}

func digestOf(s string) broker.Digest { return broker.DigestOf([]byte(s)) }

func edit[T any](f func(*T), v *T) {
	if f != nil {
		f(v)
	}
}

// build links, encodes and signs every part.
func (p *plan) build(tb testing.TB) (broker.SignedOrder, []byte) {
	tb.Helper()
	var ev broker.Evidence
	jws, err := permit.Sign(p.doc, p.permitKey, keyID(tb, p.ring.permit))
	require.NoError(tb, err)
	ev.Permit = []byte(jws)
	jws, err = permit.SignStatus(p.status, p.statusKey, keyID(tb, p.ring.status))
	require.NoError(tb, err)
	ev.Status = []byte(jws)
	ev.Spec, err = jobspec.EncodeSpec(p.spec)
	require.NoError(tb, err)
	p.image(tb, &ev)
	p.clear(tb, &ev)
	o := p.workOrder(ev)
	edit(p.order, &o)
	signer, err := order.NewSigner(p.orderKey)
	require.NoError(tb, err)
	signed, err := signer.Sign(tb.Context(), o, ev)
	require.NoError(tb, err)
	edit(p.evidence, &signed.Evidence)
	raw, err := order.Encode(signed)
	require.NoError(tb, err)
	if p.raw != nil {
		raw = p.raw(raw)
	}
	return signed, raw
}

func (p *plan) image(tb testing.TB, ev *broker.Evidence) {
	tb.Helper()
	var err error
	ev.Config, err = json.Marshal(p.config)
	require.NoError(tb, err)
	m := ocispec.Manifest{
		MediaType: ocispec.MediaTypeImageManifest,
		Config:    ocispec.Descriptor{MediaType: ocispec.MediaTypeImageConfig, Digest: digest.Digest(broker.DigestOf(ev.Config)), Size: int64(len(ev.Config))},
		Layers:    []ocispec.Descriptor{{MediaType: ocispec.MediaTypeImageLayerGzip, Digest: digest.Digest(digestOf("layer")), Size: 5}},
	}
	m.SchemaVersion = 2
	edit(p.manifest, &m)
	ev.Manifest, err = json.Marshal(m)
	require.NoError(tb, err)
	ev.Signature, err = sign.Sign(p.imageKey, string(broker.DigestOf(ev.Manifest)))
	require.NoError(tb, err)
}

func (p *plan) clear(tb testing.TB, ev *broker.Evidence) {
	tb.Helper()
	res := p.spec.Resources
	c := receipt.Document{
		Schema: receipt.DocumentSchema, Kind: broker.DecisionClearance, Decision: "dec_one", Job: "job_one", Attempt: "att_one",
		Tenant: "ten_one", At: receipt.Stamp(p.now), Verdict: "allow", Submitter: person,
		Permit: p.doc.ID, PermitVersion: p.doc.Version, PermitDigest: string(broker.DigestOf(ev.Permit)),
		StatusDigest: string(broker.DigestOf(ev.Status)), Spec: string(broker.DigestOf(ev.Spec)),
		Image: string(broker.DigestOf(ev.Manifest)), Site: string(p.trust.Site), Account: account,
		Limits: receipt.Limits{
			Nodes: res.Nodes, GPUsPerNode: res.GPUsPerNode, GPUType: res.GPUType, CPUsPerNode: res.CPUsPerNode,
			MemoryMiB: res.MemoryMiB, WalltimeSeconds: int64(res.Walltime / time.Second),
		},
		Input: string(digestOf("input")), Policy: string(digestOf("policy")), Engine: "opa",
	}
	if p.spec.Resume.Set() {
		c.Segment = p.segment
	}
	edit(p.clearance, &c)
	var err error
	ev.Clearance, err = receipt.Encode(c)
	require.NoError(tb, err)
	salt := receipt.Hash{1, 2, 3}
	rec := receipt.Record{
		Version: receipt.RecordVersion, Kind: broker.DecisionClearance, At: c.At, Seq: 1, Document: receipt.DocumentCommitment(salt, ev.Clearance),
	}
	edit(p.record, &rec)
	ev.Receipt = p.receipt(tb, rec, salt)
}

// receipt is of a ledger that holds the record alone.
func (p *plan) receipt(tb testing.TB, rec receipt.Record, salt receipt.Hash) []byte {
	tb.Helper()
	leaf := rec.Leaf()
	text := receipt.Checkpoint{Origin: origin, Size: 1, Root: tlog.RecordHash(leaf[:])}.Text()
	signed, err := note.Sign(&note.Note{Text: text}, p.ledgerKey)
	require.NoError(tb, err)
	b, err := receipt.EncodeReceipt(receipt.Receipt{
		Schema: receipt.ReceiptSchema, Record: rec, Salt: salt, Index: 0, TreeSize: 1, Checkpoint: string(signed),
	})
	require.NoError(tb, err)
	return b
}

func (p *plan) workOrder(ev broker.Evidence) broker.WorkOrder {
	o := broker.WorkOrder{
		ID: "ord_one", Site: p.trust.Site, Account: account, KeyEpoch: 2, NotBefore: p.now.Add(-time.Minute), NotAfter: p.now.Add(time.Hour),
		Tenant: "ten_one", Job: "job_one", Attempt: "att_one", Submitter: person,
		Spec: broker.DigestOf(ev.Spec), Permit: broker.DigestOf(ev.Permit), Clearance: broker.DigestOf(ev.Clearance),
		Image: broker.DigestOf(ev.Manifest), Command: p.spec.Image.Command, Env: p.spec.Image.Env, WorkDir: p.spec.Image.WorkDir,
		Limits: p.spec.Resources, Network: p.spec.Network, Telemetry: p.spec.Telemetry, Outputs: p.spec.Outputs,
		Resume: p.spec.Resume,
	}
	if p.spec.Resume.Set() {
		o.Segment = p.segment
	}
	for _, d := range p.spec.Datasets {
		o.Mounts = append(o.Mounts, broker.Mount{Name: d.Mount, PURI: d.PURI, Version: "1", Digest: digestOf("cohort")})
	}
	return o
}

// verify builds the order and verifies it at a stage.
func (p *plan) verify(tb testing.TB, stage order.Stage) (order.Verified, error) {
	tb.Helper()
	_, raw := p.build(tb)
	at := p.at
	at.Stage = stage
	if stage == order.StageNode && at.Account == "" {
		at.Account = account
	}
	return order.Verify(tb.Context(), raw, p.trust, at)
}

func stages() []order.Stage { return []order.Stage{order.StageAgent, order.StageNode} }

func replaced(s, from, to string) []byte { return []byte(strings.Replace(s, from, to, 1)) }
