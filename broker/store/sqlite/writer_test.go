package sqlite_test

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"

	"github.com/valico-hpc/valico/broker"
	"github.com/valico-hpc/valico/broker/store/sqlite"
	"github.com/valico-hpc/valico/broker/store/storetest"
)

func TestAFailingRequestDoesNotFailItsBatch(t *testing.T) {
	t.Parallel()
	s := open(t, filepath.Join(t.TempDir(), "valico.db"))
	var g errgroup.Group
	failure := errors.New("mine")
	for i := range 200 {
		g.Go(func() error {
			err := s.Write(t.Context(), func(w sqlite.Writing) error {
				if _, err := w.Exec(`INSERT INTO tenant (id, name, created_at) VALUES (?, ?, 1)`, fmt.Sprint(i), fmt.Sprint(i)); err != nil {
					return err
				}
				switch i % 4 {
				case 1:
					return failure
				case 2:
					panic("mine")
				}
				return nil
			})
			if (err != nil) != (i%4 == 1 || i%4 == 2) {
				return fmt.Errorf("%d: %w", i, err)
			}
			return nil
		})
	}
	require.NoError(t, g.Wait())
	var n int
	require.NoError(t, s.Get(t.Context(), `SELECT count(*) FROM tenant`, &n))
	require.Equal(t, 100, n)
}

func TestACallerThatGivesUpWithdrawsWhatHasNotBegun(t *testing.T) {
	t.Parallel()
	s := open(t, filepath.Join(t.TempDir(), "valico.db"))
	hold, held := make(chan struct{}), make(chan struct{})
	var g errgroup.Group
	g.Go(func() error {
		ctx, cancel := context.WithCancel(t.Context())
		return s.Write(ctx, func(w sqlite.Writing) error {
			close(held)
			cancel() // once it runs, its caller waits for the outcome
			<-hold
			_, err := w.Exec(`INSERT INTO tenant (id, name, created_at) VALUES ('a', 'a', 1)`)
			return err
		})
	})
	<-held
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, _, err := s.EnsureProject(ctx, "never")
	require.ErrorIs(t, err, context.Canceled)
	close(hold)
	require.NoError(t, g.Wait())
	_, _, err = s.EnsureProject(t.Context(), "later")
	require.NoError(t, err)
	var names string
	require.NoError(t, s.Get(t.Context(), `SELECT group_concat(name) FROM tenant ORDER BY name`, &names))
	require.Equal(t, "a,later", names)
}

func TestCloseFinishesWhatWasAccepted(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "valico.db")
	s := open(t, path)
	hold, held := make(chan struct{}), make(chan struct{})
	var g errgroup.Group
	g.Go(func() error {
		return s.Write(t.Context(), func(w sqlite.Writing) error {
			close(held)
			<-hold
			_, err := w.Exec(`INSERT INTO tenant (id, name, created_at) VALUES ('a', 'a', 1)`)
			return err
		})
	})
	<-held
	closed := make(chan error)
	go func() { closed <- s.Close() }()
	select {
	case err := <-closed:
		t.Fatalf("closed during a write: %v", err)
	case <-time.After(20 * time.Millisecond):
	}
	close(hold)
	require.NoError(t, g.Wait())
	require.NoError(t, <-closed)
	_, _, err := s.EnsureProject(t.Context(), "late")
	require.Equal(t, broker.KindUnavailable, broker.KindOf(err))
	s = open(t, path)
	var n int
	require.NoError(t, s.Get(t.Context(), `SELECT count(*) FROM tenant`, &n))
	require.Equal(t, 1, n)
}

func TestWhoWatchesIsToldOfCommitsAndOfADiskThatIsFull(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	commits, faults := 0, 0
	s, err := sqlite.Open(t.Context(), sqlite.Config{
		Path: filepath.Join(t.TempDir(), "valico.db"), Committed: func(_ int, _ time.Duration, err error) {
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				faults++
				return
			}
			commits++
		},
	})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	f := storetest.Fill(t, s, 1_000_000)
	mu.Lock()
	require.Positive(t, commits)
	require.Zero(t, faults)
	mu.Unlock()
	require.NoError(t, s.Room(t.Context(), 1))
	for range 1000 {
		if _, _, err = s.Admit(t.Context(), f.Admission(t, broker.VerdictAllow, 1)); err != nil {
			break
		}
	}
	require.Equal(t, broker.KindUnavailable, broker.KindOf(err), "%v", err)
	mu.Lock()
	defer mu.Unlock()
	require.Equal(t, 1, faults)
}
