package storetest

import (
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/valico-hpc/valico/broker"
	"github.com/valico-hpc/valico/broker/dispatch"
	"github.com/valico-hpc/valico/broker/queue"
)

// beside is a fixture of another project at the same site.
func (f Fixture) beside(tb testing.TB, project string) Fixture {
	tb.Helper()
	var err error
	f.Tenant, f.Project, err = f.Store.EnsureProject(tb.Context(), project)
	require.NoError(tb, err)
	f.Person.ID, f.Person.Tenant, f.Person.Project = broker.PersonID(project+"@example.org"), f.Tenant, f.Project
	require.NoError(tb, f.Store.AddPerson(tb.Context(), f.Person))
	f.Allocation.ID, f.Allocation.Tenant, f.Allocation.Project = broker.NewID[broker.AllocationID]("alc"), f.Tenant, f.Project
	require.NoError(tb, f.Store.AddAllocation(tb.Context(), f.Allocation))
	return f
}

// AdmitAs admits a job of a class, submitted at a moment.
func (f Fixture) AdmitAs(tb testing.TB, p broker.Priority, reserve int64, at time.Time) (broker.Job, broker.Attempt) {
	tb.Helper()
	r := f.Admission(tb, broker.VerdictAllow, reserve)
	r.Job.Priority, r.Job.CreatedAt = p, at.UTC().Truncate(time.Microsecond)
	job, _, err := f.Store.Admit(tb.Context(), r)
	require.NoError(tb, err)
	return job, *r.Attempt
}

// next claims at most n attempts that wait for their turn, in their order.
func (f Fixture) next(tb testing.TB, n int) []dispatch.Claimed {
	tb.Helper()
	now := time.Now().UTC().Add(time.Minute)
	cs, err := f.Store.Claim(tb.Context(), dispatch.ClaimQuery{
		Owner: "test", States: []broker.AttemptState{broker.AttemptPackaging}, Now: now, Until: now.Add(time.Hour), Limit: n,
	})
	require.NoError(tb, err)
	return cs
}

func attemptsOf(cs []dispatch.Claimed) []broker.AttemptID {
	var out []broker.AttemptID
	for _, c := range cs {
		out = append(out, c.Attempt.ID)
	}
	return out
}

func turnsInOrder(t *testing.T, s Store) {
	t.Helper()
	f := Fill(t, s, 1<<30)
	g := f.beside(t, "second")
	now := time.Now()
	standard, urgent := broker.Priority{Class: "standard", Weight: 4}, broker.Priority{Class: "urgent_public_health", Weight: 16}
	var want []broker.AttemptID
	// Of one project: by submission, with the class's head start of 15 minutes for
	// each unit of weight.
	_, old := f.AdmitAs(t, standard, 1000, now.Add(-4*time.Hour))
	_, late := f.AdmitAs(t, standard, 1000, now.Add(-time.Minute))
	_, soon := f.AdmitAs(t, urgent, 1000, now.Add(-2*time.Minute))
	// The other project was given nothing, and takes every other turn.
	_, other := g.AdmitAs(t, standard, 1000, now)
	_, another := g.AdmitAs(t, standard, 1000, now)
	want = []broker.AttemptID{old.ID, other.ID, soon.ID, another.ID, late.ID}
	if other.ID > another.ID { // submitted at one moment: the smaller name first
		want[1], want[3] = another.ID, other.ID
	}
	places, err := s.Queue(t.Context(), f.Project)
	require.NoError(t, err)
	seen := map[broker.AttemptID]broker.QueuePlace{}
	for _, p := range places {
		require.Equal(t, 5, p.Of)
		require.False(t, p.SiteFull)
		seen[p.Attempt] = p
	}
	require.Len(t, seen, 3, "a project's own alone")
	require.Equal(t, 1, seen[old.ID].Position)
	require.Equal(t, string(queue.First), seen[old.ID].Before)
	require.Equal(t, 5, seen[late.ID].Position)
	got := attemptsOf(f.next(t, 3))
	require.Equal(t, slices.Index(want, soon.ID)+1, seen[soon.ID].Position, "what a person reads is what is claimed")
	require.Equal(t, want[:3], got)
	require.Equal(t, want[3:], attemptsOf(f.next(t, 5)), "those in hand do not come again")
}

