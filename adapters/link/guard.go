package link

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"time"
)

// maxNonces bounds how many requests are remembered. Each is forgotten some time
// after its deadline; when there are so many before that, new ones are refused.
const maxNonces = 1 << 17

// keepPast is how long a nonce is remembered after its deadline: a clock that
// is set back by less makes no request good again.
const keepPast = 10 * time.Minute

// A kept nonce: nonce, deadline in Unix microseconds, CRC-32C of both.
const keptSize = nonceSize + 8 + 4

var (
	errSeen = errors.New("the request was seen before")
	errFull = errors.New("too many requests at once")
)

// guard remembers the nonces of requests whose deadline is not past, over
// restarts of the process. Concurrent calls share one flush of the disk.
type guard struct {
	path string
	now  func() time.Time

	mu     sync.Mutex
	seen   map[[nonceSize]byte]time.Time
	f      *os.File
	size   int64 // bytes of f that are whole entries
	broken error // set when the file can no longer be trusted

	flush   sync.Mutex
	written int64 // bytes handed to the file; under mu
	flushed int64 // bytes on the disk; under flush
}

// openGuard reads what an earlier process remembered.
func openGuard(path string, now func() time.Time) (*guard, error) {
	g := &guard{path: path, now: now, seen: map[[nonceSize]byte]time.Time{}}
	b, err := os.ReadFile(path) //nolint:gosec // the agent's own folder
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("read the nonces: %w", err)
	}
	for ; len(b) >= keptSize; b = b[keptSize:] {
		nonce, until, err := readKept(b[:keptSize])
		if err != nil {
			break // a torn end: what it was to hold was not obeyed
		}
		if until.Add(keepPast).After(now()) {
			g.seen[nonce] = until
		}
	}
	if err := g.rewrite(); err != nil {
		return nil, err
	}
	return g, nil
}

func castagnoli(b []byte) uint32 { return crc32.Checksum(b, crc32.MakeTable(crc32.Castagnoli)) }

func putKept(b []byte, nonce [nonceSize]byte, until time.Time) []byte {
	start := len(b)
	b = append(b, nonce[:]...)
	b = binary.BigEndian.AppendUint64(b, uint64(until.UnixMicro()))
	return binary.BigEndian.AppendUint32(b, castagnoli(b[start:]))
}

func readKept(b []byte) (nonce [nonceSize]byte, until time.Time, err error) {
	if binary.BigEndian.Uint32(b[nonceSize+8:]) != castagnoli(b[:nonceSize+8]) {
		return nonce, until, errors.New("broken entry")
	}
	copy(nonce[:], b)
	return nonce, time.UnixMicro(int64(binary.BigEndian.Uint64(b[nonceSize:]))), nil //nolint:gosec // as written
}

// take remembers a nonce until a deadline, once. With durable it returns when
// the disk has it; without, what a kill of the process cannot lose. After an
// error nothing may be obeyed.
func (g *guard) take(nonce [nonceSize]byte, until time.Time, durable bool) error {
	g.mu.Lock()
	if g.broken != nil {
		defer g.mu.Unlock()
		return g.broken
	}
	if _, ok := g.seen[nonce]; ok {
		g.mu.Unlock()
		return errSeen
	}
	if err := g.room(); err != nil {
		g.mu.Unlock()
		return err
	}
	if _, err := g.f.WriteAt(putKept(nil, nonce, until), g.size); err != nil {
		// The entry is written over by the next one; it counts for nothing.
		g.mu.Unlock()
		return fmt.Errorf("write a nonce: %w", err)
	}
	g.size += keptSize
	g.written += keptSize
	g.seen[nonce] = until
	mine := g.written
	g.mu.Unlock()
	if !durable {
		return nil
	}
	return g.sync(mine)
}

// sync returns when the disk has what was written up to a place.
func (g *guard) sync(upTo int64) error {
	g.flush.Lock()
	defer g.flush.Unlock()
	if g.flushed >= upTo {
		return nil // somebody's flush took it along
	}
	g.mu.Lock()
	f, written, broken := g.f, g.written, g.broken
	g.mu.Unlock()
	if broken != nil {
		return broken
	}
	if err := f.Sync(); err != nil && !errors.Is(err, os.ErrClosed) {
		// What the disk has after a failed flush cannot be known.
		g.mu.Lock()
		g.broken = fmt.Errorf("flush the nonces: %w", err)
		defer g.mu.Unlock()
		return g.broken
	}
	g.flushed = written
	return nil
}

// room forgets what is past and writes the file anew when most of it is.
// Callers hold mu.
func (g *guard) room() error {
	if len(g.seen) < maxNonces && g.size < 2*maxNonces*keptSize && g.size < int64(4*(len(g.seen)+1024))*keptSize {
		return nil
	}
	now := g.now()
	for n, until := range g.seen {
		if !until.Add(keepPast).After(now) {
			delete(g.seen, n)
		}
	}
	if len(g.seen) >= maxNonces {
		return errFull
	}
	if g.size < int64(4*(len(g.seen)+1024))*keptSize && g.size < 2*maxNonces*keptSize {
		return nil
	}
	return g.rewrite()
}

// rewrite replaces the file by one of what is remembered. Callers hold mu, or
// are alone.
func (g *guard) rewrite() error {
	b := make([]byte, 0, len(g.seen)*keptSize)
	for n, until := range g.seen {
		b = putKept(b, n, until)
	}
	f, err := os.CreateTemp(filepath.Dir(g.path), ".nonces-*")
	if err != nil {
		return fmt.Errorf("write the nonces: %w", err)
	}
	_, err = f.Write(b)
	if err = errors.Join(err, f.Sync()); err == nil {
		err = os.Rename(f.Name(), g.path)
	}
	if err == nil {
		err = syncDir(filepath.Dir(g.path))
	}
	if err != nil {
		return fmt.Errorf("write the nonces: %w", errors.Join(err, f.Close(), os.Remove(f.Name())))
	}
	old := g.f
	g.f, g.size = f, int64(len(b))
	if old != nil {
		return old.Close() // everything in it that counts is in the new one, flushed
	}
	return nil
}

func (g *guard) close() error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.broken == nil {
		g.broken = errors.New("the guard is closed")
	}
	return g.f.Close()
}

func syncDir(dir string) error {
	d, err := os.Open(dir) //nolint:gosec // the agent's own folder
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
