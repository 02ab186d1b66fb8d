package telemetry_test

import (
	"errors"
	"fmt"
	"log/slog"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/stretchr/testify/require"

	"github.com/valico-hpc/valico/adapters/agent"
	"github.com/valico-hpc/valico/broker"
	"github.com/valico-hpc/valico/broker/telemetry"
)

var _ agent.Publisher = (*telemetry.Publisher)(nil)

func TestEventsReachTheProjectionInOrderAndWakeTheWaiter(t *testing.T) {
	t.Parallel()
	b := setup(t, telemetry.ProjectorConfig{})
	wake, cancel := b.hub.Subscribe("ten_a", "job_a")
	defer cancel()
	other, cancelOther := b.hub.Subscribe("ten_b", "job_a")
	defer cancelOther()
	run(t, b.proj)
	want := siteEvents("att_a", 1, 1000)
	publish(t, b.site, want)
	eventually(t, func() bool { return b.rec.len() == 1000 })
	require.Equal(t, want, b.rec.events)
	select {
	case <-wake:
	case <-time.After(5 * time.Second):
		t.Fatal("the waiter was not woken")
	}
	require.Empty(t, other, "another tenant is not woken by the job's id alone")
	require.Equal(t, uint64(1000), b.proj.Counters().Applied)
}

func TestAServerThatRestartsInTheMiddleLosesAndDoublesNothing(t *testing.T) {
	t.Parallel()
	b := setup(t, telemetry.ProjectorConfig{Retry: 50 * time.Millisecond})
	run(t, b.proj)
	publish(t, b.site, siteEvents("att_a", 1, 300))
	b.srv.Close()
	require.Equal(t, broker.KindUnavailable, broker.KindOf(b.site.Publish(t.Context(), siteEvents("att_a", 301, 600))))
	require.NoError(t, b.srv.Start(t.Context()))
	publish(t, b.site, siteEvents("att_a", 301, 600))
	eventually(t, func() bool { return b.rec.len() >= 600 })
	require.Equal(t, upTo(600), b.rec.seqs("att_a"))
}

func TestEventsResentAfterTheDuplicateWindowAreAppliedOnce(t *testing.T) {
	t.Parallel()
	b := setup(t, telemetry.ProjectorConfig{Streams: telemetry.StreamConfig{Duplicates: 100 * time.Millisecond}})
	es := siteEvents("att_a", 1, 50)
	publish(t, b.site, es)
	js, err := jetstream.New(b.conn)
	require.NoError(t, err)
	s, err := js.Stream(t.Context(), telemetry.StreamSites)
	require.NoError(t, err)
	// Send the same events until the stream takes them again: the window is over.
	eventually(t, func() bool {
		if b.site.Publish(t.Context(), es) != nil {
			return false
		}
		info, err := s.Info(t.Context())
		return err == nil && info.State.Msgs >= 100
	})
	run(t, b.proj)
	publish(t, b.site, siteEvents("att_a", 51, 60))
	eventually(t, func() bool { return b.rec.len() >= 60 })
	require.Equal(t, upTo(60), b.rec.seqs("att_a"))
}

func TestAProjectorThatStopsGoesOnWhereItWas(t *testing.T) {
	t.Parallel()
	b := setup(t, telemetry.ProjectorConfig{})
	stop := run(t, b.proj)
	publish(t, b.site, siteEvents("att_a", 1, 100))
	eventually(t, func() bool { return b.rec.len() == 100 })
	stop()
	publish(t, b.site, siteEvents("att_a", 101, 200))
	again, err := telemetry.NewProjector(b.conn, b.rec, b.hub, telemetry.ProjectorConfig{})
	require.NoError(t, err)
	run(t, again)
	eventually(t, func() bool { return b.rec.len() == 200 })
	require.Equal(t, upTo(200), b.rec.seqs("att_a"))
	require.Equal(t, uint64(100), again.Counters().Applied)
}

