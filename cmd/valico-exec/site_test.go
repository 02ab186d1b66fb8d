package main_test

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto"
	"crypto/rand"
	"encoding/json"
	"io/fs"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"syscall"
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
	person = "ada@biotech.example"
	origin = "ledger.example/valico"
)

// site is a site's folder with one staged attempt.
type site struct {
	t       *testing.T
	account *user.User
	dir     string
	layer   string // path of the only layer's blob
	trust   order.Trust
	keys    map[string]crypto.Signer

	// What a test changes before stage.
	spec      broker.JobSpec
	notBefore time.Time
}

func newSite(t *testing.T, account *user.User) *site {
	t.Helper()
	dir, err := os.MkdirTemp("", "valico-exec-test-") //nolint:usetesting // the parents of t.TempDir are closed to other users
	require.NoError(t, err)
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	require.NoError(t, os.Chmod(dir, 0o755))
	for _, d := range []string{"images/blobs/sha256", "attempts/att_one/out", "data"} {
		require.NoError(t, os.MkdirAll(filepath.Join(dir, d), 0o755))
	}
	require.NoError(t, os.WriteFile(filepath.Join(dir, "data/rows.csv"), []byte("a\nb\n"), 0o644))
	s := &site{t: t, account: account, dir: dir, keys: map[string]crypto.Signer{}, notBefore: time.Now().Add(-time.Minute)}
	for _, role := range []string{"order", "permit", "status", "image"} {
		s.keys[role], err = dsse.GenerateKey()
		require.NoError(t, err)
	}
	s.spec = broker.JobSpec{
		Name: "screening", Purpose: broker.Purpose{Code: "53(1)(e)", Sub: "ii"}, Activity: "train",
		Image:     broker.ImageSpec{Base: "none", Command: []string{"/work", "train"}, Env: []broker.EnvVar{{Name: "SEED", Value: "7"}}, WorkDir: "/"},
		Resources: broker.Resources{Nodes: 1, GPUsPerNode: 1, CPUsPerNode: 1, MemoryMiB: 64, Walltime: time.Minute},
		Network:   "none", Telemetry: "full",
	}
	return s
}

// stage makes everything that an agent puts there.
func (s *site) stage() {
	t := s.t
	t.Helper()
	now := time.Now().UTC()
	doc := permit.Template(now.AddDate(0, -1, 0))
	data := doc.Datasets[0]
	s.spec.Permit = broker.PermitID(doc.ID)
	s.spec.Datasets = []broker.DatasetUse{{PURI: data.PURI, Version: data.Version, Mount: "cohort"}}
	blob, diff := layerOf(t, program(t))
	s.layer = s.blob(blob)
	s.spec.Image.Layers = []broker.Layer{{
		Class: "source", MediaType: ocispec.MediaTypeImageLayerGzip, Digest: broker.DigestOf(blob), DiffID: broker.DigestOf(diff), SizeBytes: int64(len(blob)),
	}}
	secret, public, err := note.GenerateKey(rand.Reader, origin)
	require.NoError(t, err)
	ledger, err := note.NewSigner(secret)
	require.NoError(t, err)
	id := func(role string) string {
		k, err := permit.KeyID(s.keys[role].Public())
		require.NoError(t, err)
		return k
	}
	isolation := s.trust.Isolation
	if isolation == "" {
		isolation = broker.IsolationUserNS
	}
	s.trust = order.Trust{
		Site: "site_one", Name: "local", Isolation: isolation, KeyEpochMin: 1, StatusMaxAge: 15 * time.Minute,
		Order: []crypto.PublicKey{s.keys["order"].Public()}, Image: []crypto.PublicKey{s.keys["image"].Public()}, Ledger: []string{public},
		Permit: []permit.TrustedIssuer{{
			KeyID: id("permit"), Public: s.keys["permit"].Public(), Issuer: doc.Issuer.HDAB,
			Scope: permit.Scope{Regimes: []string{permit.RegimeSandbox}, DatasetPrefixes: []string{"https://data.example/dataset"}, Holders: []string{data.Holder}, SyntheticOnly: true},
		}},
		Status: []permit.TrustedStatusKey{{KeyID: id("status"), Public: s.keys["status"].Public(), Issuer: doc.Issuer.HDAB}},
		Datasets: []order.Dataset{{
			PURI: data.PURI, Version: data.Version, Path: filepath.Join(s.dir, "data"), Digest: broker.DigestOf([]byte("cohort")),
			Holder: data.Holder, Country: data.Country, Synthetic: true,
		}},
		Accounts: map[broker.PersonID]string{person: s.account.Username},
	}
	b, err := order.EncodeTrust(s.trust)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(filepath.Join(s.attempt(), "trust.json"), b, 0o644))

	var ev broker.Evidence
	jws, err := permit.Sign(doc, s.keys["permit"], id("permit"))
	require.NoError(t, err)
	ev.Permit = []byte(jws)
	jws, err = permit.SignStatus(permit.Status{PermitID: doc.ID, Version: 1, Status: permit.StatusGranted, At: now.Add(-time.Minute)}, s.keys["status"], id("status"))
	require.NoError(t, err)
	ev.Status = []byte(jws)
	ev.Spec, err = jobspec.EncodeSpec(s.spec)
	require.NoError(t, err)
	s.image(&ev)
	s.clear(&ev, doc, ledger, now)
	s.order(ev, now)
}

