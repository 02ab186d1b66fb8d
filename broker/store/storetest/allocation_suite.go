package storetest

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/valico-hpc/valico/broker"
	"github.com/valico-hpc/valico/broker/admission"
	"github.com/valico-hpc/valico/broker/dispatch"
	"github.com/valico-hpc/valico/broker/ledger"
)

// Act is an operator's act on an allocation with its ledger entry.
func (f Fixture) Act(a broker.Allocation, act string) (broker.AllocationAct, ledger.Entry) {
	doc := fmt.Appendf(nil, "%s of %s after version %d", act, a.ID, a.Version)
	return broker.AllocationAct{Allocation: a.ID, Act: act, By: f.Person.ID, Reason: "because", Document: doc}, ledger.Entry{
		Kind: ledger.KindAllocation, Tenant: a.Tenant, Permit: ledger.ProjectChain(a.Project), Person: f.Person.ID, Document: doc, At: f.now,
	}
}

// Change gives the fixture's allocation new terms.
func (f Fixture) Change(tb testing.TB, act string, change func(*broker.Allocation)) broker.Allocation {
	tb.Helper()
	a, err := f.Store.Allocation(tb.Context(), f.Tenant, f.Allocation.ID)
	require.NoError(tb, err)
	change(&a)
	c, e := f.Act(a, act)
	a, err = f.Store.ChangeAllocation(tb.Context(), a, c, e)
	require.NoError(tb, err)
	return a
}

func allocationActs(t *testing.T, s Store) {
	t.Helper()
	f := Fill(t, s, 100)
	ctx := t.Context()
	a := f.Allocation
	a.ID, a.Weights, a.MaxGPUs, a.MaxJobs, a.MaxWall = "alc_2", map[string]broker.Weight{"h100": 1500}, 8, 4, time.Hour
	c, e := f.Act(a, broker.ActCreate)
	a, err := s.CreateAllocation(ctx, a, c, e)
	require.NoError(t, err)
	got, err := s.Allocation(ctx, f.Tenant, a.ID)
	require.NoError(t, err)
	require.Equal(t, a, got)

	more := a
	more.GPUSeconds, more.Weights = 200, nil
	c, e = f.Act(more, broker.ActAdjust)
	more, err = s.ChangeAllocation(ctx, more, c, e)
	require.NoError(t, err)
	require.EqualValues(t, 2, more.Version)
	a.MaxJobs = 1
	c, e = f.Act(a, broker.ActAdjust)
	_, err = s.ChangeAllocation(ctx, a, c, e)
	require.Equal(t, broker.CodeStaleVersion, broker.CodeOf(err), "%v", err)

	acts, err := s.AllocationActs(ctx, f.Tenant, a.ID)
	require.NoError(t, err)
	require.Len(t, acts, 2)
	for i, act := range acts {
		require.EqualValues(t, i+1, act.Version)
		row, err := s.LedgerRow(ctx, act.LedgerIndex)
		require.NoError(t, err)
		require.Equal(t, ledger.KindAllocation, row.Entry.Kind)
		require.Equal(t, act.Document, row.Entry.Document)
		require.EqualValues(t, i+1, row.Record.Seq, "a project's acts are a chain of their own")
	}
	all, err := s.TenantAllocations(ctx, f.Tenant)
	require.NoError(t, err)
	require.Len(t, all, 2)
	allocationRefused(t, s, f, more)
}

