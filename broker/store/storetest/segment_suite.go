package storetest

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/valico-hpc/valico/broker"
	"github.com/valico-hpc/valico/broker/admission"
	"github.com/valico-hpc/valico/broker/dispatch"
	"github.com/valico-hpc/valico/broker/jobspec"
)

// AdmitResuming admits a job of so many segments, each of which reserves.
func (f Fixture) AdmitResuming(tb testing.TB, reserve int64, segments int) (broker.Job, broker.Attempt) {
	tb.Helper()
	r := f.Admission(tb, broker.VerdictAllow, reserve)
	r.Job.Spec.Resume = broker.Resume{Signal: "USR1", Before: 10 * time.Second, MaxSegments: segments}
	b, err := jobspec.EncodeSpec(r.Job.Spec)
	require.NoError(tb, err)
	r.SpecBytes, r.Job.SpecDigest = b, broker.DigestOf(b)
	job, _, err := f.Store.Admit(tb.Context(), r)
	require.NoError(tb, err)
	return job, *r.Attempt
}

// Segment is the attempt after one that is claimed.
func (f Fixture) Segment(c dispatch.Claimed, reserve int64) *admission.Segment {
	r := broker.Reservation{
		ID: broker.NewID[broker.ReservationID]("res"), Allocation: f.Allocation.ID, Job: c.Job.ID, GPUSeconds: reserve,
		Unweighted: reserve, Weight: broker.WeightOne, GPUs: c.Job.Spec.Resources.GPUs(),
	}
	return &admission.Segment{Reservation: r, Attempt: broker.Attempt{
		ID: broker.NewID[broker.AttemptID]("att"), Tenant: f.Tenant, Project: f.Project, Job: c.Job.ID, Number: c.Attempt.Number + 1,
		State: broker.AttemptPackaging, Reservation: r.ID, CreatedAt: time.Now().UTC().Truncate(time.Microsecond),
	}}
}

// Continued is the change that ends an attempt and takes its job on.
func (f Fixture) Continued(c dispatch.Claimed, used, reserve int64) dispatch.Change {
	ch := Done(broker.OutcomeExit, used)
	ch.Code, ch.ExitCode, ch.JobTo, ch.Next = broker.CodeCheckpoint, broker.ResumeExit, "", f.Segment(c, reserve)
	return ch
}

func segmentsFollow(t *testing.T, s Store) {
	t.Helper()
	f := Fill(t, s, 110)
	ctx := t.Context()
	job, a := f.AdmitResuming(t, 60, 3)
	for n, used := range []int64{50, 20} {
		c := f.ToRunning(t, a.ID)
		ch := f.Continued(c, used, 60)
		if n == 1 {
			ch = f.Continued(c, used, 30) // 70 of 110 are used then
		}
		f.Take(t, &c, ch)
		a = ch.Next.Attempt
		j, err := s.Job(ctx, f.Project, job.ID)
		require.NoError(t, err)
		require.Equal(t, broker.JobActive, j.State, "a job stays active between its segments")
		ch.Next = f.Segment(c, 1)
		_, err = s.Advance(ctx, c, ch)
		require.Error(t, err, "an attempt ends once")
		if n == 0 {
			g := f.Grant(t)
			require.EqualValues(t, 50, g.Used)
			require.EqualValues(t, 60, g.Reserved)
		}
	}
	c := f.ToRunning(t, a.ID)
	f.Take(t, &c, Done(broker.OutcomeOK, 25))
	as, err := s.Attempts(ctx, job.ID)
	require.NoError(t, err)
	require.Len(t, as, 3)
	for i, a := range as {
		require.Equal(t, i+1, a.Number)
		require.NotEmpty(t, a.Clearance)
	}
	g := f.Grant(t)
	require.EqualValues(t, 95, g.Used, "the sum over the attempts")
	require.Zero(t, g.Reserved)
	require.Zero(t, g.OpenJobs)
	j, err := s.Job(ctx, f.Project, job.ID)
	require.NoError(t, err)
	require.Equal(t, broker.JobSucceeded, j.State)
}

