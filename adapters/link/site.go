package link

import (
	"context"
	"crypto"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/valico-hpc/valico/broker"
	"github.com/valico-hpc/valico/broker/telemetry"
	"github.com/valico-hpc/valico/images/dsse"
)

// SiteConfig are a Site's parts and settings; zero values of settings take the
// defaults named.
type SiteConfig struct {
	Site broker.SiteID // required
	Conn *nats.Conn    // the broker's; required, the caller owns it
	Key  crypto.Signer // the broker's link key; required
	Book Book          // required

	Timeout time.Duration // how long an answer is waited for, and how far ahead the deadline is; 30 s
	Every   time.Duration // how often Run asks how the agent is; 15 s
	Calls   int           // requests at once; 64

	Now func() time.Time // time.Now
	Log *slog.Logger     // discards
}

// Site is the broker's end of the link with one site's agent. It behaves as the
// agent in this process would, and answers KindUnavailable when it does not know
// what the agent did. It is safe for concurrent use.
type Site struct {
	cfg   SiteConfig
	sub   *nats.Subscription
	slots chan struct{}
	pull  chan struct{} // the agent has alerts

	mu       sync.Mutex
	waiting  map[string]chan *nats.Msg
	presence Presence
	counts   Counters
}

// Presence is what a broker knows of a site's agent.
type Presence struct {
	Heard  time.Time        // the newest answer that was proven to be the agent's; zero for none
	Ahead  time.Duration    // of the agent's clock before ours, then
	Agent  broker.SiteAgent // what it said of itself
	Alerts int              // that the agent has and the record has not
}

// Counters are what a Site has seen since it was made.
type Counters struct {
	Asked    uint64
	Answered uint64
	NoAnswer uint64 // requests that nobody answered in time
	Forged   uint64 // messages that are not the agent's answer to what was asked
}

