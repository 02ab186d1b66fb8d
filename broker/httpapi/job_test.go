package httpapi_test

import (
	"context"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/valico-hpc/valico/broker"
	"github.com/valico-hpc/valico/broker/httpapi/wire"
	"github.com/valico-hpc/valico/broker/store/storetest"
)

func TestNotYoursAndUnknownLookAlike(t *testing.T) {
	t.Parallel()
	b := setup(t)
	job, _ := b.Admit(t, 60)
	unknown := "job_" + strings.Repeat("0", 26)
	for _, route := range []string{"", "/decisions", "/events", "/events?follow=false"} {
		res, mine := b.call(t, b.eve, http.MethodGet, "/v1/jobs/"+string(job.ID)+route, "")
		require.Equal(t, http.StatusNotFound, res.StatusCode)
		res2, none := b.call(t, b.eve, http.MethodGet, "/v1/jobs/"+unknown+route, "")
		same := strings.NewReplacer(string(job.ID), "X", unknown, "X", res.Header.Get("X-Request-Id"), "R", res2.Header.Get("X-Request-Id"), "R")
		require.Equal(t, same.Replace(none), same.Replace(mine), route)
	}
	_, err := b.as(t, b.eve).Cancel(t.Context(), string(job.ID))
	require.Equal(t, broker.KindNotFound, broker.KindOf(err))
	got, err := b.as(t, b.eve).Jobs(t.Context(), "", 0)
	require.NoError(t, err)
	require.Empty(t, got.Jobs)
}

func TestAJobIsShownWithItsAttemptsSpecAndDecisions(t *testing.T) {
	t.Parallel()
	b := setup(t)
	job, at := b.Admit(t, 60)
	c := b.as(t, b.dev)
	got, err := c.Job(t.Context(), string(job.ID))
	require.NoError(t, err)
	require.Equal(t, "here", got.Site)
	require.Equal(t, string(at.ID), got.Attempts[0].ID)
	require.Equal(t, storetest.Spec("job", 1), got.Spec.Noun(), "the spec survives the journey whole")
	ds, err := c.Decisions(t.Context(), string(job.ID))
	require.NoError(t, err)
	require.Equal(t, broker.DecisionAdmission, ds.Decisions[0].Kind)
	require.Equal(t, "allow", ds.Decisions[0].Verdict)
}

func TestJobsComeInPages(t *testing.T) {
	t.Parallel()
	b := setup(t)
	want := map[string]bool{}
	for range 5 {
		job, _ := b.Admit(t, 1)
		want[string(job.ID)] = true
	}
	c := b.as(t, b.dev)
	cursor, pages := "", 0
	for {
		page, err := c.Jobs(t.Context(), cursor, 2)
		require.NoError(t, err)
		require.LessOrEqual(t, len(page.Jobs), 2)
		for _, j := range page.Jobs {
			require.True(t, want[j.ID], "each job once")
			delete(want, j.ID)
		}
		pages++
		if cursor = page.Next; cursor == "" {
			break
		}
	}
	require.Empty(t, want)
	require.LessOrEqual(t, pages, 4)
	_, err := c.Jobs(t.Context(), "not a cursor", 2)
	require.Equal(t, broker.KindInvalid, broker.KindOf(err))
}

func TestCancellingEndsInACancelledJob(t *testing.T) {
	t.Parallel()
	b := setup(t)
	job, _ := b.Admit(t, 60)
	c := b.as(t, b.dev)
	_, err := c.Cancel(t.Context(), string(job.ID))
	require.NoError(t, err)
	_, err = b.as(t, b.rita).Cancel(t.Context(), string(job.ID))
	require.Equal(t, broker.KindForbidden, broker.KindOf(err), "cancelling is for developers")
}

