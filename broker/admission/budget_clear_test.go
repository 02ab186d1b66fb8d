package admission_test

import (
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/valico-hpc/valico/broker"
	"github.com/valico-hpc/valico/broker/admission"
	"github.com/valico-hpc/valico/broker/dispatch"
	"github.com/valico-hpc/valico/broker/ledger"
	"github.com/valico-hpc/valico/policy"
)

// clearing takes an admitted job to where it waits for its clearance.
func (b *budget) clearing(t *testing.T, id broker.JobID, image string) dispatch.Claimed {
	t.Helper()
	now := time.Now().UTC().Add(time.Minute)
	cs, err := b.store.Claim(t.Context(), dispatch.ClaimQuery{
		Owner: "test", States: broker.AttemptStates(), Now: now, Until: now.Add(time.Hour), Limit: 10,
	})
	require.NoError(t, err)
	for _, c := range cs {
		if c.Job.ID == id {
			c.Attempt, err = b.store.Advance(t.Context(), c, dispatch.Change{To: broker.AttemptClearing, Image: broker.Digest(image)})
			require.NoError(t, err)
			return c
		}
	}
	require.Fail(t, "the job was not due")
	return dispatch.Claimed{}
}

// imageOf is a job's image as it would be assembled.
func imageOf(s broker.JobSpec) policy.Image {
	l := s.Image.Layers[0]
	return policy.Image{
		Digest: string(broker.DigestOf([]byte("manifest"))), Base: "none", Signed: true, SignerKey: "image-key",
		Layers: []policy.Layer{{Class: l.Class, MediaType: l.MediaType, Digest: string(l.Digest), DiffID: string(l.DiffID), SizeBytes: l.SizeBytes}},
		Config: policy.ImageConfig{
			Architecture: "amd64", OS: "linux", Cmd: s.Image.Command, DiffIDs: []string{string(l.DiffID)}, WorkDir: s.Image.WorkDir,
			User: s.Image.User, OSFeatures: []string{}, ExposedPorts: []string{}, Env: []policy.EnvVar{}, Entrypoint: []string{},
			Volumes: []string{}, Labels: map[string]string{},
		},
	}
}

// A job that has its place keeps it: what an operator changes afterwards, and
// which other allocation the project has by then, is for the jobs to come.
func TestAnAdmittedJobIsClearedOnTheTermsThatItReservedWith(t *testing.T) {
	t.Parallel()
	b, err := openBudget(t.Context(), filepath.Join(t.TempDir(), "broker.db"))
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, b.store.Close()) })
	b.fill(t, 1_000, nil)
	spec := b.shape(seeded(t))
	spec.Resources.Nodes, spec.Resources.GPUsPerNode, spec.Resources.GPUType, spec.Resources.Walltime = 1, 1, "h100", 600*time.Second
	job, err := b.submit(t.Context(), spec, "")
	require.NoError(t, err)
	require.EqualValues(t, 945, b.grant(t).Reserved, "630 s at 1.5")

	a := b.grant(t)
	a.Frozen, a.MaxGPUs, a.MaxJobs, a.MaxWall, a.Weights = true, 1, 1, time.Minute, map[string]broker.Weight{"h100": 9000}
	doc, err := ledger.EncodeAllocation(broker.ActFreeze, a, ada, "audit", time.Now())
	require.NoError(t, err)
	_, err = b.store.ChangeAllocation(t.Context(), a, broker.AllocationAct{
		Allocation: a.ID, Act: broker.ActFreeze, By: ada, Reason: "audit", Document: doc,
	}, ledger.Entry{
		Kind: ledger.KindAllocation, Tenant: a.Tenant, Permit: ledger.ProjectChain(a.Project), Person: ada, Document: doc, At: time.Now(),
	})
	require.NoError(t, err)
	richer := a
	richer.ID, richer.GPUSeconds, richer.Frozen = "alc_richer", 10, false
	require.NoError(t, b.store.AddAllocation(t.Context(), richer))
	_, err = b.submit(t.Context(), spec, "")
	require.True(t, noRoom(err) || broker.KindOf(err) == broker.KindNotAdmitted, "%v", err)

	image := imageOf(spec)
	c := b.clearing(t, job.ID, image.Digest)
	cleared, err := b.service.Clear(t.Context(), admission.ClearRequest{Job: c.Job, Attempt: c.Attempt, Token: c.Token, Image: image})
	require.NoError(t, err)
	require.Equal(t, broker.VerdictAllow, cleared.Decision.Verdict, "%v", cleared.Decision.Reasons)
	in, err := policy.DecodeInput(cleared.Decision.Input)
	require.NoError(t, err)
	require.Equal(t, []any{string(budgetID), int64(945), int64(630), int64(1500), int64(1000), true},
		[]any{in.Budget.Allocation, in.Budget.Needed, in.Budget.GPUSeconds, in.Budget.Weight, in.Budget.Available, in.Budget.Frozen})
	require.Zero(t, in.Budget.OpenJobs, "the job itself is not counted as another")
}

// One allocation's terms do not stand in the way of a job that another takes.
func TestAJobIsTriedOnEachAllocationOfTheSite(t *testing.T) {
	t.Parallel()
	b, err := openBudget(t.Context(), filepath.Join(t.TempDir(), "broker.db"))
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, b.store.Close()) })
	b.fill(t, 100_000, func(a *broker.Allocation) { a.MaxWall = time.Minute }) // most left, short jobs
	large := b.grant(t)
	large.ID, large.GPUSeconds, large.MaxWall, large.AccessMode = "alc_large", 5_000, 0, "large_scale"
	require.NoError(t, b.store.AddAllocation(t.Context(), large))
	spec := b.shape(seeded(t))
	spec.Resources.Nodes, spec.Resources.GPUsPerNode, spec.Resources.GPUType = 1, 1, "h100"
	reserved := func() [2]int64 {
		t.Helper()
		as, err := b.store.TenantAllocations(t.Context(), b.person.Tenant)
		require.NoError(t, err)
		by := map[broker.AllocationID]int64{}
		for _, a := range as {
			by[a.ID] = a.Reserved
		}
		return [2]int64{by[budgetID], by["alc_large"]}
	}
	spec.Resources.Walltime = 30 * time.Second
	_, err = b.submit(t.Context(), spec, "")
	require.NoError(t, err)
	require.Equal(t, [2]int64{90, 0}, reserved())
	spec.Resources.Walltime = 10 * time.Minute
	_, err = b.submit(t.Context(), spec, "")
	require.NoError(t, err)
	require.Equal(t, [2]int64{90, 945}, reserved())

	request := admission.Request{Principal: admission.Principal{Person: b.person, Method: "local_token"}, Spec: spec}
	plan, err := b.service.Plan(t.Context(), request)
	require.NoError(t, err)
	require.Len(t, plan.Sites, 1, "a site is shown once")
	require.Equal(t, broker.VerdictAllow, plan.Verdict)
	require.InDelta(t, 4055.0/3600, plan.Sites[0].GPUHoursLeft, 1e-9, "of the allocation that would take it")
	request.Spec.Resources.Walltime = time.Hour // more than either takes
	plan, err = b.service.Plan(t.Context(), request)
	require.NoError(t, err)
	require.Len(t, plan.Sites, 1)
	require.Equal(t, broker.VerdictDeny, plan.Verdict)
}
