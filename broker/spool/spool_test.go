package spool_test

import (
	"errors"
	"math"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/valico-hpc/valico/broker/spool"
)

var at = time.Date(2026, 11, 24, 12, 0, 0, 123456000, time.UTC)

func write(t *testing.T, records ...spool.Record) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "spool")
	w, err := spool.Create(path)
	require.NoError(t, err)
	for _, r := range records {
		require.NoError(t, w.Append(r))
	}
	require.NoError(t, w.Close())
	return path
}

func story() []spool.Record {
	return []spool.Record{
		{Kind: spool.KindStarted, At: at, GPUs: 4},
		{Kind: spool.KindLog, At: at, Name: "stdout", Text: `a <line> & "more" \ ü`},
		{Kind: spool.KindMetric, At: at, Name: "loss", Value: 0.42, Step: 3},
		{Kind: spool.KindNotice, At: at, Name: "term", Text: "asked to end"},
		{Kind: spool.KindOutcome, At: at, Outcome: "exit", ExitCode: 3, ElapsedSeconds: 9, GPUs: 4},
	}
}

func numbered(rs []spool.Record) []spool.Record {
	for i := range rs {
		rs[i].Seq = uint64(i) + 1
	}
	return rs
}

func TestWhatIsAppendedIsReadInOrder(t *testing.T) {
	t.Parallel()
	path := write(t, story()...)
	got, next, err := spool.ReadFrom(path, 0)
	require.NoError(t, err)
	require.Equal(t, numbered(story()), got)
	more, again, err := spool.ReadFrom(path, next)
	require.NoError(t, err)
	require.Empty(t, more)
	require.Equal(t, next, again)
}

func TestAReaderFollowsAGrowingSpool(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "spool")
	w, err := spool.Create(path)
	require.NoError(t, err)
	var offset int64
	for i := range uint64(50) {
		require.NoError(t, w.Append(spool.Record{Kind: spool.KindLog, At: at, Name: "stdout", Text: "x"}))
		got, next, err := spool.ReadFrom(path, offset)
		require.NoError(t, err)
		require.Len(t, got, 1)
		require.Equal(t, i+1, got[0].Seq)
		offset = next
	}
	require.NoError(t, w.Close())
}

func TestNothingFollowsTheOutcome(t *testing.T) {
	t.Parallel()
	w, err := spool.Create(filepath.Join(t.TempDir(), "spool"))
	require.NoError(t, err)
	require.NoError(t, w.Append(spool.Record{Kind: spool.KindOutcome, At: at, Outcome: "ok"}))
	require.ErrorIs(t, w.Append(spool.Record{Kind: spool.KindLog, At: at}), spool.ErrEnded)
	require.ErrorIs(t, w.Append(spool.Record{Kind: spool.KindOutcome, At: at, Outcome: "ok"}), spool.ErrEnded)
	require.NoError(t, w.Close())
}

func TestASpoolIsNeverReused(t *testing.T) {
	t.Parallel()
	path := write(t)
	_, err := spool.Create(path)
	require.ErrorIs(t, err, os.ErrExist)
	link := filepath.Join(t.TempDir(), "link")
	require.NoError(t, os.Symlink(filepath.Join(t.TempDir(), "elsewhere"), link))
	_, err = spool.Create(link)
	require.ErrorIs(t, err, os.ErrExist)
}

func TestTheBudgetDropsLinesAndMetricsButNeverTheOutcome(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "spool")
	limit := spool.MinLimit + 100_000
	w, err := spool.CreateLimit(path, limit)
	require.NoError(t, err)
	line := strings.Repeat("\x01", spool.MaxLine) // six bytes each once encoded
	for range 100 {
		require.NoError(t, w.Append(spool.Record{Kind: spool.KindLog, At: at, Name: "stdout", Text: line}))
	}
	require.NoError(t, w.Append(spool.Record{Kind: spool.KindNotice, At: at, Name: "n", Text: line}))
	for w.Append(spool.Record{Kind: spool.KindNotice, At: at, Name: "n", Text: line}) == nil {
		continue
	}
	require.NoError(t, w.Append(spool.Record{Kind: spool.KindOutcome, At: at, Outcome: "ok", Text: line}))
	require.NoError(t, w.Close())
	fi, err := os.Stat(path)
	require.NoError(t, err)
	require.LessOrEqual(t, fi.Size(), limit)
	got := readAll(t, path)
	last := got[len(got)-1]
	require.Equal(t, "ok", last.Outcome)
	require.Equal(t, uint64(98), last.Dropped)
	require.Equal(t, uint64(len(got)), last.Seq)
}

