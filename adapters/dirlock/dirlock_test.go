package dirlock_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/valico-hpc/valico/adapters/dirlock"
)

func TestALockIsHeldUntilItIsClosed(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "lock")
	f, err := dirlock.Take(path)
	require.NoError(t, err)
	_, err = dirlock.Take(path)
	require.ErrorIs(t, err, dirlock.ErrHeld)
	require.NoError(t, f.Close())
	f, err = dirlock.Take(path)
	require.NoError(t, err)
	require.NoError(t, f.Close())
}

func TestALockThatIsGivenUpWhileAnotherWaitsIsTaken(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "lock")
	f, err := dirlock.Take(path)
	require.NoError(t, err)
	got := make(chan error, 1)
	go func() {
		g, err := dirlock.Take(path)
		if err == nil {
			err = g.Close()
		}
		got <- err
	}()
	require.NoError(t, f.Close())
	require.NoError(t, <-got)
}

func TestAFolderThatIsNotThereIsNoLock(t *testing.T) {
	t.Parallel()
	_, err := dirlock.Take(filepath.Join(t.TempDir(), "gone", "lock"))
	require.ErrorIs(t, err, os.ErrNotExist)
}
