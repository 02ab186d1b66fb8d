package app

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/valico-hpc/valico/broker"
)

// lockDir takes the data folder for this process until the file is closed or
// the process ends, however it ends.
func lockDir(dir string) (*os.File, error) {
	path := filepath.Join(dir, "lock")
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600) //nolint:gosec // below the broker's own folder
	if err != nil {
		return nil, fmt.Errorf("open the lock: %w", err)
	}
	err = unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
	if err == nil {
		return f, nil
	}
	_ = f.Close()
	if errors.Is(err, unix.EWOULDBLOCK) {
		return nil, &broker.Error{
			Kind: broker.KindConflict, Code: "data_dir_in_use", Message: "another broker uses this data folder", Value: dir,
			Rule: "one process owns a data folder", Help: "stop the other broker, or name another folder with --data-dir",
			Who: "the broker's operator",
		}
	}
	return nil, fmt.Errorf("lock %s: %w", path, err)
}
