package demo

import (
	"context"
	_ "embed"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

//go:embed trainer/main.go
var trainerSource []byte

// BuildTrainer writes the trainer's source below dir, as a user would have it,
// and compiles it with the local toolchain into dir/image/trainer: static,
// from the standard library alone, so that it runs on an empty base image.
func BuildTrainer(ctx context.Context, dir string) error {
	src, out := filepath.Join(dir, "trainer.go"), filepath.Join(dir, "image", "trainer")
	if err := os.WriteFile(src, trainerSource, 0o600); err != nil {
		return fmt.Errorf("write the trainer: %w", err)
	}
	if err := os.MkdirAll(filepath.Dir(out), 0o750); err != nil {
		return fmt.Errorf("make the image's folder: %w", err)
	}
	goTool, err := exec.LookPath("go")
	if err != nil {
		return fmt.Errorf("find the Go toolchain that compiles the trainer: %w", err)
	}
	c := exec.CommandContext(ctx, goTool, "build", "-trimpath", "-ldflags=-s -w -buildid=", "-o", out, src) //nolint:gosec // the local toolchain
	c.Dir = dir
	c.Env = toolchainEnv(dir)
	if b, err := c.CombinedOutput(); err != nil {
		return fmt.Errorf("compile the trainer: %w\n%s", err, b)
	}
	return nil
}

// toolchainEnv is the environment without what would send the toolchain
// elsewhere, with a build cache of its own where there is no home.
func toolchainEnv(dir string) []string {
	var env []string
	cache := false
	for _, e := range os.Environ() {
		name, value, _ := strings.Cut(e, "=")
		switch name {
		case "GOFLAGS", "GOOS", "GOARCH", "GOEXPERIMENT", "GOENV", "CGO_ENABLED", "GO111MODULE", "GOWORK":
			continue
		case "GOCACHE", "HOME", "XDG_CACHE_HOME":
			cache = cache || value != ""
		}
		env = append(env, e)
	}
	if !cache {
		env = append(env, "GOCACHE="+filepath.Join(dir, "go-build"))
	}
	return append(env, "CGO_ENABLED=0", "GOTOOLCHAIN=local", "GOPROXY=off", "GOWORK=off", "GOENV=off")
}
