package dispatch_test

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"

	"github.com/valico-hpc/valico/broker"
	"github.com/valico-hpc/valico/broker/admission"
	"github.com/valico-hpc/valico/broker/dispatch"
	"github.com/valico-hpc/valico/policy"
)

// memory is a record of one process's life: it holds the state machines to
// their edges and can be told to fail any one write. The real store passes its
// own contract suite; this double exists for the faults that it will not
// produce on demand.
type memory struct {
	mu      sync.Mutex
	now     func() time.Time
	rows    map[broker.AttemptID]*row
	writes  int
	failAt  int                  // the write that fails, from 1; 0 fails none
	failErr error                // with this, before anything was written
	op      broker.SiteOperation // of every site
	noRoom  error                // for a next segment; nil when there is room
}

type row struct {
	attempt  broker.Attempt
	job      broker.Job
	token    int64
	lease    time.Time
	due      time.Time
	cancel   bool
	receipt  []byte
	order    []byte
	settled  bool
	history  []broker.AttemptState
	cleared  int
	manifest *broker.OutputManifest
}

var errFault = &broker.Error{Kind: broker.KindUnavailable, Code: "store_unavailable", Message: "the store does not answer"}

func newMemory(now func() time.Time) *memory {
	return &memory{now: now, rows: map[broker.AttemptID]*row{}, failErr: errFault}
}

// admit puts an admitted job with its first attempt into the record.
func (m *memory) admit() broker.AttemptID {
	m.mu.Lock()
	defer m.mu.Unlock()
	job := broker.Job{
		ID: broker.NewID[broker.JobID]("job"), Tenant: "ten", Project: "prj", Submitter: "anna@x.example", Site: "sit",
		State: broker.JobAdmitted, SpecDigest: broker.DigestOf([]byte("spec")),
		Spec: broker.JobSpec{Image: broker.ImageSpec{Command: []string{"/trainer"}}, Resources: broker.Resources{Nodes: 1, Walltime: time.Minute}},
	}
	a := broker.Attempt{ID: broker.NewID[broker.AttemptID]("att"), Job: job.ID, Number: 1, State: broker.AttemptPackaging}
	m.rows[a.ID] = &row{attempt: a, job: job, history: []broker.AttemptState{a.State}}
	return a.ID
}

func (m *memory) get(id broker.AttemptID) row {
	m.mu.Lock()
	defer m.mu.Unlock()
	return *m.rows[id]
}

func (m *memory) set(id broker.AttemptID, f func(*row)) {
	m.mu.Lock()
	defer m.mu.Unlock()
	f(m.rows[id])
}

// write counts one write and says whether it fails; m.mu is held.
func (m *memory) write() error {
	m.writes++
	if m.writes == m.failAt {
		return m.failErr
	}
	return nil
}

func (m *memory) Claim(_ context.Context, q dispatch.ClaimQuery) ([]dispatch.Claimed, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.write(); err != nil {
		return nil, err
	}
	var out []dispatch.Claimed
	for _, r := range m.rows {
		if !slices.Contains(q.States, r.attempt.State) || r.due.After(q.Now) || r.lease.After(q.Now) || len(out) == q.Limit {
			continue
		}
		r.token, r.lease = r.token+1, q.Until
		out = append(out, dispatch.Claimed{Attempt: r.attempt, Job: r.job, Token: r.token, Cancel: r.cancel})
	}
	return out, nil
}

func (m *memory) Renew(_ context.Context, cs []dispatch.Claimed, until time.Time) ([]broker.AttemptID, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	var kept []broker.AttemptID
	for _, c := range cs {
		if r := m.rows[c.Attempt.ID]; r.token == c.Token {
			r.lease = until
			kept = append(kept, c.Attempt.ID)
		}
	}
	return kept, nil
}

func (m *memory) Release(_ context.Context, rs []dispatch.Released) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.write(); err != nil {
		return err
	}
	for _, x := range rs {
		if r := m.rows[x.Claimed.Attempt.ID]; r.token == x.Claimed.Token {
			r.lease, r.due = time.Time{}, x.Due
		}
	}
	return nil
}