func TestARecordThatFailsIsTriedAgain(t *testing.T) {
	t.Parallel()
	b := setup(t, telemetry.ProjectorConfig{Retry: 20 * time.Millisecond})
	b.rec.fail = errors.New("disk full")
	run(t, b.proj)
	publish(t, b.site, siteEvents("att_a", 1, 10))
	eventually(t, func() bool { b.rec.mu.Lock(); defer b.rec.mu.Unlock(); return b.rec.calls > 0 })
	b.rec.mu.Lock()
	b.rec.fail = nil
	b.rec.mu.Unlock()
	publish(t, b.site, siteEvents("att_a", 11, 12))
	eventually(t, func() bool { return b.rec.len() == 12 })
	require.Equal(t, upTo(12), b.rec.seqs("att_a"))
}

func TestAGapHoldsUpItsOwnAttemptAlone(t *testing.T) {
	t.Parallel()
	b := setup(t, telemetry.ProjectorConfig{GapDelay: 50 * time.Millisecond})
	run(t, b.proj)
	publish(t, b.site, append(siteEvents("att_a", 3, 4), siteEvents("att_b", 1, 5)...))
	eventually(t, func() bool { return len(b.rec.seqs("att_b")) == 5 })
	eventually(t, func() bool { return b.proj.Counters().Gaps >= 2 })
	require.Empty(t, b.rec.seqs("att_a"))
	publish(t, b.site, siteEvents("att_a", 1, 2))
	eventually(t, func() bool { return len(b.rec.seqs("att_a")) == 4 })
	require.Equal(t, upTo(4), b.rec.seqs("att_a"))
}

func TestAGapThatNeverClosesIsCountedAsLost(t *testing.T) {
	t.Parallel()
	b := setup(t, telemetry.ProjectorConfig{GapDelay: time.Millisecond, GapTries: 3})
	run(t, b.proj)
	publish(t, b.site, siteEvents("att_a", 7, 8))
	eventually(t, func() bool { return b.proj.Counters().Lost == 2 })
	require.Zero(t, b.rec.len())
}

func TestWhatTheRecordRefusesIsCountedAndHoldsNobodyUp(t *testing.T) {
	t.Parallel()
	b := setup(t, telemetry.ProjectorConfig{})
	b.rec.refuse = "att_x"
	run(t, b.proj)
	publish(t, b.site, append(siteEvents("att_x", 1, 3), siteEvents("att_a", 1, 3)...))
	eventually(t, func() bool { return b.proj.Counters().Refused == 3 && b.rec.len() == 3 })
}

func TestMessagesThatCannotBeReadAreCountedAndEnded(t *testing.T) {
	t.Parallel()
	b := setup(t, telemetry.ProjectorConfig{})
	js, err := jetstream.New(b.conn)
	require.NoError(t, err)
	good, err := telemetry.Encode(siteEvents("att_a", 1, 1)[0])
	require.NoError(t, err)
	const subject = "tel.site_a.ten_a.job_a.att_a.metric"
	bad := []struct{ subject, body string }{
		{subject, ""},
		{subject, "{"},
		{subject, "null"},
		{subject, `{"v":1,"v":1}`},
		{subject, strings.Replace(string(good), `"v":1`, `"v":2`, 1)},
		{subject, strings.Replace(string(good), `"seq":1`, `"seq":0`, 1)},
		{subject, strings.Replace(string(good), `"source"`, `"more":1,"source"`, 1)},
		{"tel.site_b.ten_a.job_a.att_a.metric", string(good)},
		{"tel.site_a.ten_b.job_a.att_a.metric", string(good)},
		{"tel.site_a.ten_a.job_a.att_a.log", string(good)},
		{"tel.site_a.ten_a.job_a.att_a.state", strings.Replace(string(good), `"metric"`, `"state"`, 1)},
		{subject, strings.Replace(string(good), `"at":1`, `"at":991764000000000000`, 1)}, // a year that JSON cannot hold
		{"tel.site_a", string(good)},
		{"evt.ten_a.job_a", string(good)},
	}
	for _, m := range bad {
		_, err := js.Publish(t.Context(), m.subject, []byte(m.body))
		require.NoError(t, err)
	}
	run(t, b.proj)
	publish(t, b.site, siteEvents("att_a", 1, 1))
	eventually(t, func() bool { return b.proj.Counters().Malformed == uint64(len(bad)) && b.rec.len() == 1 })
}

