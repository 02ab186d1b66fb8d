//go:build integration

package slurmrest_test

import (
	"context"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/valico-hpc/valico/broker"
	"github.com/valico-hpc/valico/slurm"
)

// BenchmarkSubmitHeld submits held jobs, eight in flight, through the adapter
// and, in turns, by a bare loop that sends the same requests (submit and
// read-back) to the same slurmrestd, and reports the ratio of their rates. The
// target is 0.8.
func BenchmarkSubmitHeld(b *testing.B) {
	const flight, batch = 8, 64
	c := settings()
	s := open(b, c)
	warm := launch(b)
	warm.Hold = true
	require.NoError(b, s.Submit(b.Context(), warm))
	bare, err := slurm.New(slurm.Config{Socket: filepath.Join(c.Dir, uidOf(person), "rest"), MaxConns: 16})
	require.NoError(b, err)
	b.Cleanup(bare.Close)

	var adapter, loop time.Duration
	var jobs int
	for b.Loop() {
		ls := make([]broker.Launch, 2*batch)
		for i := range ls {
			ls[i] = warm
			ls[i].Name = launchName()
			ls[i].OrderDigest = broker.DigestOf([]byte(ls[i].Name))
		}
		one := func() {
			adapter += parallel(b, flight, ls[:batch], func(ctx context.Context, l broker.Launch) error { return s.Submit(ctx, l) })
		}
		two := func() {
			loop += parallel(b, flight, ls[batch:], func(ctx context.Context, l broker.Launch) error {
				return submitBare(ctx, bare, l)
			})
		}
		if jobs/batch%2 == 0 { // in turns, since a longer queue is slower
			one()
			two()
		} else {
			two()
			one()
		}
		jobs += batch
		b.StopTimer()
		slurmSays(b, "scancel", "--user="+person, "--state=PENDING")
		b.StartTimer()
	}
	b.ReportMetric(float64(jobs)/adapter.Seconds(), "submits/s")
	b.ReportMetric(float64(jobs)/loop.Seconds(), "bare-submits/s")
	b.ReportMetric(loop.Seconds()/adapter.Seconds(), "ratio")
	b.ReportMetric(0, "ns/op")
}

// BenchmarkCancelBulk cancels 200 jobs through the adapter, eight in flight, and
// in turns 200 by a bare loop that sends the same requests, and reports the ratio
// of their rates. Half are held, half wait or run. The target is 0.9.
func BenchmarkCancelBulk(b *testing.B) {
	const flight, batch = 8, 200
	c := settings()
	s := open(b, c)
	first := launch(b)
	first.Hold = true
	require.NoError(b, s.Submit(b.Context(), first))
	bare, err := slurm.New(slurm.Config{Socket: filepath.Join(c.Dir, uidOf(person), "rest"), MaxConns: 16})
	require.NoError(b, err)
	b.Cleanup(bare.Close)
	require.NoError(b, bare.Ping(b.Context())) // it agrees on a version
	var adapter, loop time.Duration
	var jobs int
	for b.Loop() {
		b.StopTimer()
		ls := make([]broker.Launch, 2*batch)
		ids := map[string]slurm.JobID{}
		for i := range ls {
			ls[i] = first
			ls[i].Name = launchName()
			ls[i].OrderDigest = broker.DigestOf([]byte(ls[i].Name))
			ls[i].Argv = []string{"/bin/sleep", "600"}
			ls[i].Hold = i%2 == 0
			ls[i].Resources.GPUsPerNode = 0
		}
		parallel(b, flight, ls, s.Submit)
		for _, l := range ls {
			st, err := s.Find(b.Context(), l)
			require.NoError(b, err)
			if ids[l.Name], err = slurm.ParseJobID(st.Handle); err != nil {
				b.Fatal(err)
			}
		}
		// what was submitted first runs first, and ends slower: both get of each
		var ours, theirs []broker.Launch
		for i, l := range ls {
			if i%4 < 2 {
				ours = append(ours, l)
			} else {
				theirs = append(theirs, l)
			}
		}
		b.StartTimer()
		// In turns of 20: slurmctld schedules what became free meanwhile, and one
		// such pause is longer than 100 cancellations.
		const turn = 20
		for at := 0; at < batch; at += turn {
			one := func() { adapter += parallel(b, flight, ours[at:at+turn], s.Cancel) }
			two := func() {
				loop += parallel(b, flight, theirs[at:at+turn], func(ctx context.Context, l broker.Launch) error { return bare.Cancel(ctx, ids[l.Name]) })
			}
			if at/turn%2 == 0 {
				one()
				two()
			} else {
				two()
				one()
			}
		}
		jobs += batch
	}
	b.ReportMetric(float64(jobs)/adapter.Seconds(), "cancels/s")
	b.ReportMetric(float64(jobs)/loop.Seconds(), "bare-cancels/s")
	b.ReportMetric(loop.Seconds()/adapter.Seconds(), "ratio")
	b.ReportMetric(0, "ns/op")
}

func submitBare(ctx context.Context, c *slurm.Client, l broker.Launch) error {
	sub, err := c.Submit(ctx, slurm.Request{
		Name: l.Name, Comment: string(l.OrderDigest), Dependency: "singleton", Hold: true,
		Script: "#!/bin/sh\nexec '/bin/true'\n", Env: []string{"PATH=/usr/bin:/bin"}, WorkDir: l.Dir,
		Stdin: "/dev/null", Stdout: "/dev/null", Stderr: "/dev/null",
		Nodes: 1, Tasks: 1, CPUs: 1, MemoryMiB: 64, GRES: "gres/gpu:" + cluster.GPUType + ":1", TimeLimit: time.Minute,
	})
	if err != nil {
		return err
	}
	_, err = c.Job(ctx, sub.ID)
	return err
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