// allocationRefused are the acts that change nothing and leave no leaf.
func allocationRefused(t *testing.T, s Store, f Fixture, a broker.Allocation) {
	t.Helper()
	ctx := t.Context()
	before, err := s.LedgerSize(ctx)
	require.NoError(t, err)
	for name, spoil := range map[string]func(*broker.Allocation, *broker.AllocationAct, *ledger.Entry){
		"another site":        func(a *broker.Allocation, _ *broker.AllocationAct, _ *ledger.Entry) { a.Site = "x" },
		"another access mode": func(a *broker.Allocation, _ *broker.AllocationAct, _ *ledger.Entry) { a.AccessMode = "x" },
		"no weight at all": func(a *broker.Allocation, _ *broker.AllocationAct, _ *ledger.Entry) {
			a.Weights = map[string]broker.Weight{"h100": 0}
		},
		"a negative limit":  func(a *broker.Allocation, _ *broker.AllocationAct, _ *ledger.Entry) { a.MaxGPUs = -1 },
		"over before it is": func(a *broker.Allocation, _ *broker.AllocationAct, _ *ledger.Entry) { a.ValidUntil = a.ValidFrom },
		"nobody's act":      func(_ *broker.Allocation, c *broker.AllocationAct, _ *ledger.Entry) { c.By = "" },
		"another's leaf":    func(_ *broker.Allocation, _ *broker.AllocationAct, e *ledger.Entry) { e.Person = "x" },
		"another document":  func(_ *broker.Allocation, _ *broker.AllocationAct, e *ledger.Entry) { e.Document = []byte("x") },
		"a permit's chain":  func(_ *broker.Allocation, _ *broker.AllocationAct, e *ledger.Entry) { e.Permit = Permit },
	} {
		b := a
		c, e := f.Act(b, broker.ActAdjust)
		spoil(&b, &c, &e)
		_, err := s.ChangeAllocation(ctx, b, c, e)
		require.Equal(t, broker.KindInvalid, broker.KindOf(err), "%s: %v", name, err)
	}
	stranger := a
	stranger.Tenant = "ten_x"
	c, e := f.Act(stranger, broker.ActAdjust)
	_, err = s.ChangeAllocation(ctx, stranger, c, e)
	require.Equal(t, broker.KindNotFound, broker.KindOf(err))
	after, err := s.LedgerSize(ctx)
	require.NoError(t, err)
	require.Equal(t, before, after)
}

func allocationTerms(t *testing.T, s Store) {
	t.Helper()
	f := Fill(t, s, 1000)
	ctx := t.Context()
	refused := func(code string) {
		t.Helper()
		_, _, err := s.Admit(ctx, f.Admission(t, broker.VerdictAllow, 10))
		require.Equal(t, broker.KindQuota, broker.KindOf(err), "%v", err)
		require.Equal(t, code, broker.CodeOf(err))
	}
	_, a := f.Admit(t, 100)
	f.Change(t, broker.ActFreeze, func(a *broker.Allocation) { a.Frozen = true })
	refused("allocation_frozen")
	c := f.ToRunning(t, a.ID) // what there was goes on
	f.Change(t, broker.ActThaw, func(a *broker.Allocation) { a.Frozen = false; a.MaxJobs = 1 })
	refused("allocation_jobs_in_use")
	f.Change(t, broker.ActAdjust, func(a *broker.Allocation) { a.MaxJobs, a.MaxGPUs = 0, 1 })
	refused("allocation_gpus_in_use")
	require.Equal(t, 1, f.Grant(t).OpenGPUs)
	f.Take(t, &c, Done(broker.OutcomeOK, 60))
	require.Zero(t, f.Grant(t).OpenGPUs)
	require.Zero(t, f.Grant(t).OpenJobs)
	_, b := f.Admit(t, 100)
	f.Change(t, broker.ActAdjust, func(a *broker.Allocation) { a.MaxGPUs, a.MaxWall = 0, time.Minute-time.Microsecond })
	refused("walltime_over_allocation")
	f.Change(t, broker.ActAdjust, func(a *broker.Allocation) { a.MaxWall = time.Minute })
	_, d := f.Admit(t, 100)

	low := f.Grant(t)
	low.GPUSeconds = 259 // 200 reserved, 60 used
	act, e := f.Act(low, broker.ActAdjust)
	_, err := s.ChangeAllocation(ctx, low, act, e)
	require.Equal(t, "allocation_in_use", broker.CodeOf(err), "%v", err)
	f.Change(t, broker.ActAdjust, func(a *broker.Allocation) { a.GPUSeconds = 260 })
	refused("budget_exceeded")
	for _, id := range []broker.AttemptID{b.ID, d.ID} {
		c := f.Claim(t, id)
		f.Take(t, &c, Done(broker.OutcomeCancelled, 0))
	}
	g := f.Grant(t)
	require.Equal(t, []int64{0, 60, 200, 0}, []int64{g.Reserved, g.Used, g.Available(), int64(g.OpenJobs)})
}