func (s *site) blob(b []byte) string {
	path := filepath.Join(s.dir, "images/blobs/sha256", broker.DigestOf(b).Hex())
	require.NoError(s.t, os.WriteFile(path, b, 0o444))
	return path
}

func (s *site) image(ev *broker.Evidence) {
	t := s.t
	t.Helper()
	l := s.spec.Image.Layers[0]
	config := ocispec.Image{
		Platform: ocispec.Platform{OS: "linux", Architecture: "amd64"},
		Config:   ocispec.ImageConfig{Cmd: s.spec.Image.Command, WorkingDir: s.spec.Image.WorkDir},
		RootFS:   ocispec.RootFS{Type: "layers", DiffIDs: []digest.Digest{digest.Digest(l.DiffID)}},
	}
	for _, v := range s.spec.Image.Env {
		config.Config.Env = append(config.Config.Env, v.Name+"="+v.Value)
	}
	var err error
	ev.Config, err = json.Marshal(config)
	require.NoError(t, err)
	m := ocispec.Manifest{
		MediaType: ocispec.MediaTypeImageManifest,
		Config:    ocispec.Descriptor{MediaType: ocispec.MediaTypeImageConfig, Digest: digest.Digest(broker.DigestOf(ev.Config)), Size: int64(len(ev.Config))},
		Layers:    []ocispec.Descriptor{{MediaType: l.MediaType, Digest: digest.Digest(l.Digest), Size: l.SizeBytes}},
	}
	m.SchemaVersion = 2
	ev.Manifest, err = json.Marshal(m)
	require.NoError(t, err)
	ev.Signature, err = sign.Sign(s.keys["image"], string(broker.DigestOf(ev.Manifest)))
	require.NoError(t, err)
	s.blob(ev.Config)
	s.blob(ev.Manifest)
	for name, body := range map[string]string{"oci-layout": `{"imageLayoutVersion":"1.0.0"}`, "index.json": `{"schemaVersion":2,"manifests":[]}`} {
		require.NoError(t, os.WriteFile(filepath.Join(s.dir, "images", name), []byte(body), 0o444))
	}
}

func (s *site) clear(ev *broker.Evidence, doc permit.Document, ledger note.Signer, now time.Time) {
	t := s.t
	t.Helper()
	res := s.spec.Resources
	c := receipt.Document{
		Schema: receipt.DocumentSchema, Kind: broker.DecisionClearance, Decision: "dec_one", Job: "job_one", Attempt: "att_one",
		Tenant: "ten_one", At: receipt.Stamp(now), Verdict: "allow", Submitter: person,
		Permit: doc.ID, PermitVersion: doc.Version, PermitDigest: string(broker.DigestOf(ev.Permit)),
		StatusDigest: string(broker.DigestOf(ev.Status)), Spec: string(broker.DigestOf(ev.Spec)),
		Image: string(broker.DigestOf(ev.Manifest)), Site: "site_one", Account: s.account.Username,
		Limits: receipt.Limits{
			Nodes: res.Nodes, GPUsPerNode: res.GPUsPerNode, GPUType: res.GPUType, CPUsPerNode: res.CPUsPerNode,
			MemoryMiB: res.MemoryMiB, WalltimeSeconds: int64(res.Walltime / time.Second),
		},
		Segment: s.segment(),
		Input:   string(broker.DigestOf([]byte("input"))), Policy: string(broker.DigestOf([]byte("policy"))), Engine: "opa",
	}
	var err error
	ev.Clearance, err = receipt.Encode(c)
	require.NoError(t, err)
	salt := receipt.Hash{1, 2, 3}
	rec := receipt.Record{
		Version: receipt.RecordVersion, Kind: broker.DecisionClearance, At: c.At, Seq: 1, Document: receipt.DocumentCommitment(salt, ev.Clearance),
	}
	leaf := rec.Leaf()
	signed, err := note.Sign(&note.Note{Text: receipt.Checkpoint{Origin: origin, Size: 1, Root: tlog.RecordHash(leaf[:])}.Text()}, ledger)
	require.NoError(t, err)
	ev.Receipt, err = receipt.EncodeReceipt(receipt.Receipt{Schema: receipt.ReceiptSchema, Record: rec, Salt: salt, TreeSize: 1, Checkpoint: string(signed)})
	require.NoError(t, err)
}

