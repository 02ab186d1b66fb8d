// Package dirlock keeps a second process away from a folder: an exclusive lock
// on a file in it that ends with its holder, however that ends. It knows
// nothing of what the folder is for; who is refused says so in its own words.
package dirlock

import (
	"errors"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// ErrHeld says that another process has the lock.
var ErrHeld = errors.New("held by another process")

const (
	// patience is how long Take waits. A process that was forked and has not yet
	// become its program shares its parent's files for a moment, the lock too,
	// even when the parent has just given it up or died.
	patience = 2 * time.Second
	interval = 20 * time.Millisecond
)

// Take locks the file and makes it if it is not there. Closing what it returns
// gives the lock up.
func Take(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600) //nolint:gosec // the caller's own folder
	if err != nil {
		return nil, fmt.Errorf("open the lock: %w", err)
	}
	for start := time.Now(); ; {
		err = unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		switch {
		case err == nil:
			return f, nil
		case errors.Is(err, unix.EINTR):
		case !errors.Is(err, unix.EWOULDBLOCK):
			return nil, errors.Join(fmt.Errorf("lock %s: %w", path, err), f.Close())
		case time.Since(start) > patience:
			return nil, errors.Join(fmt.Errorf("lock %s: %w", path, ErrHeld), f.Close())
		}
		<-time.After(interval)
	}
}
