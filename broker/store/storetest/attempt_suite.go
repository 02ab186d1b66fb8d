package storetest

import (
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/valico-hpc/valico/broker"
	"github.com/valico-hpc/valico/broker/dispatch"
	"github.com/valico-hpc/valico/broker/ledger"
)

func attemptLives(t *testing.T, s Store) {
	t.Helper()
	f := Fill(t, s, 100)
	ctx := t.Context()
	job, a := f.Admit(t, 90)
	c := f.ToRunning(t, a.ID)
	require.Empty(t, c.Attempt.Waiting, "nothing waits once it runs")
	require.False(t, c.Attempt.StartedAt.IsZero())
	order, err := s.OrderBytes(ctx, a.ID)
	require.NoError(t, err)
	require.Contains(t, string(order), "order of dec_")
	f.Take(t, &c, dispatch.Change{To: broker.AttemptSealing})
	_, err = s.Manifest(ctx, a.ID)
	require.Equal(t, broker.KindNotFound, broker.KindOf(err))
	end := Done(broker.OutcomeExit, 33)
	end.Outputs, end.ExitCode, end.Code = Sealed(a.ID), 3, "exit_3"
	f.Take(t, &c, end)

	got, err := s.Attempts(ctx, job.ID)
	require.NoError(t, err)
	require.Equal(t, []broker.Attempt{c.Attempt}, got, "what was answered is what is stored")
	require.Equal(t, broker.OutcomeExit, got[0].Outcome)
	m, err := s.Manifest(ctx, a.ID)
	require.NoError(t, err)
	require.Equal(t, *end.Outputs, m)
	j, err := s.Job(ctx, f.Project, job.ID)
	require.NoError(t, err)
	require.Equal(t, broker.JobFailed, j.State)
	require.Equal(t, "exit_3", j.Code)
	require.False(t, j.FinishedAt.IsZero())
	g := f.Grant(t)
	require.Zero(t, g.Reserved)
	require.EqualValues(t, 33, g.Used)
	for _, again := range []dispatch.Change{end, {To: broker.AttemptRunning}} {
		_, err = s.Advance(ctx, c, again)
		var te *broker.TransitionError
		require.ErrorAs(t, err, &te, "terminal is final")
	}
}

func readyNeedsClearance(t *testing.T, s Store) {
	t.Helper()
	f := Fill(t, s, 100)
	ctx := t.Context()
	_, a := f.Admit(t, 1)
	c := f.Claim(t, a.ID)
	f.Take(t, &c, dispatch.Change{To: broker.AttemptClearing, Image: Image()})
	d, err := s.Clear(ctx, f.Clearance(c, broker.VerdictAllow))
	require.NoError(t, err)
	_, b := f.Admit(t, 1)
	cb := f.Claim(t, b.ID)
	f.Take(t, &cb, dispatch.Change{To: broker.AttemptClearing, Image: Image()})
	other, err := s.Clear(ctx, f.Clearance(cb, broker.VerdictAllow))
	require.NoError(t, err)
	as, err := s.Decisions(ctx, c.Job.ID)
	require.NoError(t, err)
	c = f.Claim(t, a.ID)

	for name, spoil := range map[string]func(*dispatch.Change){
		"no receipt":                      func(ch *dispatch.Change) { ch.Receipt = nil },
		"no order":                        func(ch *dispatch.Change) { ch.OrderBytes = nil },
		"no order id":                     func(ch *dispatch.Change) { ch.Order = "" },
		"no clearance":                    func(ch *dispatch.Change) { ch.Clearance = "" },
		"a clearance that does not exist": func(ch *dispatch.Change) { ch.Clearance = broker.NewID[broker.DecisionID]("dec") },
		"the clearance of another":        func(ch *dispatch.Change) { ch.Clearance = other.ID },
		"the admission":                   func(ch *dispatch.Change) { ch.Clearance = as[0].ID },
	} {
		ch := Ready(d)
		spoil(&ch)
		_, err := s.Advance(ctx, c, ch)
		require.Error(t, err, name)
	}
	for _, to := range []broker.AttemptState{broker.AttemptSubmitting, broker.AttemptRunning} {
		_, err := s.Advance(ctx, c, dispatch.Change{To: to})
		var te *broker.TransitionError
		require.ErrorAs(t, err, &te)
	}
	f.Take(t, &c, Ready(d))
	changed := dispatch.Change{To: broker.AttemptSubmitting, Image: broker.DigestOf([]byte("another image"))}
	_, err = s.Advance(ctx, c, changed)
	require.Error(t, err, "what was cleared never changes")
}

