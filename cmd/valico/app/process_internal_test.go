package app

import (
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestAProcessNameMayHoldAnything(t *testing.T) {
	t.Parallel()
	p, ok := parseStat("12 (a) b (c) S 7 12 12 0")
	require.True(t, ok)
	require.Equal(t, process{pid: 12, parent: 7, name: "a) b (c"}, p)
	for _, bad := range []string{"", "12", "12 (a", "x (a) S 7", "12 (a) S", ")("} {
		_, ok := parseStat(bad)
		require.False(t, ok, "%q", bad)
	}
}

func TestWhereThisProcessListensIsFound(t *testing.T) {
	t.Parallel()
	tcp, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	path := filepath.Join(t.TempDir(), "s")
	unix, err := net.Listen("unix", path)
	require.NoError(t, err)
	got, err := listeners()
	require.NoError(t, err)
	require.Contains(t, got, "tcp "+tcp.Addr().String())
	require.Contains(t, got, "unix "+path)
	require.NoError(t, tcp.Close())
	require.NoError(t, unix.Close())
	got, err = listeners()
	require.NoError(t, err)
	require.NotContains(t, got, "unix "+path)
}

func TestALineOfProcThatIsNotUnderstoodListensNowhere(t *testing.T) {
	t.Parallel()
	for _, line := range []string{"", "sl local rem st", "0: 0100007F:zz 0 0A 0 0 0 0 0 5", "0: 01:1F90 0 0A 0 0 0 0 0 5", "0: 0100007F:1F90 0 01 0 0 0 0 0 5"} {
		_, _, ok := listening("tcp", strings.Fields(line))
		require.False(t, ok, "%q", line)
	}
	at, inode, ok := listening("tcp", strings.Fields("0: 0100007F:1F90 0 0A 0 0 0 0 0 5"))
	require.True(t, ok)
	require.Equal(t, "tcp 127.0.0.1:8080", at)
	require.Equal(t, "5", inode)
}

func TestWhatAFolderKeepsIsSummedByItsFirstElement(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	require.NoError(t, os.MkdirAll(filepath.Join(dir, "a", "b"), 0o700))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "a", "b", "f"), []byte("12345"), 0o600))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "g"), []byte("1"), 0o600))
	sizes, whole := kept(dir)
	require.True(t, whole)
	require.Equal(t, map[string]int64{"a": 5, "g": 1}, sizes)
	_, whole = kept(filepath.Join(dir, "none"))
	require.False(t, whole)
}
