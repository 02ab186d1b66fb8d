package admission_test

import (
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/valico-hpc/valico/broker"
	"github.com/valico-hpc/valico/broker/admission"
	"github.com/valico-hpc/valico/broker/dispatch"
	"github.com/valico-hpc/valico/broker/ledger"
	"github.com/valico-hpc/valico/broker/store/sqlite"
	"github.com/valico-hpc/valico/policy"
	"github.com/valico-hpc/valico/policy/permit"
)

// envRecord names the record to a child process that submits until it is killed.
const envRecord = "VALICO_TEST_SUBMIT_TO"

func TestMain(m *testing.M) {
	if path := os.Getenv(envRecord); path != "" {
		submitUntilKilled(path)
		return
	}
	os.Exit(m.Run())
}

const (
	killMargin = 30 * time.Second
	h100       = broker.Weight(1500)
	l4         = broker.Weight(250)
	budgetID   = broker.AllocationID("alc_budget")
	ada        = broker.PersonID("ada@biotech.example")
)

// seededKey is a key that parent and child both know; it signs for this test alone.
func seededKey(b byte) ed25519.PrivateKey {
	return ed25519.NewKeyFromSeed([]byte(strings.Repeat(string(rune('a'+b)), ed25519.SeedSize)))
}

func pinned() admission.Trust {
	return admission.Trust{
		StatusMaxAge: time.Hour,
		Issuers: []permit.TrustedIssuer{{KeyID: "p1", Public: seededKey(0).Public(), Issuer: "hdab-sandbox", Scope: permit.Scope{
			Regimes: []string{permit.RegimeSandbox}, DatasetPrefixes: []string{"https://data.example/dataset"},
			Holders: []string{"holder-sandbox"}, SyntheticOnly: true,
		}}},
		StatusKeys: []permit.TrustedStatusKey{{KeyID: "s1", Public: seededKey(1).Public(), Issuer: "hdab-sandbox"}},
	}
}

// budget is admission over the real record and policy, with one grant.
type budget struct {
	store   *sqlite.Store
	service *admission.Service
	person  broker.Person
	permit  broker.PermitID
}

func openBudget(ctx context.Context, path string) (*budget, error) {
	store, err := sqlite.Open(ctx, sqlite.Config{Path: path})
	if err != nil {
		return nil, err
	}
	engine, err := policy.New(ctx)
	if err != nil {
		return nil, errors.Join(err, store.Close())
	}
	b := &budget{store: store, permit: broker.PermitID(permit.Template(time.Now()).ID)}
	if b.service, err = admission.New(store, engine, pinned(), admission.Config{}); err != nil {
		return nil, errors.Join(err, store.Close())
	}
	tenant, project, err := store.EnsureProject(ctx, "oncology")
	b.person = broker.Person{ID: ada, Tenant: tenant, Project: project, Name: "Ada", Roles: []string{broker.RoleDeveloper}}
	return b, err
}

// fill makes site, grant and permit.
func (b *budget) fill(t *testing.T, granted int64, change func(*broker.Allocation)) {
	t.Helper()
	ctx, now := t.Context(), time.Now().UTC()
	require.NoError(t, b.store.AddPerson(ctx, b.person))
	doc := permit.Template(now)
	doc.SPE.GPUHours, doc.SPE.MaxGPUs = 0, 0
	d := doc.Datasets[0]
	site := broker.Site{
		ID: broker.NewID[broker.SiteID]("site"), Name: "local", Country: "IT", Operator: "Example site operator", Scheduler: "slurm",
		Assurance: broker.AssuranceAdvisory, Isolation: broker.IsolationUserNS, MaxNodes: 4, CPUs: 64, MemoryMiB: 4096, MaxWall: time.Hour,
		GPUs: []broker.GPUType{{Name: "h100", PerNode: 4}, {Name: "l4", PerNode: 8}}, KillMargin: killMargin,
		Accounts: map[broker.PersonID]string{ada: "user1"},
		Datasets: []broker.Dataset{{
			PURI: d.PURI, Version: d.Version, Path: "/data/cohort", Digest: broker.DigestOf([]byte("cohort")), Format: d.Format,
			Holder: d.Holder, Country: d.Country, Categories: d.Categories, Synthetic: true,
		}},
	}
	require.NoError(t, b.store.AddSite(ctx, site))
	a := broker.Allocation{
		ID: budgetID, Tenant: b.person.Tenant, Project: b.person.Project, Site: site.ID, AccessMode: "playground", GPUSeconds: granted,
		ValidFrom: now.Add(-time.Hour), ValidUntil: now.AddDate(0, 1, 0), Weights: map[string]broker.Weight{"h100": h100, "l4": l4},
	}
	if change != nil {
		change(&a)
	}
	require.NoError(t, b.store.AddAllocation(ctx, a))
	jws, err := permit.Sign(doc, seededKey(0), "p1")
	require.NoError(t, err)
	status, err := permit.SignStatus(permit.Status{PermitID: doc.ID, Version: doc.Version, Status: permit.StatusGranted, At: now}, seededKey(1), "s1")
	require.NoError(t, err)
	_, err = b.store.ImportPermit(ctx, broker.PermitRecord{
		ID: b.permit, Version: doc.Version, Tenant: b.person.Tenant, Project: b.person.Project, JWS: []byte(jws),
		Digest: broker.DigestOf([]byte(jws)), Status: []byte(status), StatusAt: now, At: now,
	}, ledger.Entry{Kind: ledger.KindPermitImport, Tenant: b.person.Tenant, Permit: b.permit, Person: ada, Document: []byte(jws), At: now})
	require.NoError(t, err)
}