func denialEndsJob(t *testing.T, s Store) {
	t.Helper()
	f := Fill(t, s, 100)
	ctx := t.Context()
	job, a := f.Admit(t, 50)
	c := f.Claim(t, a.ID)
	_, err := s.Clear(ctx, f.Clearance(c, broker.VerdictAllow))
	require.Equal(t, broker.KindConflict, broker.KindOf(err), "still packaging")
	f.Take(t, &c, dispatch.Change{To: broker.AttemptClearing, Image: Image()})
	stale := f.Clearance(c, broker.VerdictDeny)
	stale.Token--
	_, err = s.Clear(ctx, stale)
	require.Equal(t, "lease_lost", broker.CodeOf(err))
	d, err := s.Clear(ctx, f.Clearance(c, broker.VerdictDeny))
	require.NoError(t, err)
	ds, err := s.Decisions(ctx, job.ID)
	require.NoError(t, err)
	require.Equal(t, d, ds[len(ds)-1])
	j, err := s.Job(ctx, f.Project, job.ID)
	require.NoError(t, err)
	require.Equal(t, broker.JobNotAdmitted, j.State)
	as, err := s.Attempts(ctx, job.ID)
	require.NoError(t, err)
	require.Equal(t, broker.AttemptRefused, as[0].State)
	require.Zero(t, f.Grant(t).Reserved)
	require.Zero(t, f.Grant(t).Used)
	_, err = s.Advance(ctx, c, Ready(d))
	require.Error(t, err)
}

func staleTokenMovesNothing(t *testing.T, s Store) {
	t.Helper()
	f := Fill(t, s, 100)
	_, a := f.Admit(t, 1)
	old := f.Claim(t, a.ID)
	now := f.Claim(t, a.ID)
	require.Greater(t, now.Token, old.Token)
	_, err := s.Advance(t.Context(), old, dispatch.Change{To: broker.AttemptClearing, Image: Image()})
	require.Equal(t, broker.KindConflict, broker.KindOf(err))
	require.Equal(t, "lease_lost", broker.CodeOf(err))
	kept, err := s.Renew(t.Context(), []dispatch.Claimed{old, now}, time.Now().Add(time.Hour))
	require.NoError(t, err)
	require.Equal(t, []broker.AttemptID{a.ID}, kept)
	seen := now
	f.Take(t, &now, dispatch.Change{To: broker.AttemptClearing, Image: Image()})
	_, err = s.Advance(t.Context(), seen, Done(broker.OutcomeCancelled, 0))
	require.Equal(t, broker.KindConflict, broker.KindOf(err), "same token, older version")
}

func missingEdge(t *testing.T, s Store) {
	t.Helper()
	f := Fill(t, s, 1000)
	for _, to := range broker.AttemptStates() {
		_, a := f.Admit(t, 1)
		c := f.Claim(t, a.ID)
		if a.State.To(to) == nil || to == a.State {
			continue
		}
		ch := dispatch.Change{To: to}
		_, err := s.Advance(t.Context(), c, ch)
		var te *broker.TransitionError
		require.True(t, errors.As(err, &te), "packaging to %s: %v", to, err)
	}
}

func claimLeases(t *testing.T, s Store) {
	t.Helper()
	f := Fill(t, s, 100)
	ctx := t.Context()
	_, a := f.Admit(t, 1)
	now := time.Now().UTC().Add(time.Minute)
	q := dispatch.ClaimQuery{Owner: "one", States: []broker.AttemptState{broker.AttemptPackaging}, Now: now, Until: now.Add(time.Minute), Limit: 8}
	cs, err := s.Claim(ctx, q)
	require.NoError(t, err)
	require.Len(t, cs, 1)
	require.Equal(t, a.ID, cs[0].Attempt.ID)
	require.False(t, cs[0].Cancel)
	none, err := s.Claim(ctx, q)
	require.NoError(t, err)
	require.Empty(t, none, "leased")
	require.NoError(t, s.Release(ctx, []dispatch.Released{{Claimed: cs[0], Due: now.Add(2 * time.Second)}}))
	none, err = s.Claim(ctx, q)
	require.NoError(t, err)
	require.Empty(t, none, "not due")
	q.Now = now.Add(2 * time.Second)
	again, err := s.Claim(ctx, q)
	require.NoError(t, err)
	require.Len(t, again, 1)
	require.NoError(t, s.Release(ctx, []dispatch.Released{{Claimed: cs[0], Due: now}}), "stale: no error")
	q.Now = q.Until
	after, err := s.Claim(ctx, q)
	require.Equal(t, broker.KindInvalid, broker.KindOf(err), "a lease that is over when it begins")
	require.Empty(t, after)
	q.Until = q.Now.Add(time.Minute)
	after, err = s.Claim(ctx, q)
	require.NoError(t, err)
	require.Len(t, after, 1, "a lease that is over is free")
	q.States = []broker.AttemptState{broker.AttemptRunning}
	q.Now, q.Until = q.Until, q.Until.Add(time.Minute)
	none, err = s.Claim(ctx, q)
	require.NoError(t, err)
	require.Empty(t, none, "of another state")
}