func (b *bundle) emit(t *testing.T, job broker.Job, at broker.Attempt, from, to uint64) {
	t.Helper()
	var evs []broker.Event
	for seq := from; seq <= to; seq++ {
		evs = append(evs, broker.Event{
			Tenant: b.Tenant, Job: job.ID, Attempt: at.ID, Site: b.Site.ID, Source: "site", Seq: seq, Kind: broker.EventMetric,
			Name: "loss", Value: 1 / float64(seq), Step: int64(seq), At: time.Now(),
		})
	}
	_, err := b.store.ApplyEvents(t.Context(), evs)
	require.NoError(t, err)
	b.hub.Notify(b.Tenant, job.ID)
}

func TestAStreamGivesEveryEventOnceAndEndsWithTheJob(t *testing.T) {
	t.Parallel()
	b := setup(t)
	job, at := b.Admit(t, 60)
	claimed := b.ToRunning(t, at.ID)
	b.emit(t, job, at, 1, 3)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	var steps []int64
	err := b.as(t, b.dev).Follow(ctx, string(job.ID), 0, func(e wire.Event) error {
		if e.Kind != broker.EventMetric {
			return nil
		}
		steps = append(steps, e.Step)
		if e.Step == 3 {
			b.emit(t, job, at, 4, 6)
			b.Take(t, &claimed, storetest.Done(broker.OutcomeOK, 5))
			b.hub.Notify(b.Tenant, job.ID)
		}
		return nil
	}, nil)
	require.NoError(t, err)
	require.Equal(t, []int64{1, 2, 3, 4, 5, 6}, steps)
}

func TestAStreamResumesAfterTheLastEventSeen(t *testing.T) {
	t.Parallel()
	b := setup(t)
	job, at := b.Admit(t, 60)
	b.emit(t, job, at, 1, 4)
	page, err := b.as(t, b.dev).Events(t.Context(), string(job.ID), 0)
	require.NoError(t, err)
	require.GreaterOrEqual(t, len(page.Events), 4)
	require.False(t, page.Done)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	last := page.Events[len(page.Events)-2].Cursor
	var got []int64
	err = b.as(t, b.dev).Follow(ctx, string(job.ID), last, func(e wire.Event) error {
		got = append(got, e.Cursor)
		cancel()
		return nil
	}, nil)
	require.ErrorIs(t, err, context.Canceled)
	require.Equal(t, []int64{page.Events[len(page.Events)-1].Cursor}, got)
	next, err := b.as(t, b.dev).Events(t.Context(), string(job.ID), page.Next)
	require.NoError(t, err)
	require.Empty(t, next.Events)
	for _, bad := range []string{"-1", "x"} {
		res, _ := b.call(t, b.dev, http.MethodGet, "/v1/jobs/"+string(job.ID)+"/events", "", "Last-Event-ID", bad)
		require.Equal(t, http.StatusUnprocessableEntity, res.StatusCode)
	}
}

func TestASilentStreamShowsThatItLives(t *testing.T) {
	t.Parallel()
	b := setup(t)
	job, _ := b.Admit(t, 60)
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, b.url+"/v1/jobs/"+string(job.ID)+"/events", nil)
	require.NoError(t, err)
	req.Header.Set("Authorization", "Bearer "+string(b.dev))
	res, err := http.DefaultClient.Do(req)
	require.NoError(t, err)
	defer res.Body.Close() //nolint:errcheck // read only
	require.Equal(t, "text/event-stream", res.Header.Get("Content-Type"))
	var text strings.Builder
	buf := make([]byte, 1024)
	for strings.Count(text.String(), ": alive") < 2 {
		n, err := res.Body.Read(buf)
		require.NoError(t, err)
		text.Write(buf[:n])
	}
}