// segment is the first, of a job that resumes.
func (s *site) segment() int { return min(1, s.spec.Resume.MaxSegments) }

func (s *site) order(ev broker.Evidence, now time.Time) {
	t := s.t
	t.Helper()
	use := s.spec.Datasets[0]
	signer, err := order.NewSigner(s.keys["order"])
	require.NoError(t, err)
	signed, err := signer.Sign(t.Context(), broker.WorkOrder{
		ID: "ord_one", Site: "site_one", Account: s.account.Username, KeyEpoch: 1, NotBefore: s.notBefore, NotAfter: now.Add(time.Hour),
		Tenant: "ten_one", Job: "job_one", Attempt: "att_one", Submitter: person,
		Spec: broker.DigestOf(ev.Spec), Permit: broker.DigestOf(ev.Permit), Clearance: broker.DigestOf(ev.Clearance),
		Image: broker.DigestOf(ev.Manifest), Command: s.spec.Image.Command, Env: s.spec.Image.Env, WorkDir: s.spec.Image.WorkDir,
		Mounts: []broker.Mount{{Name: use.Mount, PURI: use.PURI, Version: use.Version, Digest: broker.DigestOf([]byte("cohort"))}},
		Limits: s.spec.Resources, Network: s.spec.Network, Telemetry: s.spec.Telemetry, Outputs: s.spec.Outputs,
		Resume: s.spec.Resume, Segment: s.segment(),
	}, ev)
	require.NoError(t, err)
	raw, err := order.Encode(signed)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(filepath.Join(s.attempt(), "order.json"), raw, 0o400))
	s.chown()
}

func (s *site) attempt() string { return filepath.Join(s.dir, "attempts/att_one") }

// chown gives the attempt to its account.
func (s *site) chown() {
	uid, err := strconv.Atoi(s.account.Uid)
	require.NoError(s.t, err)
	gid, err := strconv.Atoi(s.account.Gid)
	require.NoError(s.t, err)
	require.NoError(s.t, filepath.WalkDir(s.attempt(), func(path string, _ fs.DirEntry, err error) error {
		if err != nil || uid == os.Getuid() {
			return err
		}
		return os.Lchown(path, uid, gid)
	}))
}

func (s *site) credential() *syscall.SysProcAttr {
	uid, err := strconv.Atoi(s.account.Uid)
	require.NoError(s.t, err)
	gid, err := strconv.Atoi(s.account.Gid)
	require.NoError(s.t, err)
	if uid == os.Getuid() {
		return nil
	}
	return &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}}
}

// layerOf is a layer that holds one program, packed and as it is.
func layerOf(t *testing.T, path string) (packed, raw []byte) {
	t.Helper()
	body, err := os.ReadFile(path)
	require.NoError(t, err)
	var plain, gz bytes.Buffer
	w := tar.NewWriter(&plain)
	require.NoError(t, w.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: "work", Mode: 0o755, Size: int64(len(body)), ModTime: time.Unix(0, 0), Format: tar.FormatPAX}))
	_, err = w.Write(body)
	require.NoError(t, err)
	require.NoError(t, w.Close())
	z, err := gzip.NewWriterLevel(&gz, gzip.BestSpeed)
	require.NoError(t, err)
	_, err = z.Write(plain.Bytes())
	require.NoError(t, err)
	require.NoError(t, z.Close())
	return gz.Bytes(), plain.Bytes()
}