func cancelJob(t *testing.T, s Store) {
	t.Helper()
	f := Fill(t, s, 100)
	ctx := t.Context()
	review, _, err := s.Admit(ctx, f.Admission(t, broker.VerdictReview, 0))
	require.NoError(t, err)
	require.NoError(t, s.RequestCancel(ctx, f.Project, review.ID, time.Now()))
	j, err := s.Job(ctx, f.Project, review.ID)
	require.NoError(t, err)
	require.Equal(t, broker.JobCancelled, j.State)
	require.NoError(t, s.RequestCancel(ctx, f.Project, review.ID, time.Now()), "what has ended")

	job, a := f.Admit(t, 10)
	require.NoError(t, s.RequestCancel(ctx, f.Project, job.ID, time.Now()))
	j, err = s.Job(ctx, f.Project, job.ID)
	require.NoError(t, err)
	require.Equal(t, broker.JobAdmitted, j.State, "dispatch ends the attempt first")
	c := f.Claim(t, a.ID)
	require.True(t, c.Cancel)
	f.Take(t, &c, Done(broker.OutcomeCancelled, 0))
	j, err = s.Job(ctx, f.Project, job.ID)
	require.NoError(t, err)
	require.Equal(t, broker.JobCancelled, j.State)
	require.Zero(t, f.Grant(t).Reserved)
}

func failsBeforeStart(t *testing.T, s Store) {
	t.Helper()
	f := Fill(t, s, 100)
	job, a := f.Admit(t, 10)
	c := f.Claim(t, a.ID)
	end := Done(broker.OutcomeLaunchFailed, 0)
	end.Code = "image_invalid"
	f.Take(t, &c, end)
	j, err := s.Job(t.Context(), f.Project, job.ID)
	require.NoError(t, err)
	require.Equal(t, broker.JobFailed, j.State)
	require.Equal(t, "image_invalid", j.Code)
}

func jobsByPage(t *testing.T, s Store) {
	t.Helper()
	f := Fill(t, s, 1000)
	var want []broker.JobID
	for range 7 {
		j, _ := f.Admit(t, 1)
		want = append([]broker.JobID{j.ID}, want...)
	}
	var got []broker.JobID
	cursor := ""
	for {
		js, next, err := s.Jobs(t.Context(), f.Project, cursor, 3)
		require.NoError(t, err)
		for _, j := range js {
			got = append(got, j.ID)
		}
		if cursor = next; cursor == "" {
			break
		}
	}
	require.ElementsMatch(t, want, got)
	for _, bad := range []string{"x", "!!", "MTIz", "MTIgam9i"} {
		_, _, err := s.Jobs(t.Context(), f.Project, bad, 3)
		require.Equal(t, broker.KindInvalid, broker.KindOf(err), bad)
	}
}

func releaseOnce(t *testing.T, s Store) {
	t.Helper()
	f := Fill(t, s, 100)
	ctx := t.Context()
	job, a := f.Admit(t, 1)
	m := Sealed(a.ID)
	rel := broker.Release{
		ID: broker.NewID[broker.ReleaseID]("rel"), Tenant: f.Tenant, Project: f.Project, Job: job.ID, Attempt: a.ID,
		Manifest: m.Digest, Reviewer: "rita@example.org", Envelope: []byte("envelope"), At: f.now,
	}
	e := ledger.Entry{Kind: ledger.KindRelease, Tenant: f.Tenant, Permit: Permit, Person: rel.Reviewer, Document: rel.Envelope, At: f.now}
	_, err := s.RecordRelease(ctx, rel, e)
	require.Equal(t, broker.KindNotFound, broker.KindOf(err), "nothing is sealed")
	c := f.ToRunning(t, a.ID)
	f.Take(t, &c, dispatch.Change{To: broker.AttemptSealing, Outputs: m})
	other := *m
	other.Bytes = []byte("{}")
	other.Digest = broker.DigestOf(other.Bytes)
	_, err = s.Advance(ctx, c, dispatch.Change{To: broker.AttemptSealing, Outputs: &other})
	require.Equal(t, "manifest_changed", broker.CodeOf(err))

	self, mine := rel, e
	self.Reviewer, mine.Person = f.Person.ID, f.Person.ID
	_, err = s.RecordRelease(ctx, self, mine)
	require.Equal(t, "reviewer_is_submitter", broker.CodeOf(err))
	wrong := rel
	wrong.Manifest = other.Digest
	_, err = s.RecordRelease(ctx, wrong, e)
	require.Equal(t, broker.KindNotFound, broker.KindOf(err))
	got, err := s.RecordRelease(ctx, rel, e)
	require.NoError(t, err)
	rel.ID = broker.NewID[broker.ReleaseID]("rel")
	_, err = s.RecordRelease(ctx, rel, e)
	require.Equal(t, "already_released", broker.CodeOf(err))
	all, err := s.Releases(ctx, job.ID)
	require.NoError(t, err)
	require.Equal(t, []broker.Release{got}, all)
}
