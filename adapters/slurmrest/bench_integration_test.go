//go:build integration

package slurmrest_test

import (
	"context"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/valico-hpc/valico/adapters/adaptertest"
	"github.com/valico-hpc/valico/adapters/slurmrest"
	"github.com/valico-hpc/valico/broker"
	"github.com/valico-hpc/valico/slurm"
)

// BenchmarkSubmitHeld submits held jobs, eight in flight, through the adapter
// and, in turns, by a bare loop that sends the same requests (submit and
// read-back) to the same slurmrestd, and reports the ratio of their rates. The
// target is 0.9.
func BenchmarkSubmitHeld(b *testing.B) {
	const flight, batch = 8, 64
	s, bare, warm := bench(b)
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
			adapter += adaptertest.InFlight(b, flight, ls[:batch], func(ctx context.Context, l broker.Launch) error { return s.Submit(ctx, l) })
		}
		two := func() {
			loop += adaptertest.InFlight(b, flight, ls[batch:], func(ctx context.Context, l broker.Launch) error {
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

// BenchmarkCancelBulk cancels 200 jobs through the adapter and as many by a bare
// loop that sends the same requests, and reports the ratio of their rates. The
// target is 0.9. Half are held, half wait or run.
//
// They are cancelled side by side: slurmctld schedules what became free meanwhile,
// and one such pause is longer than 100 cancellations.
func BenchmarkCancelBulk(b *testing.B) {
	const flight, batch = 8, 200
	s, bare, first := bench(b)
	require.NoError(b, bare.Ping(b.Context())) // it agrees on a version
	var compared adaptertest.Compared
	var jobs int
	var requests int64
	for b.Loop() {
		b.StopTimer()
		ls, ids := cancellable(b, s, first, 2*batch)
		// What was submitted first runs first, and ends slower: both ways get of each.
		var ours, theirs []broker.Launch
		for i, l := range ls {
			if i%4 < 2 {
				ours = append(ours, l)
			} else {
				theirs = append(theirs, l)
			}
		}
		before := s.Requests()
		b.StartTimer()
		compared.SideBySide(b, flight, ours, theirs, s.Cancel, func(ctx context.Context, l broker.Launch) error { return bare.Cancel(ctx, ids[l.Name]) })
		requests += s.Requests() - before
		jobs += batch
	}
	require.EqualValues(b, jobs, requests, "one request for each")
	compared.Report(b, jobs, flight, "cancels/s")
}

// bench is a scheduler whose slurmrestd runs, a bare client of the same
// slurmrestd, and a held launch as a pattern.
func bench(b *testing.B) (*slurmrest.Scheduler, *slurm.Client, broker.Launch) {
	b.Helper()
	c := settings()
	s, l := open(b, c), launch(b)
	l.Hold = true
	require.NoError(b, s.Submit(b.Context(), l))
	bare, err := slurm.New(slurm.Config{Socket: filepath.Join(c.Dir, uidOf(person), "rest"), MaxConns: 16})
	require.NoError(b, err)
	b.Cleanup(bare.Close)
	return s, bare, l
}

// cancellable submits n launches that are held, wait or run, and finds their ids.
func cancellable(b *testing.B, s *slurmrest.Scheduler, like broker.Launch, n int) ([]broker.Launch, map[string]slurm.JobID) {
	b.Helper()
	ls, ids := make([]broker.Launch, n), map[string]slurm.JobID{}
	for i := range ls {
		ls[i] = like
		ls[i].Name = launchName()
		ls[i].OrderDigest = broker.DigestOf([]byte(ls[i].Name))
		ls[i].Argv = []string{"/bin/sleep", "600"}
		ls[i].Hold = i%2 == 0
		ls[i].Resources.GPUsPerNode = 0
	}
	adaptertest.InFlight(b, 8, ls, s.Submit)
	for _, l := range ls {
		st, err := s.Find(b.Context(), l)
		require.NoError(b, err)
		if ids[l.Name], err = slurm.ParseJobID(st.Handle); err != nil {
			b.Fatal(err)
		}
	}
	return ls, ids
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
