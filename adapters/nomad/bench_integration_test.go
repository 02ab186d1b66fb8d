//go:build integration

package nomad_test

import (
	"context"
	"crypto/rand"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/nomad/api"
	"github.com/stretchr/testify/require"

	"github.com/valico-hpc/valico/adapters/adaptertest"
	"github.com/valico-hpc/valico/adapters/agent"
	"github.com/valico-hpc/valico/broker"
)

// BenchmarkSubmitHeld submits held launches, eight in flight, through the
// adapter and, in turns, by a bare loop that sends the same requests (register
// and read back) to the same agent, and reports the ratio of their rates. The
// target is 0.9.
func BenchmarkSubmitHeld(b *testing.B) {
	const flight, batch = 8, 64
	s := open(b, settings(b))
	sample := launch(b)
	sample.Hold = true
	require.NoError(b, s.Submit(b.Context(), sample))
	made, _, err := cluster.API.Jobs().Info(sample.Name, &api.QueryOptions{Namespace: cluster.Namespace})
	require.NoError(b, err)
	bare := func(ctx context.Context, l broker.Launch) error {
		j := *made
		j.ID, j.Name, j.Meta = &l.Name, &l.Name, map[string]string{"order": string(l.OrderDigest), "account": l.Account}
		w := (&api.WriteOptions{Namespace: cluster.Namespace}).WithContext(ctx)
		if _, _, err := cluster.API.Jobs().RegisterOpts(&j, &api.RegisterOptions{EnforceIndex: true}, w); err != nil {
			return err
		}
		_, _, err := cluster.API.Jobs().Info(l.Name, (&api.QueryOptions{Namespace: cluster.Namespace}).WithContext(ctx))
		return err
	}
	var adapter, loop time.Duration
	var jobs int
	for b.Loop() {
		ls := make([]broker.Launch, 2*batch)
		for i := range ls {
			ls[i] = sample
			ls[i].Name = strings.ToLower(rand.Text())
		}
		one := func() { adapter += adaptertest.InFlight(b, flight, ls[:batch], s.Submit) }
		two := func() { loop += adaptertest.InFlight(b, flight, ls[batch:], bare) }
		if jobs/batch%2 == 0 { // in turns, since a longer queue is slower
			one()
			two()
		} else {
			two()
			one()
		}
		jobs += batch
		b.StopTimer()
		adaptertest.InFlight(b, flight, ls, func(ctx context.Context, l broker.Launch) error {
			_, _, err := cluster.API.Jobs().Deregister(l.Name, true, (&api.WriteOptions{Namespace: cluster.Namespace}).WithContext(ctx))
			return err
		})
		b.StartTimer()
	}
	b.ReportMetric(float64(jobs)/adapter.Seconds(), "submits/s")
	b.ReportMetric(float64(jobs)/loop.Seconds(), "bare-submits/s")
	b.ReportMetric(loop.Seconds()/adapter.Seconds(), "ratio")
	b.ReportMetric(0, "ns/op")
}

// BenchmarkBulkCancel ends 200 running launches, half of them through the adapter
// and side by side half by a bare loop that sends the same requests (read the
// job, end it), eight in flight, and reports the ratio of their rates. The target
// is 0.9.
func BenchmarkBulkCancel(b *testing.B) {
	const flight, batch = 8, 100 // of each, 200 together
	s := open(b, settings(b))
	bare := func(ctx context.Context, l broker.Launch) error {
		q := (&api.QueryOptions{Namespace: cluster.Namespace}).WithContext(ctx)
		if _, _, err := cluster.API.Jobs().Info(l.Name, q); err != nil {
			return err
		}
		_, _, err := cluster.API.Jobs().Deregister(l.Name, false, (&api.WriteOptions{Namespace: cluster.Namespace}).WithContext(ctx))
		return err
	}
	var compared adaptertest.Compared
	var jobs int
	for b.Loop() {
		b.StopTimer()
		ls := make([]broker.Launch, 2*batch)
		for i := range ls {
			ls[i] = launch(b)
			ls[i].Resources.GPUsPerNode, ls[i].Resources.GPUType = 0, ""
			ls[i].Argv = []string{"/bin/sleep", "600"}
		}
		adaptertest.InFlight(b, flight, ls, s.Submit)
		require.Eventually(b, func() bool {
			sts, err := s.Watch(b.Context(), ls)
			return err == nil && len(sts) == len(ls) && !slices.ContainsFunc(sts, func(st agent.Status) bool { return !running(st) })
		}, 5*time.Minute, 100*time.Millisecond)
		b.StartTimer()
		compared.SideBySide(b, flight, ls[:batch], ls[batch:], s.Cancel, bare)
		jobs += batch
		b.StopTimer()
		require.Eventually(b, func() bool {
			sts, err := s.Watch(b.Context(), ls)
			return err == nil && !slices.ContainsFunc(sts, func(st agent.Status) bool { return !ended(st) })
		}, 5*time.Minute, 100*time.Millisecond)
		b.StartTimer()
	}
	compared.Report(b, jobs, flight, "cancels/s")
}
