//go:build integration

package nomad_test

import (
	"context"
	"crypto/rand"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hashicorp/nomad/api"
	"github.com/stretchr/testify/require"

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
		j.ID, j.Name, j.Meta = &l.Name, &l.Name, map[string]string{"order": string(l.OrderDigest)}
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
		one := func() { adapter += parallel(b, flight, ls[:batch], s.Submit) }
		two := func() { loop += parallel(b, flight, ls[batch:], bare) }
		if jobs/batch%2 == 0 { // in turns, since a longer queue is slower
			one()
			two()
		} else {
			two()
			one()
		}
		jobs += batch
		b.StopTimer()
		parallel(b, flight, ls, func(ctx context.Context, l broker.Launch) error {
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

// BenchmarkWatch lists 10 and 1,000 waiting launches while something always
// changes, and reports the requests that one look takes.
func BenchmarkWatch(b *testing.B) {
	for _, n := range []int{10, 1000} {
		b.Run(map[int]string{10: "10", 1000: "1000"}[n], func(b *testing.B) {
			c := settings(b)
			c.Relist = time.Nanosecond
			s := open(b, c)
			ls := make([]broker.Launch, n)
			sample := launch(b)
			sample.Hold = true
			for i := range ls {
				ls[i] = sample
				ls[i].Name = strings.ToLower(rand.Text())
			}
			parallel(b, 8, ls, s.Submit)
			before, looks := s.Requests(), 0
			for b.Loop() {
				sts, err := s.Watch(b.Context(), ls)
				require.NoError(b, err)
				require.Len(b, sts, n)
				looks++
			}
			b.ReportMetric(float64(s.Requests()-before)/float64(looks), "requests/look")
			b.StopTimer()
			parallel(b, 8, ls, func(ctx context.Context, l broker.Launch) error {
				_, _, err := cluster.API.Jobs().Deregister(l.Name, true, (&api.WriteOptions{Namespace: cluster.Namespace}).WithContext(ctx))
				return err
			})
		})
	}
}

func parallel(b *testing.B, n int, ls []broker.Launch, do func(context.Context, broker.Launch) error) time.Duration {
	b.Helper()
	var next atomic.Int64
	var wg sync.WaitGroup
	errs := make([]error, n)
	began := time.Now()
	for w := range n {
		wg.Go(func() {
			for i := next.Add(1) - 1; int(i) < len(ls) && errs[w] == nil; i = next.Add(1) - 1 {
				errs[w] = do(b.Context(), ls[i])
			}
		})
	}
	wg.Wait()
	took := time.Since(began)
	for _, err := range errs {
		require.NoError(b, err)
	}
	return took
}