// shape is a job's size, drawn at random.
func (b *budget) shape(rnd *rand.Rand) broker.JobSpec {
	doc := permit.Template(time.Now())
	return broker.JobSpec{
		Name: "job", Permit: b.permit, Purpose: broker.Purpose{Code: "53(1)(e)", Sub: "ii"}, Activity: "train", Site: "local",
		Datasets: []broker.DatasetUse{{PURI: doc.Datasets[0].PURI, Version: "1", Mount: "cohort"}},
		Image: broker.ImageSpec{Base: "none", Command: []string{"/train"}, WorkDir: "/work", User: "1000:1000", Layers: []broker.Layer{{
			Class: "source", MediaType: "application/vnd.oci.image.layer.v1.tar+zstd", Digest: broker.DigestOf([]byte("layer")),
			DiffID: broker.DigestOf([]byte("tar")), SizeBytes: 1 << 20,
		}}},
		Resources: broker.Resources{
			Nodes: 1 + rnd.IntN(2), GPUsPerNode: rnd.IntN(5), GPUType: []string{"", "h100", "l4"}[rnd.IntN(3)], CPUsPerNode: 1, MemoryMiB: 64,
			Walltime: time.Duration(1+rnd.IntN(600)) * time.Second,
		},
		Network: "none", Telemetry: "full", Outputs: []broker.OutputSpec{{Path: "model.bin", Type: "model"}},
	}
}

// charge is the model: what a job of this size costs, written down apart from
// the code under test.
func charge(r broker.Resources) int64 {
	w := h100 // the dearest, for a job that takes any
	if r.GPUType == "l4" {
		w = l4
	}
	n := int64(r.Nodes*r.GPUsPerNode) * int64((r.Walltime+killMargin)/time.Second)
	return (n*int64(w) + 999) / 1000
}

func (b *budget) submit(ctx context.Context, spec broker.JobSpec, key string) (broker.Job, error) {
	job, _, err := b.service.Submit(ctx, admission.Request{
		Principal: admission.Principal{Person: b.person, Method: "local_token"}, Spec: spec, IdempotencyKey: key,
	})
	return job, err
}

func (b *budget) grant(t *testing.T) broker.Allocation {
	t.Helper()
	a, err := b.store.Allocation(t.Context(), b.person.Tenant, budgetID)
	require.NoError(t, err)
	return a
}

// noRoom reports whether a submission was refused for want of budget: by policy,
// or by the transaction when another was faster.
func noRoom(err error) bool {
	if broker.KindOf(err) == broker.KindQuota {
		return true
	}
	e, ok := errors.AsType[*broker.Error](err)
	if !ok || e.Kind != broker.KindNotAdmitted || len(e.Reasons) == 0 {
		return false
	}
	for _, r := range e.Reasons {
		switch r.Code {
		case "budget_exceeded", "allocation_frozen", "allocation_gpus_in_use", "allocation_jobs_in_use":
		default:
			return false
		}
	}
	return true
}

// books are what the record says of every job, summed afresh: the jobs and their
// attempts, without the allocation's own counters.
type books struct {
	reserved, used int64
	jobs, gpus     int
	open           map[broker.JobID]broker.Attempt
	all            map[broker.JobID]bool
}

