package link_test

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"io"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/stretchr/testify/require"

	"github.com/valico-hpc/valico/adapters/agent"
	"github.com/valico-hpc/valico/adapters/link"
	"github.com/valico-hpc/valico/adapters/order"
	"github.com/valico-hpc/valico/adapters/ordertest"
	"github.com/valico-hpc/valico/broker"
	"github.com/valico-hpc/valico/broker/spool"
	"github.com/valico-hpc/valico/broker/telemetry"
	"github.com/valico-hpc/valico/images/dsse"
)

// Whom and what the orders name.
const (
	person   = ordertest.Person
	reviewer = ordertest.Reviewer
	account  = ordertest.Account
)

const siteID = broker.SiteID("site_one")

// patience is the ceiling of a poll.
const patience = time.Minute

// cluster is a scheduler in memory: a launch does its work at once, unless hold
// is set, and outlives every agent.
type cluster struct {
	mu     sync.Mutex
	work   func(l broker.Launch) agent.Status
	jobs   map[string]*agent.Status
	starts map[string]int
	hold   bool
}

func (m *cluster) Submit(_ context.Context, l broker.Launch) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if _, ok := m.jobs[l.Name]; ok {
		return nil
	}
	m.starts[l.Name]++
	st := agent.Status{State: agent.SchedulerRunning}
	if !m.hold {
		st = m.work(l)
	}
	st.Name = l.Name
	m.jobs[l.Name] = &st
	return nil
}

func (m *cluster) Find(_ context.Context, l broker.Launch) (agent.Status, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if st, ok := m.jobs[l.Name]; ok {
		return *st, nil
	}
	return agent.Status{}, broker.NotFound("launch", l.Name)
}

func (m *cluster) Watch(ctx context.Context, ls []broker.Launch) ([]agent.Status, error) {
	var out []agent.Status
	for _, l := range ls {
		if st, err := m.Find(ctx, l); err == nil {
			out = append(out, st)
		}
	}
	return out, nil
}

func (m *cluster) Cancel(_ context.Context, l broker.Launch) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if st, ok := m.jobs[l.Name]; ok && st.State != agent.SchedulerEnded {
		st.State, st.Outcome = agent.SchedulerEnded, broker.OutcomeCancelled
	}
	return nil
}

func (m *cluster) Usage(context.Context, broker.Launch) (broker.Usage, error) {
	return broker.Usage{GPUSeconds: 9, Elapsed: 9 * time.Second, Method: "slurmdb"}, nil
}

func (m *cluster) started(id broker.AttemptID) int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.starts[string(id)]
}

func (m *cluster) launches() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return len(m.jobs)
}

type shelf map[broker.Digest][]byte

func (s shelf) OpenBlob(_ context.Context, _ broker.WorkOrder, d broker.Digest) (io.ReadCloser, int64, error) {
	b, ok := s[d]
	if !ok {
		return nil, 0, broker.NotFound("blob", string(d))
	}
	return io.NopCloser(bytes.NewReader(b)), int64(len(b)), nil
}

// quiet is a publisher that takes everything.
type quiet struct{}

func (quiet) Publish(context.Context, []broker.Event) error { return nil }

// book is the broker's record in memory.
type book struct {
	mu     sync.Mutex
	key    crypto.PublicKey
	alerts map[broker.AlertID]broker.SiteAlert
	fail   error
}

func (b *book) AgentKey(_ context.Context, id broker.SiteID) (crypto.PublicKey, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.key == nil {
		return nil, broker.NotFound("agent", string(id))
	}
	return b.key, nil
}

func (b *book) RecordAlerts(_ context.Context, as []broker.SiteAlert) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.fail != nil {
		return b.fail
	}
	for _, a := range as {
		b.alerts[a.ID] = a
	}
	return nil
}

// of counts the refusals of one code that were recorded.
func (b *book) of(code string) (n int64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, a := range b.alerts {
		if a.Code == code {
			n += a.Count
		}
	}
	return n
}

