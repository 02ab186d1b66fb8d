package agent_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"reflect"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/valico-hpc/valico/adapters/agent"
	"github.com/valico-hpc/valico/adapters/ordertest"
	"github.com/valico-hpc/valico/broker"
	"github.com/valico-hpc/valico/broker/airlock"
	"github.com/valico-hpc/valico/broker/dispatch"
	"github.com/valico-hpc/valico/broker/spool"
)

// Whom and what the orders name.
const (
	person   = ordertest.Person
	reviewer = ordertest.Reviewer
	account  = ordertest.Account
)

var (
	_ dispatch.Site = (*agent.Agent)(nil)
	_ airlock.Site  = (*agent.Agent)(nil)
)

// machine is a scheduler in memory that keeps the contract of the port. What a
// launch does is the function work, called once per launch as valico-exec
// would be; it outlives every agent.
type machine struct {
	mu      sync.Mutex
	work    func(l broker.Launch) agent.Status
	jobs    map[string]*agent.Status
	order   map[string]broker.Digest
	launch  broker.Launch // the newest
	submits int           // calls of Submit
	starts  map[string]int
	cancels int
	lose    int   // answers of Submit to lose, after it took effect
	down    error // every call fails while set
}

func newMachine(work func(l broker.Launch) agent.Status) *machine {
	return &machine{work: work, jobs: map[string]*agent.Status{}, order: map[string]broker.Digest{}, starts: map[string]int{}}
}

var errAway = &broker.Error{Kind: broker.KindUnavailable, Code: "away", Message: "away"}

func (m *machine) Submit(_ context.Context, l broker.Launch) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.submits++
	if m.down != nil {
		return m.down
	}
	if _, ok := m.jobs[l.Name]; !ok {
		m.launch, m.order[l.Name] = l, l.OrderDigest
		st := m.work(l)
		st.Name = l.Name
		m.jobs[l.Name] = &st
		m.starts[l.Name]++
	}
	if m.lose > 0 {
		m.lose--
		return errAway
	}
	return nil
}

func (m *machine) Find(_ context.Context, l broker.Launch) (agent.Status, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if st, ok := m.jobs[l.Name]; ok && m.order[l.Name] == l.OrderDigest {
		return *st, nil
	}
	return agent.Status{}, broker.NotFound("launch", l.Name)
}

func (m *machine) Watch(ctx context.Context, ls []broker.Launch) ([]agent.Status, error) {
	var out []agent.Status
	if m.down != nil {
		return nil, m.down
	}
	for _, l := range ls {
		if st, err := m.Find(ctx, l); err == nil {
			out = append(out, st)
		}
	}
	return out, nil
}

func (m *machine) Cancel(_ context.Context, l broker.Launch) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.cancels++
	if st, ok := m.jobs[l.Name]; ok && st.State != agent.SchedulerEnded {
		st.State, st.Outcome = agent.SchedulerEnded, broker.OutcomeCancelled
	}
	return nil
}

func (m *machine) Usage(context.Context, broker.Launch) (broker.Usage, error) {
	return broker.Usage{GPUSeconds: 9, Elapsed: 9 * time.Second, Method: "slurmdb"}, nil
}

// telescope collects what is published and holds resent events to be the same.
type telescope struct {
	t      *testing.T
	mu     sync.Mutex
	events map[broker.AttemptID][]broker.Event
	down   error
}

func (p *telescope) Publish(_ context.Context, es []broker.Event) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.down != nil {
		return p.down
	}
	for _, e := range es {
		have := p.events[e.Attempt]
		switch {
		case e.Seq == uint64(len(have)+1):
			p.events[e.Attempt] = append(have, e)
		case e.Seq == 0 || e.Seq > uint64(len(have)):
			p.t.Errorf("event %d after %d: a gap", e.Seq, len(have))
		case !reflect.DeepEqual(have[e.Seq-1], e):
			p.t.Errorf("event %d resent as another: %+v, was %+v", e.Seq, e, have[e.Seq-1])
		}
	}
	return nil
}

func (p *telescope) set(err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.down = err
}

func (p *telescope) names(id broker.AttemptID) []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	var out []string
	for _, e := range p.events[id] {
		out = append(out, e.Name)
	}
	return out
}

// shelf is a blob store in memory.
type shelf struct {
	mu    sync.Mutex
	blobs map[broker.Digest][]byte
	down  error
}

func (s *shelf) OpenBlob(_ context.Context, _ broker.WorkOrder, d broker.Digest) (io.ReadCloser, int64, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.down != nil {
		return nil, 0, s.down
	}
	b, ok := s.blobs[d]
	if !ok {
		return nil, 0, broker.NotFound("blob", string(d))
	}
	return io.NopCloser(bytes.NewReader(b)), int64(len(b)), nil
}

func (s *shelf) set(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.down = err
}

