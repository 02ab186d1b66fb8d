package app_test

import (
	"bytes"
	"context"
	"crypto"
	"crypto/rand"
	"crypto/sha256"
	"database/sql"
	"encoding/json"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"runtime/debug"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/rego"
	"github.com/open-policy-agent/opa/v1/storage/inmem"
	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"
	_ "modernc.org/sqlite" // the driver of the bare writes

	"github.com/valico-hpc/valico/images/dsse"
)

// selfCPU is the user and system time of this process so far.
func selfCPU(tb testing.TB) time.Duration {
	tb.Helper()
	var r syscall.Rusage
	require.NoError(tb, syscall.Getrusage(syscall.RUSAGE_SELF, &r))
	return time.Duration(r.Utime.Nano() + r.Stime.Nano())
}

// cpuOf is the processor time that f takes in this process, the collector's
// share with it.
func cpuOf(tb testing.TB, f func() error) time.Duration {
	tb.Helper()
	before := selfCPU(tb)
	require.NoError(tb, f())
	return selfCPU(tb) - before
}

// parts are what no broker can do without for one decision, each as bare as it
// can be had:
//
//   - evaluation: the canonical input is read by OPA's own reader and a
//     prepared query asks the same packs, compiled from the same files; the
//     strict reading of input and answer is not in it. How much of it is the
//     reading alone is logged;
//   - write: one row of as many bytes as the decision left in the record,
//     SQLite in WAL mode with synchronous=FULL, one COMMIT for all callers that
//     wait (at most 64), as many callers as the decisions had;
//   - signature: one of ECDSA P-256 over a digest.
//
// The collector is set as `valico serve` sets it, so that neither side wins by
// collecting less often.
type parts struct {
	query rego.PreparedEvalQuery
	db    *sql.DB
	key   crypto.Signer

	evaluation, reading, write, signature time.Duration
	n                                     int
}

func newParts(tb testing.TB) *parts {
	tb.Helper()
	usual := debug.SetGCPercent(400)
	tb.Cleanup(func() { debug.SetGCPercent(usual) })
	p := &parts{query: barePolicy(tb)}
	u := url.URL{Scheme: "file", Opaque: filepath.Join(tb.TempDir(), "bare.db"), RawQuery: url.Values{
		"_txlock": {"immediate"}, "_pragma": {"journal_mode(WAL)", "synchronous(FULL)"},
	}.Encode()}
	var err error
	p.db, err = sql.Open("sqlite", u.String())
	require.NoError(tb, err)
	tb.Cleanup(func() { _ = p.db.Close() })
	p.db.SetMaxOpenConns(1)
	_, err = p.db.ExecContext(tb.Context(), `CREATE TABLE bare (id INTEGER PRIMARY KEY, b BLOB NOT NULL)`)
	require.NoError(tb, err)
	p.key, err = dsse.GenerateKey()
	require.NoError(tb, err)
	return p
}

// barePolicy prepares the question that package policy asks, from its sources.
func barePolicy(tb testing.TB) rego.PreparedEvalQuery {
	tb.Helper()
	dir := filepath.Join("..", "..", "..", "policy", "rego")
	b, err := os.ReadFile(filepath.Join(dir, "capabilities.json"))
	require.NoError(tb, err)
	caps, err := ast.LoadCapabilitiesJSON(bytes.NewReader(b))
	require.NoError(tb, err)
	files, err := filepath.Glob(filepath.Join(dir, "*", "*.rego"))
	require.NoError(tb, err)
	modules := map[string]*ast.Module{}
	for _, f := range files {
		if strings.HasSuffix(f, "_test.rego") {
			continue
		}
		b, err := os.ReadFile(f)
		require.NoError(tb, err)
		modules[f], err = ast.ParseModuleWithOpts(f, string(b), ast.ParserOptions{Capabilities: caps, RegoVersion: ast.RegoV1})
		require.NoError(tb, err)
	}
	c := ast.NewCompiler().WithStrict(true).WithCapabilities(caps)
	c.Compile(modules)
	require.False(tb, c.Failed(), "%v", c.Errors)
	b, err = os.ReadFile(filepath.Join(dir, "site", "data.json"))
	require.NoError(tb, err)
	var data map[string]any
	require.NoError(tb, json.Unmarshal(b, &data))
	q, err := rego.New(
		rego.Query(`decisions := {"eu": data.eu.decision, "sandbox": data.sandbox.decision, "site": data.site.decision}`),
		rego.Compiler(c),
		rego.Store(inmem.NewFromObjectWithOpts(map[string]any{"site": data}, inmem.OptReturnASTValuesOnRead(true))),
	).PrepareForEval(tb.Context())
	require.NoError(tb, err)
	return q
}

