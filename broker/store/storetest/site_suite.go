package storetest

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/valico-hpc/valico/broker"
	"github.com/valico-hpc/valico/broker/dispatch"
	"github.com/valico-hpc/valico/broker/ledger"
)

// SiteAct is an operator's act on the fixture's site with its ledger entry.
func (f Fixture) SiteAct(act string, version int64) (broker.SiteAct, ledger.Entry) {
	doc := fmt.Appendf(nil, "%s of %s to version %d", act, f.Site.ID, version)
	return broker.SiteAct{Site: f.Site.ID, Version: version, Act: act, By: f.Person.ID, Reason: "because", Document: doc, At: f.now}, ledger.Entry{
		Kind: ledger.KindSite, Tenant: f.Tenant, Permit: ledger.SiteChain(f.Site.ID), Person: f.Person.ID, Document: doc, At: f.now,
	}
}

// Operate lets an operator act on the fixture's site.
func (f Fixture) Operate(tb testing.TB, act string) broker.Site {
	tb.Helper()
	s, err := f.Store.Site(tb.Context(), string(f.Site.ID))
	require.NoError(tb, err)
	a, e := f.SiteAct(act, s.Operation.Version+1)
	s, err = f.Store.ChangeSite(tb.Context(), f.Project, a, e)
	require.NoError(tb, err)
	return s
}

func siteActs(t *testing.T, s Store) {
	t.Helper()
	f := Fill(t, s, 100)
	ctx := t.Context()
	o, err := s.SiteOperation(ctx, f.Site.ID)
	require.NoError(t, err)
	require.Zero(t, o, "every site begins open")
	a, e := f.SiteAct(broker.ActDrain, 1)
	a.Until = f.now.Add(time.Hour)
	got, err := s.ChangeSite(ctx, f.Project, a, e)
	require.NoError(t, err)
	require.Equal(t, a.After(), got.Operation)
	require.Equal(t, f.Site.GPUs, got.GPUs, "an act changes nothing else")
	_, err = s.ChangeSite(ctx, f.Project, a, e)
	require.Equal(t, broker.CodeStaleVersion, broker.CodeOf(err), "%v", err)
	f.Operate(t, broker.ActResume)
	again, e := f.SiteAct(broker.ActResume, 3)
	_, err = s.ChangeSite(ctx, f.Project, again, e)
	require.Equal(t, "site_open", broker.CodeOf(err), "%v", err)
	for _, bad := range []func(*broker.SiteAct, *ledger.Entry){
		func(a *broker.SiteAct, _ *ledger.Entry) { a.Act = "close" },
		func(a *broker.SiteAct, _ *ledger.Entry) { a.By = "eve@example.org" },
		func(_ *broker.SiteAct, e *ledger.Entry) { e.Document = []byte("another") },
		func(_ *broker.SiteAct, e *ledger.Entry) { e.Permit = Permit },
	} {
		a, e := f.SiteAct(broker.ActCordon, 3)
		bad(&a, &e)
		_, err = s.ChangeSite(ctx, f.Project, a, e)
		require.Equal(t, "act_inconsistent", broker.CodeOf(err))
	}
	acts, err := s.SiteActs(ctx, f.Site.ID)
	require.NoError(t, err)
	require.Len(t, acts, 2)
	require.Equal(t, a.Until, acts[0].Until)
	for i, act := range acts {
		row, err := s.LedgerRow(ctx, act.LedgerIndex)
		require.NoError(t, err)
		require.Equal(t, ledger.KindSite, row.Entry.Kind)
		require.Equal(t, act.Document, row.Entry.Document)
		require.EqualValues(t, i+1, row.Record.Seq, "a site's acts are a chain of their own")
	}
	require.NoError(t, s.UpdateSite(ctx, f.Site))
	kept, err := s.Site(ctx, f.Site.Name)
	require.NoError(t, err)
	require.EqualValues(t, 2, kept.Operation.Version, "the record of a site is not its operation")
}

