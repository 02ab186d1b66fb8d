package httpapi_test

import (
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/valico-hpc/valico/broker"
	"github.com/valico-hpc/valico/broker/dispatch"
	"github.com/valico-hpc/valico/broker/httpapi/wire"
)

func TestAnOperatorClosesASiteEmptiesItAndOpensItAgain(t *testing.T) {
	t.Parallel()
	b := setup(t)
	c, dev := b.as(t, b.otto), b.as(t, b.dev)
	s, err := c.Site(t.Context(), "here")
	require.NoError(t, err)
	require.Equal(t, "open", s.Operation.State)
	_, err = dev.OperateSite(t.Context(), "here", broker.ActCordon, 0, wire.SiteChange{Reason: "mine"})
	require.Equal(t, broker.KindForbidden, broker.KindOf(err))
	s, err = c.OperateSite(t.Context(), "here", broker.ActCordon, 0, wire.SiteChange{Reason: "cooling"})
	require.NoError(t, err)
	require.Equal(t, "cordoned", s.Operation.State)
	_, err = c.OperateSite(t.Context(), "here", broker.ActDrain, 0, wire.SiteChange{Reason: "late"})
	require.Equal(t, broker.CodeStaleVersion, broker.CodeOf(err))
	past := time.Now().Add(-time.Hour)
	_, err = c.OperateSite(t.Context(), "here", broker.ActDrain, 1, wire.SiteChange{Reason: "cooling", Until: &past})
	require.Equal(t, "until_invalid", broker.CodeOf(err))
	until := time.Now().Add(time.Hour)
	s, err = c.OperateSite(t.Context(), "here", broker.ActDrain, 1, wire.SiteChange{Reason: "cooling", Until: &until})
	require.NoError(t, err)
	require.Equal(t, "drained", s.Operation.State, "nothing is there")
	require.Len(t, s.Acts, 2)
	seen, err := dev.Site(t.Context(), "here")
	require.NoError(t, err)
	require.Equal(t, "cooling", seen.Operation.Reason)
	require.Empty(t, seen.Operation.By, "who did it is for operators")
	require.Empty(t, seen.Acts)
	res, _ := b.call(t, b.dev, http.MethodGet, "/v1/sites/here", "")
	require.Equal(t, `"2"`, res.Header.Get("ETag"))
	s, err = c.OperateSite(t.Context(), "here", broker.ActResume, 2, wire.SiteChange{Reason: "done"})
	require.NoError(t, err)
	require.Equal(t, "open", s.Operation.State)
}

func TestAJobSaysWhatItWaitsForUntilItRuns(t *testing.T) {
	t.Parallel()
	b := setup(t)
	job, at := b.Admit(t, 60)
	c := b.as(t, b.dev)
	got, err := c.Job(t.Context(), string(job.ID))
	require.NoError(t, err)
	require.NotEmpty(t, got.Waiting.Code)
	claim := b.ToReady(t, at.ID)
	start := time.Now().Add(time.Hour).UTC().Truncate(time.Second)
	b.Take(t, &claim, dispatch.Change{To: broker.AttemptSubmitting, JobTo: broker.JobActive},
		dispatch.Change{To: broker.AttemptQueued, Waiting: broker.Wait(broker.WaitPriority, "Priority", start)})
	page, err := c.Jobs(t.Context(), "", 10)
	require.NoError(t, err)
	w := page.Jobs[0].Waiting
	require.Equal(t, "priority", w.Code)
	require.Equal(t, "Others come first in the queue of here.", w.Sentence)
	require.NotEmpty(t, w.Remedy)
	require.NotEmpty(t, w.Who)
	require.Equal(t, "Priority", w.Words)
	require.NotNil(t, w.Since)
	require.True(t, start.Equal(*w.EstimatedStart))
	b.Take(t, &claim, dispatch.Change{To: broker.AttemptRunning, StartedAt: time.Now()})
	got, err = c.Job(t.Context(), string(job.ID))
	require.NoError(t, err)
	require.Nil(t, got.Waiting)
}