func segmentNeedsRoom(t *testing.T, s Store) {
	t.Helper()
	f := Fill(t, s, 100)
	ctx := t.Context()
	job, a := f.AdmitResuming(t, 60, 3)
	c := f.ToRunning(t, a.ID)
	ch := f.Continued(c, 50, 60)
	_, err := s.Advance(ctx, c, ch)
	require.Equal(t, broker.KindQuota, broker.KindOf(err))
	require.Equal(t, "budget_exceeded", broker.CodeOf(err))
	g := f.Grant(t)
	require.EqualValues(t, 60, g.Reserved, "nothing was written")
	require.Zero(t, g.Used)
	ceiling := int64(80)
	ch = f.Continued(c, 50, 40)
	ch.Next.PermitCeiling = &ceiling
	_, err = s.Advance(ctx, c, ch)
	require.Equal(t, "gpu_hours_over_permit", broker.CodeOf(err))
	ch.Next, ch.JobTo, ch.JobCode = nil, broker.JobFailed, "budget_exceeded"
	f.Take(t, &c, ch)
	j, err := s.Job(ctx, f.Project, job.ID)
	require.NoError(t, err)
	require.Equal(t, broker.JobFailed, j.State)
	require.Equal(t, "budget_exceeded", j.Code)
	require.Equal(t, broker.CodeCheckpoint, c.Attempt.Code)
	require.EqualValues(t, 50, f.Grant(t).Used)
}

func segmentBelongs(t *testing.T, s Store) {
	t.Helper()
	f := Fill(t, s, 1000)
	ctx := t.Context()
	_, a := f.AdmitResuming(t, 10, 2)
	c := f.ToRunning(t, a.ID)
	other, _ := f.AdmitResuming(t, 10, 2)
	for name, spoil := range map[string]func(*dispatch.Change){
		"of another job":              func(ch *dispatch.Change) { ch.Next.Attempt.Job = other.ID },
		"a reservation of another":    func(ch *dispatch.Change) { ch.Next.Reservation.Job = other.ID },
		"not the next":                func(ch *dispatch.Change) { ch.Next.Attempt.Number++ },
		"the same again":              func(ch *dispatch.Change) { ch.Next.Attempt.Number-- },
		"another price":               func(ch *dispatch.Change) { ch.Next.Reservation.GPUSeconds-- },
		"fewer GPUs":                  func(ch *dispatch.Change) { ch.Next.Reservation.GPUs-- },
		"cleared before it was":       func(ch *dispatch.Change) { ch.Next.Attempt.State = broker.AttemptReady },
		"after an end that is final":  func(ch *dispatch.Change) { ch.Code = "exit_code" },
		"after success":               func(ch *dispatch.Change) { ch.Outcome, ch.Code = broker.OutcomeOK, "" },
		"of a job that ends":          func(ch *dispatch.Change) { ch.JobTo = broker.JobFailed },
		"while the attempt goes on":   func(ch *dispatch.Change) { ch.To, ch.Outcome = broker.AttemptSealing, "" },
		"after the job was cancelled": func(ch *dispatch.Change) { ch.Outcome = broker.OutcomeCancelled },
	} {
		ch := f.Continued(c, 5, 10)
		spoil(&ch)
		_, err := s.Advance(ctx, c, ch)
		require.Error(t, err, name)
	}
	ch := f.Continued(c, 5, 10)
	f.Take(t, &c, ch)
	c = f.ToRunning(t, ch.Next.Attempt.ID)
	_, err := s.Advance(ctx, c, f.Continued(c, 5, 10))
	require.Error(t, err, "a job has no more segments than its spec says")

	_, a = f.Admit(t, 10)
	c = f.ToRunning(t, a.ID)
	_, err = s.Advance(ctx, c, f.Continued(c, 5, 10))
	require.Error(t, err, "a job that says nothing of it has one segment")
}

func segmentRefused(t *testing.T, s Store) {
	t.Helper()
	f := Fill(t, s, 1000)
	ctx := t.Context()
	job, a := f.AdmitResuming(t, 10, 3)
	c := f.ToRunning(t, a.ID)
	ch := f.Continued(c, 7, 10)
	f.Take(t, &c, ch)
	c = f.Claim(t, ch.Next.Attempt.ID)
	f.Take(t, &c, dispatch.Change{To: broker.AttemptClearing, Image: Image()})
	_, err := s.Clear(ctx, f.Clearance(c, broker.VerdictDeny))
	require.NoError(t, err)
	j, err := s.Job(ctx, f.Project, job.ID)
	require.NoError(t, err)
	require.Equal(t, broker.JobFailed, j.State, "it was admitted and ran: it failed for want of a clearance")
	require.Equal(t, "policy", j.Code)
	g := f.Grant(t)
	require.EqualValues(t, 7, g.Used)
	require.Zero(t, g.Reserved)

	job, a = f.AdmitResuming(t, 10, 3)
	c = f.ToRunning(t, a.ID)
	f.Take(t, &c, f.Continued(c, 7, 10))
	require.NoError(t, s.RequestCancel(ctx, f.Project, job.ID, time.Now()))
	as, err := s.Attempts(ctx, job.ID)
	require.NoError(t, err)
	next := f.Claim(t, as[1].ID)
	require.True(t, next.Cancel, "dispatch ends the segment that waits")
}