func (m *memory) Cancelled(context.Context) ([]broker.AttemptID, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	var out []broker.AttemptID
	for id, r := range m.rows {
		if r.cancel && r.attempt.State.Submitted() {
			out = append(out, id)
		}
	}
	return out, nil
}

func (m *memory) Advance(_ context.Context, c dispatch.Claimed, ch dispatch.Change) (broker.Attempt, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.write(); err != nil {
		return broker.Attempt{}, err
	}
	if ch.Next != nil && m.noRoom != nil {
		return broker.Attempt{}, m.noRoom
	}
	r := m.rows[c.Attempt.ID]
	if r.token != c.Token {
		return broker.Attempt{}, &broker.Error{Kind: broker.KindConflict, Code: "lease_lost", Message: "lease lost"}
	}
	if ch.To != r.attempt.State {
		if err := r.attempt.State.To(ch.To); err != nil {
			return broker.Attempt{}, err
		}
		r.history = append(r.history, ch.To)
	}
	if ch.To == broker.AttemptReady && (len(ch.Receipt) == 0 || len(ch.OrderBytes) == 0) {
		return broker.Attempt{}, errors.New("ready without receipt and order")
	}
	if ch.JobTo != "" {
		if err := r.job.State.To(ch.JobTo); err != nil {
			return broker.Attempt{}, err
		}
		r.job.State = ch.JobTo
	}
	r.attempt.State, r.attempt.Outcome, r.attempt.Code, r.attempt.Waiting = ch.To, ch.Outcome, ch.Code, ch.Waiting
	if ch.Image != "" {
		r.attempt.Image = ch.Image
	}
	if ch.Receipt != nil {
		r.receipt, r.order = ch.Receipt, ch.OrderBytes
	}
	if ch.Outputs != nil {
		r.manifest = ch.Outputs
	}
	r.settled = r.settled || ch.To == broker.AttemptDone
	if ch.JobTo != "" {
		r.job.Code = cmp.Or(ch.JobCode, ch.Code)
	}
	if ch.Next != nil {
		a := ch.Next.Attempt
		m.rows[a.ID] = &row{attempt: a, job: r.job, history: []broker.AttemptState{a.State}}
	}
	return r.attempt, nil
}

func (m *memory) SiteOperation(context.Context, broker.SiteID) (broker.SiteOperation, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.op, nil
}

func (m *memory) SpecBytes(context.Context, broker.JobID) ([]byte, error) { return []byte("spec"), nil }

func (m *memory) OrderBytes(_ context.Context, id broker.AttemptID) ([]byte, error) {
	return m.get(id).order, nil
}

// parts are scripted neighbours around the loop.
type parts struct {
	verdict    broker.Verdict
	clearErr   error
	ledgerErr  error
	packageErr error
	m          *memory
	mu         sync.Mutex
	held       chan struct{} // packaging waits until it is closed; nil for not at all
}

// hold lets packaging wait until release is closed.
func (p *parts) hold(release chan struct{}) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.held = release
}

func (p *parts) Package(context.Context, broker.TenantID, broker.ImageSpec) (dispatch.Packaged, error) {
	p.mu.Lock()
	held := p.held
	p.mu.Unlock()
	if held != nil {
		<-held
	}
	return dispatch.Packaged{Digest: broker.DigestOf([]byte("manifest"))}, p.packageErr
}

func (p *parts) Packaged(_ context.Context, _ broker.TenantID, d broker.Digest) (dispatch.Packaged, error) {
	return dispatch.Packaged{Digest: d, Manifest: []byte("manifest"), View: policy.Image{Digest: string(d)}}, nil
}

