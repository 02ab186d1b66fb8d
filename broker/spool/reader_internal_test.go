package spool

import (
	"bytes"
	"encoding/binary"
	"hash/crc32"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func framed(tb testing.TB, records ...Record) []byte {
	tb.Helper()
	b := binary.LittleEndian.AppendUint32([]byte(magic), version)
	for _, r := range records {
		payload, err := encode(r)
		require.NoError(tb, err)
		b = append(b, frameOf(payload)...)
	}
	return b
}

func frameOf(payload []byte) []byte {
	b := binary.LittleEndian.AppendUint32(nil, uint32(len(payload)))
	b = binary.LittleEndian.AppendUint32(b, crc32.Checksum(payload, castagnoli()))
	return append(b, payload...)
}

func TestWhatNoWriterWritesIsDamage(t *testing.T) {
	t.Parallel()
	at := time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC)
	log := func(seq uint64) Record { return Record{Seq: seq, Kind: KindLog, At: at, Name: "stdout", Text: "x"} }
	for name, b := range map[string][]byte{
		"a gap":                framed(t, log(1), log(3), log(4)),
		"a first number":       framed(t, log(2)),
		"no number":            framed(t, log(0)),
		"after the outcome":    framed(t, Record{Seq: 1, Kind: KindOutcome, At: at, Outcome: "ok"}, log(2)),
		"an unknown kind":      framed(t, Record{Seq: 1, Kind: "word", At: at}),
		"an outcome in a log":  framed(t, Record{Seq: 1, Kind: KindLog, At: at, Outcome: "ok"}),
		"no outcome in one":    framed(t, Record{Seq: 1, Kind: KindOutcome, At: at}),
		"an unknown field":     append(framed(t), frameOf([]byte(`{"seq":1,"kind":"log","at":"2026-11-24T12:00:00Z","x":1}`))...),
		"a year that is none":  append(framed(t), frameOf([]byte(`{"seq":1,"kind":"log","at":"9999-12-31T23:59:59-23:59"}`))...),
		"a year before one":    framed(t, Record{Seq: 1, Kind: KindLog, At: time.Date(0, 6, 1, 0, 0, 0, 0, time.UTC)}),
		"time run backwards":   framed(t, Record{Seq: 1, Kind: KindOutcome, At: at, Outcome: "ok", ElapsedSeconds: -1}),
		"a field twice":        append(framed(t), frameOf([]byte(`{"seq":1,"seq":1,"kind":"log","at":"2026-11-24T12:00:00Z"}`))...),
		"another spelling":     append(framed(t), frameOf([]byte(`{"seq":1, "kind":"log","at":"2026-11-24T12:00:00Z"}`))...),
		"a length of nothing":  append(framed(t), 0, 0, 0, 0, 0, 0, 0, 0, 1),
		"a length of too much": append(framed(t), 0, 0, 0, 1, 0, 0, 0, 0, 1),
		"another version":      []byte("VALSPOOL\x02\x00\x00\x00"),
		"another file":         []byte("#!/bin/sh and more"),
	} {
		_, _, err := readFrom(bytes.NewReader(b), int64(len(b)), 0)
		require.ErrorIs(t, err, ErrCorrupt, name)
	}
}

// FuzzReadFrom: whatever bytes a file holds, the reader neither panics nor
// fails but with ErrCorrupt; it never reads on past the end of the file;
// records are numbered without gaps, none follows an outcome; and what it
// accepted from the start, written anew, gives the same bytes.
func FuzzReadFrom(f *testing.F) {
	at := time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC)
	whole := framed(
		f,
		Record{Seq: 1, Kind: KindStarted, At: at, GPUs: 4},
		Record{Seq: 2, Kind: KindMetric, At: at, Name: "loss", Value: 0.25, Step: 3},
		Record{Seq: 3, Kind: KindOutcome, At: at, Outcome: "exit", ExitCode: 3},
	)
	f.Add(whole, int64(0))
	f.Add(whole[:len(whole)-3], int64(0))
	f.Add(append(bytes.Clone(whole), 0, 0, 0), int64(headerSize))
	f.Add([]byte(magic), int64(0))
	f.Fuzz(func(t *testing.T, b []byte, offset int64) {
		rs, next, err := readFrom(bytes.NewReader(b), int64(len(b)), offset)
		if err != nil {
			require.ErrorIs(t, err, ErrCorrupt)
		} else {
			require.LessOrEqual(t, next, int64(len(b)))
		}
		for i, r := range rs {
			require.Equal(t, rs[0].Seq+uint64(i), r.Seq)
			require.True(t, r.Outcome == "" || i == len(rs)-1)
		}
		if offset == 0 && len(rs) > 0 {
			require.Equal(t, b[:next], framed(t, rs...))
		}
	})
}