func closedSite(t *testing.T, s Store) {
	t.Helper()
	f := Fill(t, s, 1000)
	ctx := t.Context()
	_, early := f.Admit(t, 1)
	c := f.ToReady(t, early.ID)
	f.Operate(t, broker.ActCordon)
	_, err := s.Advance(ctx, c, dispatch.Change{To: broker.AttemptSubmitting, JobTo: broker.JobActive})
	require.Equal(t, broker.CodeSiteClosed, broker.CodeOf(err), "%v", err)
	require.Equal(t, broker.KindUnavailable, broker.KindOf(err))
	_, waits := f.Admit(t, 1) // a cordoned site admits
	now := time.Now().UTC().Add(time.Minute)
	cs, err := s.Claim(ctx, dispatch.ClaimQuery{Owner: "o", States: []broker.AttemptState{broker.AttemptPackaging}, Now: now, Until: now.Add(time.Minute), Limit: 9})
	require.NoError(t, err)
	require.Empty(t, cs, "what has not begun stays in the queue")
	f.Operate(t, broker.ActDrain)
	r := f.Admission(t, broker.VerdictAllow, 1)
	_, _, err = s.Admit(ctx, r)
	require.Equal(t, broker.CodeSiteDraining, broker.CodeOf(err), "%v", err)
	_, _, err = s.Admit(ctx, f.Admission(t, broker.VerdictDeny, 0))
	require.NoError(t, err, "a denial is recorded whatever the site does")
	require.EqualValues(t, 2, f.Grant(t).Reserved, "what was refused reserves nothing")
	loads, err := s.SiteLoads(ctx)
	require.NoError(t, err)
	require.Equal(t, broker.SiteLoad{Waiting: 2}, loads[f.Site.ID])
	site, err := s.Site(ctx, string(f.Site.ID))
	require.NoError(t, err)
	require.Equal(t, broker.SiteDrained, site.Operation.Seen(loads[f.Site.ID]))
	f.Operate(t, broker.ActResume)
	f.Take(t, &c, dispatch.Change{To: broker.AttemptSubmitting, JobTo: broker.JobActive})
	f.Claim(t, waits.ID)
	loads, err = s.SiteLoads(ctx)
	require.NoError(t, err)
	require.Equal(t, broker.SiteLoad{Waiting: 1, Queued: 1}, loads[f.Site.ID])
}

func waitingTold(t *testing.T, s Store) {
	t.Helper()
	f := Fill(t, s, 100)
	ctx := t.Context()
	job, a := f.Admit(t, 1)
	c := f.ToReady(t, a.ID)
	start := time.Now().UTC().Add(time.Hour)
	first := broker.Wait(broker.WaitPriority, "Priority", start)
	f.Take(t, &c,
		dispatch.Change{To: broker.AttemptSubmitting, JobTo: broker.JobActive},
		dispatch.Change{To: broker.AttemptQueued, Waiting: first})
	since := c.Attempt.WaitingSince
	require.False(t, since.IsZero())
	later := broker.Wait(broker.WaitPriority, "Priority", start.Add(time.Hour))
	f.Take(t, &c, dispatch.Change{To: broker.AttemptQueued, Waiting: later})
	require.Equal(t, since, c.Attempt.WaitingSince, "since the code came, whatever the estimate does")
	f.Take(t, &c, dispatch.Change{To: broker.AttemptQueued, Waiting: broker.Wait(broker.WaitResources, "Resources", time.Time{})})
	counted, err := s.Census(ctx)
	require.NoError(t, err)
	require.Equal(t, []broker.WaitCount{{Site: f.Site.ID, Code: broker.WaitResources, N: 1, Oldest: c.Attempt.WaitingSince}}, counted.Waiting)
	newest, err := s.NewestAttempts(ctx, []broker.JobID{job.ID, "job_unknown"})
	require.NoError(t, err)
	require.Equal(t, []broker.Attempt{c.Attempt}, newest)
	f.Take(t, &c, dispatch.Change{To: broker.AttemptRunning, StartedAt: time.Now()})
	require.True(t, c.Attempt.Waiting.Zero())
	require.True(t, c.Attempt.WaitingSince.IsZero())
	evs, err := s.Outbox(ctx, 100)
	require.NoError(t, err)
	var told []string
	seq := uint64(0)
	for _, e := range evs {
		if e.Event.Attempt == "" {
			continue
		}
		seq++
		require.Equal(t, seq, e.Event.Seq, "numbers have no gap")
		if e.Event.Kind == broker.EventNotice {
			told = append(told, e.Event.Name+" "+e.Event.Text)
		}
	}
	require.Equal(t, []string{"priority Priority", "resources Resources"}, told)
}
