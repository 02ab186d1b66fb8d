package storetest

import (
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"

	"github.com/valico-hpc/valico/broker"
	"github.com/valico-hpc/valico/broker/admission"
	"github.com/valico-hpc/valico/broker/dispatch"
)

func admissionWhole(t *testing.T, s Store) {
	t.Helper()
	f := Fill(t, s, 100)
	ctx := t.Context()
	r := f.Admission(t, broker.VerdictAllow, 40)
	job, dec, err := s.Admit(ctx, r)
	require.NoError(t, err)
	require.EqualValues(t, 1, job.Version)
	require.EqualValues(t, 0, dec.LedgerIndex)

	got, err := s.Job(ctx, f.Project, job.ID)
	require.NoError(t, err)
	require.Equal(t, broker.JobAdmitted, got.State)
	require.Equal(t, job.SpecDigest, got.SpecDigest)
	require.Equal(t, r.Job.Spec.Permit, got.Spec.Permit)
	b, err := s.SpecBytes(ctx, job.ID)
	require.NoError(t, err)
	require.Equal(t, r.SpecBytes, b)
	ds, err := s.Decisions(ctx, job.ID)
	require.NoError(t, err)
	require.Equal(t, []broker.Decision{dec}, ds)
	as, err := s.Attempts(ctx, job.ID)
	require.NoError(t, err)
	require.Len(t, as, 1)
	require.Equal(t, broker.AttemptPackaging, as[0].State)
	require.EqualValues(t, 40, f.Grant(t).Reserved)
	use, err := s.PermitUsage(ctx, f.Project, Permit)
	require.NoError(t, err)
	require.EqualValues(t, 40, use)
	row, err := s.LedgerRow(ctx, dec.LedgerIndex)
	require.NoError(t, err)
	require.Equal(t, r.Entry, row.Entry)
	_, _, err = s.Admit(ctx, r)
	require.Equal(t, broker.KindConflict, broker.KindOf(err), "one id, one job")
	n, err := s.LedgerSize(ctx)
	require.NoError(t, err)
	require.EqualValues(t, 1, n, "what failed left no leaf")
}

func denialReservesNothing(t *testing.T, s Store) {
	t.Helper()
	f := Fill(t, s, 100)
	ctx := t.Context()
	for _, v := range []broker.Verdict{broker.VerdictDeny, broker.VerdictReview} {
		job, dec, err := s.Admit(ctx, f.Admission(t, v, 0))
		require.NoError(t, err)
		ds, err := s.Decisions(ctx, job.ID)
		require.NoError(t, err)
		require.Equal(t, []broker.Decision{dec}, ds)
		as, err := s.Attempts(ctx, job.ID)
		require.NoError(t, err)
		require.Empty(t, as)
	}
	require.Zero(t, f.Grant(t).Reserved)
}

func inconsistentRefused(t *testing.T, s Store) {
	t.Helper()
	f := Fill(t, s, 100)
	for name, spoil := range map[string]func(*admission.AdmitRecord){
		"denied but reserving":         func(r *admission.AdmitRecord) { r.Decision.Verdict = broker.VerdictDeny },
		"allowed without reservation":  func(r *admission.AdmitRecord) { r.Reservation = nil },
		"allowed without attempt":      func(r *admission.AdmitRecord) { r.Attempt = nil },
		"another document in the log":  func(r *admission.AdmitRecord) { r.Entry.Document = []byte("x") },
		"another permit in the log":    func(r *admission.AdmitRecord) { r.Entry.Permit = "x" },
		"another person in the log":    func(r *admission.AdmitRecord) { r.Entry.Person = "x" },
		"a spec of another digest":     func(r *admission.AdmitRecord) { r.SpecBytes = []byte("x") },
		"an attempt that is ready":     func(r *admission.AdmitRecord) { r.Attempt.State = broker.AttemptReady },
		"an attempt of another job":    func(r *admission.AdmitRecord) { r.Attempt.Job = "x" },
		"a reservation less than zero": func(r *admission.AdmitRecord) { r.Reservation.GPUSeconds = -5 },
		"a job that is active":         func(r *admission.AdmitRecord) { r.Job.State = broker.JobActive },
	} {
		r := f.Admission(t, broker.VerdictAllow, 1)
		spoil(&r)
		_, _, err := s.Admit(t.Context(), r)
		require.Equal(t, broker.KindInvalid, broker.KindOf(err), name)
	}
	n, err := s.LedgerSize(t.Context())
	require.NoError(t, err)
	require.Zero(t, n)
}

