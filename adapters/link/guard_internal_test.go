package link

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/valico-hpc/valico/broker"
)

func nonceOf(i int) (n [nonceSize]byte) {
	copy(n[:], fmt.Sprintf("%016d", i))
	return n
}

func TestANonceCountsOnceAlsoInTheNextProcess(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "nonces")
	now := time.Date(2026, 3, 2, 9, 0, 0, 0, time.UTC)
	clock := func() time.Time { return now }
	g, err := openGuard(path, clock)
	require.NoError(t, err)
	var won atomic.Int64
	var all sync.WaitGroup
	for range 8 { // each nonce is raced for
		all.Go(func() {
			for i := range 200 {
				if err := g.take(nonceOf(i), now.Add(time.Minute), i%2 == 0); err == nil {
					won.Add(1)
				} else {
					require.ErrorIs(t, err, errSeen)
				}
			}
		})
	}
	all.Wait()
	require.Equal(t, int64(200), won.Load())
	require.NoError(t, g.close())
	require.Error(t, g.take(nonceOf(999), now.Add(time.Minute), true), "a closed guard lets nothing pass")

	// A torn end, as a crash leaves it.
	f, err := os.OpenFile(path, os.O_APPEND|os.O_WRONLY, 0)
	require.NoError(t, err)
	_, err = f.Write(putKept(nil, nonceOf(200), now.Add(time.Minute))[:9])
	require.NoError(t, errors.Join(err, f.Close()))
	g, err = openGuard(path, clock)
	require.NoError(t, err)
	for i := range 200 {
		require.ErrorIs(t, g.take(nonceOf(i), now.Add(time.Minute), false), errSeen)
	}
	require.NoError(t, g.take(nonceOf(200), now.Add(time.Minute), true))
	require.NoError(t, g.close())

	now = now.Add(time.Minute + keepPast) // past their deadline and the grace of clocks
	g, err = openGuard(path, clock)
	require.NoError(t, err)
	require.Empty(t, g.seen)
	require.NoError(t, g.close())
}

func TestTheWindowOfNoncesIsBoundedAndClosesRatherThanForgets(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "nonces")
	now := time.Date(2026, 3, 2, 9, 0, 0, 0, time.UTC)
	g, err := openGuard(path, func() time.Time { return now })
	require.NoError(t, err)
	for i := range maxNonces {
		require.NoError(t, g.take(nonceOf(i), now.Add(time.Minute), false))
	}
	require.ErrorIs(t, g.take(nonceOf(maxNonces), now.Add(time.Minute), false), errFull)
	require.ErrorIs(t, g.take(nonceOf(1), now.Add(time.Minute), false), errSeen)
	now = now.Add(time.Minute + keepPast)
	for i := range 3 * maxNonces {
		require.NoError(t, g.take(nonceOf(maxNonces+i), now, false), "what is past makes room")
		now = now.Add(10 * time.Millisecond)
	}
	fi, err := os.Stat(path)
	require.NoError(t, err)
	require.LessOrEqual(t, fi.Size(), int64(2*maxNonces*keptSize), "the file does not grow with time")
	require.NoError(t, g.close())
}

func TestANonceThatCannotBeWrittenIsNotTaken(t *testing.T) {
	t.Parallel()
	now := time.Now()
	g, err := openGuard(filepath.Join(t.TempDir(), "nonces"), time.Now)
	require.NoError(t, err)
	r, err := os.Open(g.path) // not to be written to
	require.NoError(t, err)
	require.NoError(t, g.f.Close())
	g.f = r
	require.Error(t, g.take(nonceOf(1), now.Add(time.Minute), true))
	require.NoError(t, r.Close())
}

func newAlerts(t *testing.T, path string, now *time.Time) *alerts {
	t.Helper()
	a, err := openAlerts(path, "site_one", func() time.Time { return *now })
	require.NoError(t, err)
	return a
}

