package demo_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/valico-hpc/valico/cmd/valico/demo"
)

func TestEqualSeedsGiveEqualCohorts(t *testing.T) {
	t.Parallel()
	a, b, c := t.TempDir(), t.TempDir(), t.TempDir()
	require.NoError(t, demo.WriteCohort(a, 1))
	require.NoError(t, demo.WriteCohort(b, 1))
	require.NoError(t, demo.WriteCohort(c, 2))
	read := func(dir string) []byte {
		bytes, err := os.ReadFile(filepath.Join(dir, "screening.csv"))
		require.NoError(t, err)
		return bytes
	}
	require.Equal(t, read(a), read(b))
	require.NotEqual(t, read(a), read(c))
}
