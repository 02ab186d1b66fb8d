package disk

import (
	"errors"
	"fmt"
	"math"

	"golang.org/x/sys/unix"
)

// ErrFull is the class of every refusal for want of room.
var ErrFull = errors.New("no room on the disk")

// Kept is the largest part of a file system that stays free, in bytes; a small
// one keeps a 64th.
const Kept = 1 << 30

// Room returns nil if a file system has room for need more bytes, else an
// ErrFull. path is anything on it.
func Room(path string, need int64) error {
	var st unix.Statfs_t
	if err := unix.Statfs(path, &st); err != nil {
		return fmt.Errorf("%w: look at %s: %w", ErrFull, path, err)
	}
	size := uint64(max(st.Bsize, 1))
	keep := min(bytesOf(st.Blocks, size)/64, Kept)
	if free := bytesOf(st.Bavail, size); need < 0 || free < keep || free-keep < need {
		return fmt.Errorf("%w: %d bytes do not fit, %d are free and %d of them are kept", ErrFull, need, free, keep)
	}
	return nil
}

// bytesOf multiplies and stays within what an int64 holds.
func bytesOf(blocks, size uint64) int64 {
	if blocks > math.MaxInt64/size {
		return math.MaxInt64
	}
	return int64(blocks * size) //nolint:gosec // compared above
}

// Free is how many bytes a file system still takes.
func Free(path string) (int64, error) {
	var st unix.Statfs_t
	if err := unix.Statfs(path, &st); err != nil {
		return 0, fmt.Errorf("look at %s: %w", path, err)
	}
	return bytesOf(st.Bavail, uint64(max(st.Bsize, 1))), nil
}
