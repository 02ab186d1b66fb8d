package dispatch_test

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"

	"github.com/valico-hpc/valico/broker"
	"github.com/valico-hpc/valico/broker/admission"
	"github.com/valico-hpc/valico/broker/dispatch"
	"github.com/valico-hpc/valico/broker/store/sqlite"
	"github.com/valico-hpc/valico/broker/store/storetest"
	"github.com/valico-hpc/valico/policy"
)

// The scale that the project is held to: active jobs in one broker, and running
// jobs that are cancelled together.
const (
	manyJobs    = 10_000
	cancelled   = 1_000
	stopLatency = 5 * time.Millisecond // of one cancellation at a scheduler
	stopsAtOnce = 16                   // that the scheduler works on
)

// world is a broker's loop over the real record, with neighbours that answer at
// once and a site that runs whatever it is given until it is told to stop.
type world struct {
	path  string
	store *sqlite.Store
	f     storetest.Fixture
	site  *running
	kick  func() // as a broker's interface does when a person cancels a job
}

// running is a site of attempts that run.
type running struct {
	mu       sync.Mutex
	live     map[broker.AttemptID]broker.AttemptState
	asked    map[broker.AttemptID]bool
	requests int
	slots    chan struct{}
}

func (s *running) Start(_ context.Context, o broker.SignedOrder) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.live[o.Order.Attempt] = broker.AttemptRunning
	return nil
}

func (s *running) Stop(ctx context.Context, id broker.AttemptID) error {
	s.slots <- struct{}{}
	defer func() { <-s.slots }()
	select {
	case <-time.After(stopLatency):
	case <-ctx.Done():
		return ctx.Err()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.live[id] = broker.AttemptDone
	return nil
}

func (s *running) Reports(_ context.Context, ids []broker.AttemptID) ([]broker.AttemptReport, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.requests++
	out := make([]broker.AttemptReport, 0, len(ids))
	for _, id := range ids {
		state, ok := s.live[id]
		if !ok {
			continue
		}
		s.asked[id] = true
		r := broker.AttemptReport{Attempt: id, State: state}
		if state == broker.AttemptDone {
			r.Outcome, r.Code = broker.OutcomeCancelled, "cancelled"
		}
		out = append(out, r)
	}
	return out, nil
}

// forget lets the site count anew what it was asked after.
func (s *running) forget() {
	s.mu.Lock()
	defer s.mu.Unlock()
	clear(s.asked)
	s.requests = 0
}

func (s *running) counts() (asked, requests int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.asked), s.requests
}

// An order is about as long as a real one with its evidence.
var evidence = []byte(strings.Repeat("e", 12<<10))

func (w *world) Package(context.Context, broker.TenantID, broker.ImageSpec) (dispatch.Packaged, error) {
	return dispatch.Packaged{Digest: storetest.Image()}, nil
}

func (w *world) Packaged(context.Context, broker.TenantID, broker.Digest) (dispatch.Packaged, error) {
	return dispatch.Packaged{Digest: storetest.Image(), View: policy.Image{}}, nil
}

func (w *world) Clear(ctx context.Context, r admission.ClearRequest) (admission.Cleared, error) {
	d, err := w.store.Clear(ctx, w.f.Clearance(dispatch.Claimed{Attempt: r.Attempt, Job: r.Job, Token: r.Token}, broker.VerdictAllow))
	return admission.Cleared{Decision: d, Account: "u1"}, err
}

func (w *world) Next(context.Context, broker.Job, broker.Attempt) (admission.Segment, error) {
	return admission.Segment{}, fmt.Errorf("no job here goes on")
}

func (w *world) Receipt(context.Context, int64) ([]byte, error) { return []byte("receipt"), nil }

func (w *world) Sign(_ context.Context, o broker.WorkOrder, _ broker.Evidence) (broker.SignedOrder, error) {
	return broker.SignedOrder{Order: o, Envelope: evidence}, nil
}

func (w *world) Encode(o broker.SignedOrder) ([]byte, error) { return json.Marshal(o) }

func (w *world) Decode(b []byte) (broker.SignedOrder, error) {
	var o broker.SignedOrder
	return o, json.Unmarshal(b, &o)
}

func newWorld(b *testing.B) *world {
	b.Helper()
	w := &world{path: filepath.Join(b.TempDir(), "valico.db"), site: &running{
		live: map[broker.AttemptID]broker.AttemptState{}, asked: map[broker.AttemptID]bool{}, slots: make(chan struct{}, stopsAtOnce),
	}}
	w.open(b)
	b.Cleanup(func() { require.NoError(b, w.store.Close()) })
	w.f = storetest.Fill(b, w.store, 1<<40)
	return w
}

func (w *world) open(b *testing.B) {
	b.Helper()
	var err error
	w.store, err = sqlite.Open(b.Context(), sqlite.Config{Path: w.path})
	require.NoError(b, err)
}

// run starts the loops; what it returns ends them.
func (w *world) run(b *testing.B, workers int) (stop func()) {
	b.Helper()
	d, err := dispatch.New(dispatch.Parts{
		Store: w.store, Clearer: w, Packager: w, Ledger: w, Signer: w, Codec: w,
		Site: func(broker.SiteID) (dispatch.Site, bool) { return w.site, true },
	}, dispatch.Config{Workers: workers})
	require.NoError(b, err)
	w.kick = d.Kick
	ctx, cancel := context.WithCancel(b.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = d.Run(ctx)
	}()
	return func() {
		cancel()
		<-done
	}
}