// weighted is an admission that reserves GPU-seconds of a dear type.
func (f Fixture) weighted(tb testing.TB, unweighted int64, w broker.Weight) admission.AdmitRecord {
	tb.Helper()
	r := f.Admission(tb, broker.VerdictAllow, 0)
	r.Reservation.Unweighted, r.Reservation.Weight, r.Reservation.GPUSeconds = unweighted, w, w.Charge(unweighted)
	return r
}

func weightKept(t *testing.T, s Store) {
	t.Helper()
	f := Fill(t, s, 1000)
	ctx := t.Context()
	r := f.weighted(t, 101, 2500)
	_, _, err := s.Admit(ctx, r)
	require.NoError(t, err)
	res, a, err := s.Reserved(ctx, f.Project, r.Reservation.ID)
	require.NoError(t, err)
	require.Equal(t, *r.Reservation, res)
	require.EqualValues(t, 253, a.Reserved, "252.5, rounded up")
	n, err := s.PermitUsage(ctx, f.Project, Permit)
	require.NoError(t, err)
	require.EqualValues(t, 101, n, "a permit counts GPU-seconds, whatever they cost")
	f.Change(t, broker.ActAdjust, func(a *broker.Allocation) { a.Weights = map[string]broker.Weight{"h100": 100} })
	c := f.ToRunning(t, r.Attempt.ID)
	f.Take(t, &c, Done(broker.OutcomeOK, 41))
	res, a, err = s.Reserved(ctx, f.Project, r.Reservation.ID)
	require.NoError(t, err)
	require.True(t, res.Settled)
	require.EqualValues(t, 103, res.Booked)
	require.Equal(t, []int64{0, 103}, []int64{a.Reserved, a.Used})
	n, err = s.PermitUsage(ctx, f.Project, Permit)
	require.NoError(t, err)
	require.EqualValues(t, 41, n)
	_, _, err = s.Reserved(ctx, "prj_x", r.Reservation.ID)
	require.Equal(t, broker.KindNotFound, broker.KindOf(err))

	bad := f.weighted(t, 10, 2000)
	bad.Reservation.GPUSeconds = 19
	_, _, err = s.Admit(ctx, bad)
	require.Equal(t, broker.KindInvalid, broker.KindOf(err), "a charge is the weight times the time")
}

func usageSums(t *testing.T, s Store) {
	t.Helper()
	f := Fill(t, s, 1000)
	ctx := t.Context()
	now := time.Now().UTC()
	q := broker.UsageQuery{Tenant: f.Tenant, From: now.Add(-time.Hour), Until: now.Add(time.Hour)}
	none, err := s.Usage(ctx, q)
	require.NoError(t, err)
	require.Empty(t, none)
	for _, used := range []int64{30, 12} {
		r := f.weighted(t, 50, 2000)
		_, _, err := s.Admit(ctx, r)
		require.NoError(t, err)
		c := f.ToRunning(t, r.Attempt.ID)
		ch := Done(broker.OutcomeOK, used)
		ch.Usage.CPUSeconds, ch.Usage.Elapsed = 7, time.Second
		f.Take(t, &c, ch)
	}
	f.Admit(t, 5) // not settled: in no sum
	c := f.weighted(t, 3, 1000)
	_, _, err = s.Admit(ctx, c)
	require.NoError(t, err)
	open := f.Claim(t, c.Attempt.ID)
	f.Take(t, &open, dispatch.Change{To: broker.AttemptClearing, Image: Image()})
	_, err = s.Clear(ctx, f.Clearance(open, broker.VerdictDeny)) // settled with nothing: an attempt all the same
	require.NoError(t, err)
	rows, err := s.Usage(ctx, q)
	require.NoError(t, err)
	var sum broker.UsageRow
	for _, u := range rows { // two, if midnight passed
		require.Equal(t, []string{string(f.Project), "oncology", string(f.Person.ID), "here"},
			[]string{string(u.Project), u.ProjectName, string(u.Person), u.SiteName})
		sum.Attempts, sum.GPUSeconds, sum.Charged = sum.Attempts+u.Attempts, sum.GPUSeconds+u.GPUSeconds, sum.Charged+u.Charged
		sum.CPUSeconds, sum.Elapsed = sum.CPUSeconds+u.CPUSeconds, sum.Elapsed+u.Elapsed
	}
	require.Equal(t, broker.UsageRow{Attempts: 3, GPUSeconds: 42, Charged: 84, CPUSeconds: 14, Elapsed: 2 * time.Second}, sum)
	for name, other := range map[string]broker.UsageQuery{
		"another tenant":  {Tenant: "ten_x", From: q.From, Until: q.Until},
		"another project": {Tenant: q.Tenant, Project: "prj_x", From: q.From, Until: q.Until},
		"before":          {Tenant: q.Tenant, From: q.From.AddDate(0, 0, -9), Until: q.From},
	} {
		rows, err := s.Usage(ctx, other)
		require.NoError(t, err)
		require.Empty(t, rows, name)
	}
}