// NewSite makes a Site; Close gives its subscription back.
func NewSite(c SiteConfig) (*Site, error) {
	if !validName(string(c.Site)) || c.Conn == nil || c.Key == nil || c.Book == nil {
		return nil, errors.New("link: a site needs an id, a connection, a link key and a book")
	}
	if _, err := dsse.KeyID(c.Key.Public()); err != nil {
		return nil, fmt.Errorf("link: the link key: %w", err)
	}
	if c.Timeout <= 0 {
		c.Timeout = 30 * time.Second
	}
	if c.Every <= 0 {
		c.Every = 15 * time.Second
	}
	if c.Calls <= 0 {
		c.Calls = 64
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	s := &Site{cfg: c, slots: make(chan struct{}, c.Calls), pull: make(chan struct{}, 1), waiting: map[string]chan *nats.Msg{}}
	var err error
	if s.sub, err = c.Conn.Subscribe(telemetry.AnswerSubject(c.Site, "*"), s.deliver); err != nil {
		return nil, fmt.Errorf("link: subscribe: %w", err)
	}
	return s, nil
}

// Close gives the subscription back; requests that wait end as not known.
func (s *Site) Close() error {
	if err := s.sub.Unsubscribe(); err != nil && !errors.Is(err, nats.ErrConnectionClosed) {
		return fmt.Errorf("link: unsubscribe: %w", err)
	}
	return nil
}

// Presence says what is known of the agent.
func (s *Site) Presence() Presence {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.presence
}

// Counters says what was seen so far.
func (s *Site) Counters() Counters {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.counts
}

// Run asks how the agent is, and takes its alerts up, until ctx ends.
func (s *Site) Run(ctx context.Context) error {
	t := time.NewTicker(s.cfg.Every)
	defer t.Stop()
	for {
		if _, err := s.Describe(ctx); err != nil && ctx.Err() == nil {
			s.cfg.Log.InfoContext(ctx, "agent does not say how it is", "site_id", s.cfg.Site, "error", err)
		}
		if err := s.takeAlerts(ctx); err != nil && ctx.Err() == nil {
			s.cfg.Log.WarnContext(ctx, "alerts stay at the site", "site_id", s.cfg.Site, "error", err)
		}
		select {
		case <-s.pull: // by the answers of this round; a record that fails is not asked at once again
		default:
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-t.C:
		case <-s.pull:
		}
	}
}

// Describe asks how the agent is.
func (s *Site) Describe(ctx context.Context) (broker.SiteAgent, error) {
	out, err := s.ask(ctx, MethodDescribe, nil)
	if err != nil {
		return broker.SiteAgent{}, err
	}
	d, err := readStrict[describeAnswer](out.body)
	if err != nil {
		return broker.SiteAgent{}, s.notUnderstood(MethodDescribe, err)
	}
	if d.MinVersion > Version || d.MaxVersion < oldest {
		return broker.SiteAgent{}, unknownOutcome(CodeNoVersion, "broker and agent have no version of the link in common",
			"update the older of broker and agent", fmt.Errorf("it speaks %d to %d", d.MinVersion, d.MaxVersion))
	}
	a := broker.SiteAgent{
		Version: clean(d.Version), Trust: d.Trust, Packs: d.Packs, Scheduler: clean(d.Scheduler), SchedulerOK: d.SchedulerOK,
		Attempts: d.Attempts, DiskUsed: d.DiskUsed, DiskFree: d.DiskFree, DiskBound: d.DiskBound, Alerts: out.answer.Alerts, At: out.answer.At,
	}
	if err := unstamp(d.StartedAt, &a.StartedAt); err != nil {
		return broker.SiteAgent{}, s.notUnderstood(MethodDescribe, err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.presence.Agent = a
	return a, nil
}

// takeAlerts records what the agent refused, then tells it so, until there is
// nothing left. An alert is recorded before it is acknowledged.
func (s *Site) takeAlerts(ctx context.Context) error {
	done := []recorded{}
	for {
		if s.Presence().Alerts == 0 && len(done) == 0 {
			return nil
		}
		in, err := body(alertsBody{Recorded: done})
		if err != nil {
			return err
		}
		out, err := s.ask(ctx, MethodAlerts, in)
		if err != nil {
			return err
		}
		a, err := readStrict[alertsAnswer](out.body)
		if err != nil || len(a.Alerts) > maxIDs {
			return s.notUnderstood(MethodAlerts, err)
		}
		if len(a.Alerts) == 0 {
			return nil
		}
		als := make([]broker.SiteAlert, 0, len(a.Alerts))
		done = done[:0]
		for _, w := range a.Alerts {
			al, err := w.alert(s.cfg.Site)
			if err != nil {
				return s.notUnderstood(MethodAlerts, err)
			}
			als = append(als, al)
			done = append(done, recorded{ID: w.ID, Count: w.Count})
		}
		if err := s.cfg.Book.RecordAlerts(ctx, als); err != nil {
			return fmt.Errorf("record the alerts of site %s: %w", s.cfg.Site, err)
		}
	}
}

// reply is an answer that was proven to be the agent's, with its body.
type reply struct {
	answer Answer
	body   []byte
}

// ask sends one request and waits for the agent's answer to it.
func (s *Site) ask(ctx context.Context, m Method, in []byte) (reply, error) {
	select {
	case s.slots <- struct{}{}:
		defer func() { <-s.slots }()
	case <-ctx.Done():
		return reply{}, unknownOutcome(CodeNoAnswer, "the site's agent was not asked", "it is asked again", context.Cause(ctx))
	}
	key, err := s.cfg.Book.AgentKey(ctx, s.cfg.Site)
	if broker.KindOf(err) == broker.KindNotFound {
		return reply{}, unknownOutcome(CodeNotEnrolled, "the site has no agent", "enrol the site's agent", err)
	}
	if err != nil {
		return reply{}, unknownOutcome(CodeNoAnswer, "the key of the site's agent cannot be had", "look at the broker's record", err)
	}
	if len(in) > MaxBody {
		return reply{}, &broker.Error{
			Kind: broker.KindInvalid, Code: CodeTooLarge, Message: "what the site is to be told is too large",
			Rule: fmt.Sprintf("at most %d bytes", MaxBody), Value: fmt.Sprint(len(in)), Help: "make the job's specification smaller", Who: "the submitter",
		}
	}
	envelope, err := SignRequest(NewRequest(s.cfg.Site, m, in, s.cfg.Now().Add(s.cfg.Timeout)), s.cfg.Key)
	if err != nil {
		return reply{}, fmt.Errorf("ask site %s: %w", s.cfg.Site, err)
	}
	msg, err := frame(envelope, in)
	if err != nil {
		return reply{}, fmt.Errorf("ask site %s: %w", s.cfg.Site, err)
	}
	ctx, done := context.WithTimeout(ctx, s.cfg.Timeout)
	defer done()
	name, answers := s.expect(envelope)
	defer s.forget(name)
	if err := s.cfg.Conn.PublishRequest(telemetry.RequestSubject(s.cfg.Site), telemetry.AnswerSubject(s.cfg.Site, name), msg); err != nil {
		return reply{}, unknownOutcome(CodeAway, "the site's agent cannot be reached", "it is asked again", err)
	}
	return s.await(ctx, answers, envelope, key)
}

// expect makes a place for the answers to a request. Its name says nothing.
func (s *Site) expect(envelope []byte) (string, chan *nats.Msg) {
	name, c := broker.DigestOf(envelope).Hex()[:32], make(chan *nats.Msg, 16)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.waiting[name] = c
	s.counts.Asked++
	return name, c
}

func (s *Site) forget(name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.waiting, name)
}

// deliver hands a message to whoever waits for it, and drops what nobody does.
func (s *Site) deliver(m *nats.Msg) {
	prefix := len(telemetry.AnswerSubject(s.cfg.Site, ""))
	s.mu.Lock()
	c := s.waiting[m.Subject[min(prefix, len(m.Subject)):]]
	s.mu.Unlock()
	select {
	case c <- m:
	default:
	}
}

// await takes the first message that is proven to be the answer. Others are
// counted and waited past, so that who can send but not sign can only be noise.
func (s *Site) await(ctx context.Context, answers <-chan *nats.Msg, request []byte, key crypto.PublicKey) (reply, error) {
	for {
		select {
		case <-ctx.Done():
			s.count(func(c *Counters) { c.NoAnswer++ })
			return reply{}, unknownOutcome(CodeNoAnswer, "the site's agent does not answer", "it is asked again", context.Cause(ctx))
		case m := <-answers:
			if len(m.Data) == 0 && m.Header.Get("Status") == "503" {
				s.count(func(c *Counters) { c.NoAnswer++ })
				return reply{}, unknownOutcome(CodeAway, "the site's agent is not connected", "it is asked again when it is back", nil)
			}
			out, err := s.open(m.Data, request, key)
			if err != nil {
				s.count(func(c *Counters) { c.Forged++ })
				s.cfg.Log.WarnContext(ctx, "message that is no answer", "site_id", s.cfg.Site, "error", err)
				continue
			}
			s.heard(out.answer)
			if out.answer.Err != nil {
				return reply{}, out.answer.Err
			}
			return out, nil
		}
	}
}

func (s *Site) open(msg, request []byte, key crypto.PublicKey) (reply, error) {
	envelope, b, err := unframe(msg)
	if err != nil {
		return reply{}, err
	}
	a, err := VerifyAnswer(envelope, request, s.cfg.Site, key)
	if err != nil {
		return reply{}, err
	}
	if !holds(a.Body, a.Size, b) {
		return reply{}, errors.New("the body is not the one that was signed")
	}
	return reply{answer: a, body: b}, nil
}

// heard takes down that the agent answered.
func (s *Site) heard(a Answer) {
	now := s.cfg.Now()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.counts.Answered++
	s.presence.Heard, s.presence.Ahead, s.presence.Alerts = now, a.At.Sub(now), a.Alerts
	if a.Alerts > 0 {
		select {
		case s.pull <- struct{}{}:
		default:
		}
	}
}

func (s *Site) count(f func(*Counters)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f(&s.counts)
}

// unknownOutcome says that it is not known what the agent did.
func unknownOutcome(code, message, help string, err error) *broker.Error {
	return &broker.Error{
		Kind: broker.KindUnavailable, Code: code, Message: message, Rule: "what a site did is known from its own signed answer",
		Help: help, Who: "the site operator", Err: err,
	}
}

func (s *Site) notUnderstood(m Method, err error) error {
	return unknownOutcome(CodeMalformed, "the site's agent answers in another form", "update the older of broker and agent",
		fmt.Errorf("%s at site %s: %w", m, s.cfg.Site, errors.Join(err, errors.New("not of this version"))))
}

func idTexts(ids []broker.AttemptID) []string {
	out := make([]string, 0, len(ids))
	for _, id := range ids {
		out = append(out, string(id))
	}
	return slices.Clip(out)
}