func (p *parts) Clear(_ context.Context, r admission.ClearRequest) (admission.Cleared, error) {
	if p.clearErr != nil {
		return admission.Cleared{}, p.clearErr
	}
	p.m.set(r.Attempt.ID, func(x *row) {
		x.cleared++
		if p.verdict == broker.VerdictDeny { // as the real store's Clear does
			x.attempt.State, x.job.State, x.settled = broker.AttemptRefused, broker.JobNotAdmitted, true
			x.history = append(x.history, broker.AttemptRefused)
		}
	})
	return admission.Cleared{
		Decision: broker.Decision{ID: broker.NewID[broker.DecisionID]("dec"), Verdict: p.verdict, Document: []byte("document")},
		Account:  "labuser1",
	}, nil
}

func (p *parts) Next(_ context.Context, j broker.Job, ended broker.Attempt) (admission.Segment, error) {
	if p.clearErr != nil {
		return admission.Segment{}, p.clearErr
	}
	return admission.Segment{Attempt: broker.Attempt{
		ID: broker.NewID[broker.AttemptID]("att"), Job: j.ID, Number: ended.Number + 1, State: broker.AttemptPackaging,
	}}, nil
}

func (p *parts) Receipt(context.Context, int64) ([]byte, error) {
	return []byte("receipt"), p.ledgerErr
}

func (p *parts) Sign(_ context.Context, o broker.WorkOrder, e broker.Evidence) (broker.SignedOrder, error) {
	return broker.SignedOrder{Order: o, Envelope: []byte(o.ID), Evidence: e}, nil
}

func (p *parts) Encode(o broker.SignedOrder) ([]byte, error) { return json.Marshal(o) }

func (p *parts) Decode(b []byte) (broker.SignedOrder, error) {
	var o broker.SignedOrder
	return o, json.Unmarshal(b, &o)
}

// scripted is a site that remembers what it was told and lets a test decide
// what it answers.
type scripted struct {
	mu       sync.Mutex
	t        *testing.T
	m        *memory
	orders   map[broker.AttemptID][]byte // the first order of each attempt
	starts   int
	stops    int
	stopped  map[broker.AttemptID]bool
	startErr func(n int) (accept bool, err error)
	report   func(id broker.AttemptID) (broker.AttemptReport, bool)
	silent   error // of Reports; nil when it answers
}

func newScripted(t *testing.T, m *memory) *scripted {
	t.Helper()
	return &scripted{
		t: t, m: m, orders: map[broker.AttemptID][]byte{}, stopped: map[broker.AttemptID]bool{},
		startErr: func(int) (bool, error) { return true, nil },
		report: func(id broker.AttemptID) (broker.AttemptReport, bool) {
			return broker.AttemptReport{Attempt: id, State: broker.AttemptDone, Outcome: broker.OutcomeOK}, true
		},
	}
}

func (s *scripted) Start(_ context.Context, o broker.SignedOrder) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.starts++
	id := o.Order.Attempt
	r := s.m.get(id)
	// P1: whoever hears of an attempt finds its clearance and receipt recorded.
	assert.NotEmpty(s.t, r.receipt, "a site heard of an attempt without a receipt")
	assert.Positive(s.t, r.cleared)
	assert.True(s.t, r.attempt.State.Submitted(), "the record knows before the site does: %s", r.attempt.State)
	accept, err := s.startErr(s.starts)
	if accept {
		if first, again := s.orders[id]; again {
			assert.Equal(s.t, string(first), string(o.Envelope), "a repeated start carries the same bytes")
		}
		s.orders[id] = o.Envelope
	}
	return err
}

func (s *scripted) Stop(_ context.Context, id broker.AttemptID) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.stopped[id] = true
	s.stops++
	return nil
}

func (s *scripted) Reports(_ context.Context, ids []broker.AttemptID) ([]broker.AttemptReport, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.silent != nil {
		return nil, s.silent
	}
	var out []broker.AttemptReport
	for _, id := range ids {
		if _, known := s.orders[id]; !known {
			continue
		}
		if r, ok := s.report(id); ok {
			out = append(out, r)
		}
	}
	return out, nil
}
