//go:build integration

package nomadlab_test

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	nomadlab "github.com/valico-hpc/valico/deploy/lab/nomad"
)

// holds names the variable that makes this binary start a lab and wait.
const holds = "NOMADLAB_HOLD"

func TestMain(m *testing.M) {
	if os.Getenv(holds) == "" {
		os.Exit(m.Run())
	}
	l, err := nomadlab.Start(context.Background(), os.Stderr)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	fmt.Fprintln(os.Stdout, l.Dir)
	never := make(chan struct{})
	<-never
	runtime.KeepAlive(l) // its lock says that its folder is in use
}

// inside lists the processes whose command line names a lab's folder.
func inside(t *testing.T, dir string) []string {
	t.Helper()
	all, err := filepath.Glob("/proc/[0-9]*/cmdline")
	require.NoError(t, err)
	var out []string
	for _, p := range all {
		if b, err := os.ReadFile(p); err == nil && strings.Contains(string(b), dir) {
			out = append(out, p)
		}
	}
	return out
}

func TestALabDiesWithTheProcessThatStartedItAndTheNextOneClearsItAway(t *testing.T) {
	t.Parallel()
	self, err := os.Executable()
	require.NoError(t, err)
	c := exec.Command(self)
	c.Env, c.Stderr = append(os.Environ(), holds+"=1"), os.Stderr
	out, err := c.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, c.Start())
	line, err := bufio.NewReader(out).ReadString('\n')
	require.NoError(t, err)
	dir := strings.TrimSpace(line)
	require.NotEmpty(t, inside(t, dir))
	require.NoError(t, c.Process.Kill())
	require.Error(t, c.Wait())
	require.Eventually(t, func() bool { return len(inside(t, dir)) == 0 }, 20*time.Second, 50*time.Millisecond, "nothing of it goes on")
	require.DirExists(t, dir)

	l, err := nomadlab.Start(t.Context(), os.Stderr)
	require.NoError(t, err)
	require.NoDirExists(t, dir)
	require.Equal(t, l.GPUs, l.Healthy(t.Context()))
	require.NoError(t, l.Stop())
	require.NoDirExists(t, l.Dir)
	require.Empty(t, inside(t, l.Dir))
}