func siteKeepsItsQueue(t *testing.T, s Store) {
	t.Helper()
	f := Fill(t, s, 1<<30)
	ctx := t.Context()
	f.Site.MaxQueue = 2
	require.NoError(t, s.UpdateSite(ctx, f.Site))
	for range 5 {
		f.Admit(t, 1)
	}
	cs := f.next(t, 10)
	require.Len(t, cs, 2, "as many as the site takes")
	require.Empty(t, f.next(t, 10), "those in hand count")
	places, err := s.Queue(ctx, f.Project)
	require.NoError(t, err)
	require.True(t, places[0].SiteFull)
	c := cs[0]
	f.Take(t, &c, dispatch.Change{To: broker.AttemptClearing, Image: Image()})
	d, err := s.Clear(ctx, f.Clearance(c, broker.VerdictAllow))
	require.NoError(t, err)
	f.Take(t, &c, Ready(d), dispatch.Change{To: broker.AttemptSubmitting, JobTo: broker.JobActive}, dispatch.Change{To: broker.AttemptQueued})
	require.Empty(t, f.next(t, 10), "it waits at the site")
	f.Take(t, &c, dispatch.Change{To: broker.AttemptRunning, StartedAt: time.Now()})
	require.Len(t, f.next(t, 10), 1, "one began, one may follow")
	var waiting broker.JobID
	for _, p := range places {
		waiting = p.Job
	}
	require.NoError(t, s.RequestCancel(ctx, f.Project, waiting, time.Now()))
	gone := f.next(t, 10)
	require.Len(t, gone, 1, "what a person gave up needs no room")
	require.True(t, gone[0].Cancel)
}

func shareIsWhatWasGiven(t *testing.T, s Store) {
	t.Helper()
	f := Fill(t, s, 1<<30)
	g := f.beside(t, "second")
	standard := broker.Priority{Class: "standard", Weight: 4}
	now := time.Now()
	_, a := f.AdmitAs(t, standard, 36_000, now)
	c := f.ToRunning(t, a.ID)
	_, mine := f.AdmitAs(t, standard, 1, now.Add(-time.Hour))
	_, theirs := g.AdmitAs(t, standard, 1, now)
	places, err := s.Queue(t.Context(), f.Project)
	require.NoError(t, err)
	require.Equal(t, []int{2}, []int{places[0].Position}, "its organisation was given ten hours")
	require.Equal(t, string(queue.TenantLess), places[0].Before)
	require.False(t, places[0].SameProject)
	f.Take(t, &c, Done(broker.OutcomeOK, 0)) // it used nothing after all, but a turn
	require.Equal(t, []broker.AttemptID{theirs.ID, mine.ID}, attemptsOf(f.next(t, 2)))
}

func cancelIsSeen(t *testing.T, s Store) {
	t.Helper()
	f := Fill(t, s, 100)
	ctx := t.Context()
	job, a := f.Admit(t, 1)
	c := f.ToRunning(t, a.ID)
	ids, err := s.Cancelled(ctx)
	require.NoError(t, err)
	require.Empty(t, ids)
	require.NoError(t, s.RequestCancel(ctx, f.Project, job.ID, time.Now()))
	ids, err = s.Cancelled(ctx)
	require.NoError(t, err)
	require.Equal(t, []broker.AttemptID{a.ID}, ids, "whoever holds it learns of it")
	f.Take(t, &c, Done(broker.OutcomeCancelled, 0))
	ids, err = s.Cancelled(ctx)
	require.NoError(t, err)
	require.Empty(t, ids)
}
