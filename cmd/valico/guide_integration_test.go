//go:build integration

package main_test

import (
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// Every block of docs/first-broker.md runs as it is printed, in one shell.
func TestTheGuideRunsAsPrinted(t *testing.T) {
	t.Parallel()
	guide, err := os.ReadFile(filepath.Join("..", "..", "docs", "first-broker.md"))
	require.NoError(t, err)
	var script strings.Builder
	script.WriteString("set -euo pipefail\nset -m\ntrap 'kill $(jobs -p) 2>/dev/null || true' EXIT\n")
	blocks := regexp.MustCompile("(?s)```sh\n(.*?)```").FindAllStringSubmatch(string(guide), -1)
	require.Len(t, blocks, 5)
	for _, b := range blocks {
		script.WriteString(b[1])
	}
	bin, dir := t.TempDir(), t.TempDir()
	out, err := exec.Command("go", "build", "-o", bin+"/", "github.com/valico-hpc/valico/cmd/valico", "github.com/valico-hpc/valico/cmd/valico-exec").CombinedOutput()
	require.NoError(t, err, "%s", out)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	addr := l.Addr().String()
	require.NoError(t, l.Close())

	c := exec.Command("bash", "-c", script.String())
	c.Dir = dir
	c.Env = append(os.Environ(), "PATH="+bin+":"+os.Getenv("PATH"), "VALICO_LISTEN="+addr, "VALICO_SERVER=http://"+addr)
	out, err = c.CombinedOutput()
	log, _ := os.ReadFile(filepath.Join(dir, "valico-example", "serve.log"))
	require.NoError(t, err, "%s\n%s", out, log)
	require.Contains(t, string(out), "succeeded")
	require.Contains(t, string(out), "density,risk")
}
