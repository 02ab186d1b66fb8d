package spool

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"math"
	"os"
	"path/filepath"
	"sync"
	"syscall"
)

const (
	magic      = "VALSPOOL"
	version    = 1
	headerSize = len(magic) + 4
	frameSize  = 8
	maxFrame   = frameSize + MaxPayload

	// DefaultLimit is the size in bytes below which Create keeps a spool.
	DefaultLimit int64 = 64 << 20
	// reserve is what metric and log records may not use: room for the
	// started, notice and outcome records of one attempt.
	reserve int64 = 8 * maxFrame
	// MinLimit is the smallest limit.
	MinLimit = int64(headerSize) + reserve
	// MaxSize is the largest limit. A reader refuses a longer file, which no
	// writer made: an account that wrote its own would else take the room of
	// everybody's telemetry.
	MaxSize = DefaultLimit
)

// ErrEnded is the answer to a record after the outcome.
var ErrEnded = errors.New("spool: the outcome is written")

// Writer appends to a spool that it created. Its methods may be called
// concurrently; each record reaches the file in one write.
type Writer struct {
	mu      sync.Mutex
	f       *os.File
	limit   int64
	size    int64
	seq     uint64
	dropped uint64
	cut     uint64
	ended   bool
	broken  error // a write failed and its remains could not be taken back
}

// Create makes a spool of at most DefaultLimit bytes at path, which must not
// exist. The file and its name are durable when Create returns.
func Create(path string) (*Writer, error) { return CreateLimit(path, DefaultLimit) }

// CreateLimit makes a spool that stays below limit bytes.
func CreateLimit(path string, limit int64) (*Writer, error) {
	if limit < MinLimit || limit > MaxSize {
		return nil, fmt.Errorf("create spool: a limit of %d bytes, %d to %d allowed", limit, MinLimit, MaxSize)
	}
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL|syscall.O_NOFOLLOW, 0o600) //nolint:gosec // the caller's path
	if err != nil {
		return nil, fmt.Errorf("create spool: %w", err)
	}
	w := &Writer{f: f, limit: limit, size: int64(headerSize)}
	header := binary.LittleEndian.AppendUint32([]byte(magic), version)
	if _, err := f.Write(header); err != nil {
		return nil, fmt.Errorf("create spool: %w", errors.Join(err, f.Close()))
	}
	if err := errors.Join(f.Sync(), syncDir(filepath.Dir(path))); err != nil {
		return nil, fmt.Errorf("create spool: %w", errors.Join(err, f.Close()))
	}
	return w, nil
}

func syncDir(dir string) error {
	d, err := os.Open(dir) //nolint:gosec // the folder of the spool
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// Append writes one record and numbers it; Seq, Dropped and CutBytes are the
// writer's. A metric or log record beyond the budget, or one that is not
// valid, is dropped and counted, which is no error. An outcome is durable when
// Append returns, and nothing may follow it.
func (w *Writer) Append(r Record) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.ended {
		return ErrEnded
	}
	if w.broken != nil {
		return w.broken
	}
	optional := r.Kind == KindMetric || r.Kind == KindLog
	frame, cutBytes, err := w.frame(r)
	if err != nil {
		if optional {
			w.dropped++
			return nil
		}
		return err
	}
	if w.size+int64(len(frame)) > w.budget(r.Kind) {
		if optional {
			w.dropped++
			return nil
		}
		return fmt.Errorf("append to spool: no room for a %s record", r.Kind)
	}
	if err := w.write(frame); err != nil {
		return err
	}
	w.seq++
	w.cut += cutBytes
	if r.Kind == KindOutcome {
		w.ended = true
		return w.sync()
	}
	return nil
}

// budget is the size that the file may have after a record of kind k.
func (w *Writer) budget(k Kind) int64 {
	switch k {
	case KindMetric, KindLog:
		return w.limit - reserve
	case KindStarted, KindNotice:
		return w.limit - maxFrame
	case KindOutcome:
		return w.limit
	}
	return 0
}

func (w *Writer) frame(r Record) (frame []byte, cutBytes uint64, err error) {
	r = r.bounded()
	r.Seq, r.Dropped, r.CutBytes = w.seq+1, 0, 0
	cutBytes = uint64(max(r.Cut, 0))
	if r.Kind == KindOutcome {
		r.Dropped, r.CutBytes = w.dropped, w.cut
	}
	if err := r.validate(); err != nil {
		return nil, 0, fmt.Errorf("append to spool: %w", err)
	}
	payload, err := encode(r)
	if err != nil {
		return nil, 0, err
	}
	if len(payload) > MaxPayload || len(payload) > math.MaxUint32 {
		return nil, 0, fmt.Errorf("append to spool: a record of %d bytes is longer than %d", len(payload), MaxPayload)
	}
	frame = make([]byte, 0, frameSize+len(payload))
	frame = binary.LittleEndian.AppendUint32(frame, uint32(len(payload))) //nolint:gosec // bounded above
	frame = binary.LittleEndian.AppendUint32(frame, crc32.Checksum(payload, castagnoli()))
	return append(frame, payload...), cutBytes, nil
}

// write appends a frame whole or leaves the file as it was.
func (w *Writer) write(frame []byte) error {
	_, err := w.f.WriteAt(frame, w.size)
	if err == nil {
		w.size += int64(len(frame))
		return nil
	}
	err = fmt.Errorf("append to spool: %w", err)
	if back := w.f.Truncate(w.size); back != nil {
		w.broken = errors.Join(err, back)
		return w.broken
	}
	return err
}

// Drop counts n records that the caller could not turn into a Record.
func (w *Writer) Drop(n uint64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.dropped += n
}

// Sync makes everything appended so far durable.
func (w *Writer) Sync() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.sync()
}

func (w *Writer) sync() error {
	if err := w.f.Sync(); err != nil {
		return fmt.Errorf("sync spool: %w", err)
	}
	return nil
}

// Close makes the spool durable and ends the writer.
func (w *Writer) Close() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if err := errors.Join(w.f.Sync(), w.f.Close()); err != nil {
		return fmt.Errorf("close spool: %w", err)
	}
	return nil
}

func castagnoli() *crc32.Table { return crc32.MakeTable(crc32.Castagnoli) }
