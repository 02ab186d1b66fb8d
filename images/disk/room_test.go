package disk_test

import (
	"math"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/valico-hpc/valico/images/disk"
)

func TestLittleFitsAndMoreThanThereIsDoesNot(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	require.NoError(t, disk.Room(dir, 0))
	require.NoError(t, disk.Room(dir, 4096))
	require.ErrorIs(t, disk.Room(dir, math.MaxInt64), disk.ErrFull)
	require.ErrorIs(t, disk.Room(dir, math.MaxInt64-disk.Kept), disk.ErrFull)
	require.ErrorIs(t, disk.Room(dir, -1), disk.ErrFull)
	require.ErrorIs(t, disk.Room(filepath.Join(dir, "none"), 1), disk.ErrFull)
}