func (b *budget) books(t *testing.T) books {
	t.Helper()
	s := books{open: map[broker.JobID]broker.Attempt{}, all: map[broker.JobID]bool{}}
	for cursor := ""; ; {
		page, next, err := b.store.Jobs(t.Context(), b.person.Project, cursor, 500)
		require.NoError(t, err)
		for _, j := range page {
			s.all[j.ID] = true
			as, err := b.store.Attempts(t.Context(), j.ID)
			require.NoError(t, err)
			for _, a := range as {
				r, _, err := b.store.Reserved(t.Context(), b.person.Project, a.Reservation)
				require.NoError(t, err)
				require.Equal(t, charge(j.Spec.Resources), r.GPUSeconds, "what was reserved is what the model says")
				require.Equal(t, a.State.Terminal(), r.Settled)
				if r.Settled {
					s.used += r.Booked
					continue
				}
				s.reserved, s.jobs, s.gpus = s.reserved+r.GPUSeconds, s.jobs+1, s.gpus+r.GPUs
				s.open[j.ID] = a
			}
		}
		if cursor = next; cursor == "" {
			return s
		}
	}
}

// balanced compares the allocation with its books.
func (b *budget) balanced(t *testing.T) books {
	t.Helper()
	s, a := b.books(t), b.grant(t)
	require.Equal(t, s.reserved, a.Reserved)
	require.Equal(t, s.used, a.Used)
	require.Equal(t, s.jobs, a.OpenJobs)
	require.Equal(t, s.gpus, a.OpenGPUs)
	return s
}

// end settles an attempt as done having used so many GPU-seconds.
func (b *budget) end(t *testing.T, id broker.AttemptID, used int64) {
	t.Helper()
	now := time.Now().UTC().Add(time.Minute)
	cs, err := b.store.Claim(t.Context(), dispatch.ClaimQuery{
		Owner: "test", States: broker.AttemptStates(), Now: now, Until: now.Add(time.Microsecond), Limit: 5000,
	})
	require.NoError(t, err)
	for _, c := range cs {
		if c.Attempt.ID != id {
			continue
		}
		_, err := b.store.Advance(t.Context(), c, dispatch.Change{
			To: broker.AttemptDone, JobTo: broker.JobFailed, Outcome: broker.OutcomeLaunchFailed, Code: "test", FinishedAt: time.Now(),
			Usage: broker.Usage{GPUSeconds: used, Method: "slurmdb"},
		})
		require.NoError(t, err)
		return
	}
	require.Fail(t, "the attempt was not due")
}

func seeded(t *testing.T) *rand.Rand {
	t.Helper()
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	return rand.New(rand.NewPCG(seed, 0))
}

// P3: 1,000 submissions at once through the real policy and record. Whatever
// their order, what is reserved never passes the grant, and what was answered is
// what is in the books.
func TestAThousandParallelSubmissionsNeverExceedTheGrant(t *testing.T) {
	t.Parallel()
	const granted = 60_000
	b, err := openBudget(t.Context(), filepath.Join(t.TempDir(), "broker.db"))
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, b.store.Close()) })
	b.fill(t, granted, func(a *broker.Allocation) { a.MaxJobs, a.MaxGPUs = 400, 300 })
	rnd := seeded(t)
	specs := make([]broker.JobSpec, 1000)
	for i := range specs {
		specs[i] = b.shape(rnd)
	}
	done, watched := make(chan struct{}), make(chan struct{})
	go func() { // an observer from beside sees no moment at which a term is broken
		defer close(watched)
		for {
			select {
			case <-done:
				return
			default:
			}
			a, err := b.store.Allocation(context.WithoutCancel(t.Context()), b.person.Tenant, budgetID)
			if err != nil || a.Reserved > granted || a.OpenJobs > 400 || a.OpenGPUs > 300 {
				t.Errorf("at one moment: %+v %v", a, err)
				return
			}
		}
	}()
	var admitted, refused, sum atomic.Int64
	var wg sync.WaitGroup
	for i, spec := range specs {
		key := fmt.Sprintf("key-%d", i)
		if i%4 == 1 {
			key = fmt.Sprintf("key-%d", i-1) // another request under the key of the one before
		}
		wg.Go(func() {
			_, err := b.submit(t.Context(), spec, key)
			switch {
			case err == nil:
				admitted.Add(1)
				sum.Add(charge(spec.Resources))
			case noRoom(err), broker.CodeOf(err) == "idempotency_reused":
				refused.Add(1)
			default:
				t.Errorf("%v", err)
			}
		})
	}
	wg.Wait()
	close(done)
	<-watched
	s := b.balanced(t)
	require.LessOrEqual(t, s.reserved, int64(granted))
	require.Equal(t, sum.Load(), s.reserved, "what was answered is what is reserved")
	require.EqualValues(t, s.jobs, admitted.Load())
	require.Positive(t, refused.Load(), "the grant was too large to be tested")
	require.EqualValues(t, 1000, admitted.Load()+refused.Load())
	t.Logf("%d admitted, %d refused, %d of %d GPU-seconds, %d GPUs", s.jobs, refused.Load(), s.reserved, granted, s.gpus)
}
