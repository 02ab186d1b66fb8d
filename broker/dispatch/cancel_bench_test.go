package dispatch_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"

	"github.com/valico-hpc/valico/broker"
)

// BenchmarkBulkCancel cancels 1,000 running jobs, asked for by 32 clients, at a
// site whose scheduler takes 5 ms for each and works on 16. of_bare is the time
// of the same cancellations at the same site by a bare loop, divided by the time
// until the record has the last job's end; p99-s is how long the slowest of a
// hundred took.
func BenchmarkBulkCancel(b *testing.B) {
	var bare, ours time.Duration
	var took []time.Duration
	n := 0
	for b.Loop() {
		w := newWorld(b)
		ids := w.fill(b, cancelled)
		stop := w.run(b, 4)
		until(b, func() bool {
			asked, _ := w.site.counts()
			return asked == cancelled
		})
		bare += w.bareStops(b)
		began := time.Now()
		took = append(took, w.cancelAll(b, ids)...)
		ours += time.Since(began)
		n += len(ids)
		stop()
	}
	slices.Sort(took)
	b.ReportMetric(float64(n)/ours.Seconds(), "cancel/s")
	b.ReportMetric(float64(n)/bare.Seconds(), "bare/s")
	b.ReportMetric(bare.Seconds()/ours.Seconds(), "of_bare")
	b.ReportMetric(took[len(took)*99/100].Seconds(), "p99-s")
}

// bareStops is how long the site takes for as many cancellations by themselves.
func (w *world) bareStops(b *testing.B) time.Duration {
	b.Helper()
	began := time.Now()
	var g errgroup.Group
	g.SetLimit(64)
	for i := range cancelled {
		g.Go(func() error { return w.site.Stop(b.Context(), broker.AttemptID(fmt.Sprint("bare_", i))) })
	}
	require.NoError(b, g.Wait())
	return time.Since(began)
}

// cancelAll asks for the end of each job and waits until the record has it. It
// gives how long each took.
func (w *world) cancelAll(b *testing.B, ids []broker.JobID) []time.Duration {
	b.Helper()
	asked := make([]time.Time, len(ids))
	var g errgroup.Group
	g.SetLimit(32)
	for i, id := range ids {
		g.Go(func() error {
			asked[i] = time.Now()
			defer w.kick()
			return w.store.RequestCancel(b.Context(), w.f.Project, id, asked[i])
		})
	}
	require.NoError(b, g.Wait())
	until(b, func() bool {
		left, err := w.store.Cancelled(b.Context())
		require.NoError(b, err)
		return len(left) == 0
	})
	took := make([]time.Duration, len(ids))
	for i, id := range ids {
		j, err := w.store.Job(b.Context(), w.f.Project, id)
		require.NoError(b, err)
		require.Equal(b, broker.JobCancelled, j.State)
		took[i] = j.UpdatedAt.Sub(asked[i])
	}
	return took
}