func TestALayerIsUploadedOnceAndChecked(t *testing.T) {
	t.Parallel()
	b := setup(t)
	c := b.as(t, b.dev)
	content := strings.Repeat("layer", 1<<20) // larger than what other routes take
	d := broker.DigestOf([]byte(content))
	open := func() (io.ReadCloser, error) { return io.NopCloser(strings.NewReader(content)), nil }
	have, err := c.HasBlob(t.Context(), d)
	require.NoError(t, err)
	require.False(t, have)
	require.NoError(t, c.PutBlob(t.Context(), d, int64(len(content)), open))
	have, err = c.HasBlob(t.Context(), d)
	require.NoError(t, err)
	require.True(t, have)
	err = c.PutBlob(t.Context(), broker.DigestOf([]byte("other")), int64(len(content)), open)
	require.Equal(t, "blob_digest", broker.CodeOf(err))
	_, err = c.HasBlob(t.Context(), "sha256:short")
	require.Error(t, err)
}

func TestAnOutputIsTheReleasedOneOrNothing(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.airlock.content = "the model"
	c := b.as(t, b.dev)
	outs, err := c.Outputs(t.Context(), "job_1")
	require.NoError(t, err)
	f := outs.Outputs[0].Files[0]
	r, err := c.Fetch(t.Context(), "job_1", f.Path, broker.Digest(f.Digest))
	require.NoError(t, err)
	got, err := io.ReadAll(r)
	require.NoError(t, err)
	require.Equal(t, "the model", string(got))
	require.NoError(t, r.Close())
	_, err = c.Fetch(t.Context(), "job_1", "deep/other", broker.Digest(f.Digest))
	require.Equal(t, broker.KindNotFound, broker.KindOf(err))
	b.airlock.wrong = true
	r, err = c.Fetch(t.Context(), "job_1", f.Path, broker.Digest(f.Digest))
	require.NoError(t, err)
	_, err = io.ReadAll(r)
	require.Equal(t, "output_digest", broker.CodeOf(err))
	require.NoError(t, r.Close())

	_, err = c.Release(t.Context(), "job_1", []byte("envelope"))
	require.Equal(t, broker.KindForbidden, broker.KindOf(err))
	rel, err := b.as(t, b.rita).Release(t.Context(), "job_1", []byte("envelope"))
	require.NoError(t, err)
	require.Equal(t, "rita@example.org", rel.Reviewer)
	require.Equal(t, int64(8), rel.LedgerIndex, "the envelope arrived whole")
}

func TestAPlanIsShownSiteBySite(t *testing.T) {
	t.Parallel()
	b := setup(t)
	p, err := b.as(t, b.dev).Plan(t.Context(), storetest.Spec("job", 1))
	require.NoError(t, err)
	require.Equal(t, "deny", p.Verdict)
	require.Equal(t, "here", p.Sites[0].Site)
	require.Equal(t, "purpose", p.Sites[0].Reasons[0].Code)
}

// The record of a job's end is ahead of the events that tell of it.
func TestAStreamWaitsForTheEventsThatAreStillOnTheirWay(t *testing.T) {
	t.Parallel()
	b := setup(t)
	job, at := b.Admit(t, 60)
	claimed := b.ToRunning(t, at.ID)
	b.Take(t, &claimed, storetest.Done(broker.OutcomeOK, 5))
	late := time.AfterFunc(400*time.Millisecond, func() {
		b.emit(t, job, at, 1, 2)
		_, err := b.store.ApplyEvents(context.WithoutCancel(t.Context()), []broker.Event{{
			Tenant: b.Tenant, Job: job.ID, Source: "broker", Seq: 1, Kind: broker.EventState, Name: "job", Text: string(broker.JobSucceeded), At: time.Now(),
		}})
		if err != nil {
			t.Errorf("apply: %v", err)
		}
		b.hub.Notify(b.Tenant, job.ID)
	})
	defer late.Stop()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	var got []string
	require.NoError(t, b.as(t, b.dev).Follow(ctx, string(job.ID), 0, func(e wire.Event) error {
		got = append(got, e.Kind)
		return nil
	}, nil))
	require.Equal(t, []string{"metric", "metric", "state"}, got)
}
