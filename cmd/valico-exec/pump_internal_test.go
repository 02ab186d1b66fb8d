package main

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/valico-hpc/valico/broker/spool"
)

func now() time.Time { return time.Date(2026, 3, 2, 9, 0, 0, 0, time.UTC) }

// memory is a sink that keeps what it gets.
type memory struct {
	records []spool.Record
	dropped uint64
}

func (m *memory) Append(r spool.Record) error { m.records = append(m.records, r); return nil }
func (m *memory) Drop(n uint64)               { m.dropped += n }

func pumpLines(t *testing.T, chunks ...string) (texts []string, cut int) {
	t.Helper()
	var m memory
	l := &lines{w: &m, name: "stdout", now: now}
	for _, c := range chunks {
		n, err := l.Write([]byte(c))
		require.NoError(t, err)
		require.Equal(t, len(c), n)
	}
	l.close()
	for _, r := range m.records {
		texts, cut = append(texts, r.Text), cut+r.Cut
	}
	return texts, cut
}

func TestLinesAreCutAtTheirBoundAndNotAtTheChunks(t *testing.T) {
	t.Parallel()
	texts, _ := pumpLines(t, "a", "b\n\nc\r", "\nd")
	require.Equal(t, []string{"ab", "", "c", "d"}, texts)

	long := strings.Repeat("x", spool.MaxLine)
	texts, cut := pumpLines(t, long, "yy", "z\nshort\n", long+"\n")
	require.Equal(t, []string{long, "short", long}, texts)
	require.Equal(t, 3, cut)
}

func TestWhatIsNoMetricIsDroppedAndCounted(t *testing.T) {
	t.Parallel()
	var m memory
	pumpMetrics(strings.NewReader(strings.Join([]string{
		`{"name":"loss","value":0.5,"step":1}`,
		``,
		`{"name":"loss","value":0.5,"step":1,"note":"x"}`,
		`{"name":"loss","name":"loss","value":1}`,
		`{"name":"","value":1}`,
		`{"name":"ada@biotech","value":1}`,
		`{"name":"loss","value":"1"}`,
		`{"name":"loss","value":1e999}`,
		strings.Repeat("x", 3*spool.MaxLine),
		`{"name":"val/loss","value":-1}`,
	}, "\n")), &m, now)
	require.Len(t, m.records, 2)
	require.Equal(t, "loss", m.records[0].Name)
	require.InDelta(t, -1, m.records[1].Value, 0)
	require.Equal(t, uint64(7), m.dropped)
}

// FuzzLines: however a stream is cut into chunks, the same lines come out, and
// no text is longer than a line may be.
func FuzzLines(f *testing.F) {
	f.Add("a\nb\r\nc", 1)
	f.Add(strings.Repeat("x", 9000)+"\n", 4096)
	f.Fuzz(func(t *testing.T, s string, size int) {
		if size < 1 || len(s) > 64<<10 {
			return
		}
		var chunks []string
		for rest := s; rest != ""; {
			n := min(size, len(rest))
			chunks, rest = append(chunks, rest[:n]), rest[n:]
		}
		whole, a := pumpLines(t, s)
		parts, b := pumpLines(t, chunks...)
		require.Equal(t, whole, parts)
		require.Equal(t, a, b)
		for _, l := range whole {
			require.LessOrEqual(t, len(l), spool.MaxLine)
		}
	})
}
