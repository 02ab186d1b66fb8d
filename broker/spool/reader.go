package spool

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"syscall"
)

// Batch is how many bytes of records one ReadFrom returns at most, or one
// record if that is longer.
const Batch = 1 << 20

// ErrCorrupt is the class of every *CorruptError.
var ErrCorrupt = errors.New("spool: damaged")

// CorruptError says where a spool is damaged and how.
type CorruptError struct {
	Offset int64
	Reason string
}

func (e *CorruptError) Error() string {
	return fmt.Sprintf("spool damaged at byte %d: %s", e.Offset, e.Reason)
}

// Is makes every CorruptError an ErrCorrupt.
func (e *CorruptError) Is(target error) bool { return target == ErrCorrupt }

// ReadFrom returns the records that follow offset, 0 for the beginning, and
// the offset to go on from. It returns about Batch bytes at a time: a caller
// reads on until no record comes. No record and no error means that there is
// nothing more yet; a torn tail is such an end. When the file is damaged the
// records before the damage come with a *CorruptError.
func ReadFrom(path string, offset int64) (records []Record, next int64, err error) {
	f, size, err := open(path)
	if err != nil {
		return nil, offset, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	return readFrom(f, size, offset)
}

// open opens a file that a stranger owns: no link is followed, no pipe or
// device is opened, and a second name of somebody else's file is refused. What
// its owner put in the spool's place is damage and no fault that may pass, or
// nobody would ever learn how the attempt ended.
func open(path string) (*os.File, int64, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0) //nolint:gosec // the caller's path; what it may be is checked below
	for _, e := range []error{syscall.ELOOP, syscall.ENXIO, syscall.EACCES, syscall.EPERM} {
		if errors.Is(err, e) {
			return nil, 0, &CorruptError{Reason: e.Error()}
		}
	}
	if err != nil {
		return nil, 0, fmt.Errorf("read spool: %w", err)
	}
	fi, err := f.Stat()
	if err != nil {
		return nil, 0, fmt.Errorf("read spool: %w", errors.Join(err, f.Close()))
	}
	st, ok := fi.Sys().(*syscall.Stat_t)
	if !ok || !fi.Mode().IsRegular() || st.Nlink > 1 {
		return nil, 0, errors.Join(&CorruptError{Reason: "not a regular file of one name"}, f.Close())
	}
	if fi.Size() > MaxSize {
		return nil, 0, errors.Join(&CorruptError{Offset: MaxSize, Reason: "longer than any spool"}, f.Close())
	}
	return f, fi.Size(), nil
}

func readFrom(f io.ReaderAt, size, offset int64) ([]Record, int64, error) {
	if offset < 0 || offset > size {
		return nil, offset, &CorruptError{Offset: offset, Reason: "the file is shorter than what was read before"}
	}
	first := offset == 0
	if first {
		if size < int64(headerSize) {
			return nil, 0, nil
		}
		if err := readHeader(f); err != nil {
			return nil, 0, err
		}
		offset = int64(headerSize)
	}
	buf := make([]byte, min(size-offset, Batch+maxFrame))
	n, err := f.ReadAt(buf, offset)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, offset, fmt.Errorf("read spool: %w", err)
	}
	if int64(n) < int64(len(buf)) {
		size = offset + int64(n) // it shrank meanwhile; what is there counts
	}
	p := parser{buf: buf[:n], base: offset, last: offset+int64(n) == size}
	if first {
		p.next = 1
	}
	err = p.run()
	return p.records, offset + int64(p.pos), err
}

func readHeader(f io.ReaderAt) error {
	header := make([]byte, headerSize)
	if _, err := f.ReadAt(header, 0); err != nil {
		return fmt.Errorf("read spool: %w", err)
	}
	if string(header[:len(magic)]) != magic {
		return &CorruptError{Reason: "not a spool"}
	}
	if v := binary.LittleEndian.Uint32(header[len(magic):]); v != version {
		return &CorruptError{Offset: int64(len(magic)), Reason: fmt.Sprintf("version %d is not known", v)}
	}
	return nil
}

// parser takes frames off the front of buf.
type parser struct {
	buf     []byte
	base    int64 // offset of buf in the file
	last    bool  // buf reaches the end of the file
	pos     int
	next    uint64 // the number that the next record must have, 0 for any
	ended   bool
	records []Record
}

func (p *parser) run() error {
	for p.pos < Batch {
		rest := p.buf[p.pos:]
		if len(rest) < frameSize || allZero(rest, p.last) {
			return nil
		}
		n := int(binary.LittleEndian.Uint32(rest))
		if n == 0 || n > MaxPayload {
			return p.corrupt("a length of %d", n)
		}
		if len(rest) < frameSize+n {
			return nil // torn, or the batch ends here
		}
		payload := rest[frameSize : frameSize+n]
		if crc32.Checksum(payload, castagnoli()) != binary.LittleEndian.Uint32(rest[4:]) {
			if p.last && len(rest) == frameSize+n {
				return nil // a crash can leave a last record of the right length whose bytes never arrived
			}
			return p.corrupt("the checksum does not match")
		}
		if err := p.take(payload); err != nil {
			return err
		}
		p.pos += frameSize + n
	}
	return nil
}

func (p *parser) take(payload []byte) error {
	if p.ended {
		return p.corrupt("a record after the outcome")
	}
	r, err := decode(payload)
	if err != nil {
		return p.corrupt("%v", err)
	}
	if r.Seq == 0 || p.next != 0 && r.Seq != p.next {
		return p.corrupt("record %d where %d belongs", r.Seq, p.next)
	}
	p.next = r.Seq + 1
	p.ended = r.Kind == KindOutcome
	p.records = append(p.records, r)
	return nil
}

func (p *parser) corrupt(format string, args ...any) error {
	return &CorruptError{Offset: p.base + int64(p.pos), Reason: fmt.Sprintf(format, args...)}
}

// allZero recognises the tail that a file system leaves when the length of a
// file survived a crash and its bytes did not.
func allZero(b []byte, last bool) bool {
	if !last || len(b) > maxFrame {
		return false
	}
	for _, c := range b {
		if c != 0 {
			return false
		}
	}
	return true
}
