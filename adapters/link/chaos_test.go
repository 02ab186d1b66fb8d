package link_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/valico-hpc/valico/adapters/agent"
	"github.com/valico-hpc/valico/adapters/link"
	"github.com/valico-hpc/valico/broker"
	"github.com/valico-hpc/valico/broker/telemetry"
)

// faults are what a relay does to each message, in percent and at most.
type faults struct {
	lose, double, delay int
	late                time.Duration
}

// relay carries messages between two servers as whoever owns the network may.
type relay struct {
	mu   sync.Mutex
	rng  *rand.Rand
	now  faults
	wait sync.WaitGroup
}

func (r *relay) set(f faults, seed uint64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.now, r.rng = f, rand.New(rand.NewPCG(seed, 1))
}

// carry passes one message on: not at all, at once, later, or more than once.
func (r *relay) carry(to *nats.Conn, m *nats.Msg) {
	r.mu.Lock()
	f, copies := r.now, 1
	if r.rng.IntN(100) < f.lose {
		copies = 0
	} else if r.rng.IntN(100) < f.double {
		copies = 2 + r.rng.IntN(2)
	}
	var delays []time.Duration
	for range copies {
		var d time.Duration
		if r.rng.IntN(100) < f.delay {
			d = time.Duration(r.rng.Int64N(int64(f.late) + 1))
		}
		delays = append(delays, d)
	}
	r.mu.Unlock()
	for _, d := range delays {
		r.wait.Add(1)
		time.AfterFunc(d, func() {
			defer r.wait.Done()
			if m.Reply == "" {
				_ = to.Publish(m.Subject, m.Data)
			} else {
				_ = to.PublishRequest(m.Subject, m.Reply, m.Data)
			}
		})
	}
}

// between puts a relay between the broker and the site of a world: the broker's
// end moves to a server of its own.
func between(t *testing.T, w *world, timeout time.Duration) (*relay, *link.Site) {
	t.Helper()
	srv, err := telemetry.NewServer(telemetry.ServerConfig{Dir: t.TempDir(), NoSync: true})
	require.NoError(t, err)
	require.NoError(t, srv.Start(t.Context()))
	t.Cleanup(srv.Close)
	near, err := srv.Connect(t.Context())
	require.NoError(t, err)
	t.Cleanup(near.Close)
	carrier, err := srv.Connect(t.Context())
	require.NoError(t, err)
	t.Cleanup(carrier.Close)
	r := &relay{rng: rand.New(rand.NewPCG(1, 1))}
	_, err = carrier.Subscribe(telemetry.RequestSubject(siteID), func(m *nats.Msg) { r.carry(w.conn, m) })
	require.NoError(t, err)
	_, err = w.conn.Subscribe(telemetry.AnswerSubject(siteID, "*"), func(m *nats.Msg) { r.carry(carrier, m) })
	require.NoError(t, err)
	require.NoError(t, carrier.Flush())
	require.NoError(t, w.conn.Flush())
	s, err := link.NewSite(link.SiteConfig{Site: siteID, Conn: near, Key: w.auth.Link, Book: w.book, Timeout: timeout})
	require.NoError(t, err)
	t.Cleanup(func() { r.wait.Wait(); _ = s.Close() })
	return r, s
}

// TestNoInterleavingOfMessagesStartsAnAttemptTwice loses, doubles, delays and so
// reorders requests and answers, while the broker does what dispatch does: it
// asks again until it knows.
func TestNoInterleavingOfMessagesStartsAnAttemptTwice(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.up()
	r, s := between(t, w, 120*time.Millisecond)
	n := 0
	rapid.Check(t, func(rt *rapid.T) {
		n++
		id := broker.AttemptID(fmt.Sprintf("att_%d", n))
		r.set(faults{
			lose: rapid.IntRange(0, 60).Draw(rt, "lose"), double: rapid.IntRange(0, 80).Draw(rt, "double"),
			delay: rapid.IntRange(0, 80).Draw(rt, "delay"), late: time.Duration(rapid.IntRange(0, 150).Draw(rt, "late")) * time.Millisecond,
		}, rapid.Uint64().Draw(rt, "seed"))
		stopped := rapid.Bool().Draw(rt, "stop")
		o := w.issue(id)
		ask := func(f func() error) error {
			var err error
			tries := 0
			require.Eventually(t, func() bool {
				if tries++; tries > 6 {
					r.set(faults{}, 1) // the network gets well; what is under way still comes
				}
				err = f()
				return broker.KindOf(err) != broker.KindUnavailable
			}, patience, time.Millisecond, "attempt %s", id)
			return err
		}
		var stop sync.WaitGroup
		if stopped {
			stop.Go(func() { require.NoError(t, ask(func() error { return s.Stop(t.Context(), id) })) })
		}
		err := ask(func() error { return s.Start(t.Context(), o) })
		stop.Wait()
		if stopped && err != nil {
			require.Equal(t, "attempt_stopped", broker.CodeOf(err))
		} else {
			require.NoError(t, err)
		}
		r.set(faults{}, 1)
		rep := w.done(s, id)
		r.wait.Wait()
		starts := w.sched.started(id)
		require.LessOrEqual(t, starts, 1)
		if !stopped {
			require.Equal(t, 1, starts)
			require.Equal(t, broker.OutcomeOK, rep.Outcome)
		}
	})
	t.Logf("refused at the agent: %v; seen by the broker: %+v", w.resp.Refused(), s.Counters())
}

// cable is a network that can be cut.
type cable struct {
	mu    sync.Mutex
	cut   bool
	conns []net.Conn
}