// fill admits n jobs and brings them to where they run.
func (w *world) fill(b *testing.B, n int) []broker.JobID {
	b.Helper()
	rs := make([]admission.AdmitRecord, n)
	ids := make([]broker.JobID, n)
	for i := range rs {
		rs[i] = w.f.Admission(b, broker.VerdictAllow, 1)
		ids[i] = rs[i].Job.ID
	}
	var g errgroup.Group
	g.SetLimit(64)
	for _, r := range rs {
		g.Go(func() error {
			_, _, err := w.store.Admit(b.Context(), r)
			return err
		})
	}
	require.NoError(b, g.Wait())
	stop := w.run(b, 64)
	defer stop()
	until(b, func() bool { return w.inState(b, "running") == n })
	return ids
}

func (w *world) inState(b *testing.B, state string) int {
	b.Helper()
	c, err := w.store.Census(b.Context())
	require.NoError(b, err)
	n := 0
	for _, a := range c.Attempts {
		if string(a.State) == state {
			n += int(a.N)
		}
	}
	return n
}

func until(b *testing.B, f func() bool) {
	b.Helper()
	require.Eventually(b, f, 5*time.Minute, 10*time.Millisecond)
}

// processor is the user and system time of this process so far.
func processor(b *testing.B) time.Duration {
	b.Helper()
	var r syscall.Rusage
	require.NoError(b, syscall.Getrusage(syscall.RUSAGE_SELF, &r))
	return time.Duration(r.Utime.Nano() + r.Stime.Nano())
}

// resident is the memory of this process, from proc_pid_status(5).
func resident(b *testing.B) int64 {
	b.Helper()
	status, err := os.ReadFile("/proc/self/status")
	require.NoError(b, err)
	for line := range strings.Lines(string(status)) {
		if f := strings.Fields(line); len(f) > 1 && f[0] == "VmRSS:" {
			n, err := strconv.ParseInt(f[1], 10, 64)
			require.NoError(b, err)
			return n << 10
		}
	}
	b.Fatal("no VmRSS")
	return 0
}

func heap() int64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// scan reads every column of the live attempts and their jobs, as bare as SQLite
// gives them: what a broker that starts anew cannot do without.
func (w *world) scan(b *testing.B) time.Duration {
	b.Helper()
	began := time.Now()
	u := url.URL{Scheme: "file", Opaque: w.path, RawQuery: "mode=ro&_pragma=busy_timeout(5000)"}
	db, err := sql.Open("sqlite", u.String())
	require.NoError(b, err)
	defer db.Close() //nolint:errcheck // read only
	rows, err := db.QueryContext(b.Context(), `SELECT a.*, j.* FROM attempt a JOIN job j ON j.id = a.job_id WHERE a.state NOT IN ('refused', 'done')`)
	require.NoError(b, err)
	defer rows.Close() //nolint:errcheck // read to the end
	cols, err := rows.Columns()
	require.NoError(b, err)
	dest := make([]any, len(cols))
	for i := range dest {
		dest[i] = new(sql.RawBytes)
	}
	n := 0
	for rows.Next() {
		require.NoError(b, rows.Scan(dest...))
		n++
	}
	require.NoError(b, rows.Err())
	require.Equal(b, manyJobs, n)
	return time.Since(began)
}

// BenchmarkManyActiveJobs holds 10,000 running jobs in one broker:
//
//   - heap and rss are what the process has with them;
//   - cpu/s is the processor time per second while nothing changes, and
//     requests/s how often the site is asked;
//   - recovery is from opening the record until each job was asked after, and
//     of_scan the time of a bare read of the same rows divided by it.
func BenchmarkManyActiveJobs(b *testing.B) {
	w := newWorld(b)
	w.fill(b, manyJobs)
	for b.Loop() {
		w.measure(b)
	}
}

func (w *world) measure(b *testing.B) {
	b.Helper()
	const idle = 20 * time.Second
	require.NoError(b, w.store.Close())
	bare := w.scan(b)
	w.site.forget()
	began := time.Now()
	w.open(b)
	require.NoError(b, w.store.Reclaim(b.Context()))
	stop := w.run(b, 4)
	until(b, func() bool {
		asked, _ := w.site.counts()
		return asked == manyJobs
	})
	recovery := time.Since(began)
	w.site.forget()
	before := processor(b)
	<-time.After(idle)
	cpu := processor(b) - before
	_, requests := w.site.counts()
	held := heap()
	b.ReportMetric(float64(held)/(1<<20), "heap-MiB")
	b.ReportMetric(float64(resident(b))/(1<<20), "rss-MiB")
	b.ReportMetric(cpu.Seconds()/idle.Seconds(), "cpu-s/s")
	b.ReportMetric(float64(requests)/idle.Seconds(), "requests/s")
	b.ReportMetric(recovery.Seconds(), "recovery-s")
	b.ReportMetric(bare.Seconds()/recovery.Seconds(), "of_scan")
	b.Logf("recovery %v, bare scan %v; idle processor %v in %v", recovery, bare, cpu, idle)
	stop()
}
