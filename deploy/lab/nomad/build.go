package nomadlab

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"syscall"
)

// tools finds the module of the agent: beside this source file's folder, or below
// the module that the working directory is in.
func tools() (string, error) {
	if _, file, _, ok := runtime.Caller(0); ok && filepath.IsAbs(file) {
		if dir := filepath.Join(filepath.Dir(file), "..", "..", "tools", "nomad"); isFile(filepath.Join(dir, "go.mod")) {
			return dir, nil
		}
	}
	dir, err := os.Getwd()
	if err != nil {
		return "", fmt.Errorf("find the agent's module: %w", err)
	}
	for ; ; dir = filepath.Dir(dir) {
		if p := filepath.Join(dir, "deploy", "tools", "nomad"); isFile(filepath.Join(p, "go.mod")) {
			return p, nil
		}
		if dir == filepath.Dir(dir) {
			return "", errors.New("find the agent's module: not inside the source tree")
		}
	}
}

func isFile(path string) bool {
	fi, err := os.Stat(path)
	return err == nil && fi.Mode().IsRegular()
}

// cache is where labs of this user keep what they build.
func cache() (string, error) {
	dir, err := os.UserCacheDir()
	if err != nil {
		return "", fmt.Errorf("find the cache: %w", err)
	}
	dir = filepath.Join(dir, "valico", "lab")
	if err := os.MkdirAll(dir, 0o755); err != nil { //nolint:gosec // programs that accounts of the lab run
		return "", fmt.Errorf("make the cache: %w", err)
	}
	return dir, nil
}

// lock holds a file until it is closed; test binaries that run at the same time
// wait for each other.
func lock(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR|syscall.O_CLOEXEC, 0o600) //nolint:gosec // below the cache or a folder of ours
	if err != nil {
		return nil, fmt.Errorf("lock: %w", err)
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX); err != nil {
		return nil, errors.Join(fmt.Errorf("lock %s: %w", path, err), f.Close())
	}
	return f, nil
}

// built returns the folder with the agent and its plugins, and builds them if
// they are not there. The folder's name is a digest of all that they are made of.
func built(ctx context.Context, log io.Writer) (string, error) {
	src, err := tools()
	if err != nil {
		return "", err
	}
	h := sha256.New()
	fmt.Fprintln(h, runtime.Version(), runtime.GOARCH)
	for _, name := range []string{"go.mod", "go.sum", filepath.Join("gpu", "main.go")} {
		b, err := os.ReadFile(filepath.Join(src, name)) //nolint:gosec // of the source tree
		if err != nil {
			return "", fmt.Errorf("build the agent: %w", err)
		}
		fmt.Fprintln(h, name, len(b))
		h.Write(b)
	}
	root, err := cache()
	if err != nil {
		return "", err
	}
	dir := filepath.Join(root, "nomad-"+hex.EncodeToString(h.Sum(nil))[:12])
	l, err := lock(dir + ".lock")
	if err != nil {
		return "", err
	}
	defer func() { _ = l.Close() }()
	if isFile(filepath.Join(dir, "nomad")) {
		return dir, nil
	}
	fmt.Fprintln(log, "nomadlab: building Nomad, which takes some minutes once")
	tmp, err := os.MkdirTemp(root, "nomad-build-")
	if err != nil {
		return "", fmt.Errorf("build the agent: %w", err)
	}
	defer func() { _ = os.RemoveAll(tmp) }()
	if err := os.Chmod(tmp, 0o755); err != nil { //nolint:gosec // programs that accounts of the lab run
		return "", fmt.Errorf("build the agent: %w", err)
	}
	for out, pkg := range map[string]string{"nomad": "github.com/hashicorp/nomad", "plugins/gpu": "./gpu"} {
		cmd := exec.CommandContext(ctx, "go", "build", "-mod=readonly", "-trimpath", "-buildvcs=false", "-ldflags=-s -w", "-o", filepath.Join(tmp, out), pkg) //nolint:gosec // fixed words
		// Version 1.6.1 does not build without cgo.
		cmd.Dir, cmd.Env = src, append(os.Environ(), "CGO_ENABLED=1", "GOWORK=off", "GOFLAGS=")
		if out, err := cmd.CombinedOutput(); err != nil {
			return "", fmt.Errorf("build %s: %w: %s", pkg, err, out)
		}
	}
	if err := os.Rename(tmp, dir); err != nil {
		return "", fmt.Errorf("build the agent: %w", err)
	}
	return dir, nil
}