func (c *cable) dial(ctx context.Context, network, address string) (net.Conn, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.cut {
		return nil, errors.New("the cable is cut")
	}
	conn, err := (&net.Dialer{}).DialContext(ctx, network, address)
	if err == nil {
		c.conns = append(c.conns, conn)
	}
	return conn, err
}

func (c *cable) set(cut bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.cut = cut; cut {
		for _, conn := range c.conns {
			_ = conn.Close()
		}
		c.conns = nil
	}
}

// projection keeps the contract of the record: a high-water mark per attempt.
type projection struct {
	mu     sync.Mutex
	events map[broker.AttemptID][]broker.Event
}

func (p *projection) ApplyEvents(_ context.Context, es []broker.Event) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	fresh := map[broker.AttemptID][]broker.Event{}
	n := 0
	for _, e := range es {
		have := uint64(len(p.events[e.Attempt]) + len(fresh[e.Attempt]))
		switch {
		case e.Seq <= have:
			continue
		case e.Seq > have+1:
			return 0, &broker.Error{Kind: broker.KindConflict, Code: telemetry.CodeGap, Message: "a gap"}
		}
		fresh[e.Attempt] = append(fresh[e.Attempt], e)
		n++
	}
	for id, es := range fresh {
		p.events[id] = append(p.events[id], es...)
	}
	return n, nil
}

func (p *projection) names(id broker.AttemptID) []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	var out []string
	for _, e := range p.events[id] {
		out = append(out, e.Name)
	}
	return out
}

func (w *world) project(t *testing.T) *projection {
	t.Helper()
	js, err := jetstream.New(w.conn)
	require.NoError(t, err)
	// A duplicate window that every cut outlasts.
	c := telemetry.StreamConfig{Duplicates: 100 * time.Millisecond}
	require.NoError(t, telemetry.EnsureStreams(t.Context(), js, c))
	p := &projection{events: map[broker.AttemptID][]broker.Event{}}
	proj, err := telemetry.NewProjector(w.conn, p, &telemetry.Hub{}, telemetry.ProjectorConfig{Streams: c, GapDelay: 50 * time.Millisecond, Retry: 50 * time.Millisecond})
	require.NoError(t, err)
	run(t, proj)
	w.pub = func(nc *nats.Conn) agent.Publisher {
		p, err := telemetry.NewPublisher(nc)
		require.NoError(t, err)
		return p
	}
	return p
}

// TestCutsAndRestartsLoseAndDoubleNothing starts attempts while the cable is
// cut, NATS is restarted and the agent is killed with requests under way.
func TestCutsAndRestartsLoseAndDoubleNothing(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	c := &cable{}
	w.dial = c.dial
	p := w.project(t)
	w.up()
	s := w.newSite(link.SiteConfig{Timeout: 2 * time.Second})
	require.NoError(t, w.site.Close())
	ids := make([]broker.AttemptID, 24)
	var starts sync.WaitGroup
	gates := []chan struct{}{make(chan struct{}), make(chan struct{}), make(chan struct{}), make(chan struct{})}
	for i := range ids {
		ids[i] = broker.AttemptID(fmt.Sprintf("att_%d", i))
		o := w.issue(ids[i])
		starts.Go(func() {
			<-gates[i%len(gates)]
			require.Eventually(t, func() bool { return s.Start(t.Context(), o) == nil }, patience, 10*time.Millisecond)
		})
	}
	heard := func() {
		require.Eventually(t, func() bool { _, err := s.Describe(t.Context()); return err == nil }, patience, 20*time.Millisecond)
	}
	close(gates[0])
	c.set(true)
	require.Eventually(t, func() bool { return !w.nc.IsConnected() }, patience, 5*time.Millisecond)
	close(gates[1])
	time.AfterFunc(300*time.Millisecond, func() { c.set(false) })
	heard()
	close(gates[2])
	w.srv.Close()
	require.NoError(t, w.srv.Start(t.Context()))
	heard()
	close(gates[3])
	w.nc.Close() // answers of what is under way are lost
	w.stop()
	w.begin(w.open())
	heard()
	starts.Wait()
	for _, id := range ids {
		r := w.done(s, id)
		require.Equal(t, broker.OutcomeOK, r.Outcome)
		require.Equal(t, 1, w.sched.started(id))
		require.Eventually(t, func() bool {
			names := p.names(id)
			return slices.Equal(names, []string{"order_accepted", "started", "loss", "ended", "outputs_sealed"})
		}, patience, 10*time.Millisecond, "%v", p.names(id))
	}
}

// TestTheLinkCutWhileAJobRunsOnlyDelaysItsStory cuts the cable for longer than
// the duplicate window while a job starts and ends.
func TestTheLinkCutWhileAJobRunsOnlyDelaysItsStory(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	c := &cable{}
	w.dial = c.dial
	p := w.project(t)
	w.up()
	require.NoError(t, w.site.Start(t.Context(), w.issue("att_one")))
	c.set(true)
	require.Eventually(t, func() bool { return w.sched.started("att_one") == 1 }, patience, 5*time.Millisecond, "the job goes on")
	require.Eventually(t, func() bool {
		_, err := w.site.Reports(t.Context(), []broker.AttemptID{"att_one"})
		return broker.KindOf(err) == broker.KindUnavailable
	}, patience, 5*time.Millisecond)
	w.done(w.agent, "att_one")
	c.set(false)
	require.Equal(t, broker.OutcomeOK, w.done(w.site, "att_one").Outcome)
	require.Eventually(t, func() bool {
		return slices.Equal(p.names("att_one"), []string{"order_accepted", "started", "loss", "ended", "outputs_sealed"})
	}, patience, 10*time.Millisecond)
}
