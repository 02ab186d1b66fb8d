package app_test

import (
	"bufio"
	"context"
	"database/sql"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/valico-hpc/valico/broker"
	"github.com/valico-hpc/valico/broker/client"
	"github.com/valico-hpc/valico/broker/jobspec"
	"github.com/valico-hpc/valico/cmd/valico/demo"
	"github.com/valico-hpc/valico/images/layer"
)

// BenchmarkAdmission compares the processor time that the process `valico
// serve` takes for a decision over HTTP, asked for by 32 clients in this
// process, with that of its bare parts (see parts). of_parts is parts divided
// by broker, which the project holds to at least 0.4.
//
// Every request has its own idempotency key and its own job. verdict=allow
// counts admission, reservation, attempt, events and their way through NATS
// into the projection, but not dispatch: this process holds the lock of the
// tenant's image index, so that packaging, the first step of dispatch, waits.
// verdict=deny is a job that its permit does not cover, for four reasons.
func BenchmarkAdmission(b *testing.B) {
	for _, verdict := range []string{"allow", "deny"} {
		b.Run("verdict="+verdict, func(b *testing.B) {
			const clients, round, rounds = 32, 256, 4
			s := serve(b)
			spec := s.spec(b)
			if verdict == "deny" {
				spec.Purpose.Code, spec.Activity, spec.Datasets[0].PURI = "53(1)(d)", "validate", demo.DatasetPrefix+"another"
			}
			ask := s.clients(b, clients)
			s.holdDispatch(b)
			decide := func(n int) {
				require.NoError(b, inParallel(n, clients, func(c int) error { return submit(b.Context(), ask[c], spec, verdict) }))
				s.settle(b)
			}
			decide(4 * round)
			input, bytes := s.recorded(b, verdict)
			bare := newParts(b)
			var used time.Duration
			n := 0
			for b.Loop() {
				for range rounds { // in turns, so that both meet the same machine
					before := s.cpu(b)
					decide(round)
					used += s.cpu(b) - before
					n += round
					bare.measure(b, round, clients, input, bytes)
				}
			}
			b.Logf("input %d bytes, recorded %d bytes", len(input), bytes)
			bare.report(b, used, n, "of_parts")
		})
	}
}

// submit asks for a job of its own and expects a verdict.
func submit(ctx context.Context, c *client.Client, spec broker.JobSpec, verdict string) error {
	key := string(broker.NewID[broker.JobID]("key"))
	spec.Name = strings.ReplaceAll(key, "_", "-")
	job, err := c.Submit(ctx, spec, key)
	switch {
	case verdict == "deny" && broker.KindOf(err) == broker.KindNotAdmitted:
		return nil
	case verdict == "allow" && err == nil && job.State == string(broker.JobAdmitted):
		return nil
	}
	return fmt.Errorf("state %q, want %s: %w", job.State, verdict, err)
}

// served is a broker in a process of its own, with the story's world.
type served struct {
	*demo.World
	pid  int
	data string
}

// serve builds the commands and starts `valico serve`.
func serve(b *testing.B) *served {
	b.Helper()
	dir := b.TempDir()
	authority, err := demo.NewAuthority(dir)
	require.NoError(b, err)
	data := filepath.Join(dir, "broker")
	log, err := os.Create(filepath.Join(dir, "log"))
	require.NoError(b, err)
	c := exec.Command(filepath.Join(commands(b), "valico"), "serve", "--data-dir", data, "--listen", "127.0.0.1:0",
		"--authorities", authority.AuthoritiesFile())
	c.Stderr = log
	out, err := c.StdoutPipe()
	require.NoError(b, err)
	require.NoError(b, c.Start())
	b.Cleanup(func() {
		_ = c.Process.Kill() // what it holds is thrown away with its folder
		_ = c.Wait()
		_ = log.Close()
	})
	line, err := bufio.NewReader(out).ReadString('\n')
	require.NoError(b, err)
	go io.Copy(io.Discard, out) //nolint:errcheck // ends with the process
	site, err := demo.LocalSite()
	require.NoError(b, err)
	w, err := demo.Prepare(b.Context(), demo.WorldConfig{
		Dir: dir, URL: strings.TrimSpace(strings.TrimPrefix(line, "serving ")), OperatorToken: filepath.Join(data, "operator.token"),
		Authority: authority, Site: site, DataDir: filepath.Join(dir, "cohort"), GPUHours: 1000,
	})
	require.NoError(b, err)
	return &served{World: w, pid: c.Process.Pid, data: data}
}

var built struct {
	once sync.Once
	dir  string
	err  error
}

// commands builds both commands once, as they ship.
func commands(tb testing.TB) string {
	tb.Helper()
	built.once.Do(func() {
		if built.dir, built.err = os.MkdirTemp("", "valico-bench-"); built.err != nil { //nolint:usetesting // it outlives the benchmark; TestMain removes it
			return
		}
		c := exec.Command("go", "build", "-trimpath", "-o", built.dir+"/", "github.com/valico-hpc/valico/cmd/valico", "github.com/valico-hpc/valico/cmd/valico-exec")
		c.Env = append(os.Environ(), "CGO_ENABLED=0")
		if out, err := c.CombinedOutput(); err != nil {
			built.err = fmt.Errorf("%w: %s", err, out)
		}
	})
	require.NoError(tb, built.err)
	return built.dir
}