// world is a broker, a NATS server and a site with its agent.
type world struct {
	tb    testing.TB
	dir   string
	auth  *ordertest.Authority
	sched *cluster
	book  *book
	srv   *telemetry.Server
	conn  *nats.Conn // the broker's, and an attacker's who owns NATS
	key   crypto.Signer
	seed  []byte
	ca    *x509.CertPool
	site  *link.Site

	agent *agent.Agent
	resp  *link.Responder
	nc    *nats.Conn // the agent's
	stop  func()

	size int // of what a launch writes
	dial link.DialFunc
	pub  func(*nats.Conn) agent.Publisher
}

func certificate(tb testing.TB) (tls.Certificate, *x509.CertPool) {
	tb.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(tb, err)
	c := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "broker"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, DNSNames: []string{"broker.example"}, IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, c, c, k.Public(), k)
	require.NoError(tb, err)
	leaf, err := x509.ParseCertificate(der)
	require.NoError(tb, err)
	pool := x509.NewCertPool()
	pool.AddCert(leaf)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: k, Leaf: leaf}, pool
}

func newWorld(tb testing.TB) *world {
	tb.Helper()
	now := time.Now().UTC().Truncate(time.Second)
	w := &world{tb: tb, dir: tb.TempDir(), auth: ordertest.New(tb, now), stop: func() {}, size: 7}
	w.pub = func(*nats.Conn) agent.Publisher { return quiet{} }
	w.sched = &cluster{work: w.train, jobs: map[string]*agent.Status{}, starts: map[string]int{}}
	w.auth.Pin(tb, w.dir)
	cert, pool := certificate(tb)
	w.ca = pool
	var err error
	w.srv, err = telemetry.NewServer(telemetry.ServerConfig{
		Dir: tb.TempDir(), NoSync: true,
		Websocket: &telemetry.Websocket{Listen: "127.0.0.1:0", TLS: &tls.Config{Certificates: []tls.Certificate{cert}, MinVersion: tls.VersionTLS12}},
	})
	require.NoError(tb, err)
	require.NoError(tb, w.srv.Start(tb.Context()))
	tb.Cleanup(w.srv.Close)
	w.conn, err = w.srv.Connect(tb.Context())
	require.NoError(tb, err)
	tb.Cleanup(w.conn.Close)
	var public string
	w.seed, public, err = link.NewSeed()
	require.NoError(tb, err)
	require.NoError(tb, w.srv.PinSite(siteID, public))
	w.key, err = dsse.GenerateKey()
	require.NoError(tb, err)
	w.book = &book{key: w.key.Public(), alerts: map[broker.AlertID]broker.SiteAlert{}}
	w.site = w.newSite(link.SiteConfig{})
	tb.Cleanup(func() { w.stop() })
	return w
}

// newSite makes another broker's end.
func (w *world) newSite(c link.SiteConfig) *link.Site {
	w.tb.Helper()
	c.Site, c.Conn, c.Book = siteID, w.conn, w.book
	if c.Key == nil {
		c.Key = w.auth.Link
	}
	s, err := link.NewSite(c)
	require.NoError(w.tb, err)
	w.tb.Cleanup(func() { _ = s.Close() })
	return s
}

func (w *world) trust() (order.Trust, error) {
	return order.LoadTrust(filepath.Join(w.dir, "trust.json"))
}

// open makes the site's agent over its folder, as a new process would.
func (w *world) open() *agent.Agent {
	w.tb.Helper()
	var err error
	w.nc, err = link.Dial(w.tb.Context(), link.DialConfig{
		Site: siteID, URL: "wss://" + w.srv.WebsocketAddr() + "/link", CA: w.ca, Seed: w.seed, Dial: w.dial,
	})
	require.NoError(w.tb, err)
	w.agent, err = agent.New(agent.Config{
		Site: siteID, Dir: w.dir, ExecPath: "/opt/valico/valico-exec", Scheduler: w.sched,
		Blobs: shelf{broker.DigestOf(w.auth.Layer): w.auth.Layer}, Publisher: w.pub(w.nc), PollEvery: 20 * time.Millisecond,
		Retry: 50 * time.Millisecond, LostAfter: 20 * time.Millisecond, TelemetryGrace: time.Second,
	})
	require.NoError(w.tb, err)
	return w.agent
}

