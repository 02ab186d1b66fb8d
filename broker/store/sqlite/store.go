package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net/url"
	"os"
	"time"

	_ "modernc.org/sqlite" // registers the driver "sqlite"
)

// readers is the size of the read pool.
const readers = 4

// Config says where the record is.
type Config struct {
	Path string           // of the file; made when it is not there
	Now  func() time.Time // time.Now
	Log  *slog.Logger     // discards
	// Committed is told how many requests shared a COMMIT and how long it took,
	// and of each write that the disk did not take, with its error. It is called
	// from several goroutines and must not block. Nil does nothing.
	Committed func(requests int, took time.Duration, err error)
}

// Store is the record. It is safe for concurrent use by one process.
type Store struct {
	now    func() time.Time
	log    *slog.Logger
	read   *pool
	writer *writer
	wdb    *sql.DB
}

// Open opens or makes the file, brings its schema up to date and starts the
// writer. A file of a newer version of Valico is refused.
func Open(ctx context.Context, c Config) (*Store, error) {
	if c.Path == "" {
		return nil, errors.New("sqlite: a path is required")
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.Committed == nil {
		c.Committed = func(int, time.Duration, error) {}
	}
	if err := private(c.Path); err != nil {
		return nil, err
	}
	wdb, err := connect(ctx, c.Path, 1, false)
	if err != nil {
		return nil, err
	}
	if err := migrate(ctx, wdb, c.Log); err != nil {
		return nil, errors.Join(err, wdb.Close())
	}
	rdb, err := connect(ctx, c.Path, readers, true)
	if err != nil {
		return nil, errors.Join(err, wdb.Close())
	}
	w, err := newWriter(ctx, wdb, c.Committed)
	if err != nil {
		return nil, errors.Join(err, rdb.Close(), wdb.Close())
	}
	return &Store{now: c.Now, log: c.Log, read: newPool(rdb), writer: w, wdb: wdb}, nil
}

// Close finishes the writes that were accepted, refuses new ones and closes the
// file. Closing twice is no error.
func (s *Store) Close() error {
	s.writer.close()
	return errors.Join(s.read.close(), s.wdb.Close())
}

// private makes the file readable by its owner alone: it holds salts and keys.
func private(path string) error {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600) //nolint:gosec // the operator names the file
	if err != nil {
		return fmt.Errorf("open the record: %w", err)
	}
	if err := f.Close(); err != nil {
		return fmt.Errorf("open the record: %w", err)
	}
	for _, p := range []string{path, path + "-wal", path + "-shm"} {
		if err := os.Chmod(p, 0o600); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("keep the record private: %w", err)
		}
	}
	return nil
}

// connect opens a pool of n connections and makes sure that the file is as
// durable as promised.
func connect(ctx context.Context, path string, n int, readOnly bool) (*sql.DB, error) {
	// temp_store(2): what a savepoint may have to undo is kept in memory; in a
	// temporary file it cost 40 % of an admission's processor time.
	q := url.Values{"_txlock": {"immediate"}, "_pragma": {
		"busy_timeout(10000)", "journal_mode(WAL)", "synchronous(FULL)", "foreign_keys(1)", "trusted_schema(0)",
		"temp_store(2)", "cache_size(-32000)",
	}}
	if readOnly {
		q.Add("_pragma", "query_only(1)")
	}
	u := url.URL{Scheme: "file", Opaque: (&url.URL{Path: path}).EscapedPath(), RawQuery: q.Encode()}
	db, err := sql.Open("sqlite", u.String())
	if err != nil {
		return nil, fmt.Errorf("open the record: %w", err)
	}
	db.SetMaxOpenConns(n)
	db.SetMaxIdleConns(n)
	db.SetConnMaxLifetime(0)
	if err := durable(ctx, db); err != nil {
		return nil, errors.Join(err, db.Close())
	}
	return db, nil
}

func durable(ctx context.Context, db *sql.DB) error {
	for pragma, want := range map[string]string{"journal_mode": "wal", "synchronous": "2", "foreign_keys": "1"} {
		var got string
		if err := db.QueryRowContext(ctx, "PRAGMA "+pragma).Scan(&got); err != nil {
			return fmt.Errorf("open the record: %w", translate("read a setting", err))
		}
		if got != want {
			return fmt.Errorf("open the record: %s is %q, must be %q", pragma, got, want)
		}
	}
	return nil
}
