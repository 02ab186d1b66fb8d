package link

import (
	"context"
	"crypto"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/valico-hpc/valico/adapters/dirlock"
	"github.com/valico-hpc/valico/adapters/order"
	"github.com/valico-hpc/valico/broker"
	"github.com/valico-hpc/valico/broker/telemetry"
	"github.com/valico-hpc/valico/images/dsse"
)

// ResponderConfig are a Responder's parts and settings; zero values of settings
// take the defaults named.
type ResponderConfig struct {
	Site  broker.SiteID // required
	Conn  *nats.Conn    // required; the caller owns it
	Agent Agent         // required
	// Describe says how the agent is; required. Version and Alerts are filled in.
	Describe func(ctx context.Context) (broker.SiteAgent, error)
	Key      crypto.Signer // the agent's own; required
	// Trust reads what the site pinned, anew for each request, so that a key
	// taken out of it counts at once; required.
	Trust func() (order.Trust, error)
	Dir   string // of this package's own at the site, kept over restarts; required

	MaxAhead    time.Duration // how far ahead a deadline may be; 5 min
	CallTimeout time.Duration // how long the agent may take for one request; 1 min
	Workers     int           // requests at once; 32

	Now func() time.Time // time.Now
	Log *slog.Logger     // discards
}

// Responder is the agent's end of the link.
type Responder struct {
	cfg    ResponderConfig
	keyID  string
	guard  *guard
	alerts *alerts
	lock   *os.File
	open   *readers
	slots  chan struct{}
	calls  sync.WaitGroup
}

// NewResponder takes up what an earlier process kept in its folder. It refuses a
// key of the agent's that the site pinned for another role.
func NewResponder(c ResponderConfig) (r *Responder, err error) {
	switch {
	case !validName(string(c.Site)) || c.Conn == nil || c.Agent == nil || c.Describe == nil || c.Key == nil || c.Trust == nil:
		return nil, errors.New("link: a responder needs a site, connection, agent, key and trust")
	case !filepath.IsAbs(c.Dir):
		return nil, errors.New("link: the responder's folder is an absolute path")
	}
	c.defaults()
	id, err := dsse.KeyID(c.Key.Public())
	if err != nil {
		return nil, fmt.Errorf("link: the agent's key: %w", err)
	}
	r = &Responder{cfg: c, keyID: id, slots: make(chan struct{}, c.Workers), open: newReaders(c.Now)}
	if err := r.checkKey(); err != nil {
		return nil, err
	}
	if err := os.MkdirAll(c.Dir, 0o700); err != nil {
		return nil, fmt.Errorf("link: make the folder: %w", err)
	}
	if r.lock, err = dirlock.Take(filepath.Join(c.Dir, "lock")); err != nil {
		return nil, fmt.Errorf("link: another process answers for the site: %w", err)
	}
	if r.guard, err = openGuard(filepath.Join(c.Dir, "nonces"), c.Now); err != nil {
		return nil, errors.Join(err, r.lock.Close())
	}
	if r.alerts, err = openAlerts(filepath.Join(c.Dir, "alerts.json"), c.Site, c.Now); err != nil {
		return nil, errors.Join(err, r.guard.close(), r.lock.Close())
	}
	return r, nil
}