func TestAlertsAreKeptUntilTheyAreRecordedAndAfterwards(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "alerts.json")
	now := time.Date(2026, 3, 2, 9, 0, 0, 0, time.UTC)
	a := newAlerts(t, path, &now)
	for range 3 {
		require.NoError(t, a.raise(broker.SiteAlert{Code: CodeReplay, Method: "start", Detail: "line\nbreak \xff"}))
	}
	require.NoError(t, a.raise(broker.SiteAlert{Code: CodeKeyUnknown, Key: "not a name!", Attempt: "no/name"}))
	require.NoError(t, a.flush())
	a = newAlerts(t, path, &now) // the next process
	out, all := a.pending(10)
	require.Equal(t, 2, all)
	require.Equal(t, int64(3), out[0].Count)
	require.Equal(t, "line break ?", out[0].Detail)
	require.Equal(t, wireAlert{ID: out[1].ID, Code: CodeKeyUnknown, Count: 1, First: stamp(now), Last: stamp(now)}, out[1])

	// It grows between being read and being recorded: the rest stays pending.
	require.NoError(t, a.raise(broker.SiteAlert{Code: CodeReplay, Method: "start"}))
	require.NoError(t, a.acknowledge([]recorded{{out[0].ID, 3}, {out[1].ID, 1}, {"alr_other", 1}, {out[1].ID, 99}}))
	out, all = a.pending(10)
	require.Equal(t, 1, all)
	require.Equal(t, int64(4), out[0].Count)
	require.NoError(t, a.acknowledge([]recorded{{out[0].ID, 4}}))
	_, all = a.pending(10)
	require.Zero(t, all)
	require.Len(t, newAlerts(t, path, &now).list(), 2, "the site keeps what the broker recorded")
	require.NoError(t, a.raise(broker.SiteAlert{Code: CodeReplay, Method: "start"}))
	out, _ = a.pending(10)
	require.Equal(t, int64(1), out[0].Count, "what comes after is an alert of its own")
}

func TestAFloodOfRefusalsIsCountedWithinBounds(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "alerts.json")
	now := time.Date(2026, 3, 2, 9, 0, 0, 0, time.UTC)
	a := newAlerts(t, path, &now)
	for i := range 5 * maxAlerts {
		require.NoError(t, a.raise(broker.SiteAlert{Code: CodeKeyUnknown, Key: fmt.Sprintf("%064d", i)}))
	}
	require.NoError(t, a.flush())
	fi, err := os.Stat(path)
	require.NoError(t, err)
	require.Less(t, fi.Size(), int64(1<<20))
	var n int64
	list := newAlerts(t, path, &now).list()
	require.Len(t, list, maxAlerts)
	for _, al := range list {
		n += al.Count
	}
	require.Equal(t, int64(5*maxAlerts), n, "none is forgotten")
	require.Equal(t, uint64(5*maxAlerts), a.refused()[CodeKeyUnknown])
	require.Equal(t, codeOverflow, list[maxAlerts-1].Code)
	out, _ := a.pending(1)
	require.NoError(t, a.acknowledge([]recorded{{out[0].ID, out[0].Count}}))
	require.NoError(t, a.raise(broker.SiteAlert{Code: CodeSignature}))
	list = a.list()
	require.Equal(t, CodeSignature, list[len(list)-1].Code, "what was recorded makes room")
}

func TestAJournalOfAlertsThatCannotBeReadIsAnError(t *testing.T) {
	t.Parallel()
	now := time.Now()
	path := filepath.Join(t.TempDir(), "alerts.json")
	for _, bad := range []string{"", "{", `{"v":2,"alerts":[]}`, `{"v":1,"alerts":[{"alert":{"id":"x"},"recorded":0}]}`, `{"v":1,"alerts":[],"more":1}`} {
		require.NoError(t, os.WriteFile(path, []byte(bad), 0o600))
		_, err := openAlerts(path, "site_one", func() time.Time { return now })
		require.Error(t, err, bad)
	}
}
