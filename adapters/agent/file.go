package agent

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/valico-hpc/valico/adapters/dirlock"
	"github.com/valico-hpc/valico/broker"
)

// writeFile replaces a file and returns when name and bytes are on the disk.
func writeFile(path string, b []byte, mode fs.FileMode) error {
	f, err := os.CreateTemp(filepath.Dir(path), tempPrefix+"*")
	if err != nil {
		return fmt.Errorf("write %s: %w", filepath.Base(path), err)
	}
	_, err = f.Write(b)
	err = errors.Join(err, f.Chmod(mode), f.Sync(), f.Close())
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		return fmt.Errorf("write %s: %w", filepath.Base(path), errors.Join(err, os.Remove(f.Name())))
	}
	return syncDir(filepath.Dir(path))
}

// tempPrefix marks what a crash may leave half made.
const tempPrefix = ".new-"

func syncDir(dir string) error {
	d, err := os.Open(dir) //nolint:gosec // a folder of the agent's own
	if err != nil {
		return fmt.Errorf("flush folder: %w", err)
	}
	if err := errors.Join(d.Sync(), d.Close()); err != nil {
		return fmt.Errorf("flush folder: %w", err)
	}
	return nil
}

// lockFile takes a lock that ends with this process, and keeps a second agent
// away from a site's folder.
func lockFile(path string) (*os.File, error) {
	f, err := dirlock.Take(path)
	if errors.Is(err, dirlock.ErrHeld) {
		return nil, &broker.Error{
			Kind: broker.KindConflict, Code: "site_in_use", Message: "another process is this site's agent", Value: path,
			Rule: "one agent per site folder", Help: "stop the other process, or use another folder", Who: "the site operator", Err: err,
		}
	}
	if err != nil {
		return nil, fmt.Errorf("lock the site: %w", err)
	}
	return f, nil
}

// readForeign reads a file that lies in a folder of another account: it
// follows no link and never waits for a pipe.
func readForeign(path string, limit int64) ([]byte, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0) //nolint:gosec // what is read is compared, not used
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", filepath.Base(path), err)
	}
	b, err := io.ReadAll(io.LimitReader(f, limit))
	if err := errors.Join(err, f.Close()); err != nil {
		return nil, fmt.Errorf("read %s: %w", filepath.Base(path), err)
	}
	return b, nil
}

// makeDirs creates the site's folders; modes hold whatever the umask says. The
// nodes open blobs by digest as every account: whoever was not told a digest
// cannot list which images and whose code there are.
func (a *Agent) makeDirs() error {
	for _, d := range []struct {
		name string
		mode fs.FileMode
	}{
		{"images/blobs/sha256", 0o711},
		{"images/blobs", 0o755},
		{"images", 0o755},
		{"attempts", 0o711},
		{"ckpt", 0o711},
		{"quarantine", 0o700},
		{"journal", 0o700},
	} {
		path := filepath.Join(a.cfg.Dir, d.name)
		if err := os.MkdirAll(path, 0o755); err != nil { //nolint:gosec // narrowed by the next line
			return fmt.Errorf("make the site's folders: %w", err)
		}
		if err := os.Chmod(path, d.mode); err != nil {
			return fmt.Errorf("make the site's folders: %w", err)
		}
	}
	return nil
}

// sweep removes what a crash left half made in a folder.
func sweep(dir string) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return fmt.Errorf("sweep: %w", err)
	}
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), tempPrefix) {
			if err := removeTree(filepath.Join(dir, e.Name())); err != nil {
				return err
			}
		}
	}
	return nil
}

// removeTree removes a tree that may hold folders without write permission, as
// images do. Root needs no permission and so never changes a mode by a path
// that another user could swap.
func removeTree(path string) error {
	if os.Geteuid() != 0 {
		_ = filepath.WalkDir(path, func(p string, d fs.DirEntry, err error) error {
			if err == nil && d.IsDir() {
				return os.Chmod(p, 0o700) //nolint:gosec // a folder needs x to be emptied
			}
			return nil // RemoveAll reports what matters
		})
	}
	if err := os.RemoveAll(path); err != nil {
		return fmt.Errorf("remove tree: %w", err)
	}
	return nil
}

// safeName reports whether an id may be a file name.
func safeName(s string) bool {
	return s != "" && len(s) <= 64 &&
		strings.Trim(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-") == ""
}