func TestALongLineIsCutAndTheCutCounted(t *testing.T) {
	t.Parallel()
	path := write(t,
		spool.Record{Kind: spool.KindLog, At: at, Name: "stdout", Text: strings.Repeat("ü", spool.MaxLine)},
		spool.Record{Kind: spool.KindLog, At: at, Name: "stdout", Text: strings.Repeat("\xff", spool.MaxLine)},
		spool.Record{Kind: spool.KindOutcome, At: at, Outcome: "ok"})
	got := readAll(t, path)
	require.Equal(t, spool.MaxLine, len(got[0].Text))
	require.Equal(t, spool.MaxLine, got[0].Cut)
	require.LessOrEqual(t, len(got[1].Text), spool.MaxLine)
	require.Equal(t, uint64(got[0].Cut+got[1].Cut), got[2].CutBytes)
}

func TestWhatIsNoNumberIsDroppedAndCounted(t *testing.T) {
	t.Parallel()
	path := write(t,
		spool.Record{Kind: spool.KindMetric, At: at, Name: "loss", Value: math.NaN()},
		spool.Record{Kind: spool.KindMetric, At: at, Name: strings.Repeat("n", spool.MaxName+1)},
		spool.Record{Kind: spool.KindOutcome, At: at, Outcome: "ok"})
	got := readAll(t, path)
	require.Len(t, got, 1)
	require.Equal(t, uint64(2), got[0].Dropped)
}

func TestConcurrentWritersLeaveNoGap(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "spool")
	w, err := spool.Create(path)
	require.NoError(t, err)
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for range 200 {
				if err := w.Append(spool.Record{Kind: spool.KindLog, At: at, Name: "stderr", Text: "x"}); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	require.NoError(t, w.Close())
	require.Len(t, readAll(t, path), 800)
}

func TestEveryTornTailIsAnEndAndNoError(t *testing.T) {
	t.Parallel()
	whole, err := os.ReadFile(write(t, story()...))
	require.NoError(t, err)
	want := numbered(story())
	path := filepath.Join(t.TempDir(), "torn")
	for n := range len(whole) {
		require.NoError(t, os.WriteFile(path, whole[:n], 0o600))
		got, next, err := spool.ReadFrom(path, 0)
		require.NoError(t, err, "cut at %d", n)
		require.Equal(t, want[:len(got)], append([]spool.Record{}, got...))
		require.LessOrEqual(t, next, int64(n))
		require.NoError(t, os.WriteFile(path, whole, 0o600)) // it was only not there yet
		rest, _, err := spool.ReadFrom(path, next)
		require.NoError(t, err)
		require.Len(t, append(got, rest...), len(want))
	}
}

func TestZerosAtTheEndAreATornTail(t *testing.T) {
	t.Parallel()
	path := write(t, story()[:2]...)
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_APPEND, 0)
	require.NoError(t, err)
	_, err = f.Write(make([]byte, 4096))
	require.NoError(t, err)
	require.NoError(t, f.Close())
	require.Len(t, readAll(t, path), 2)
}

func TestEveryFlippedBitBeforeTheLastRecordIsDamage(t *testing.T) {
	t.Parallel()
	rs := story()
	whole, err := os.ReadFile(write(t, rs...))
	require.NoError(t, err)
	head, err := os.Stat(write(t, rs[:len(rs)-1]...))
	require.NoError(t, err)
	path := filepath.Join(t.TempDir(), "flipped")
	for i := range head.Size() {
		b := append([]byte(nil), whole...)
		b[i] ^= 0x10
		require.NoError(t, os.WriteFile(path, b, 0o600))
		got, _, err := spool.ReadFrom(path, 0)
		if err == nil { // a length grown past the end of the file reads as torn
			require.Less(t, len(got), len(rs)-1, "byte %d", i)
			continue
		}
		require.ErrorIs(t, err, spool.ErrCorrupt)
		_, ok := errors.AsType[*spool.CorruptError](err)
		require.True(t, ok)
	}
}

