package brokertest

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
)

// build holds the programs of this test binary, built once.
var build = sync.OnceValues(func() (string, error) { //nolint:gochecknoglobals // one build for all tests
	dir, err := os.MkdirTemp("", "valico-killable-")
	if err != nil {
		return "", fmt.Errorf("make a folder for programs: %w", err)
	}
	const module = "github.com/valico-hpc/valico/cmd/"
	for _, args := range [][]string{
		{"build", "-tags", "killpoints", "-o", dir + "/", module + "valico", module + "valico-exec"},
		{"build", "-o", filepath.Join(dir, "image", "worker"), module + "valico/testdata/worker"},
	} {
		c := exec.Command("go", args...) //nolint:gosec // our own packages; shared by every test
		c.Env = append(os.Environ(), "CGO_ENABLED=0")
		if out, err := c.CombinedOutput(); err != nil {
			return "", fmt.Errorf("go %v: %w\n%s", args, err, out)
		}
	}
	return dir, nil
})

// Programs returns a folder with both commands, built with their kill points,
// and image/, the context of an image whose command /worker is
// cmd/valico/testdata/worker.
func Programs(t *testing.T) string {
	t.Helper()
	dir, err := build()
	require.NoError(t, err)
	return dir
}
