package link_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/stretchr/testify/require"

	"github.com/valico-hpc/valico/adapters/link"
	"github.com/valico-hpc/valico/broker"
	"github.com/valico-hpc/valico/broker/telemetry"
)

// idle is an agent that does nothing, so that only the link is measured.
type idle struct{ link.Agent }

func (idle) Start(context.Context, broker.SignedOrder) error { return nil }

func (idle) Stop(context.Context, broker.AttemptID) error { return nil }

func (idle) Reports(_ context.Context, ids []broker.AttemptID) ([]broker.AttemptReport, error) {
	out := make([]broker.AttemptReport, len(ids))
	for i, id := range ids {
		out[i] = broker.AttemptReport{Attempt: id, State: broker.AttemptRunning}
	}
	return out, nil
}

func benchWorld(b *testing.B) *world {
	b.Helper()
	w := newWorld(b)
	w.begin(idle{w.open()})
	require.Eventually(b, func() bool { _, err := w.site.Describe(b.Context()); return err == nil }, patience, 20*time.Millisecond)
	return w
}

// BenchmarkStart is one order over the link, its nonce on the disk, beside the
// same bytes as a bare request over the same connections.
func BenchmarkStart(b *testing.B) {
	w := benchWorld(b)
	o := w.issue("att_one")
	in := make([]byte, len(o.Envelope)+len(o.Evidence.Spec)+len(o.Evidence.Clearance)+8000)
	b.Run("link", func(b *testing.B) {
		for b.Loop() {
			require.NoError(b, w.site.Start(b.Context(), o))
		}
	})
	b.Run("link 16 at once", func(b *testing.B) {
		b.SetParallelism(8)
		b.RunParallel(func(pb *testing.PB) {
			for pb.Next() {
				if err := w.site.Start(b.Context(), o); err != nil {
					b.Error(err)
				}
			}
		})
	})
	b.Run("reports of 1000", func(b *testing.B) {
		ids := make([]broker.AttemptID, 1000)
		for i := range ids {
			ids[i] = broker.NewID[broker.AttemptID]("att")
		}
		for b.Loop() {
			_, err := w.site.Reports(b.Context(), ids)
			require.NoError(b, err)
		}
	})
	b.Run("bare", func(b *testing.B) {
		// A site may not answer elsewhere than for its own requests, so bare goes
		// between two connections of the broker's user, without TLS.
		far, err := w.srv.Connect(b.Context())
		require.NoError(b, err)
		defer far.Close()
		_, err = far.Subscribe("bare", func(m *nats.Msg) { _ = m.Respond([]byte("ok")) })
		require.NoError(b, err)
		require.NoError(b, far.Flush())
		for b.Loop() {
			_, err := w.conn.Request("bare", in, patience)
			require.NoError(b, err)
		}
	})
}

// BenchmarkTelemetry sends events through the link's connection, acknowledged,
// beside the same bytes by a bare asynchronous publisher on loopback.
func BenchmarkTelemetry(b *testing.B) {
	w := benchWorld(b)
	js, err := jetstream.New(w.conn)
	require.NoError(b, err)
	require.NoError(b, telemetry.EnsureStreams(b.Context(), js, telemetry.StreamConfig{}))
	const batch = 512
	events := func(n int, name string) (es []broker.Event) {
		for i := range batch {
			es = append(es, broker.Event{
				Tenant: "ten_one", Job: "job_one", Attempt: broker.AttemptID(fmt.Sprintf("att_%s_%d", name, n)), Site: siteID,
				Source: telemetry.SourceSite, Seq: uint64(i + 1), Kind: broker.EventMetric, Name: "loss", Value: 0.5, Step: int64(i), At: w.auth.Now,
			})
		}
		return es
	}
	b.Run("link", func(b *testing.B) {
		p, err := telemetry.NewPublisher(w.nc)
		require.NoError(b, err)
		n := 0
		for b.Loop() {
			n++
			require.NoError(b, p.Publish(b.Context(), events(n, fmt.Sprint(b.N))))
		}
		b.ReportMetric(float64(n*batch)/b.Elapsed().Seconds(), "events/s")
	})
	b.Run("bare", func(b *testing.B) {
		n := 0
		for b.Loop() {
			n++
			var last []jetstream.PubAckFuture
			for _, e := range events(n, "bare"+fmt.Sprint(b.N)) {
				body, err := telemetry.Encode(e)
				require.NoError(b, err)
				f, err := js.PublishAsync("tel.site_one.a.b.c.metric", body, jetstream.WithMsgID(fmt.Sprintf("%d/%s/%d", b.N, e.Attempt, e.Seq)))
				require.NoError(b, err)
				last = append(last, f)
			}
			for _, f := range last {
				select {
				case <-f.Ok():
				case err := <-f.Err():
					b.Fatal(err)
				}
			}
		}
		b.ReportMetric(float64(n*batch)/b.Elapsed().Seconds(), "events/s")
	})
}