func (c *ResponderConfig) defaults() {
	if c.MaxAhead <= 0 {
		c.MaxAhead = 5 * time.Minute
	}
	if c.CallTimeout <= 0 {
		c.CallTimeout = time.Minute
	}
	if c.Workers <= 0 {
		c.Workers = 32
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
}

// checkKey holds the agent's own key to its one role.
func (r *Responder) checkKey() error {
	t, err := r.cfg.Trust()
	if err != nil {
		return fmt.Errorf("link: read the site's trust: %w", err)
	}
	if role, _, ok := t.RoleOf(r.keyID); ok {
		return &broker.Error{
			Kind: broker.KindInvalid, Code: order.CodeKeyTwoRoles, Message: "the agent's own key is pinned for another role", Value: string(role),
			Rule: "a key serves one role", Help: "give the agent a key of its own", Who: "the site operator",
		}
	}
	return nil
}

// Run answers until ctx ends, waits for the requests that are under way and
// returns the cause. A Responder runs once.
func (r *Responder) Run(ctx context.Context) error {
	defer r.close(ctx)
	msgs := make(chan *nats.Msg, 256)
	sub, err := r.cfg.Conn.ChanSubscribe(telemetry.RequestSubject(r.cfg.Site), msgs)
	if err != nil {
		return fmt.Errorf("link: subscribe: %w", err)
	}
	defer func() { _ = sub.Unsubscribe() }() // fails only if the connection is closed
	if err := sub.SetPendingLimits(cap(msgs), -1); err != nil && !errors.Is(err, nats.ErrTypeSubscription) {
		return fmt.Errorf("link: bound what waits: %w", err)
	}
	t := time.NewTicker(time.Second)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-t.C:
			r.open.sweep()
			if err := r.alerts.flush(); err != nil {
				r.cfg.Log.ErrorContext(ctx, "alerts not written", "error", err)
			}
		case m := <-msgs:
			select {
			case r.slots <- struct{}{}:
			case <-ctx.Done():
				return context.Cause(ctx)
			}
			r.calls.Go(func() {
				defer func() { <-r.slots }()
				r.handle(ctx, m)
			})
		}
	}
}

func (r *Responder) close(ctx context.Context) {
	r.calls.Wait()
	r.open.closeAll()
	if err := errors.Join(r.alerts.flush(), r.guard.close(), r.lock.Close()); err != nil {
		r.cfg.Log.WarnContext(ctx, "end of the link", "error", err)
	}
}

// Refused counts refusals by code since the process began.
func (r *Responder) Refused() map[string]uint64 { return r.alerts.refused() }

// Alerts returns the alerts that the site keeps, oldest first, whether the
// broker recorded them or not.
func (r *Responder) Alerts() []broker.SiteAlert { return r.alerts.list() }

// handle answers one message, or counts why not.
func (r *Responder) handle(ctx context.Context, m *nats.Msg) {
	defer func() {
		if p := recover(); p != nil {
			r.cfg.Log.ErrorContext(ctx, "request ended by a fault", "fault", fmt.Sprint(p))
		}
	}()
	envelope, body, err := unframe(m.Data)
	if err != nil {
		r.refuse(ctx, broker.SiteAlert{Code: CodeMalformed, Detail: err.Error()})
		return
	}
	req, no := r.admit(m.Reply, envelope, body)
	if no == nil {
		no = r.take(req)
	}
	if no != nil {
		r.refuse(ctx, broker.SiteAlert{Code: no.code, Method: string(req.Method), Key: keyHint(envelope), Detail: no.detail})
		if no.answered {
			r.answer(ctx, m.Reply, envelope, nil, no.notKnown())
		}
		return
	}
	call, done := context.WithTimeout(ctx, min(r.cfg.CallTimeout, req.Deadline.Sub(r.cfg.Now())))
	defer done()
	out, attempt, err := r.serve(call, req, body)
	if err != nil && call.Err() != nil && broker.KindOf(err) == broker.KindInternal {
		err = refusal{code: CodeLate, detail: "the agent was not ready before the deadline"}.notKnown()
	}
	if broker.KindOf(err) == broker.KindForbidden {
		r.refuse(ctx, broker.SiteAlert{
			Code: broker.CodeOf(err), Method: string(req.Method), Attempt: attempt, Key: keyHint(envelope), Detail: err.Error(),
		})
	}
	r.answer(ctx, m.Reply, envelope, out, err)
}

// admit verifies a request against what the site pinned. Nothing has happened
// yet, so it may be called with anything.
func (r *Responder) admit(reply string, envelope, body []byte) (Request, *refusal) {
	fail := func(code, detail string) (Request, *refusal) { return Request{}, &refusal{code: code, detail: detail} }
	if !strings.HasPrefix(reply, telemetry.AnswerSubject(r.cfg.Site, "")) {
		return fail(CodeMalformed, "nobody to answer")
	}
	trust, err := r.cfg.Trust()
	if err != nil {
		return fail(CodeJournal, err.Error())
	}
	if keyHint(envelope) == r.keyID {
		return fail(CodeKeyRole, "signed with the agent's own key")
	}
	req, no := verifyRequest(envelope, trust)
	switch {
	case no != nil:
		return req, no
	case req.Site != r.cfg.Site:
		return req, &refusal{code: CodeWrongSite, detail: "for site " + string(req.Site)}
	case !holds(req.Body, req.Size, body):
		return req, &refusal{code: CodeBody, detail: "the body is not the one that was signed"}
	}
	return req, nil
}