func permitCeiling(t *testing.T, s Store) {
	t.Helper()
	f := Fill(t, s, 1000)
	ceiling := int64(150)
	admit := func(n int64) error {
		r := f.Admission(t, broker.VerdictAllow, n)
		r.PermitCeiling = &ceiling
		_, _, err := s.Admit(t.Context(), r)
		return err
	}
	require.NoError(t, admit(100))
	err := admit(51)
	require.Equal(t, broker.KindQuota, broker.KindOf(err))
	require.Equal(t, "gpu_hours_over_permit", broker.CodeOf(err))
	require.NoError(t, admit(50))
	require.NoError(t, admit(0), "what takes no GPU passes no ceiling")
	require.Error(t, admit(1))
	require.EqualValues(t, 150, f.Grant(t).Reserved, "what was refused is set aside nowhere")
}

func census(t *testing.T, s Store) {
	t.Helper()
	f := Fill(t, s, 1000)
	f.Admit(t, 100)
	_, d := f.Admit(t, 10)
	e := f.ToRunning(t, d.ID)
	f.Take(t, &e, Done(broker.OutcomeOK, 20))
	_, a := f.Admit(t, 50)
	c := f.ToRunning(t, a.ID)
	_, _, err := s.Admit(t.Context(), f.Admission(t, broker.VerdictReview, 0))
	require.NoError(t, err)
	got, err := s.Census(t.Context())
	require.NoError(t, err)
	require.EqualValues(t, 1, got.Reviews)
	require.Positive(t, got.Outbox)
	n := map[broker.AttemptState]int64{}
	for _, x := range got.Attempts {
		require.Equal(t, f.Site.ID, x.Site)
		require.WithinDuration(t, time.Now(), x.Oldest, time.Hour)
		n[x.State] = x.N
	}
	require.Equal(t, map[broker.AttemptState]int64{broker.AttemptPackaging: 1, broker.AttemptRunning: 1}, n)
	require.Equal(t, []broker.BudgetCount{{Site: f.Site.ID, Granted: 1000, Reserved: 150, Used: 20, N: 1, Ending: 1}}, got.Budgets)
	f.Take(t, &c, Done(broker.OutcomeWalltime, 980))
	f.Change(t, broker.ActFreeze, func(a *broker.Allocation) { a.Frozen, a.ValidUntil = true, time.Now().AddDate(0, 1, 0) })
	got, err = s.Census(t.Context())
	require.NoError(t, err)
	require.Equal(t, []broker.BudgetCount{{Site: f.Site.ID, Granted: 1000, Reserved: 100, Used: 1000, N: 1, Frozen: 1, UsedUp: 1, Overrun: 1}}, got.Budgets)
}
