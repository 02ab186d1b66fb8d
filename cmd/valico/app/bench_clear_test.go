package app_test

import (
	"context"
	"fmt"
	"path/filepath"
	"testing"
	"time"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/stretchr/testify/require"
	"golang.org/x/mod/sumdb/note"

	"github.com/valico-hpc/valico/adapters/order"
	"github.com/valico-hpc/valico/broker"
	"github.com/valico-hpc/valico/broker/admission"
	"github.com/valico-hpc/valico/broker/dispatch"
	"github.com/valico-hpc/valico/broker/jobspec"
	"github.com/valico-hpc/valico/broker/ledger"
	"github.com/valico-hpc/valico/broker/store/sqlite"
	"github.com/valico-hpc/valico/cmd/valico/app"
	"github.com/valico-hpc/valico/cmd/valico/demo"
	"github.com/valico-hpc/valico/images/dsse"
	"github.com/valico-hpc/valico/policy"
	"github.com/valico-hpc/valico/policy/permit"
)

// leafBytes is the size of a leaf's record, salt and hash.
const leafBytes = 600

// BenchmarkClearance compares the processor time of a clearance, all in this
// process over the real record, engine and keys, with that of its bare parts
// (see parts): of_parts is parts divided by clearance, held to at least 0.4. A
// clearance is the decision with its leaf, the leaf's receipt, for which a
// checkpoint over it is signed and stored, and the signed work order.
// of_parts_ready counts also what makes the attempt ready, a second write.
//
// callers=4 is how many attempts dispatch takes on at once; callers=32 is as
// many as BenchmarkAdmission has clients.
func BenchmarkClearance(b *testing.B) {
	for _, callers := range []int{4, 32} {
		b.Run(fmt.Sprintf("callers=%d", callers), func(b *testing.B) {
			const round = 256
			c := newClearing(b)
			bare := newParts(b)
			var cleared, ready time.Duration
			var dec broker.Decision
			var change dispatch.Change
			n, recorded := 0, 0
			turn := func() {
				claims := c.claims(b, round)
				changes := make([]dispatch.Change, round)
				decisions := make([]broker.Decision, round)
				cleared += cpuOf(b, func() error {
					return each(round, callers, func(i int) (err error) {
						changes[i], decisions[i], err = c.clear(b.Context(), claims[i])
						return err
					})
				})
				ready += cpuOf(b, func() error {
					return each(round, callers, func(i int) error {
						_, err := c.store.Advance(b.Context(), claims[i], changes[i])
						return err
					})
				})
				n += round
				dec, change = decisions[0], changes[0]
				recorded = len(dec.Input) + len(dec.Document) + leafBytes
				bare.measure(b, round, callers, dec.Input, recorded)
			}
			for b.Loop() {
				for range 4 { // in turns, so that both meet the same machine
					turn()
				}
			}
			b.Logf("input %d bytes, recorded %d bytes, %d more as ready", len(dec.Input), recorded, len(change.OrderBytes)+len(change.Receipt))
			bare.report(b, cleared+ready, n, "of_parts_ready")
			bare.report(b, cleared, n, "of_parts")
		})
	}
}

// each calls f with 0 to n-1, from so many goroutines.
func each(n, callers int, f func(i int) error) error {
	next := make(chan int, n)
	for i := range n {
		next <- i
	}
	return inParallel(n, callers, func(int) error { return f(<-next) })
}

// clearing is a broker's decision side, without dispatch and transport.
type clearing struct {
	store   *sqlite.Store
	service *admission.Service
	ledger  *ledger.Log
	signer  *order.Signer
	person  broker.Person
	spec    broker.JobSpec
	image   policy.Image
}