// clients are so many clients of the developer, each with its own connection.
func (s *served) clients(b *testing.B, n int) []*client.Client {
	b.Helper()
	token, err := os.ReadFile(s.TokenFile(demo.Developer))
	require.NoError(b, err)
	out := make([]*client.Client, n)
	for i := range out {
		transport := &http.Transport{}
		b.Cleanup(transport.CloseIdleConnections)
		out[i], err = client.New(client.Config{
			Server: s.URL, Token: broker.Secret(strings.TrimSpace(string(token))), HTTP: &http.Client{Transport: transport},
		})
		require.NoError(b, err)
	}
	return out
}

// spec is a job that the permit covers, with a small layer that the broker has.
func (s *served) spec(b *testing.B) broker.JobSpec {
	b.Helper()
	file, err := jobspec.ParseYAML([]byte(demo.JobFile{Permit: s.Permit.ID, Site: "local", Epochs: 3, Walltime: 2 * time.Minute}.YAML()))
	require.NoError(b, err)
	src := b.TempDir()
	require.NoError(b, os.WriteFile(filepath.Join(src, "trainer"), random(1000), 0o700))
	cut := filepath.Join(b.TempDir(), "layer")
	f, err := os.Create(cut)
	require.NoError(b, err)
	l, err := layer.Cut(b.Context(), f, src, layer.Options{})
	require.NoError(b, err)
	require.NoError(b, f.Close())
	require.NoError(b, s.Client(demo.Developer).PutBlob(b.Context(), broker.Digest(l.Digest), l.SizeBytes,
		func() (io.ReadCloser, error) { return os.Open(cut) }))
	return file.Spec([]broker.Layer{{
		Class: "source", MediaType: l.MediaType, Digest: broker.Digest(l.Digest), DiffID: broker.Digest(l.DiffID), SizeBytes: l.SizeBytes,
	}}, "none")
}

// holdDispatch locks the index of the tenant's image store until the end.
func (s *served) holdDispatch(b *testing.B) {
	b.Helper()
	found, err := filepath.Glob(filepath.Join(s.data, "images", "*", "index.lock"))
	require.NoError(b, err)
	require.Len(b, found, 1)
	f, err := os.OpenFile(found[0], os.O_RDWR, 0)
	require.NoError(b, err)
	require.NoError(b, syscall.Flock(int(f.Fd()), syscall.LOCK_EX))
	b.Cleanup(func() { _ = f.Close() }) // after the broker's end: cleanups run last in, first out
}

// cpu is the user and system time of the broker so far, in ticks of 10 ms.
func (s *served) cpu(b *testing.B) time.Duration {
	b.Helper()
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", s.pid))
	require.NoError(b, err)
	f := strings.Fields(string(stat[strings.LastIndexByte(string(stat), ')')+1:]))
	var ticks int64
	for _, s := range f[11:13] { // utime and stime: fields 14 and 15, see proc_pid_stat(5)
		n, err := strconv.ParseInt(s, 10, 64)
		require.NoError(b, err)
		ticks += n
	}
	return time.Duration(ticks) * 10 * time.Millisecond
}

// settle waits until every event of the broker is in its projection, so that
// no work of one round is counted in the next, or not at all.
func (s *served) settle(b *testing.B) {
	b.Helper()
	db := s.record(b)
	defer db.Close() //nolint:errcheck // read only
	require.Eventually(b, func() bool {
		var n int
		require.NoError(b, db.QueryRowContext(b.Context(), `SELECT count(*) FROM outbox`).Scan(&n))
		return n == 0
	}, time.Minute, 20*time.Millisecond)
}

// record opens the broker's record to look at it.
func (s *served) record(b *testing.B) *sql.DB {
	b.Helper()
	u := url.URL{Scheme: "file", Opaque: filepath.Join(s.data, "broker.db"), RawQuery: "mode=ro&_pragma=busy_timeout(5000)"}
	db, err := sql.Open("sqlite", u.String())
	require.NoError(b, err)
	return db
}

// recorded is the input of one decision and how many bytes it left in the
// record: everything but the keys of rows and indexes.
func (s *served) recorded(b *testing.B, verdict string) (input []byte, size int) {
	b.Helper()
	db := s.record(b)
	defer db.Close() //nolint:errcheck // read only
	require.NoError(b, db.QueryRowContext(b.Context(), `SELECT d.input,
		length(j.spec) + length(d.input) + length(d.reasons) + length(l.document) + length(l.record) + length(l.salt) + length(l.leaf)
		FROM decision d JOIN job j ON j.id = d.job_id JOIN ledger_row l ON l.idx = d.ledger_index WHERE d.verdict = ? LIMIT 1`, verdict).
		Scan(&input, &size))
	return input, size
}