// site is everything that outlives an agent.
type site struct {
	t     *testing.T
	dir   string
	auth  *ordertest.Authority
	sched *machine
	tel   *telescope
	blobs *shelf
	clock *clock
	last  *agent.Agent
}

type clock struct {
	mu  sync.Mutex
	now time.Time
}

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) add(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

func newSite(t *testing.T) *site {
	t.Helper()
	now := time.Date(2026, 3, 2, 9, 0, 0, 0, time.UTC)
	s := &site{t: t, dir: t.TempDir(), auth: ordertest.New(t, now), clock: &clock{now: now}}
	s.sched = newMachine(s.train)
	s.tel = &telescope{t: t, events: map[broker.AttemptID][]broker.Event{}}
	s.blobs = &shelf{blobs: map[broker.Digest][]byte{broker.DigestOf(s.auth.Layer): s.auth.Layer}}
	s.auth.Pin(t, s.dir)
	return s
}

func (s *site) config() agent.Config {
	return agent.Config{
		Site: "site_one", Dir: s.dir, ExecPath: "/opt/valico/valico-exec", Scheduler: s.sched, Blobs: s.blobs, Publisher: s.tel, Now: s.clock.Now,
	}
}

func (s *site) open(c agent.Config) *agent.Agent {
	s.t.Helper()
	if s.last != nil {
		require.NoError(s.t, s.last.Close()) // as the end of a process does
	}
	a, err := agent.New(c)
	require.NoError(s.t, err)
	s.last = a
	return a
}

// train is a launch that does its work at once.
func (s *site) train(l broker.Launch) agent.Status {
	if !s.mark(l) {
		return agent.Status{State: agent.SchedulerEnded, Outcome: broker.OutcomeExit, ExitCode: 77}
	}
	out := filepath.Join(l.Dir, "out")
	err := errors.Join(
		os.WriteFile(filepath.Join(out, "model.bin"), []byte("weights"), 0o600),
		os.Mkdir(filepath.Join(out, "logs"), 0o700),
		os.WriteFile(filepath.Join(out, "logs", "loss.csv"), []byte("1,0.5\n"), 0o600),
		os.MkdirAll(filepath.Join(l.Dir, "root", "bin"), 0o700),
		s.spool(l, broker.OutcomeOK),
	)
	if err != nil {
		s.t.Error(err)
	}
	return agent.Status{State: agent.SchedulerEnded, Outcome: broker.OutcomeOK}
}

// mark is valico-exec's start mark: false when the attempt was started before.
func (s *site) mark(l broker.Launch) bool {
	f, err := os.OpenFile(filepath.Join(l.Dir, "start"), os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return false
	}
	return f.Close() == nil
}

// spool writes what a node would; without an outcome it ends like a kill.
func (s *site) spool(l broker.Launch, o broker.Outcome) error {
	w, err := spool.Create(filepath.Join(l.Dir, "spool"))
	if err != nil {
		return err
	}
	at := s.clock.Now()
	recs := []spool.Record{
		{Kind: spool.KindStarted, At: at},
		{Kind: spool.KindMetric, At: at, Name: "loss", Value: 0.5, Step: 1},
		{Kind: spool.KindLog, At: at, Name: "stdout", Text: "patient"},
		{Kind: spool.KindNotice, At: at, Name: "gpu_missing", Text: "words"},
	}
	if o != "" {
		recs = append(recs, spool.Record{Kind: spool.KindOutcome, At: at.Add(time.Second), Outcome: string(o), ElapsedSeconds: 9, GPUs: 1})
	}
	for _, r := range recs {
		err = errors.Join(err, w.Append(r))
	}
	return errors.Join(err, w.Close())
}

// report is what the site says of an attempt.
func (s *site) report(a *agent.Agent, id broker.AttemptID) broker.AttemptReport {
	s.t.Helper()
	rs, err := a.Reports(s.t.Context(), []broker.AttemptID{id})
	require.NoError(s.t, err)
	require.Len(s.t, rs, 1)
	return rs[0]
}

// finish turns an agent until an attempt is done, the clock going on.
func (s *site) finish(a *agent.Agent, id broker.AttemptID) broker.AttemptReport {
	s.t.Helper()
	for range 60 {
		a.Turn(s.t.Context())
		if r := s.report(a, id); r.State == broker.AttemptDone {
			return r
		}
		s.clock.add(time.Second)
	}
	s.t.Fatalf("attempt %s does not end: %+v", id, s.report(a, id))
	return broker.AttemptReport{}
}

// mortal makes an agent die at the nth point between two writes: every
// goroutine that comes to a point from then on ends there.
type mortal struct {
	mu   sync.Mutex
	left int
	dead string
}

func (m *mortal) step(name string) {
	m.mu.Lock()
	m.left--
	if m.left == 0 {
		m.dead = name
	}
	dead := m.left <= 0
	m.mu.Unlock()
	if dead {
		runtime.Goexit()
	}
}

// aside runs something in a goroutine that may die.
func aside(f func()) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		f()
	}()
	<-done
}