// measure does n of each part.
func (p *parts) measure(tb testing.TB, n, callers int, input []byte, recordBytes int) {
	tb.Helper()
	ctx := tb.Context()
	p.n += n
	p.evaluation += cpuOf(tb, func() error { return inParallel(n, 1, func(int) error { return p.evaluate(ctx, input) }) })
	p.reading += cpuOf(tb, func() error {
		return inParallel(n, 1, func(int) error {
			_, err := ast.ValueFromReader(bytes.NewReader(input))
			return err
		})
	})
	p.write += cpuOf(tb, func() error { return p.groupCommit(ctx, n, callers, random(recordBytes)) })
	digest := sha256.Sum256(input)
	p.signature += cpuOf(tb, func() error {
		return inParallel(n, 1, func(int) error {
			_, err := p.key.Sign(rand.Reader, digest[:], crypto.SHA256)
			return err
		})
	})
}

func (p *parts) evaluate(ctx context.Context, input []byte) error {
	v, err := ast.ValueFromReader(bytes.NewReader(input))
	if err != nil {
		return err
	}
	rs, err := p.query.Eval(ctx, rego.EvalParsedInput(v))
	if err == nil && len(rs) != 1 {
		err = fmt.Errorf("%d answers", len(rs))
	}
	return err
}

// groupCommit writes n rows for so many callers, each of which waits until its
// row is on disk.
func (p *parts) groupCommit(ctx context.Context, n, callers int, row []byte) error {
	queue := make(chan chan error, callers)
	go func() {
		for first := range queue {
			waiting := []chan error{first}
			for more := true; more && len(waiting) < 64; {
				select {
				case next, open := <-queue:
					if more = open; open {
						waiting = append(waiting, next)
					}
				default:
					more = false
				}
			}
			err := p.commit(ctx, len(waiting), row)
			for _, w := range waiting {
				w <- err
			}
		}
	}()
	defer close(queue)
	return inParallel(n, callers, func(int) error {
		done := make(chan error, 1)
		queue <- done
		return <-done
	})
}

func (p *parts) commit(ctx context.Context, rows int, row []byte) error {
	tx, err := p.db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer tx.Rollback() //nolint:errcheck // does nothing after the commit
	insert, err := tx.PrepareContext(ctx, `INSERT INTO bare (b) VALUES (?)`)
	if err != nil {
		return err
	}
	defer insert.Close() //nolint:errcheck // ends with its transaction
	for range rows {
		if _, err := insert.ExecContext(ctx, row); err != nil {
			return err
		}
	}
	return tx.Commit()
}

// report gives the ratio of the parts' processor time to the decisions', each
// for one decision.
func (p *parts) report(b *testing.B, decisions time.Duration, n int, name string) {
	b.Helper()
	each := func(d time.Duration, n int) time.Duration { return d / time.Duration(n) }
	bare := each(p.evaluation, p.n) + each(p.write, p.n) + each(p.signature, p.n)
	one := each(decisions, n)
	b.ReportMetric(float64(bare)/float64(one), name)
	b.ReportMetric(float64(time.Second)/float64(one), "decisions/cpu-s")
	b.Logf("%d decisions, CPU for one: %v; bare parts %v: evaluation %v (reading %v), write %v, signature %v; ratio %.2f (at least 0.4)", n, one, bare,
		each(p.evaluation, p.n), each(p.reading, p.n), each(p.write, p.n), each(p.signature, p.n), float64(bare)/float64(one))
}

// inParallel calls f n times from so many goroutines, each of which calls again
// as soon as it may.
func inParallel(n, callers int, f func(caller int) error) error {
	var g errgroup.Group
	for c := range callers {
		g.Go(func() error {
			for i := c; i < n; i += callers {
				if err := f(c); err != nil {
					return err
				}
			}
			return nil
		})
	}
	return g.Wait()
}

func random(n int) []byte {
	b := make([]byte, n)
	_, _ = rand.Read(b) // crypto/rand.Read never returns an error
	return b
}