func newClearing(b *testing.B) *clearing {
	b.Helper()
	ctx, now, dir := b.Context(), time.Now(), b.TempDir()
	c := &clearing{}
	var err error
	c.store, err = sqlite.Open(ctx, sqlite.Config{Path: filepath.Join(dir, "broker.db")})
	require.NoError(b, err)
	b.Cleanup(func() { require.NoError(b, c.store.Close()) })
	secret, _, err := ledger.GenerateKey(app.Origin)
	require.NoError(b, err)
	signer, err := note.NewSigner(string(secret))
	require.NoError(b, err)
	c.ledger, err = ledger.NewLog(c.store, signer, app.Origin, time.Now)
	require.NoError(b, err)
	key, err := dsse.GenerateKey()
	require.NoError(b, err)
	c.signer, err = order.NewSigner(key)
	require.NoError(b, err)
	engine, err := policy.New(ctx)
	require.NoError(b, err)

	authority, err := demo.NewAuthority(dir)
	require.NoError(b, err)
	pinned, err := order.LoadAuthorities(authority.AuthoritiesFile())
	require.NoError(b, err)
	trust := admission.Trust{Issuers: pinned.Permit, StatusKeys: pinned.Status, StatusMaxAge: time.Hour}
	c.service, err = admission.New(c.store, engine, trust, admission.Config{})
	require.NoError(b, err)
	c.world(b, authority, now)
	return c
}

// signing is what an authority does.
type signing interface {
	Sign(doc permit.Document) (string, error)
	SignStatus(doc permit.Document, status string, at time.Time) (string, error)
}

// world stores a person, a site with the cohort, an allocation and a permit,
// and makes a job of them.
func (c *clearing) world(b *testing.B, auth signing, now time.Time) {
	b.Helper()
	ctx := b.Context()
	tenant, project, err := c.store.EnsureProject(ctx, "bench")
	require.NoError(b, err)
	c.person = broker.Person{ID: demo.Developer, Tenant: tenant, Project: project, Name: "Ada Example", Roles: []string{broker.RoleDeveloper}}
	require.NoError(b, c.store.AddPerson(ctx, c.person))
	doc := permit.Template(now) // for the developer and this site
	d := doc.Datasets[0]
	site := broker.Site{
		ID: broker.NewID[broker.SiteID]("site"), Name: "local", Country: "IT", Operator: "Example site operator", Scheduler: "local",
		Assurance: broker.AssuranceAdvisory, Isolation: broker.IsolationUserNS, MaxNodes: 2, CPUs: 4, MemoryMiB: 4096, MaxWall: time.Hour,
		KillMargin: 5 * time.Second, Accounts: map[broker.PersonID]string{demo.Developer: "user1"},
		Datasets: []broker.Dataset{{
			PURI: d.PURI, Version: d.Version, Path: "/data/cohort", Digest: broker.DigestOf([]byte("cohort")), Format: d.Format,
			Holder: d.Holder, Country: d.Country, Categories: d.Categories, Synthetic: true,
		}},
	}
	require.NoError(b, c.store.AddSite(ctx, site))
	require.NoError(b, c.store.AddAllocation(ctx, broker.Allocation{
		ID: broker.NewID[broker.AllocationID]("alc"), Tenant: tenant, Project: project, Site: site.ID, AccessMode: "playground",
		GPUSeconds: 1 << 30, ValidFrom: now.Add(-time.Hour), ValidUntil: now.AddDate(1, 0, 0),
	}))
	jws, err := auth.Sign(doc)
	require.NoError(b, err)
	status, err := auth.SignStatus(doc, permit.StatusGranted, now)
	require.NoError(b, err)
	_, err = c.store.ImportPermit(ctx, broker.PermitRecord{
		ID: broker.PermitID(doc.ID), Version: doc.Version, Tenant: tenant, Project: project, JWS: []byte(jws),
		Digest: broker.DigestOf([]byte(jws)), Status: []byte(status), StatusAt: now, At: now,
	}, ledger.Entry{
		Kind: ledger.KindPermitImport, Tenant: tenant, Permit: broker.PermitID(doc.ID), Person: c.person.ID, Document: []byte(jws), At: now,
	})
	require.NoError(b, err)

	file, err := jobspec.ParseYAML([]byte(demo.JobFile{Permit: doc.ID, Site: "local", Epochs: 3, Walltime: 2 * time.Minute}.YAML()))
	require.NoError(b, err)
	own := broker.Layer{
		Class: "source", MediaType: ocispec.MediaTypeImageLayerZstd, Digest: broker.DigestOf([]byte("layer")), DiffID: broker.DigestOf([]byte("tar")), SizeBytes: 1 << 20,
	}
	c.spec = file.Spec([]broker.Layer{own}, "none")
	c.image = policy.Image{
		Digest: string(broker.DigestOf([]byte("manifest"))), Base: "none", Signed: true, SignerKey: "image-key",
		Layers: []policy.Layer{{
			Class: own.Class, MediaType: own.MediaType, Digest: string(own.Digest), DiffID: string(own.DiffID), SizeBytes: own.SizeBytes,
		}},
		Config: policy.ImageConfig{
			Architecture: "amd64", OS: "linux", Cmd: c.spec.Image.Command, DiffIDs: []string{string(own.DiffID)},
			OSFeatures: []string{}, ExposedPorts: []string{}, Env: []policy.EnvVar{}, Entrypoint: []string{}, Volumes: []string{}, Labels: map[string]string{},
		},
	}
}

