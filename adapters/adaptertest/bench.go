package adaptertest

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/valico-hpc/valico/broker"
)

// InFlight does something with each launch, n at once, and returns how long that
// took together.
func InFlight(b *testing.B, n int, ls []broker.Launch, do func(context.Context, broker.Launch) error) time.Duration {
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

// Compared are two ways to do the same, as SideBySide has found them.
type Compared struct{ ours, theirs atomic.Int64 }

// SideBySide does one thing with a launch of ours and, by another way, the same
// with one of theirs, n such pairs at once, either first in turns. A scheduler
// pauses for longer than hundreds of calls take; this way a pause strikes both.
func (c *Compared) SideBySide(b *testing.B, n int, ours, theirs []broker.Launch, one, two func(context.Context, broker.Launch) error) {
	b.Helper()
	require.Len(b, theirs, len(ours))
	at := map[string]int{}
	for i, l := range ours {
		at[l.Name] = i
	}
	timed := func(sum *atomic.Int64, do func(context.Context, broker.Launch) error, l broker.Launch) error {
		began := time.Now()
		err := do(b.Context(), l)
		sum.Add(int64(time.Since(began)))
		return err
	}
	InFlight(b, n, ours, func(_ context.Context, l broker.Launch) error {
		i := at[l.Name]
		if i/2%2 == 0 { // in twos, since the launches may be of two kinds by turns
			return errors.Join(timed(&c.ours, one, l), timed(&c.theirs, two, theirs[i]))
		}
		return errors.Join(timed(&c.theirs, two, theirs[i]), timed(&c.ours, one, l))
	})
}

// Report reports the rate of ours at n in flight, and its ratio to the rate of
// theirs.
func (c *Compared) Report(b *testing.B, jobs, n int, unit string) {
	b.Helper()
	b.ReportMetric(float64(jobs*n)/time.Duration(c.ours.Load()).Seconds(), unit)
	b.ReportMetric(float64(c.theirs.Load())/float64(c.ours.Load()), "ratio")
	b.ReportMetric(0, "ns/op")
}
