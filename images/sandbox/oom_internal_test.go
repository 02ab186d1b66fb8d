//go:build linux

package sandbox

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestOutOfMemoryKillsAreReadFromBothCgroupVersions(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]int{
		"low 0\nhigh 0\nmax 7\noom 3\noom_kill 2\noom_group_kill 9\n": 2,
		"oom_kill_disable 1\nunder_oom 0\noom_kill 5\n":               5,
		"":                     0,
		"oom_kill many\n":      0,
		"oom_kill_disable 1\n": 0,
	} {
		path := filepath.Join(t.TempDir(), "events")
		require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
		n, _ := counter(path)
		require.Equal(t, want, n, text)
	}
}

func TestTheFilterHasANumberForEveryCallItDenies(t *testing.T) {
	t.Parallel()
	arch, err := auditArch()
	require.NoError(t, err)
	f := program(arch)
	for i, in := range f {
		require.Less(t, i+1+int(max(in.Jt, in.Jf)), len(f)+1, "instruction %d jumps out of the filter", i)
	}
	require.Equal(t, arch, f[1].K)
}
