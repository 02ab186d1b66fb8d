package app

import (
	"errors"
	"os"
	"path/filepath"

	"github.com/valico-hpc/valico/adapters/dirlock"
	"github.com/valico-hpc/valico/broker"
)

// lockDir takes the data folder for this process until the file is closed or
// the process ends, however it ends.
func lockDir(dir string) (*os.File, error) {
	f, err := dirlock.Take(filepath.Join(dir, "lock"))
	if errors.Is(err, dirlock.ErrHeld) {
		return nil, &broker.Error{
			Kind: broker.KindConflict, Code: "data_dir_in_use", Message: "another broker uses this data folder", Value: dir,
			Rule: "one process owns a data folder", Help: "stop the other broker, or name another folder with --data-dir",
			Who: "the broker's operator", Err: err,
		}
	}
	return f, err
}
