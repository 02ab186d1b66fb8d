package httpapi_test

import (
	"encoding/json"
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/valico-hpc/valico/broker"
	"github.com/valico-hpc/valico/broker/client"
	"github.com/valico-hpc/valico/broker/httpapi/wire"
	"github.com/valico-hpc/valico/broker/ledger"
	"github.com/valico-hpc/valico/broker/store/storetest"
)

func grantOf(hours float64) wire.AllocationCreate {
	return wire.AllocationCreate{
		Site: "here", AccessMode: "fast_lane", GPUHours: hours, ValidUntil: time.Now().Add(24 * time.Hour), Weights: map[string]float64{"h100": 1.5},
		MaxGPUs: 8, MaxJobs: 4, MaxWallSeconds: 3600, Reason: "call 2026-11",
	}
}

func TestAnAllocationIsCreatedAdjustedFrozenAndThawedWithALeafForEach(t *testing.T) {
	t.Parallel()
	b := setup(t)
	op, ctx := b.as(t, b.otto), t.Context()
	made, err := op.CreateAllocation(ctx, grantOf(10), "once")
	require.NoError(t, err)
	require.EqualValues(t, 1, made.Version)
	require.InDelta(t, 1.5, made.Weights["h100"], 1e-9)
	_, err = op.CreateAllocation(ctx, grantOf(10), "once")
	require.Equal(t, broker.KindConflict, broker.KindOf(err), "a repeated request grants nothing more: %v", err)

	more, until := 20.0, time.Now().Add(48*time.Hour).UTC().Truncate(time.Second)
	a, err := op.AdjustAllocation(ctx, made.ID, 1, wire.AllocationAdjust{GPUHours: &more, ValidUntil: &until, Reason: "more"})
	require.NoError(t, err)
	require.InDelta(t, 20, a.GPUHours, 1e-9)
	require.Equal(t, until, a.ValidUntil.UTC())
	require.Equal(t, made.Weights, a.Weights, "what is not named stays")
	require.Equal(t, 8, a.MaxGPUs)
	a, err = op.FreezeAllocation(ctx, made.ID, 2, "audit")
	require.NoError(t, err)
	require.True(t, a.Frozen)
	a, err = op.ThawAllocation(ctx, made.ID, 3, "audit over")
	require.NoError(t, err)
	require.False(t, a.Frozen)

	seen, err := b.as(t, b.dev).Allocation(ctx, made.ID)
	require.NoError(t, err)
	require.Len(t, seen.Acts, 4)
	for i, want := range []string{broker.ActCreate, broker.ActAdjust, broker.ActFreeze, broker.ActThaw} {
		act := seen.Acts[i]
		require.Equal(t, want, act.Act)
		require.Equal(t, "otto@example.org", act.By)
		row, err := b.store.LedgerRow(ctx, act.LedgerIndex)
		require.NoError(t, err)
		require.Equal(t, ledger.KindAllocation, row.Entry.Kind)
		var doc map[string]any
		require.NoError(t, json.Unmarshal(row.Entry.Document, &doc))
		require.Equal(t, act.Reason, doc["reason"])
		require.EqualValues(t, i+1, doc["version"])
		require.Equal(t, map[string]any{"h100": 1500.0}, doc["weights"])
	}
}

func TestAChangeToAnotherVersionThanSeenIsAFailedPrecondition(t *testing.T) {
	t.Parallel()
	b := setup(t)
	made, err := b.as(t, b.otto).CreateAllocation(t.Context(), grantOf(1), "k")
	require.NoError(t, err)
	at := "/v1/allocations/" + made.ID
	res, _ := b.call(t, b.dev, http.MethodGet, at, "")
	require.Equal(t, `"1"`, res.Header.Get("ETag"))
	body := `{"max_jobs":2,"reason":"fewer"}`
	res, text := b.call(t, b.otto, http.MethodPatch, at, body)
	require.Equal(t, http.StatusUnprocessableEntity, res.StatusCode, text)
	for _, tag := range []string{"1", "*", `W/"1"`, `""`, `"-1"`, `"1", "2"`} {
		res, text = b.call(t, b.otto, http.MethodPatch, at, body, "If-Match", tag)
		require.Equal(t, http.StatusUnprocessableEntity, res.StatusCode, "%s %s", tag, text)
	}
	res, text = b.call(t, b.otto, http.MethodPatch, at, body, "If-Match", `"1"`)
	require.Equal(t, http.StatusOK, res.StatusCode, text)
	require.Equal(t, `"2"`, res.Header.Get("ETag"))
	res, text = b.call(t, b.otto, http.MethodPatch, at, body, "If-Match", `"1"`)
	require.Equal(t, http.StatusPreconditionFailed, res.StatusCode, text)
	require.Contains(t, text, broker.CodeStaleVersion)
	_, err = b.as(t, b.otto).FreezeAllocation(t.Context(), made.ID, 1, "late")
	require.Equal(t, broker.KindConflict, broker.KindOf(err))
}

