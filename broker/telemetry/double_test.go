package telemetry_test

import (
	"context"
	"fmt"
	"maps"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/stretchr/testify/require"

	"github.com/valico-hpc/valico/broker"
	"github.com/valico-hpc/valico/broker/telemetry"
)

// record is a projection and an outbox in memory that keeps the contract of
// the ports: one high-water mark per source, no gaps, all or nothing.
type record struct {
	mu     sync.Mutex
	high   map[string]uint64
	events []broker.Event
	calls  int
	fail   error
	refuse broker.AttemptID

	outbox []broker.OutboxEvent
	sent   map[int64]bool
}

func newRecord() *record { return &record{high: map[string]uint64{}, sent: map[int64]bool{}} }

func (r *record) ApplyEvents(_ context.Context, es []broker.Event) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.calls++
	if r.fail != nil {
		return 0, r.fail
	}
	high, fresh := map[string]uint64{}, []broker.Event{}
	for _, e := range es {
		if e.Attempt == r.refuse && r.refuse != "" {
			return 0, broker.NotFound("attempt", string(e.Attempt))
		}
		key := fmt.Sprintf("%s/%s/%s", e.Job, e.Attempt, e.Source)
		have, ok := high[key]
		if !ok {
			have = r.high[key]
		}
		switch {
		case e.Seq <= have:
			continue
		case e.Seq > have+1:
			return 0, &broker.Error{Kind: broker.KindConflict, Code: telemetry.CodeGap, Message: "a gap"}
		}
		high[key] = e.Seq
		fresh = append(fresh, e)
	}
	maps.Copy(r.high, high)
	r.events = append(r.events, fresh...)
	return len(fresh), nil
}

func (r *record) Outbox(_ context.Context, limit int) ([]broker.OutboxEvent, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	var out []broker.OutboxEvent
	for _, o := range r.outbox {
		if !r.sent[o.ID] && len(out) < limit {
			out = append(out, o)
		}
	}
	return out, nil
}

func (r *record) OutboxSent(_ context.Context, ids []int64) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, id := range ids {
		r.sent[id] = true
	}
	return nil
}

func (r *record) len() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.events)
}

// seqs lists the numbers applied of one attempt, in order of application.
func (r *record) seqs(id broker.AttemptID) []uint64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	var out []uint64
	for _, e := range r.events {
		if e.Attempt == id {
			out = append(out, e.Seq)
		}
	}
	return out
}

func upTo(n int) []uint64 {
	out := make([]uint64, n)
	for i := range out {
		out[i] = uint64(i + 1)
	}
	return out
}

func siteEvents(attempt broker.AttemptID, from, to int) []broker.Event {
	var out []broker.Event
	for i := from; i <= to; i++ {
		out = append(out, broker.Event{
			Tenant: "ten_a", Job: "job_a", Attempt: attempt, Site: "site_a", Source: telemetry.SourceSite, Seq: uint64(i),
			Kind: broker.EventMetric, Name: "loss", Value: 1 / float64(i), Step: int64(i), At: time.UnixMicro(int64(i)).UTC(),
		})
	}
	return out
}

// bench is a running server with everything connected to it.
type bench struct {
	srv  *telemetry.Server
	hub  *telemetry.Hub
	rec  *record
	proj *telemetry.Projector
	site *telemetry.Publisher
	conn *nats.Conn // the broker's
}

func serve(t *testing.T) *telemetry.Server {
	t.Helper()
	srv, err := telemetry.NewServer(telemetry.ServerConfig{Dir: t.TempDir(), NoSync: true})
	require.NoError(t, err)
	require.NoError(t, srv.Start(t.Context()))
	t.Cleanup(srv.Close)
	return srv
}

// setup starts a server and makes the streams; the projector does not run yet.
func setup(t *testing.T, c telemetry.ProjectorConfig) *bench {
	t.Helper()
	srv := serve(t)
	conn, err := srv.Connect(t.Context())
	require.NoError(t, err)
	t.Cleanup(conn.Close)
	js, err := jetstream.New(conn)
	require.NoError(t, err)
	require.NoError(t, telemetry.EnsureStreams(t.Context(), js, c.Streams))
	b := &bench{srv: srv, hub: &telemetry.Hub{}, rec: newRecord(), conn: conn}
	b.proj, err = telemetry.NewProjector(conn, b.rec, b.hub, c)
	require.NoError(t, err)
	b.site = publisher(t, srv, "site_a")
	return b
}

func publisher(t *testing.T, srv *telemetry.Server, id broker.SiteID) *telemetry.Publisher {
	t.Helper()
	conn, err := srv.ConnectSite(t.Context(), id)
	require.NoError(t, err)
	t.Cleanup(conn.Close)
	p, err := telemetry.NewPublisher(conn)
	require.NoError(t, err)
	return p
}

// run runs something until the test ends, or until the function returned.
func run(t *testing.T, r interface{ Run(context.Context) error }) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- r.Run(ctx) }()
	var once sync.Once
	stop = func() {
		once.Do(func() {
			cancel()
			require.ErrorIs(t, <-done, context.Canceled)
		})
	}
	t.Cleanup(stop)
	return stop
}

// publish sends until it is acknowledged, as agents do.
func publish(t *testing.T, p *telemetry.Publisher, es []broker.Event) {
	t.Helper()
	require.Eventually(t, func() bool { return p.Publish(t.Context(), es) == nil }, time.Minute, 20*time.Millisecond)
}

func eventually(t *testing.T, ok func() bool, msg ...any) {
	t.Helper()
	require.Eventually(t, ok, time.Minute, 10*time.Millisecond, msg...)
}
