package httpapi_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/valico-hpc/valico/broker"
)

func TestAWaitingJobShowsItsPlaceAndNobodyElses(t *testing.T) {
	t.Parallel()
	b := setup(t)
	ctx, c := t.Context(), b.as(t, b.dev)
	_, there := b.Admit(t, 1)
	b.ToReady(t, there.ID) // on its way to the site
	first, _ := b.Admit(t, 1)
	second, _ := b.Admit(t, 1)
	q, err := c.Queue(ctx)
	require.NoError(t, err)
	require.Len(t, q.Places, 2)
	require.Equal(t, string(first.ID), q.Places[0].Job)
	require.Equal(t, "Nothing comes before it.", q.Places[0].Sentence)
	require.Equal(t, 2, q.Places[1].Position)
	require.Equal(t, 2, q.Places[1].Of)
	require.Equal(t, "standard", q.Places[1].Priority)
	require.True(t, q.Places[1].SameProject)
	require.Equal(t, "submitted_first", q.Places[1].Before)

	j, err := c.Job(ctx, string(second.ID))
	require.NoError(t, err)
	require.Equal(t, 2, j.Place.Position)
	require.Equal(t, "standard", j.Priority)
	require.Equal(t, string(broker.WaitBrokerQueue), j.Waiting.Code)
	b.Site.MaxQueue = 1
	require.NoError(t, b.store.UpdateSite(ctx, b.Site))
	j, err = c.Job(ctx, string(first.ID))
	require.NoError(t, err)
	require.True(t, j.Place.SiteFull)
	require.Equal(t, string(broker.WaitSiteQueueFull), j.Waiting.Code)

	theirs, err := b.as(t, b.eve).Queue(ctx)
	require.NoError(t, err)
	require.Empty(t, theirs.Places, "another project's queue is its own")
}
