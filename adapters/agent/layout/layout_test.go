package layout_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/valico-hpc/valico/adapters/agent/layout"
)

func TestRanksShareNoNameAndTheFirstHasThePlainOnes(t *testing.T) {
	t.Parallel()
	require.Equal(t, "/a/start", layout.Mark("/a", 0))
	require.Equal(t, "/a/spool", layout.Spool("/a", 0))
	require.Equal(t, "/a/root", layout.Root("/a", 0))
	seen := map[string]bool{}
	for n := range 200 {
		for _, p := range []string{layout.Mark("/a", n), layout.Spool("/a", n), layout.Root("/a", n)} {
			require.False(t, seen[p], p)
			seen[p] = true
		}
	}
	require.Equal(t, "/s/ckpt/job_1/data", layout.CkptData("/s", "job_1"))
}
