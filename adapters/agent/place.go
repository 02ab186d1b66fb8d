package agent

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"github.com/valico-hpc/valico/broker"
)

// checkPlaces holds an agent that is root and serves other accounts to folders
// that those accounts cannot put anything into: who may rename a folder above
// the site's can put another in its place, and who may replace the launcher runs
// as everybody. The launcher is looked at where it is on this machine too.
func checkPlaces(c Config) error {
	if c.Accounts == nil || os.Geteuid() != 0 {
		return nil
	}
	dir := c.Dir
	for { // a site's folder that is yet to be made is made below what there is
		err := CheckPlace(dir)
		if err == nil {
			break
		}
		if !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		dir = filepath.Dir(dir)
	}
	if err := CheckPlace(c.ExecPath); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// CheckPlace refuses a folder or program, and everything above it, in whose place
// another user than root could put something. It is for a process that is root
// and acts on the path for others.
func CheckPlace(path string) error {
	place, err := filepath.EvalSymlinks(path)
	if err != nil {
		return fmt.Errorf("look at %s: %w", path, err)
	}
	for p := place; ; p = filepath.Dir(p) {
		fi, err := os.Lstat(p)
		if err != nil {
			return fmt.Errorf("look at %s: %w", p, err)
		}
		const others = 0o022
		st, ok := fi.Sys().(*syscall.Stat_t)
		switch {
		case !ok:
			return fmt.Errorf("look at %s: no owner", p)
		case p == place && st.Uid != 0:
			return unsafePlace(p, "is root's own")
		case fi.Mode().Perm()&others != 0 && (p == place || fi.Mode()&fs.ModeSticky == 0):
			return unsafePlace(p, "is not writable for a group or for others, nor is what lies above it but with the sticky bit")
		case p == filepath.Dir(p):
			return nil
		}
	}
}

func unsafePlace(path, rule string) error {
	return &broker.Error{
		Kind: broker.KindInvalid, Code: "site_place_unsafe", Message: "other users could put something else in this place",
		Value: path, Rule: "a folder or program that an agent uses as root " + rule,
		Help: "choose another folder, or correct owner and mode of this one", Who: "the site operator",
	}
}