// claims admits n jobs and takes their attempts to where they wait for their
// clearance.
func (c *clearing) claims(b *testing.B, n int) []dispatch.Claimed {
	b.Helper()
	ctx := b.Context()
	require.NoError(b, each(n, 32, func(int) error {
		_, _, err := c.service.Submit(ctx, admission.Request{Principal: admission.Principal{Person: c.person, Method: "local_token"}, Spec: c.spec})
		return err
	}))
	now := time.Now()
	claims, err := c.store.Claim(ctx, dispatch.ClaimQuery{
		Owner: "bench", States: []broker.AttemptState{broker.AttemptPackaging}, Now: now, Until: now.Add(time.Hour), Limit: n,
	})
	require.NoError(b, err)
	require.Len(b, claims, n)
	require.NoError(b, each(n, 32, func(i int) (err error) {
		claims[i].Attempt, err = c.store.Advance(ctx, claims[i], dispatch.Change{To: broker.AttemptClearing, Image: broker.Digest(c.image.Digest)})
		return err
	}))
	return claims
}

// clear does what dispatch does of a clearance, up to the write that makes the
// attempt ready, and returns what that would write.
func (c *clearing) clear(ctx context.Context, claim dispatch.Claimed) (dispatch.Change, broker.Decision, error) {
	cl, err := c.service.Clear(ctx, admission.ClearRequest{Job: claim.Job, Attempt: claim.Attempt, Token: claim.Token, Image: c.image})
	if err != nil {
		return dispatch.Change{}, broker.Decision{}, err
	}
	if cl.Decision.Verdict != broker.VerdictAllow {
		return dispatch.Change{}, broker.Decision{}, fmt.Errorf("not cleared: %v", cl.Decision.Reasons)
	}
	receipt, err := c.ledger.Receipt(ctx, cl.Decision.LedgerIndex)
	if err != nil {
		return dispatch.Change{}, broker.Decision{}, err
	}
	spec, err := c.store.SpecBytes(ctx, claim.Job.ID)
	if err != nil {
		return dispatch.Change{}, broker.Decision{}, err
	}
	now, s := time.Now(), claim.Job.Spec
	signed, err := c.signer.Sign(ctx, broker.WorkOrder{
		ID: broker.NewID[broker.OrderID]("ord"), Site: claim.Job.Site, Account: cl.Account, KeyEpoch: 1,
		NotBefore: now.Add(-time.Minute), NotAfter: now.Add(time.Hour), Tenant: claim.Job.Tenant, Job: claim.Job.ID,
		Attempt: claim.Attempt.ID, Submitter: claim.Job.Submitter, Spec: claim.Job.SpecDigest, Permit: cl.Permit.Digest,
		Clearance: broker.DigestOf(cl.Decision.Document), Image: claim.Attempt.Image, Command: s.Image.Command, Env: s.Image.Env,
		WorkDir: s.Image.WorkDir, Limits: s.Resources, Network: s.Network, Telemetry: s.Telemetry, Outputs: s.Outputs,
		Mounts: []broker.Mount{{
			Name: s.Datasets[0].Mount, PURI: s.Datasets[0].PURI, Version: s.Datasets[0].Version, Digest: cl.Site.Datasets[0].Digest,
		}},
	}, broker.Evidence{
		Spec: spec, Permit: cl.Permit.JWS, Status: cl.Permit.Status, Clearance: cl.Decision.Document, Receipt: receipt,
		Manifest: make([]byte, 700), Config: make([]byte, 500), Signature: make([]byte, 900),
	})
	if err != nil {
		return dispatch.Change{}, broker.Decision{}, err
	}
	encoded, err := order.Codec{}.Encode(signed)
	return dispatch.Change{
		To: broker.AttemptReady, Clearance: cl.Decision.ID, Receipt: receipt, Order: signed.Order.ID, OrderBytes: encoded,
	}, cl.Decision, err
}
