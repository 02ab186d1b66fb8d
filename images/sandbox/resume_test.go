//go:build linux

package sandbox_test

import (
	"net"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/valico-hpc/valico/images/sandbox"
)

// folder makes a folder of the place's user.
func (p *place) folder(name string) string {
	p.t.Helper()
	dir := filepath.Join(p.dir, name)
	require.NoError(p.t, os.Mkdir(dir, 0o700))
	require.NoError(p.t, os.Lchown(dir, p.uid, p.uid))
	return dir
}

func TestASignalReachesTheFirstProcessWhichWritesItsCheckpoint(t *testing.T) {
	t.Parallel()
	eachIsolation(t, func(p *place, l launch) {
		t := p.t
		l.Spec.Ckpt = p.folder("ckpt")
		c, out := p.waiting(l.with("checkpoint"))
		require.NoError(t, c.Process.Signal(syscall.SIGUSR1))
		line, err := out.ReadString('\n')
		require.NoError(t, err)
		require.Equal(t, "user defined signal 1\n", line)
		require.NoError(t, c.Wait())
		require.Equal(t, sandbox.Result{ExitCode: 85}, p.result().Result)
		b, err := os.ReadFile(filepath.Join(l.Spec.Ckpt, "n"))
		require.NoError(t, err)
		require.Equal(t, "7", string(b))
	})
}

func TestWithoutAFolderForItThereIsNoCheckpoint(t *testing.T) {
	t.Parallel()
	eachIsolation(t, func(p *place, l launch) {
		_, stdout := p.run(l.with("ckpt"))
		require.Equal(p.t, "\n", stdout)
	})
}

func TestOnlyANodesNetworkThatWasAskedForIsReached(t *testing.T) {
	t.Parallel()
	eachUser(t, func(p *place) {
		t := p.t
		l, err := net.Listen("tcp", "127.0.0.1:0")
		require.NoError(t, err)
		defer l.Close() //nolint:errcheck // ends with the test
		for node, want := range map[bool]string{true: "reached\n", false: "refused\n"} {
			s := p.spec("dial", l.Addr().String())
			s.NodeNetwork = node
			o, stdout := p.run(launch{Spec: s})
			require.Empty(t, o.Error)
			require.Equal(t, want, stdout)
		}
	})
}