// VerifyRequest returns the request that an envelope holds if a key that the
// site pinned for the role link signed it. It looks at neither body, deadline
// nor nonce: a Responder does.
func VerifyRequest(envelope []byte, trust order.Trust) (Request, error) {
	req, no := verifyRequest(envelope, trust)
	if no != nil {
		return Request{}, fmt.Errorf("%s: %s", no.code, no.detail)
	}
	return req, nil
}

func verifyRequest(envelope []byte, trust order.Trust) (Request, *refusal) {
	fail := func(code, detail string) (Request, *refusal) { return Request{}, &refusal{code: code, detail: detail} }
	e, err := dsse.Parse(envelope)
	if err != nil {
		return fail(CodeMalformed, err.Error())
	}
	role, key, ok := trust.RoleOf(e.KeyID)
	switch {
	case !ok:
		return fail(CodeKeyUnknown, "signed with a key that the site did not pin")
	case role != order.RoleLink:
		return fail(CodeKeyRole, "signed with a key of the role "+string(role))
	}
	if _, err := e.Verify(RequestType, key); errors.Is(err, dsse.ErrPayloadType) {
		return fail(CodeStatement, err.Error())
	} else if err != nil {
		return fail(CodeSignature, err.Error())
	}
	req, err := decodeRequest(e)
	switch {
	case errors.Is(err, errVersion):
		return req, &refusal{code: CodeVersion, detail: err.Error(), answered: true}
	case err != nil:
		return fail(CodeMalformed, err.Error())
	}
	return req, nil
}

// take lets a request pass once, before its deadline.
func (r *Responder) take(req Request) *refusal {
	now := r.cfg.Now()
	switch {
	case !now.Before(req.Deadline):
		return &refusal{code: CodeLate, detail: fmt.Sprintf("%s past the deadline", now.Sub(req.Deadline).Round(time.Millisecond)), answered: true}
	case req.Deadline.Sub(now) > r.cfg.MaxAhead:
		return &refusal{code: CodeAhead, detail: fmt.Sprintf("deadline in %s", req.Deadline.Sub(now).Round(time.Second)), answered: true}
	}
	switch err := r.guard.take(req.Nonce, req.Deadline, req.Method.changes()); {
	case errors.Is(err, errSeen):
		return &refusal{code: CodeReplay, detail: err.Error()}
	case errors.Is(err, errFull):
		return &refusal{code: CodeBusy, detail: err.Error(), answered: true}
	case err != nil:
		return &refusal{code: CodeJournal, detail: err.Error(), answered: true}
	}
	return nil
}

// refuse counts a refusal, writes it down and says it.
func (r *Responder) refuse(ctx context.Context, al broker.SiteAlert) {
	r.cfg.Log.WarnContext(ctx, "request refused", "code", al.Code, "method", al.Method, "key_id", al.Key, "detail", clean(al.Detail))
	if err := r.alerts.raise(al); err != nil {
		r.cfg.Log.ErrorContext(ctx, "alerts not written", "error", err)
	}
}

// answer signs and sends; an answer that is lost is asked for again.
func (r *Responder) answer(ctx context.Context, reply string, request, body []byte, cause error) {
	_, waiting := r.alerts.pending(0)
	a := Answer{
		Version: Version, Site: r.cfg.Site, Request: broker.DigestOf(request), At: r.cfg.Now(), Alerts: waiting,
		Body: broker.DigestOf(body), Size: len(body),
	}
	if cause != nil {
		e, _ := newWireError(cause).error() // of known kinds, cleaned
		a.Err = e
	}
	envelope, err := SignAnswer(a, r.cfg.Key)
	if err == nil {
		var b []byte
		if b, err = frame(envelope, body); err == nil {
			err = r.cfg.Conn.Publish(reply, b)
		}
	}
	if err != nil {
		r.cfg.Log.WarnContext(ctx, "answer not sent", "error", err)
	}
}

// keyHint is the key that an envelope names, if it can be read.
func keyHint(envelope []byte) string {
	e, err := dsse.Parse(envelope)
	if err != nil {
		return ""
	}
	return e.KeyID
}