func TestASiteSpeaksForItselfAlone(t *testing.T) {
	t.Parallel()
	b := setup(t, telemetry.ProjectorConfig{})
	conn, err := b.srv.ConnectSite(t.Context(), "site_b")
	require.NoError(t, err)
	t.Cleanup(conn.Close)
	denied := make(chan error, 16)
	conn.SetErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) { denied <- err })

	expect := func(what string) {
		require.NoError(t, conn.Flush())
		select {
		case err := <-denied:
			require.ErrorIs(t, err, nats.ErrPermissionViolation, what)
		case <-time.After(5 * time.Second):
			t.Fatal("allowed: " + what)
		}
	}
	for _, subject := range []string{
		"tel.site_a.ten_a.job_a.att_a.metric", "evt.ten_a.job_a", "$JS.API.STREAM.DELETE.TEL",
		"$JS.API.CONSUMER.MSG.NEXT.TEL.projector", "tel.site_bb.x", "_INBOX_broker.x",
	} {
		require.NoError(t, conn.Publish(subject, []byte("x")))
		expect("publish " + subject)
	}
	for _, subject := range []string{"tel.>", "tel.site_b.>", "evt.>", ">", "_INBOX_broker.>", "_INBOX.>"} {
		_, err := conn.SubscribeSync(subject)
		require.NoError(t, err)
		expect("subscribe " + subject)
	}
	own := siteEvents("att_b", 1, 1)
	own[0].Site = "site_b"
	publish(t, publisher(t, b.srv, "site_b"), own)
	theirs := publisher(t, b.srv, "site_b").Publish(t.Context(), siteEvents("att_a", 1, 1))
	require.Equal(t, broker.KindUnavailable, broker.KindOf(theirs), "site_b publishes as site_a")
}

func TestNobodySignsInWithoutTheRightPassword(t *testing.T) {
	t.Parallel()
	srv := serve(t)
	for _, c := range []struct{ user, password string }{{"", ""}, {"broker", ""}, {"broker", "broker"}, {"nobody", ""}} {
		_, err := nats.Connect(srv.URL(), nats.UserInfo(c.user, c.password))
		require.ErrorIs(t, err, nats.ErrAuthorization, c.user)
	}
	_, err := srv.ConnectSite(t.Context(), "a.b")
	require.Error(t, err, "a wildcard or separator in a site's id")
	_, err = srv.ConnectSite(t.Context(), "broker")
	require.Error(t, err, "a site that is called like the broker")
}

func TestPasswordsNeverPrint(t *testing.T) {
	t.Parallel()
	c := telemetry.Credentials{User: "broker", Password: "hunter2"}
	var log strings.Builder
	slog.New(slog.NewTextHandler(&log, nil)).Info("x", "c", c, "p", c.Password)
	for _, s := range []string{fmt.Sprint(c), fmt.Sprintf("%+v", c), fmt.Sprintf("%#v", c), log.String()} {
		require.NotContains(t, s, "hunter2")
	}
}

func TestTheOutboxIsEmptiedInOrderOnceNATSIsBack(t *testing.T) {
	t.Parallel()
	b := setup(t, telemetry.ProjectorConfig{Retry: 50 * time.Millisecond})
	for i := range 600 {
		b.rec.outbox = append(b.rec.outbox, broker.OutboxEvent{ID: int64(i + 1), Event: broker.Event{
			Tenant: "ten_a", Job: "job_a", Attempt: "att_a", Source: telemetry.SourceBroker, Seq: uint64(i + 1),
			Kind: broker.EventState, Name: "attempt", Text: "running", At: time.UnixMicro(int64(i)).UTC(),
		}})
	}
	pub, err := telemetry.NewPublisher(b.conn)
	require.NoError(t, err)
	relay, err := telemetry.NewRelay(b.rec, pub, telemetry.RelayConfig{Poll: 20 * time.Millisecond})
	require.NoError(t, err)
	b.srv.Close()
	run(t, relay)
	run(t, b.proj)
	relay.Kick()
	require.NoError(t, b.srv.Start(t.Context()))
	eventually(t, func() bool { return b.rec.len() == 600 })
	require.Equal(t, upTo(600), b.rec.seqs("att_a"))
	eventually(t, func() bool { b.rec.mu.Lock(); defer b.rec.mu.Unlock(); return len(b.rec.sent) == 600 })
}

