package sqlite

import (
	"context"
	"database/sql"
	"fmt"
	"log/slog"

	"github.com/pressly/goose/v3"
)

// Provider opens the migrations of a file for tests that go down.
func Provider(ctx context.Context, path string) (*sql.DB, *goose.Provider, error) {
	db, err := connect(ctx, path, 1, false)
	if err != nil {
		return nil, nil, err
	}
	p, err := provider(db, slog.New(slog.DiscardHandler))
	return db, p, err
}

// How Claim looks for work: for what has begun, and for whose turn it is.
const (
	DueQuery   = due
	AheadQuery = ahead
)

// Writing is the writer's connection inside a transaction.
type Writing struct {
	Exec func(q string, args ...any) (int64, error)
	Get  func(q string, dest ...any) error
}

// Write runs f on the writer's connection.
func (s *Store) Write(ctx context.Context, f func(w Writing) error) error {
	return s.write(ctx, "test", func(ctx context.Context, t *tx) error {
		return f(Writing{
			Exec: func(q string, args ...any) (int64, error) { return t.exec(ctx, q, args...) },
			Get:  func(q string, dest ...any) error { return t.get(ctx, q, nil, dest...) },
		})
	})
}

// Get reads one row from the read pool.
func (s *Store) Get(ctx context.Context, q string, dest ...any) error {
	return s.read.get(ctx, q, nil, dest...)
}

// Room bounds the file to n pages more than it has, as a disk that is nearly
// full does.
func (s *Store) Room(ctx context.Context, n int64) error {
	return s.Write(ctx, func(w Writing) error {
		var pages, limit int64
		if err := w.Get(`PRAGMA page_count`, &pages); err != nil {
			return err
		}
		return w.Get(fmt.Sprintf(`PRAGMA max_page_count = %d`, pages+n), &limit)
	})
}