func TestForeignFilesAreRefused(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	genuine := write(t, story()...)
	link := filepath.Join(dir, "link")
	require.NoError(t, os.Symlink(genuine, link))
	_, _, err := spool.ReadFrom(link, 0)
	require.ErrorIs(t, err, spool.ErrCorrupt)

	sock := filepath.Join(dir, "sock")
	require.NoError(t, syscall.Mknod(sock, syscall.S_IFSOCK|0o600, 0))
	_, _, err = spool.ReadFrom(sock, 0)
	require.ErrorIs(t, err, spool.ErrCorrupt)

	fifo := filepath.Join(dir, "fifo")
	require.NoError(t, syscall.Mkfifo(fifo, 0o600))
	_, _, err = spool.ReadFrom(fifo, 0)
	require.ErrorIs(t, err, spool.ErrCorrupt)

	_, _, err = spool.ReadFrom(dir, 0)
	require.ErrorIs(t, err, spool.ErrCorrupt)

	hard := filepath.Join(filepath.Dir(genuine), "hard")
	require.NoError(t, os.Link(genuine, hard))
	_, _, err = spool.ReadFrom(genuine, 0)
	require.ErrorIs(t, err, spool.ErrCorrupt)

	huge := write(t, story()...)
	require.NoError(t, os.Truncate(huge, spool.MaxSize+1)) // sparse
	_, _, err = spool.ReadFrom(huge, 0)
	require.ErrorIs(t, err, spool.ErrCorrupt)
	_, err = spool.CreateLimit(filepath.Join(dir, "new"), spool.MaxSize+1)
	require.Error(t, err)

	_, _, err = spool.ReadFrom(filepath.Join(dir, "none"), 0)
	require.ErrorIs(t, err, os.ErrNotExist)
}

func TestASpoolIsItsAccountsAlone(t *testing.T) {
	t.Parallel()
	fi, err := os.Stat(write(t, story()...))
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o600), fi.Mode().Perm(), "it holds what the workload wrote to stdout")
}

func TestAShrunkSpoolIsDamage(t *testing.T) {
	t.Parallel()
	path := write(t, story()...)
	_, next, err := spool.ReadFrom(path, 0)
	require.NoError(t, err)
	require.NoError(t, os.Truncate(path, next-1))
	_, _, err = spool.ReadFrom(path, next)
	require.ErrorIs(t, err, spool.ErrCorrupt)
}

// readAll also holds that one read is bounded.
func readAll(t *testing.T, path string) []spool.Record {
	t.Helper()
	var all []spool.Record
	var offset int64
	for {
		rs, next, err := spool.ReadFrom(path, offset)
		require.NoError(t, err)
		if len(rs) == 0 {
			return all
		}
		require.LessOrEqual(t, next-offset, int64(spool.Batch+spool.MaxPayload+64))
		for _, r := range rs {
			require.Equal(t, uint64(len(all)+1), r.Seq)
			all = append(all, r)
		}
		offset = next
	}
}

func TestALargeSpoolIsReadInBatches(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "spool")
	w, err := spool.Create(path)
	require.NoError(t, err)
	line := strings.Repeat("x", 4000)
	for range 1000 {
		require.NoError(t, w.Append(spool.Record{Kind: spool.KindLog, At: at, Name: "stdout", Text: line}))
	}
	require.NoError(t, w.Close())
	require.Len(t, readAll(t, path), 1000)
}

func BenchmarkAppend(b *testing.B) {
	path := filepath.Join(b.TempDir(), "spool")
	w, err := spool.CreateLimit(path, spool.MaxSize)
	require.NoError(b, err)
	for i := 1; b.Loop(); i++ {
		if i%400_000 == 0 { // before it is full and drops them
			require.NoError(b, errors.Join(w.Close(), os.Remove(path)))
			w, err = spool.CreateLimit(path, spool.MaxSize)
			require.NoError(b, err)
		}
		require.NoError(b, w.Append(spool.Record{Kind: spool.KindMetric, At: at, Name: "loss", Value: 0.25, Step: 7}))
	}
	require.NoError(b, w.Close())
}