func TestAnEventComesBackAsItWasSent(t *testing.T) {
	t.Parallel()
	e := siteEvents("att_a", 9, 9)[0]
	b, err := telemetry.Encode(e)
	require.NoError(t, err)
	got, err := telemetry.Decode("tel.site_a.ten_a.job_a.att_a.metric", b)
	require.NoError(t, err)
	require.Equal(t, e, got)

	e.Kind, e.Text = broker.EventLog, strings.Repeat("\x01", 60<<10)
	b, err = telemetry.Encode(e)
	require.NoError(t, err)
	require.Less(t, len(b), telemetry.MaxMessage)
	require.Contains(t, string(b), "[cut")
}

func TestWhatCannotTravelIsRefusedBeforeItIsSent(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(*broker.Event){
		"no number":                func(e *broker.Event) { e.Seq = 0 },
		"a wildcard as tenant":     func(e *broker.Event) { e.Tenant = "*" },
		"a separator in the job":   func(e *broker.Event) { e.Job = "a.b" },
		"no attempt":               func(e *broker.Event) { e.Attempt = "" },
		"no site":                  func(e *broker.Event) { e.Site = "" },
		"an unknown kind":          func(e *broker.Event) { e.Kind = "secret" },
		"an unknown source":        func(e *broker.Event) { e.Source = "x" },
		"a broker's of a site":     func(e *broker.Event) { e.Source = telemetry.SourceBroker },
		"a state that a site says": func(e *broker.Event) { e.Kind = broker.EventState },
		"a year after the last":    func(e *broker.Event) { e.At = time.Date(10_000, 1, 1, 0, 0, 0, 0, time.UTC) },
		"a year before the first":  func(e *broker.Event) { e.At = time.Date(-1, 1, 1, 0, 0, 0, 0, time.UTC) },
		"not a number":             func(e *broker.Event) { e.Value = math.NaN() },
	} {
		e := siteEvents("att_a", 1, 1)[0]
		change(&e)
		_, err := telemetry.Encode(e)
		require.Error(t, err, name)
	}
}

func TestAHubHoldsOneWakeUpAndNeverBlocks(t *testing.T) {
	t.Parallel()
	var h telemetry.Hub
	wake, cancel := h.Subscribe("ten_a", "job_a")
	for range 10 {
		h.Notify("ten_a", "job_a")
	}
	require.Len(t, wake, 1)
	<-wake
	cancel()
	h.Notify("ten_a", "job_a")
	require.Empty(t, wake)
}

func FuzzDecodeNeverTakesWhatItWouldNotSend(f *testing.F) {
	b, err := telemetry.Encode(siteEvents("att_a", 1, 1)[0])
	if err != nil {
		f.Fatal(err)
	}
	f.Add("tel.site_a.ten_a.job_a.att_a.metric", b)
	f.Add("evt.ten_a.job_a", []byte(`{"v":1}`))
	// Property: whatever decodes encodes again under the same subject.
	f.Fuzz(func(t *testing.T, subject string, body []byte) {
		e, err := telemetry.Decode(subject, body)
		if err != nil {
			return
		}
		s, err := telemetry.Subject(e)
		require.NoError(t, err)
		require.Equal(t, subject, s)
		_, err = telemetry.Encode(e)
		require.NoError(t, err)
	})
}

// BenchmarkPublish measures acknowledged events, flushed to the disk or not.
func BenchmarkPublish(b *testing.B) {
	for name, noSync := range map[string]bool{"each event on the disk": false, "left to the operating system": true} {
		b.Run(name, func(b *testing.B) {
			srv, err := telemetry.NewServer(telemetry.ServerConfig{Dir: b.TempDir(), NoSync: noSync})
			require.NoError(b, err)
			require.NoError(b, srv.Start(b.Context()))
			b.Cleanup(srv.Close)
			conn, err := srv.Connect(b.Context())
			require.NoError(b, err)
			b.Cleanup(conn.Close)
			js, err := jetstream.New(conn)
			require.NoError(b, err)
			require.NoError(b, telemetry.EnsureStreams(b.Context(), js, telemetry.StreamConfig{}))
			p, err := telemetry.NewPublisher(conn)
			require.NoError(b, err)
			n := 1
			for b.Loop() {
				require.NoError(b, p.Publish(b.Context(), siteEvents("att_a", n, n+255)))
				n += 256
			}
			b.ReportMetric(float64(n)/b.Elapsed().Seconds(), "events/s")
		})
	}
}
