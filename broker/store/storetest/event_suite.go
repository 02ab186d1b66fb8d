package storetest

import (
	"math"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/valico-hpc/valico/broker"
	"github.com/valico-hpc/valico/broker/telemetry"
)

func (f Fixture) metric(job broker.JobID, a broker.AttemptID, seq uint64) broker.Event {
	return broker.Event{
		Tenant: f.Tenant, Job: job, Attempt: a, Site: f.Site.ID, Source: "site", Seq: seq,
		Kind: broker.EventMetric, Name: "loss", Value: 1 / float64(seq), Step: 7, At: f.now,
	}
}

func eventsOnceInOrder(t *testing.T, s Store) {
	t.Helper()
	f := Fill(t, s, 100)
	ctx := t.Context()
	job, a := f.Admit(t, 1)
	e := func(seq uint64) broker.Event { return f.metric(job.ID, a.ID, seq) }
	n, err := s.ApplyEvents(ctx, []broker.Event{e(1), e(2)})
	require.NoError(t, err)
	require.Equal(t, 2, n)
	nan := e(3)
	nan.Value = math.NaN() // a loss that diverged is a measurement too
	n, err = s.ApplyEvents(ctx, []broker.Event{e(1), e(2), nan, nan})
	require.NoError(t, err)
	require.Equal(t, 1, n, "what was seen is dropped")
	_, err = s.ApplyEvents(ctx, []broker.Event{e(4), e(6)})
	require.Equal(t, broker.KindConflict, broker.KindOf(err))
	require.Equal(t, telemetry.CodeGap, broker.CodeOf(err))
	got, err := s.Events(ctx, f.Tenant, job.ID, 0, 100)
	require.NoError(t, err)
	require.Len(t, got, 3, "a gap leaves nothing of its call")
	for i, x := range got {
		want := e(uint64(i) + 1)
		want.Cursor = x.Cursor
		if i == 2 {
			require.True(t, math.IsNaN(x.Value))
			x.Value = want.Value
		}
		require.Equal(t, want, x)
	}
	rest, err := s.Events(ctx, f.Tenant, job.ID, got[1].Cursor, 100)
	require.NoError(t, err)
	require.Len(t, rest, 1)
	require.Equal(t, got[2].Cursor, rest[0].Cursor)
}

func eventsOfStrangers(t *testing.T, s Store) {
	t.Helper()
	f := Fill(t, s, 100)
	job, a := f.Admit(t, 1)
	_, b := f.Admit(t, 1)
	for name, c := range map[string]struct {
		spoil func(*broker.Event)
		kind  broker.Kind
	}{
		"another tenant":     {func(e *broker.Event) { e.Tenant = "x" }, broker.KindForbidden},
		"another site":       {func(e *broker.Event) { e.Site = "x" }, broker.KindForbidden},
		"an unknown job":     {func(e *broker.Event) { e.Job = "x" }, broker.KindNotFound},
		"an unknown attempt": {func(e *broker.Event) { e.Attempt = "x" }, broker.KindNotFound},
		"another's attempt":  {func(e *broker.Event) { e.Attempt = b.ID }, broker.KindNotFound},
		"no attempt":         {func(e *broker.Event) { e.Attempt = "" }, broker.KindInvalid},
		"an unknown source":  {func(e *broker.Event) { e.Source = "x" }, broker.KindInvalid},
		"a site as broker":   {func(e *broker.Event) { e.Source = "broker" }, broker.KindForbidden},
		"number zero":        {func(e *broker.Event) { e.Seq = 0 }, broker.KindInvalid},
		"an unknown kind":    {func(e *broker.Event) { e.Kind = "x" }, broker.KindInvalid},
	} {
		e := f.metric(job.ID, a.ID, 2)
		c.spoil(&e)
		_, err := s.ApplyEvents(t.Context(), []broker.Event{f.metric(job.ID, a.ID, 1), e})
		require.Equal(t, c.kind, broker.KindOf(err), name)
	}
	got, err := s.Events(t.Context(), f.Tenant, job.ID, 0, 100)
	require.NoError(t, err)
	require.Empty(t, got)
}

func outboxTellsStates(t *testing.T, s Store) {
	t.Helper()
	f := Fill(t, s, 100)
	ctx := t.Context()
	job, a := f.Admit(t, 1)
	c := f.ToRunning(t, a.ID)
	f.Take(t, &c, Done(broker.OutcomeOK, 1))
	out, err := s.Outbox(ctx, 100)
	require.NoError(t, err)
	var jobs, attempts []string
	seq := map[broker.AttemptID]uint64{}
	var events []broker.Event
	var ids []int64
	for _, o := range out {
		e := o.Event
		seq[e.Attempt]++
		require.Equal(t, seq[e.Attempt], e.Seq, "dense")
		require.Equal(t, job.ID, e.Job)
		require.Equal(t, "broker", e.Source)
		switch {
		case e.Kind == broker.EventNotice: // what it waits for
		case e.Name == "job":
			jobs = append(jobs, e.Text)
		default:
			attempts = append(attempts, e.Text)
		}
		events, ids = append(events, e), append(ids, o.ID)
	}
	require.Equal(t, []string{"admitted", "active", "succeeded"}, jobs)
	require.Equal(t, []string{"packaging", "clearing", "ready", "submitting", "queued", "running", "done"}, attempts)
	require.NoError(t, s.OutboxSent(ctx, ids))
	require.NoError(t, s.OutboxSent(ctx, ids))
	empty, err := s.Outbox(ctx, 100)
	require.NoError(t, err)
	require.Empty(t, empty)
	n, err := s.ApplyEvents(ctx, events)
	require.NoError(t, err)
	require.Equal(t, len(events), n)
}