func TestAllocationsOfAnotherTenantDoNotExist(t *testing.T) {
	t.Parallel()
	b := setup(t)
	eve, ctx := b.as(t, b.eve), t.Context()
	id := string(b.Allocation.ID)
	all, err := eve.Allocations(ctx)
	require.NoError(t, err)
	require.Empty(t, all.Allocations)
	_, err = eve.Allocation(ctx, id)
	require.Equal(t, broker.KindNotFound, broker.KindOf(err))
	_, err = eve.FreezeAllocation(ctx, id, 1, "mine")
	require.Equal(t, broker.KindNotFound, broker.KindOf(err))
	in := grantOf(5)
	in.Project = string(b.Project)
	_, err = eve.CreateAllocation(ctx, in, "k")
	require.Equal(t, broker.KindNotFound, broker.KindOf(err))
	u, err := eve.Usage(ctx, client.UsageQuery{Project: string(b.Project)})
	require.NoError(t, err)
	require.Empty(t, u.Rows)
	require.False(t, b.Grant(t).Frozen)
}

func TestAFrozenAllocationIsNoGPUTimeOfASite(t *testing.T) {
	t.Parallel()
	b := setup(t)
	left := func() (found string, ok bool) {
		t.Helper()
		c, err := b.as(t, b.dev).CheckSite(t.Context(), "here")
		require.NoError(t, err)
		for _, x := range c.Checks {
			if x.Name == "gpu_hours_left" {
				return x.Found, x.OK
			}
		}
		return "", false
	}
	found, ok := left()
	require.True(t, ok, found)
	_, err := b.as(t, b.otto).FreezeAllocation(t.Context(), string(b.Allocation.ID), 1, "audit")
	require.NoError(t, err)
	found, ok = left()
	require.False(t, ok)
	require.Equal(t, "0.0", found)
}

func TestTermsThatMakeNoSenseAreRefused(t *testing.T) {
	t.Parallel()
	b := setup(t)
	for name, spoil := range map[string]func(*wire.AllocationCreate){
		"a type that the site has not": func(c *wire.AllocationCreate) { c.Weights = map[string]float64{"h200": 1} },
		"a price of nothing":           func(c *wire.AllocationCreate) { c.Weights = map[string]float64{"h100": 0} },
		"a price below a thousandth":   func(c *wire.AllocationCreate) { c.Weights = map[string]float64{"h100": 0.0001} },
		"a price above all":            func(c *wire.AllocationCreate) { c.Weights = map[string]float64{"h100": 1001} },
		"over before it begins":        func(c *wire.AllocationCreate) { c.ValidUntil = time.Now().Add(-time.Hour) },
		"no reason":                    func(c *wire.AllocationCreate) { c.Reason = "" },
		"negative hours":               func(c *wire.AllocationCreate) { c.GPUHours = -1 },
		"a negative limit":             func(c *wire.AllocationCreate) { c.MaxJobs = -1 },
		"no word for an access mode":   func(c *wire.AllocationCreate) { c.AccessMode = "Fast Lane" },
	} {
		in := grantOf(1)
		spoil(&in)
		_, err := b.as(t, b.otto).CreateAllocation(t.Context(), in, "k")
		require.Equal(t, broker.KindInvalid, broker.KindOf(err), "%s: %v", name, err)
	}
	in := grantOf(1)
	in.Site = "nowhere"
	_, err := b.as(t, b.otto).CreateAllocation(t.Context(), in, "k")
	require.Equal(t, broker.KindNotFound, broker.KindOf(err))
}

func TestUsageIsSummedByWhatIsAskedFor(t *testing.T) {
	t.Parallel()
	b := setup(t)
	ctx := t.Context()
	for range 2 {
		_, a := b.Admit(t, 600)
		c := b.ToRunning(t, a.ID)
		b.Take(t, &c, storetest.Done(broker.OutcomeOK, 540))
	}
	u, err := b.as(t, b.dev).Usage(ctx, client.UsageQuery{By: []string{"person", "site"}})
	require.NoError(t, err)
	require.Len(t, u.Rows, 1)
	require.Equal(t, wire.UsageRow{Person: "ada@example.org", Site: "here", Attempts: 2, GPUHours: 0.3, ChargedGPUHours: 0.3}, u.Rows[0])
	require.Equal(t, wire.UsageRow{Attempts: 2, GPUHours: 0.3, ChargedGPUHours: 0.3}, u.Total)
	u, err = b.as(t, b.otto).Usage(ctx, client.UsageQuery{})
	require.NoError(t, err)
	require.Equal(t, "oncology", u.Rows[0].ProjectName)
	for name, q := range map[string]client.UsageQuery{
		"twice the same":    {By: []string{"day", "day"}},
		"by the weather":    {By: []string{"weather"}},
		"backwards":         {From: time.Now(), Until: time.Now().Add(-time.Hour)},
		"a thousand years":  {From: time.Now().AddDate(-1000, 0, 0)},
		"by too many words": {By: []string{"day", "site", "person", "project", "day"}},
	} {
		_, err := b.as(t, b.otto).Usage(ctx, q)
		require.Equal(t, broker.KindInvalid, broker.KindOf(err), name)
	}
	_, err = b.as(t, b.dev).Usage(ctx, client.UsageQuery{Project: "prj_x"})
	require.Equal(t, broker.KindNotFound, broker.KindOf(err))
}
