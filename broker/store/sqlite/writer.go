package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"runtime"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"github.com/valico-hpc/valico/broker"
)

const (
	batchSize = 64  // requests that share one COMMIT
	queueSize = 256 // requests that wait before a caller is held up
)

// The life of a request: whoever moves it out of waiting decides.
const (
	waiting   int32 = iota
	taken           // by the writer; the caller waits for the outcome
	withdrawn       // by its caller, who no longer waits
)

// request is one write. Its function may run twice when its batch failed, and
// therefore sets results and changes nothing else.
type request struct {
	ctx   context.Context //nolint:containedctx // the caller's, for its values; it lives as long as the call
	f     func(ctx context.Context, t *tx) error
	state atomic.Int32
	done  chan error // buffered
}

// writer owns the one connection that writes.
type writer struct {
	conn    *sql.Conn
	tx      *tx
	queue   chan *request
	closing chan struct{}
	once    sync.Once
	stopped chan struct{}
	// committed is told of each COMMIT; see Config.Committed.
	committed func(requests int, took time.Duration, err error)
}

var errClosed = errors.New("the record is closed")

func newWriter(ctx context.Context, db *sql.DB, committed func(int, time.Duration, error)) (*writer, error) {
	conn, err := db.Conn(ctx)
	if err != nil {
		return nil, fmt.Errorf("open the writer: %w", err)
	}
	w := &writer{
		conn: conn, tx: &tx{newStatements(conn.PrepareContext)},
		queue: make(chan *request, queueSize), closing: make(chan struct{}), stopped: make(chan struct{}),
		committed: committed,
	}
	go w.run() //nolint:contextcheck // it ends with close, not with the caller of Open
	return w, nil
}

// do runs f in a transaction and returns when it is on disk. A caller that
// gives up withdraws a request that has not begun.
func (w *writer) do(ctx context.Context, f func(ctx context.Context, t *tx) error) error {
	r := &request{ctx: ctx, f: f, done: make(chan error, 1)}
	select {
	case <-w.closing:
		return errClosed
	default:
	}
	select {
	case w.queue <- r:
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-w.closing:
		return errClosed
	}
	select {
	case err := <-r.done:
		return err
	case <-ctx.Done():
		if r.state.CompareAndSwap(waiting, withdrawn) {
			return context.Cause(ctx)
		}
	case <-w.stopped:
		// Queued after the last look of the writer: it will not be taken.
		if r.state.CompareAndSwap(waiting, withdrawn) {
			return errClosed
		}
	}
	return <-r.done
}

// close waits until every accepted request has its answer.
func (w *writer) close() {
	w.once.Do(func() { close(w.closing) })
	<-w.stopped
}

func (w *writer) run() {
	defer close(w.stopped)
	defer func() { _ = w.conn.Close() }() // the pool behind it reports what matters
	for {
		select {
		case r := <-w.queue:
			w.batch(r)
		case <-w.closing:
			w.last()
			return
		}
	}
}

// last takes what was queued before closing.
func (w *writer) last() {
	for {
		select {
		case r := <-w.queue:
			w.batch(r)
		default:
			return
		}
	}
}

// batch runs a request and those that come meanwhile in one transaction. When
// the transaction itself fails, each request runs again in one of its own, so
// that the one that broke it fails alone.
func (w *writer) batch(first *request) {
	if !first.take() {
		return
	}
	rs, errs, err := w.transact(first, batchSize)
	if err == nil {
		for i, r := range rs {
			r.done <- errs[i]
		}
		return
	}
	for _, r := range rs {
		if len(rs) > 1 {
			_, errs, err = w.transact(r, 1)
		}
		if err == nil {
			err = errs[0]
		}
		r.done <- err
		err = nil
	}
}

// take makes a request the writer's, unless its caller gave up.
func (r *request) take() bool { return r.state.CompareAndSwap(waiting, taken) }

// next is the next request that waits, nil when there is none. Before it says
// so, it lets whoever is ready to run go first: where processors are short, what
// they ask for shares the COMMIT, and where they are not, nothing is ready.
func (w *writer) next() *request {
	for yielded := false; ; {
		select {
		case r := <-w.queue:
			if r.take() {
				return r
			}
		default:
			if yielded {
				return nil
			}
			yielded = true
			runtime.Gosched()
		}
	}
}

// transact runs first, then at most limit-1 of those that wait, and commits. It
// returns the requests that it took with the outcome of each, or why none of
// them counts. Nothing in it listens to a caller's context: SQLite answers an
// interrupt by rolling the whole transaction back.
func (w *writer) transact(first *request, limit int) ([]*request, []error, error) {
	ctx, rs := context.Background(), []*request{first} // bounded by the disk; see above
	if err := w.plain(ctx, "BEGIN IMMEDIATE"); err != nil {
		return rs, nil, err
	}
	if err := w.call(first); err != nil { // nothing else has begun, so it needs no savepoint
		return rs, []error{w.rollback(ctx, err)}, nil
	}
	errs := []error{nil}
	for len(rs) < limit {
		r := w.next()
		if r == nil {
			break
		}
		rs = append(rs, r)
		failed, broken := w.one(ctx, r)
		if broken != nil {
			return rs, nil, w.rollback(ctx, broken)
		}
		errs = append(errs, failed)
	}
	began := time.Now()
	err := w.plain(ctx, "COMMIT")
	if err != nil {
		return rs, nil, w.rollback(ctx, err)
	}
	w.committed(len(rs), time.Since(began), nil)
	return rs, errs, nil
}

// one runs a request under its savepoint. The second error means that the
// transaction is not to be trusted any more.
func (w *writer) one(ctx context.Context, r *request) (failed, broken error) {
	if err := w.plain(ctx, "SAVEPOINT request"); err != nil {
		return nil, err
	}
	failed = w.call(r) //nolint:contextcheck // it runs under its own caller's values
	if failed != nil {
		// A full disk makes SQLite roll back everything, this savepoint included.
		if err := w.plain(ctx, "ROLLBACK TO request"); err != nil {
			return nil, errors.Join(failed, err)
		}
	}
	return failed, w.plain(ctx, "RELEASE request")
}

// call turns a panic of the request's function into its error.
func (w *writer) call(r *request) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = &broker.Error{
				Kind: broker.KindInternal, Code: "store_panic", Message: "the record met a mistake of ours; nothing was changed",
				Help: "report this with the request id", Who: "the broker's operator",
				Err: fmt.Errorf("panic in a write: %v\n%s", p, debug.Stack()),
			}
		}
	}()
	return r.f(context.WithoutCancel(r.ctx), w.tx)
}

func (w *writer) plain(ctx context.Context, q string) error {
	_, err := w.tx.exec(ctx, q)
	return err
}

// rollback ends a transaction that failed with err, if SQLite has not yet.
func (w *writer) rollback(ctx context.Context, err error) error {
	_ = w.plain(ctx, "ROLLBACK") // fails exactly when SQLite has rolled back already
	return err
}

// write runs f as one transaction of the record.
func (s *Store) write(ctx context.Context, op string, f func(ctx context.Context, t *tx) error) error {
	err := translate(op, s.writer.do(ctx, f))
	if broker.KindOf(err) == broker.KindUnavailable {
		s.writer.committed(0, 0, err)
	}
	return err
}
