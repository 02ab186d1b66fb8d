//go:build linux

package sandbox

import (
	"errors"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"strings"
)

// plain prepares isolation none: a scratch folder, the program's host path and
// an environment that tells where things really are. The returned function
// removes the scratch folder.
func (h *handover) plain(env []string) (func(), error) {
	scratch, err := os.MkdirTemp(filepath.Dir(h.Root), "scratch-")
	if err != nil {
		return nil, err
	}
	clean := func() { _ = os.RemoveAll(scratch) } // left behind at worst in the attempt's own folder
	if err := h.fill(scratch, env); err != nil {
		clean()
		return nil, err
	}
	return clean, nil
}

func (h *handover) fill(scratch string, env []string) error {
	home, tmp, data := filepath.Join(scratch, "home"), filepath.Join(scratch, "tmp"), filepath.Join(scratch, "data")
	for _, d := range []string{home, tmp, data} {
		if err := os.Mkdir(d, 0o700); err != nil {
			return err
		}
	}
	for _, m := range h.Mounts {
		if err := os.Symlink(m.Source, filepath.Join(data, path.Base(m.Target))); err != nil {
			return err
		}
	}
	own := []string{"HOME=" + home, "TMPDIR=" + tmp, "VALICO_DATA=" + data, "VALICO_OUT=" + h.Out}
	if h.Ckpt != "" {
		own = append(own, "VALICO_CKPT="+h.Ckpt)
	}
	h.Env = environment(env, own...)
	root, err := os.OpenRoot(h.Root)
	if err != nil {
		return err
	}
	defer root.Close() //nolint:errcheck // read only
	inside := func(p string) (os.FileInfo, error) { return root.Stat(relative(p)) }
	program, err := lookPath(h.Argv[0], h.WorkDir, h.Env, inside)
	if err != nil {
		return err
	}
	if fi, err := inside(program); err != nil || !fi.Mode().IsRegular() {
		return errors.Join(fmt.Errorf("%s is no program of the image", h.Argv[0]), err)
	}
	if fi, err := inside(h.WorkDir); err != nil || !fi.IsDir() {
		return errors.Join(fmt.Errorf("%s is no folder of the image", h.WorkDir), err)
	}
	h.Program = filepath.Join(h.Root, program)
	h.WorkDir = filepath.Join(h.Root, h.WorkDir)
	return nil
}

// relative is the image's path as os.Root takes it.
func relative(p string) string {
	if p = strings.TrimPrefix(path.Clean("/"+p), "/"); p == "" {
		return "."
	}
	return p
}