func idempotencyKey(t *testing.T, s Store) {
	t.Helper()
	f := Fill(t, s, 100)
	ctx := t.Context()
	r := f.Admission(t, broker.VerdictAllow, 1)
	r.Idempotency = Key("k", "request")
	_, _, err := s.Idempotent(ctx, f.Project, r.Idempotency)
	require.Equal(t, broker.KindNotFound, broker.KindOf(err))
	job, dec, err := s.Admit(ctx, r)
	require.NoError(t, err)
	again := f.Admission(t, broker.VerdictAllow, 1)
	again.Idempotency = r.Idempotency
	job2, dec2, err := s.Admit(ctx, again)
	require.NoError(t, err)
	require.Equal(t, job.ID, job2.ID)
	require.Equal(t, dec, dec2)
	job3, _, err := s.Idempotent(ctx, f.Project, r.Idempotency)
	require.NoError(t, err)
	require.Equal(t, job.ID, job3.ID)
	require.EqualValues(t, 1, f.Grant(t).Reserved)
	again.Idempotency = Key("k", "another request")
	_, _, err = s.Admit(ctx, again)
	require.Equal(t, broker.KindConflict, broker.KindOf(err))
	require.Equal(t, "idempotency_reused", broker.CodeOf(err))
}

func idempotencyParallel(t *testing.T, s Store) {
	t.Helper()
	f := Fill(t, s, 100)
	var g errgroup.Group
	var mu sync.Mutex
	ids := map[broker.JobID]bool{}
	for range 32 {
		r := f.Admission(t, broker.VerdictAllow, 1)
		r.Idempotency = Key("k", "request")
		g.Go(func() error {
			job, _, err := s.Admit(t.Context(), r)
			mu.Lock()
			defer mu.Unlock()
			ids[job.ID] = true
			return err
		})
	}
	require.NoError(t, g.Wait())
	require.Len(t, ids, 1)
	require.EqualValues(t, 1, f.Grant(t).Reserved)
}

// reservationsNeverExceed is promise P3: 1,000 parallel submissions on one
// budget that holds a third of them.
func reservationsNeverExceed(t *testing.T, s Store) {
	t.Helper()
	const each, fits = 7, 333
	f := Fill(t, s, each*fits+each-1)
	var g errgroup.Group
	g.SetLimit(64)
	var admitted, refused atomic.Int64
	for range 1000 {
		r := f.Admission(t, broker.VerdictAllow, each)
		g.Go(func() error {
			_, _, err := s.Admit(t.Context(), r)
			switch {
			case err == nil:
				admitted.Add(1)
			case broker.KindOf(err) == broker.KindQuota && broker.CodeOf(err) == "budget_exceeded":
				refused.Add(1)
				return nil
			}
			return err
		})
	}
	require.NoError(t, g.Wait())
	require.EqualValues(t, fits, admitted.Load())
	require.EqualValues(t, 1000-fits, refused.Load())
	require.EqualValues(t, each*fits, f.Grant(t).Reserved)
	n, err := s.LedgerSize(t.Context())
	require.NoError(t, err)
	require.EqualValues(t, fits, n, "a refused reservation leaves no leaf")
}

// randomLivesRefundExactly walks attempts at random and compares the grant with
// a model after each step: reserved, used, overrun included.
func randomLivesRefundExactly(t *testing.T, s Store) {
	t.Helper()
	seed := rand.Uint64() //nolint:gosec // a seed to print, no secret
	t.Logf("seed %d", seed)
	rnd := rand.New(rand.NewPCG(seed, 0)) //nolint:gosec // repeatable
	f := Fill(t, s, 500)
	var reserved, used int64
	open := map[broker.AttemptID]int64{}
	for range 60 {
		if rnd.IntN(2) == 0 {
			want := rnd.Int64N(120)
			r := f.Admission(t, broker.VerdictAllow, want)
			_, _, err := s.Admit(t.Context(), r)
			if fits := want == 0 || reserved+used+want <= 500; !fits {
				require.Equal(t, broker.KindQuota, broker.KindOf(err))
			} else {
				require.NoError(t, err)
				reserved += want
				open[r.Attempt.ID] = want
			}
		}
		for id, held := range open { // any one of them
			booked := rnd.Int64N(held*2 + 1)
			endSomehow(t, rnd, f, id, &booked)
			reserved -= held
			used += booked
			delete(open, id)
			break
		}
		g := f.Grant(t)
		require.Equal(t, reserved, g.Reserved)
		require.Equal(t, used, g.Used)
		n, err := s.PermitUsage(t.Context(), f.Project, Permit)
		require.NoError(t, err)
		require.Equal(t, reserved+used, n)
	}
}

func endSomehow(t *testing.T, rnd *rand.Rand, f Fixture, id broker.AttemptID, booked *int64) {
	t.Helper()
	switch rnd.IntN(4) {
	case 0: // refused at clearance
		c := f.Claim(t, id)
		f.Take(t, &c, dispatch.Change{To: broker.AttemptClearing, Image: Image()})
		_, err := f.Store.Clear(t.Context(), f.Clearance(c, broker.VerdictDeny))
		require.NoError(t, err)
		*booked = 0
	case 1: // cancelled before it started
		c := f.Claim(t, id)
		f.Take(t, &c, Done(broker.OutcomeCancelled, 0))
		*booked = 0
	case 2: // refused by the site
		c := f.ToReady(t, id)
		f.Take(t, &c, dispatch.Change{To: broker.AttemptSubmitting, JobTo: broker.JobActive}, Done(broker.OutcomeLaunchFailed, *booked))
	default:
		c := f.ToRunning(t, id)
		f.Take(t, &c, Done(broker.OutcomeOK, *booked))
	}
}