// up starts the agent and its end of the link, and waits until it is heard.
func (w *world) up() {
	w.tb.Helper()
	w.begin(w.open())
	require.Eventually(w.tb, func() bool { _, err := w.site.Describe(w.tb.Context()); return err == nil }, patience, 20*time.Millisecond)
}

func (w *world) begin(over link.Agent) {
	w.tb.Helper()
	var err error
	w.resp, err = link.NewResponder(w.responder(over))
	require.NoError(w.tb, err)
	ctx, cancel := context.WithCancel(context.WithoutCancel(w.tb.Context()))
	var g sync.WaitGroup
	a, r, nc := w.agent, w.resp, w.nc
	g.Go(func() { _ = a.Run(ctx) })
	g.Go(func() { _ = r.Run(ctx) })
	w.stop = func() {
		cancel()
		g.Wait()
		nc.Close()
		w.stop = func() {}
	}
}

func (w *world) responder(over link.Agent) link.ResponderConfig {
	return link.ResponderConfig{
		Site: siteID, Conn: w.nc, Agent: over, Key: w.key, Trust: w.trust, Dir: filepath.Join(w.dir, "link"),
		Describe: func(context.Context) (broker.SiteAgent, error) {
			return broker.SiteAgent{Version: "1.2.3", Scheduler: "slurm", SchedulerOK: true, StartedAt: w.auth.Now, Trust: ordertest.DigestOf("trust"), DiskUsed: 5, DiskFree: 6, DiskBound: 7}, nil
		},
	}
}

func (w *world) issue(id broker.AttemptID) broker.SignedOrder { return w.auth.Issue(w.tb, id, nil) }

// done waits until an attempt is reported done.
func (w *world) done(s interface {
	Reports(context.Context, []broker.AttemptID) ([]broker.AttemptReport, error)
}, id broker.AttemptID,
) (r broker.AttemptReport) {
	w.tb.Helper()
	require.Eventually(w.tb, func() bool {
		rs, err := s.Reports(w.tb.Context(), []broker.AttemptID{id})
		if err != nil || len(rs) != 1 {
			return false
		}
		r = rs[0]
		return r.State == broker.AttemptDone
	}, patience, 20*time.Millisecond)
	return r
}

// train is a launch that does its work at once.
func (w *world) train(l broker.Launch) agent.Status {
	f, err := os.OpenFile(filepath.Join(l.Dir, "start"), os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return agent.Status{State: agent.SchedulerEnded, Outcome: broker.OutcomeExit, ExitCode: 77}
	}
	sp, err2 := spool.Create(filepath.Join(l.Dir, "spool"))
	err = errors.Join(f.Close(), err2)
	if err == nil {
		at := w.auth.Now
		err = errors.Join(
			os.WriteFile(filepath.Join(l.Dir, "out", "model.bin"), bytes.Repeat([]byte("w"), w.size), 0o600),
			sp.Append(spool.Record{Kind: spool.KindStarted, At: at}),
			sp.Append(spool.Record{Kind: spool.KindMetric, At: at, Name: "loss", Value: 0.5, Step: 1}),
			sp.Append(spool.Record{Kind: spool.KindOutcome, At: at.Add(time.Second), Outcome: string(broker.OutcomeOK), ElapsedSeconds: 9, GPUs: 1}),
			sp.Close(),
		)
	}
	if err != nil {
		w.tb.Error(err)
	}
	return agent.Status{State: agent.SchedulerEnded, Outcome: broker.OutcomeOK}
}

// run runs something until the test ends, or until what it returns is called.
func run(tb testing.TB, r interface{ Run(context.Context) error }) (stop func()) {
	tb.Helper()
	ctx, cancel := context.WithCancel(context.WithoutCancel(tb.Context()))
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = r.Run(ctx)
	}()
	stop = func() { cancel(); <-done }
	tb.Cleanup(stop)
	return stop
}
