package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"sync"
	"time"
)

// querier reads: inside the writer's transaction or from the read pool. Its
// statements are compiled once, so queries must be constant texts.
type querier interface {
	// get scans the only row into dest; sql.ErrNoRows when there is none.
	get(ctx context.Context, q string, args []any, dest ...any) error
	// each calls f for every row; f scans.
	each(ctx context.Context, q string, args []any, f func(scanner) error) error
}

// statements are the compiled texts of a pool or a connection, kept until it
// is closed. They are a fixed set, since every text is constant.
type statements struct {
	compile func(ctx context.Context, q string) (*sql.Stmt, error)
	mu      sync.Mutex
	known   map[string]*sql.Stmt
}

func newStatements(compile func(context.Context, string) (*sql.Stmt, error)) *statements {
	return &statements{compile: compile, known: map[string]*sql.Stmt{}}
}

func (p *statements) prepare(ctx context.Context, q string) (*sql.Stmt, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if s := p.known[q]; s != nil {
		return s, nil
	}
	s, err := p.compile(ctx, q) //nolint:sqlclosecheck // kept, see statements
	if err != nil {
		return nil, err
	}
	p.known[q] = s
	return s, nil
}

func (p *statements) get(ctx context.Context, q string, args []any, dest ...any) error {
	s, err := p.prepare(ctx, q) //nolint:sqlclosecheck // kept, see statements
	if err != nil {
		return err
	}
	return s.QueryRowContext(ctx, args...).Scan(dest...)
}

func (p *statements) each(ctx context.Context, q string, args []any, f func(scanner) error) error {
	s, err := p.prepare(ctx, q) //nolint:sqlclosecheck // kept, see statements
	if err != nil {
		return err
	}
	rows, err := s.QueryContext(ctx, args...)
	if err != nil {
		return err
	}
	return drain(rows, f)
}

// pool is the read side.
type pool struct {
	*statements
	db *sql.DB
}

func newPool(db *sql.DB) *pool { return &pool{statements: newStatements(db.PrepareContext), db: db} }

func (p *pool) close() error { return p.db.Close() }

// tx is the write side: the writer's connection inside a transaction.
type tx struct{ *statements }

// exec runs a statement and returns how many rows it changed.
func (t *tx) exec(ctx context.Context, q string, args ...any) (int64, error) {
	s, err := t.prepare(ctx, q) //nolint:sqlclosecheck // kept, see statements
	if err != nil {
		return 0, err
	}
	r, err := s.ExecContext(ctx, args...)
	if err != nil {
		return 0, err
	}
	return r.RowsAffected()
}

func drain(rows *sql.Rows, f func(scanner) error) error {
	for rows.Next() {
		if err := f(rows.Scan); err != nil {
			return errors.Join(err, rows.Close())
		}
	}
	return errors.Join(rows.Err(), rows.Close())
}

// micros is how a time is stored; the zero time is NULL.
func micros(t time.Time) any {
	if t.IsZero() {
		return nil
	}
	return t.UnixMicro()
}

// moment reads what micros wrote.
func moment(n sql.NullInt64) time.Time {
	if !n.Valid {
		return time.Time{}
	}
	return time.UnixMicro(n.Int64).UTC()
}

// null stores "" as NULL.
func null[T ~string](s T) any {
	if s == "" {
		return nil
	}
	return string(s)
}

// nullBytes stores no bytes as NULL.
func nullBytes(b []byte) any {
	if len(b) == 0 {
		return nil
	}
	return b
}

// scanner is the Scan of one row.
type scanner func(...any) error

// list runs a query and reads every row.
func list[T any](ctx context.Context, q querier, query string, args []any, read func(scanner) (T, error)) ([]T, error) {
	var out []T
	err := q.each(ctx, query, args, func(scan scanner) error {
		v, err := read(scan)
		out = append(out, v)
		return err
	})
	return out, err
}

// only runs a query and reads its first row; sql.ErrNoRows when there is none.
func only[T any](ctx context.Context, q querier, query string, args []any, read func(scanner) (T, error)) (T, error) {
	out, err := list(ctx, q, query, args, read)
	if err == nil && len(out) == 0 {
		err = sql.ErrNoRows
	}
	if err != nil {
		var zero T
		return zero, err
	}
	return out[0], nil
}
